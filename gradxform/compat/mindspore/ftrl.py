"""MindSpore's FTRL, which follows the regularized leader."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from gradxform.compat.common.constructors import constructor
from gradxform.compat.common.float32 import in_float32
from gradxform.compat.common.groups import Groups, listed, said
from gradxform.compat.mindspore.assembly import assembled, kernel
from gradxform.compat.mindspore.checks import WeightDecay, floats, is_dynamic, nonnegative_floats, read_learning_rate
from gradxform.core import check
from gradxform.core.chain import Chain, lift
from gradxform.core.facts import Facts
from gradxform.core.hyper import Hyper, Tunable
from gradxform.core.plain import got
from gradxform.core.rule import Rule
from gradxform.core.types import Array, Param, Scalars
from gradxform.strategies.lazy import lazy


class FollowedLeader(NamedTuple):
    """sum_of_squares, linear: shaped like p."""

    sum_of_squares: Array
    linear: Array


class Ftrl(Rule):
    """The update is the way from p to where the leader is. sum_of_squares, linear: shaped like p."""

    learning_rate: Hyper
    initial_accum: Hyper
    lr_power: Hyper
    l1: Hyper
    l2: Hyper
    facts = Facts(needs_params=True, real_only=True, turns=True)

    def init(self, p: Array) -> FollowedLeader:
        return FollowedLeader(jnp.full_like(p, self.initial_accum), jnp.zeros_like(p))

    def update(self, g: Array, s: FollowedLeader, p: Param, k: Scalars) -> tuple[Any, FollowedLeader]:
        total = s.sum_of_squares + g * g
        before, now = (n**-self.lr_power / self.learning_rate for n in (s.sum_of_squares, total))
        linear = s.linear + g - (now - before) * p
        landed = (jnp.sign(linear) * self.l1 - linear) / (now + 2 * self.l2)
        return jnp.where(jnp.abs(linear) > self.l1, landed, 0.0) - p, FollowedLeader(total, linear)


@constructor("params")
def ftrl(
    initial_accum: float = 0.1,
    learning_rate: float = 0.001,
    lr_power: float = -0.5,
    l1: float = 0.0,
    l2: float = 0.0,
    use_locking: bool = False,
    loss_scale: float = 1.0,
    weight_decay: WeightDecay = 0.0,
    groups: Groups | None = None,
) -> Chain:
    """`mindspore.nn.FTRL`: `z <- z + g - (n'^-p - n^-p)/η·w`, `w <- (sign(z)·l1 - z) / (n'^-p/η + 2·l2)`, or 0.

    0 where |z| <= l1; n' = n + g², p = lr_power, η = learning_rate. The CPU kernel takes +l1 where z < 0.
    Decay acts on every parameter, beta and gamma too. Rows that a sparse gradient does not name rest.
    Reach: element, row with grad_centralization. State: sum_of_squares (n), linear (z), shaped like p.
    Raises: TypeError and ValueError as the framework does: the learning rate is one positive number, for all groups.
    Source: mindspore 2.10, nn/optim/ftrl.py; McMahan et al. 2013, algorithm 1.
    """
    nonnegative_floats(initial_accum=initial_accum, l1=l1, l2=l2)
    floats(lr_power=lr_power)
    check.finite(lr_power=lr_power)
    if not lr_power <= 0.0:
        raise ValueError(f"lr_power must be at most 0, got {lr_power}")
    check.boolean(use_locking=use_locking)
    groups = listed(groups)
    if is_dynamic(read_learning_rate(learning_rate)) or said(groups, "lr"):
        raise ValueError(f"learning_rate of ftrl must be one number for all groups, {got(learning_rate)}")
    if isinstance(learning_rate, Tunable):
        raise TypeError(f"learning_rate of ftrl must be one number, {got(learning_rate)}")
    check.positive(learning_rate=float(learning_rate))

    def body(rate: Hyper) -> Chain:
        start, power, shrinkage, shortening = map(in_float32, (initial_accum, lr_power, l1, l2))
        return kernel(lazy(lift(Ftrl(rate, start, power, shrinkage, shortening))), "ftrl")

    return assembled(body, learning_rate, weight_decay, loss_scale, groups, decayed=None)
