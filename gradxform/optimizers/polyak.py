"""Gradient descent with Polyak's step: as long as the gap to the smallest value asks for."""

from __future__ import annotations

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.facts import Facts, Reach, Station
from gradxform.core.hyper import Hyper
from gradxform.core.norms import sum_of_squares
from gradxform.core.rule import TreeRule
from gradxform.core.types import Array, ArrayLike, Memory, Param, Scalars
from gradxform.optimizers.sgd import sgd


class ScaleByPolyak(TreeRule):
    f_min: Hyper = 0.0
    max_learning_rate: Hyper = 1.0
    eps: Hyper = 0.0
    variant: str = "sps"
    facts = Facts(reach=Reach.TREE, station=Station.STEP, needs=("value",))

    def check(self) -> None:
        check.finite(f_min=self.f_min)
        check.positive(max_learning_rate=self.max_learning_rate)
        check.nonnegative(eps=self.eps)
        check.choice("sps", "sps+", variant=self.variant)

    def measure(self, gs: list[Array], s: Memory, t: Array, value: ArrayLike | None = None) -> tuple[Scalars, Memory]:
        below = sum_of_squares(gs) + self.eps
        gap = jnp.asarray(value, below.dtype) - self.f_min
        gap = jnp.maximum(gap, 0.0) if self.variant == "sps+" else gap
        tiny = below <= jnp.finfo(below.dtype).eps
        step = jnp.minimum(gap / jnp.where(tiny, 1.0, below), self.max_learning_rate)
        return jnp.where(tiny, 0.0, step), None

    def update(self, g: Array, s: Memory, p: Param, k: Array) -> tuple[Array, Memory]:
        return k * g, None


def scale_by_polyak(
    f_min: Hyper = 0.0, max_learning_rate: Hyper = 1.0, eps: Hyper = 0.0, variant: str = "sps"
) -> Chain:
    """Scale by Polyak's step: `u = min((f - f_min) / (‖g‖² + eps), max_learning_rate)·g`.

    `update` takes the objective's value f as `value`. A gradient whose squared norm is within rounding of 0 gives 0.
    f_min: a lower bound of the objective. variant: `"sps+"` takes a negative gap as 0.
    Reach: tree. State: none.
    Raises: ValueError for arguments out of range; at update if value is missing.
    Source: Polyak 1969; Loizou et al. 2021, arXiv:2002.10542, equation 3.
    """
    return lift(ScaleByPolyak(f_min, max_learning_rate, eps, variant))


def polyak_sgd(
    max_learning_rate: Hyper = 1.0, scaling: Hyper = 1.0, f_min: Hyper = 0.0, eps: Hyper = 0.0, variant: str = "sps"
) -> Chain:
    """Descent with Polyak's step: `chain(sgd(scaling), scale_by_polyak(f_min, max_learning_rate, eps, variant))`.

    Source: Loizou et al. 2021, arXiv:2002.10542.
    """
    rate = check.given(check.nonnegative, scaling=scaling)
    return chain(sgd(rate), scale_by_polyak(f_min, max_learning_rate, eps, variant))
