"""Schedule-free averaging at the station "land": gradients are taken between the iterate and its average."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import compute_dtype, real_dtype
from gradxform.core.barriers import in_place
from gradxform.core.chain import Chain, lift
from gradxform.core.codec import stored_in
from gradxform.core.dither import APART, plus, turn
from gradxform.core.facts import Facts, Station
from gradxform.core.hyper import Beta, Hyper, Rate
from gradxform.core.rows import Rows, is_row_leaf
from gradxform.core.rule import Keep, Rule, dense, new_memory
from gradxform.core.state import view
from gradxform.core.types import Array, Dtype, Memory, OptState, Param, Params, Scalars


class ScheduleFree(NamedTuple):
    """z: shaped like p, a copy of it at first. weight_sum, max_lr, b1: scalars, real."""

    z: Array
    weight_sum: Array
    max_lr: Array
    b1: Array


class AverageScheduleFree(Rule):
    learning_rate: Rate
    b1: Beta = 0.9
    weight_lr_power: Hyper = 2.0
    facts = Facts(station=Station.LAND, needs_params=True)
    corrects = False

    def check(self) -> None:
        check.nonnegative(learning_rate=self.learning_rate, weight_lr_power=self.weight_lr_power)
        check.divisor(b1=self.b1)

    def init(self, p: Array) -> ScheduleFree:
        zero = jnp.zeros((), real_dtype(p.dtype))
        return ScheduleFree(p, zero, jnp.copy(zero), zero + self.b1 * 1.0)

    def scalars(self, t: Array) -> Scalars:
        return turn(t), turn(t, APART)

    def update(self, g: Array, s: ScheduleFree, p: Param, k: Scalars) -> tuple[Array, ScheduleFree]:
        return self.advance(g, [], s, p, k, new_memory)

    def advance(
        self, g: Array | Rows, factors: list[Any], s: Memory, p: Param, k: Scalars, keep: Keep
    ) -> tuple[Array, ScheduleFree]:
        max_lr = jnp.maximum(s.max_lr, self.learning_rate)
        weight = max_lr**self.weight_lr_power
        threshold, apart = k
        total = plus(s.weight_sum, weight, threshold)
        c = jnp.where(total > 0.0, weight / jnp.where(total > 0.0, total, 1.0), 0.0)
        z = plus(s.z, dense(g, factors), threshold)
        new = keep(ScheduleFree(z, total, max_lr, in_place(self.b1 * jnp.ones_like(s.b1), s.b1)), s)
        return travelled(p, s, new, self.b1, c, apart), new

    def evaluate(self, p: Array, s: ScheduleFree, t: Array) -> Array:
        return averaged(p, s.z, s.b1)


def travelled(y: Array, s: Memory, new: Memory, b1: Beta, c: Array, apart: Array) -> Array:
    """The change of y, from what is small: x itself would be rounded to the size of the parameters."""
    stays = (new.b1 / s.b1 - 1) * (1 - c) - c
    u = ((1 - b1) + b1 * c) * (new.z - s.z) + stays * (y - s.z)
    moved: Array = u + (plus(y, u, apart) - (y + u))
    return moved


def averaged(y: Array, z: Array, b1: Array) -> Array:
    """x from `y = b1·x + (1 - b1)·z`, exactly z where y is z."""
    return z + (y - z) / b1


def average_schedule_free(
    learning_rate: Hyper, b1: Beta = 0.9, weight_lr_power: Hyper = 2.0, *, state_dtype: Dtype | None = None
) -> Chain:
    """Average the iterates z instead of lowering the rate: `z <- z + u`, `x <- x + c·(z - x)`, `y = b1·x + (1-b1)·z`.

    Last in the chain, behind a step without momentum. The parameters are y, where gradients are taken; `eval_params`
    gives x. `c = w / Σw`, `w = (the largest rate so far)^weight_lr_power`: 1/t for a constant rate.
    learning_rate: that of the step, warmup included. b1: in (0, 1). state_dtype: store z in it instead of float32.
    Reach: element. State: z, shaped like p, float32 or wider; weight_sum, max_lr, b1, scalars for each parameter.
    Raises: ValueError if b1 is not in (0, 1), learning_rate < 0 or params are missing.
    Source: Defazio et al. 2024, arXiv:2405.15682, equations 3 to 5 and algorithm 1.
    """
    check.floating(state_dtype=state_dtype)
    return lift(stored_in(AverageScheduleFree(learning_rate, b1, weight_lr_power), z=state_dtype))


def schedule_free_eval_params(state: OptState, params: Params) -> Params:
    """The averages x from the state of a schedule-free optimizer, without the optimizer; else as `eval_params`.

    Raises: ValueError if no parameter is averaged so.
    """

    def average(p: Param, z: Array | None, b1: Array) -> Param:
        if z is None:
            return p
        wide = compute_dtype(p.dtype)
        return averaged(p.astype(wide), z.astype(wide), b1).astype(p.dtype)

    return jax.tree.map(average, params, view(state, "z"), view(state, "b1"), is_leaf=is_row_leaf)
