"""NorMuon: Muon, with every neuron's step divided by the root of a mean of its squares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import abs_sq, quotient, root
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.facts import Facts, Reach, Station
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.rule import Halves
from gradxform.core.sizes import squarable
from gradxform.core.types import Array, Dtype, Mask, Param, Scalars, Transformation, Where
from gradxform.optimizers.adam import adamw
from gradxform.optimizers.muon import beside, scale_by_muon, scale_by_shape
from gradxform.params.masks import mask_selector
from gradxform.params.select import hidden_matrices


class NeuronSquares(NamedTuple):
    """v_col: one number for each column, real."""

    v_col: Array


class NormalizeNeurons(Halves):
    b2: Beta = 0.95
    eps: Hyper = 1e-10
    facts = Facts(reach=Reach.ARRAY, station=Station.DIRECT, matrix=True)
    name = "normuon"

    def check(self) -> None:
        check.nonnegative(eps=self.eps)

    def init(self, p: Array) -> NeuronSquares:
        return NeuronSquares(jnp.zeros_like(p.real.sum(0)))

    def remember(self, g: Array, s: NeuronSquares, p: Param, k: Scalars) -> NeuronSquares:
        return NeuronSquares(self.b2 * s.v_col + (1 - self.b2) * abs_sq(squarable(g, g.size)).mean(0))

    def emit(self, g: Array, s: NeuronSquares, p: Param, k: Scalars) -> Array:
        g = squarable(g, g.size)
        u = quotient(g, root(s.v_col) + self.eps, self.eps)
        norm, new = (root(jnp.sum(abs_sq(x))) for x in (g, u))
        even: Array = u * quotient(norm, new + self.eps, self.eps)
        return even


def scale_by_normuon(
    ns_coeffs: str | Sequence[Any] = "jordan", ns_steps: int = 5, beta: Beta = 0.95, b2: Beta = 0.95,
    eps: Hyper = 1e-10, mu_dtype: Dtype | None = None, *, nesterov: bool = True, ns_dtype: Dtype | None = None,
    gram_restarts: Sequence[int] | None = None,
) -> Chain:  # fmt: skip
    """Make Muon's direction o even over neurons: `v <- b2·v + (1-b2)·mean(o²)` by columns, `u = c·o / (√v + eps)`.

    c gives u the norm of o. A column is a neuron, as `x @ W` has it. The other arguments: see `scale_by_muon`.
    Reach: array. State: mu, shaped like p; v_col, one number a column; float32 or wider.
    Raises: as `scale_by_muon`; ValueError if b2 is not in [0, 1).
    Source: Li et al. 2025, arXiv:2510.05491, algorithm 1; its code, zichongli5/NorMuon.
    """
    direction = scale_by_muon(
        ns_coeffs, ns_steps, beta, mu_dtype=mu_dtype, nesterov=nesterov, ns_dtype=ns_dtype, gram_restarts=gram_restarts
    )
    return chain(direction, lift(NormalizeNeurons(b2, eps)))


def normuon(
    learning_rate: Hyper, ns_coeffs: str | Sequence[Any] = "jordan", ns_steps: int = 5, beta: Beta = 0.95,
    b2: Beta = 0.95, eps: Hyper = 1e-10, weight_decay: Hyper = 0.0, weight_decay_mask: Mask = None,
    mu_dtype: Dtype | None = None, *, nesterov: bool = True, ns_dtype: Dtype | None = None,
    gram_restarts: Sequence[int] | None = None, default: Transformation | None = None, where: Where = hidden_matrices,
) -> Chain:  # fmt: skip
    """NorMuon for hidden matrices: `scale_by_normuon`, `scale_by_shape`, decay, learning rate; AdamW for all others.

    The groups are "normuon" and "default". default: of the others, `adamw(learning_rate, 0.9, 0.95, 1e-10)` without
    decay unless given; the authors take rates of 0.02 and 3e-4. where: selector of the matrices.
    Source: Li et al. 2025, arXiv:2510.05491, algorithm 1.
    """
    learning_rate = check.given(check.nonnegative, learning_rate=learning_rate)
    direction = scale_by_normuon(
        ns_coeffs, ns_steps, beta, b2, eps, mu_dtype, nesterov=nesterov, ns_dtype=ns_dtype, gram_restarts=gram_restarts
    )
    rest = adamw(learning_rate, 0.9, 0.95, 1e-10, weight_decay=0.0) if default is None else default
    mask = mask_selector(weight_decay_mask, "weight_decay_mask")
    return beside(rest, chain(direction, scale_by_shape()), "normuon", where, learning_rate, weight_decay, mask)
