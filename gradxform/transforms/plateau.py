"""A factor that falls where the loss no longer does."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.chain import Chain, lift
from gradxform.core.facts import Facts, Reach, Station
from gradxform.core.hyper import Hyper
from gradxform.core.rule import TreeRule
from gradxform.core.types import Array, ArrayLike, Count, Param, Scalars


class Plateau(NamedTuple):
    """scale, best_value, avg_value: scalars, real. plateau_count, cooldown_count, count: scalars, int32."""

    scale: Array
    best_value: Array
    plateau_count: Array
    cooldown_count: Array
    count: Count
    avg_value: Array


def begun() -> Plateau:
    """Before the first value."""
    one, zero = jnp.ones((), float), jnp.zeros((), jnp.int32)
    return Plateau(one, one * jnp.inf, zero, jnp.copy(zero), jnp.copy(zero), 0 * one)


def averaged(s: Plateau, value: ArrayLike | None, size: Hyper, judged: Callable[[Array], Plateau]) -> Plateau:
    """With one more value; at the end of a window of so many, what is judged of their mean."""
    n = s.count + 1
    mean = (s.count * s.avg_value + jnp.asarray(value, s.avg_value.dtype)) / n
    closed = judged(mean)._replace(count=jnp.zeros_like(n), avg_value=jnp.zeros_like(mean))
    waiting = s._replace(count=n, avg_value=mean)
    new: Plateau = jax.tree.map(lambda a, b: jnp.where(n == size, a, b).astype(b.dtype), closed, waiting)
    return new


class ReduceOnPlateau(TreeRule):
    factor: Hyper = 0.1
    patience: int = 10
    rtol: float = 1e-4
    atol: float = 0.0
    cooldown: int = 0
    accumulation_size: int = 1
    min_scale: Hyper = 0.0
    facts = Facts(reach=Reach.TREE, station=Station.STEP, needs=("value",), keeps_zero=True)

    def check(self) -> None:
        check.positive(factor=self.factor)
        check.fraction(factor=self.factor)
        check.integer(patience=self.patience, cooldown=self.cooldown)
        check.integer(1, accumulation_size=self.accumulation_size)
        check.nonnegative(min_scale=self.min_scale)
        if self.rtol == self.atol == 0.0:
            raise ValueError("rtol or atol must be positive, got rtol=0.0, atol=0.0")

    def init_tree(self, ps: list[Array]) -> Plateau:
        return begun()

    def measure(self, gs: list[Array], s: Plateau, t: Array, value: ArrayLike | None = None) -> tuple[Scalars, Plateau]:
        def judged(mean: Array) -> Plateau:
            margin = jnp.where(jnp.isinf(s.best_value), 0, self.rtol * jnp.abs(s.best_value) + self.atol)
            better = mean < s.best_value - margin
            bad = jnp.where(better, 0, s.plateau_count + 1)
            cooling = s.cooldown_count > 0
            reduced = ~cooling & ~better & (bad >= self.patience)
            return s._replace(
                scale=jnp.where(reduced, jnp.maximum(s.scale * self.factor, self.min_scale), s.scale),
                best_value=jnp.where(better, mean, s.best_value),
                plateau_count=jnp.where(cooling | reduced, 0, bad),
                cooldown_count=jnp.where(reduced, self.cooldown, jnp.maximum(s.cooldown_count - 1, 0)),
            )

        new = averaged(s, value, self.accumulation_size, judged)
        return new.scale, new

    def update(self, g: Array, s: None, p: Param, k: Array) -> tuple[Array, None]:
        return g * k, None


def reduce_on_plateau(
    factor: Hyper = 0.1, patience: int = 10, rtol: float = 1e-4, atol: float = 0.0, cooldown: int = 0,
    accumulation_size: int = 1, min_scale: Hyper = 0.0,
) -> Chain:  # fmt: skip
    """Lower the rate where the loss stays: `u = c·g`, `c <- max(factor·c, min_scale)` after patience bad values.

    Behind the optimizer; `update` takes the loss as `value`. A gain is a value under `best - rtol·|best| - atol` (optax
    and torch take (1 - rtol)·best, which for a negative loss is above best); others are bad. cooldown: how many values
    behind a reduction count for nothing. accumulation_size: how many are averaged to one.
    Reach: tree. State: scale (c), best_value, plateau_count, cooldown_count, count, avg_value: scalars in `tree`.
    Raises: ValueError for arguments out of range, or rtol and atol both 0; at update if value is missing.
    Source: the arguments and the counting of optax's `contrib.reduce_on_plateau`.
    """
    margins = check.number(check.unit, rtol=rtol), check.number(check.nonnegative, atol=atol)
    return lift(ReduceOnPlateau(factor, patience, *margins, cooldown, accumulation_size, min_scale))
