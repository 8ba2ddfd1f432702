"""Scion: the step that a norm's unit ball allows, another norm for each kind of layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import abs_sq, quotient, root
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.facts import Facts, Reach, Station
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.rule import Rule
from gradxform.core.sizes import squarable
from gradxform.core.types import Array, Dtype, Memory, Param, Scalars, Where
from gradxform.optimizers.muon import orthogonalize, scale_by_shape
from gradxform.params.groups import groups
from gradxform.params.select import hidden_matrices, ndim_at_least
from gradxform.transforms.decay import AddDecayedWeights
from gradxform.transforms.momentum import Ema
from gradxform.transforms.scale import descend, scale, scale_by_sign


class NormalizeByRms(Rule):
    eps: Hyper = 1e-8
    facts = Facts(reach=Reach.ARRAY, station=Station.DIRECT)

    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Array, Memory]:
        g = squarable(g, g.size)
        return quotient(g, root(jnp.mean(abs_sq(g))) + self.eps, self.eps), s


def scion(
    learning_rate: Hyper, beta: Beta = 0.9, radius: Hyper = 50.0, sign_radius: Hyper = 3000.0,
    ns_coeffs: str | Sequence[Any] = "jordan", ns_steps: int = 5, *, unconstrained: bool = False,
    ns_dtype: Dtype | None = None, gram_restarts: Sequence[int] | None = None, where: Where = hidden_matrices,
) -> Chain:  # fmt: skip
    """Step to the edge of a ball: `m <- b·m + (1-b)·g`, `p <- (1-η)·p - η·r·lmo(m)`, one norm a kind of layer.

    b is beta, η the rate, 2⁻¹² in the authors' runs. lmo is `√(columns / rows)·orthogonalize(m)` for hidden matrices
    with r = radius, `sign(m) / rows` for heads and embeddings with r = sign_radius, and `m / rms(m)` for vectors with
    r = radius. The groups are "hidden", "sign" and "default". unconstrained: without the `1-η`. where: selector of
    hidden matrices; the other arguments: see `orthogonalize`.
    Reach: array. State: ema, shaped like p, float32 or wider.
    Raises: as `orthogonalize`; ValueError if beta is not in [0, 1) or a radius is negative.
    Source: Pethick et al. 2025, arXiv:2502.07529, algorithms 1 and 2; its code, LIONS-EPFL/scion.
    """
    check.boolean(unconstrained=unconstrained)
    beta = check.given(check.fraction, beta=beta)
    radius = check.given(check.nonnegative, radius=radius)
    sign_radius = check.given(check.nonnegative, sign_radius=sign_radius)
    polar = orthogonalize(ns_coeffs, ns_steps, ns_dtype=ns_dtype, gram_restarts=gram_restarts)
    spectral = chain(polar, scale_by_shape(shape_factor="spectral"))
    sign = chain(scale_by_sign(), scale_by_shape(shape_factor="input"), scale(sign_radius))
    kinds = [(where, chain(spectral, scale(radius)), "hidden"), (ndim_at_least(2), sign, "sign")]
    lmo = groups(kinds, default=chain(lift(NormalizeByRms()), scale(radius)))
    toward_zero = [] if unconstrained else [lift(AddDecayedWeights(1.0))]
    return chain(lift(Ema(beta, debias=False)), lmo, *toward_zero, descend(learning_rate))
