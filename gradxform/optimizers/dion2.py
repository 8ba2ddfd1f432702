"""Dion2: Muon on the largest rows or columns alone; what is left out waits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.facts import Facts, Reach, Station
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.rule import Rule
from gradxform.core.sizes import addable
from gradxform.core.types import Array, Dtype, Mask, Param, Scalars, Transformation, Where
from gradxform.core.value import Child
from gradxform.optimizers.adam import adamw
from gradxform.optimizers.muon import Mean, Orthogonalize, beside, scale_by_shape
from gradxform.optimizers.newton_schulz import coefficients, restarts
from gradxform.params.masks import shared_mask
from gradxform.params.select import hidden_matrices


class ScaleByDion2(Rule):
    fraction: float = 0.25
    ef_decay: Beta = 0.95
    polar: Child[Orthogonalize] = Orthogonalize(coefficients("polar_express_speedrun", 5), 1e-8)
    facts = Facts(reach=Reach.ARRAY, station=Station.DIRECT, matrix=True)

    def check(self) -> None:
        check.positive(fraction=self.fraction)
        check.unit(fraction=self.fraction)

    def init(self, p: Array) -> Mean:
        return Mean(jnp.zeros_like(p))

    def update(self, g: Array, s: Mean, p: Param, k: Scalars) -> tuple[Array, Mean]:
        wide = g.shape[0] < g.shape[1]
        m = addable(s.mu + addable(g), g.size)
        m = m if wide else m.T
        sizes = jax.lax.stop_gradient(jnp.abs(m).sum(axis=1))
        _, chosen = jax.lax.top_k(sizes, max(1, math.ceil(self.fraction * len(m))))
        u, _ = self.polar.update(m[chosen], None, p, k)
        u, m = jnp.zeros_like(m).at[chosen].set(u), m.at[chosen].multiply(self.ef_decay * 1)
        return (u, Mean(m)) if wide else (u.T, Mean(m.T))


def scale_by_dion2(
    fraction: float = 0.25, ef_decay: Beta = 0.95, ns_coeffs: str | Sequence[Any] = "polar_express_speedrun",
    ns_steps: int = 5, eps: Hyper = 1e-8, *, ns_dtype: Dtype | None = None,
    gram_restarts: Sequence[int] | None = None,
) -> Chain:  # fmt: skip
    """Orthogonalize the largest part of a sum: `m <- m + g`, `u = orthogonalize(m[largest])`, 0 elsewhere.

    The largest of the shorter side's rows or columns, by sums of |m|, then shrink by ef_decay; the others keep what
    they have gathered. Of a square matrix columns are chosen, the outputs of `x @ W`. Behind it: `scale_by_shape`.
    fraction: how many of them, in (0, 1]. For the other arguments: see `orthogonalize`; the authors' ns_dtype is
    bfloat16.
    Reach: array. State: mu, shaped like p, float32 or wider.
    Raises: as `orthogonalize`; ValueError if fraction is not in (0, 1] or ef_decay not in [0, 1).
    Source: Ahn et al. 2025, "Dion2", arXiv:2512.16928; its code, microsoft/dion.
    """
    check.floating(ns_dtype=ns_dtype)
    rows = coefficients(ns_coeffs, ns_steps)
    polar = Orthogonalize(rows, eps, ns_dtype=ns_dtype, gram_restarts=restarts(gram_restarts, len(rows)))
    return lift(ScaleByDion2(check.number(check.unit, fraction=fraction), ef_decay, polar))


def dion2(
    learning_rate: Hyper, fraction: float = 0.25, ef_decay: Beta = 0.95, weight_decay: Hyper = 0.01,
    weight_decay_mask: Mask = None, ns_coeffs: str | Sequence[Any] = "polar_express_speedrun", ns_steps: int = 5,
    eps: Hyper = 1e-8, *, ns_dtype: Dtype | None = None, gram_restarts: Sequence[int] | None = None,
    shape_factor: str = "spectral", default: Transformation | None = None, where: Where = hidden_matrices,
) -> Chain:  # fmt: skip
    """Dion2 for hidden matrices: `scale_by_dion2`, `scale_by_shape`, decay, learning rate; AdamW for all others.

    The groups are "dion2" and "default". shape_factor: "moonlight" where the authors say rms_norm. default: of the
    others, `adamw(learning_rate, 0.9, 0.95, eps, weight_decay=weight_decay)` unless given. where: selector of the
    matrices.
    Source: Ahn et al. 2025, "Dion2", arXiv:2512.16928.
    """
    rate, eps = check.given(check.nonnegative, learning_rate=learning_rate), check.given(check.nonnegative, eps=eps)
    lam, factor = check.given(check.nonnegative, weight_decay=weight_decay), scale_by_shape(shape_factor=shape_factor)
    direction = scale_by_dion2(
        fraction, ef_decay, ns_coeffs, ns_steps, eps, ns_dtype=ns_dtype, gram_restarts=gram_restarts
    )
    mask = shared_mask(weight_decay_mask, "weight_decay_mask")
    rest = adamw(rate, 0.9, 0.95, eps, weight_decay=lam, mask=mask) if default is None else default
    return beside(rest, chain(direction, factor), "dion2", where, rate, lam, mask)
