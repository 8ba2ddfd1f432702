"""Factors: the learning rate, a loss scale, a sign, a trust ratio."""

from __future__ import annotations

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import abs_sq, quotient, root
from gradxform.core.chain import Chain, lift
from gradxform.core.facts import Facts, Reach, Station
from gradxform.core.hyper import Hyper, Rate
from gradxform.core.rule import Factor, Rule
from gradxform.core.sizes import rootable
from gradxform.core.types import Array, Memory, Param, Scalars


class StepSize(Factor, abstract=True):
    step_size: Rate
    facts = Facts(station=Station.DIRECT, keeps_zero=True)

    def check(self) -> None:
        check.finite(step_size=self.step_size)

    def factor(self, g: Array, p: Param, k: Scalars) -> Hyper:
        return self.step_size


class Scale(StepSize):
    name = "scale"


class Turn(StepSize):
    """`scale(-1)` behind a direction that has the length of the step: the turn of an optimizer without a rate."""

    step_size: Rate = -1.0
    name = "scale"
    facts = Facts(station=Station.STEP, keeps_zero=True, turns=True)

    @classmethod
    def public_name(cls) -> str:
        return "scale"


class ScaleBySchedule(StepSize):
    name = "schedule"


class ScaleByLearningRate(Factor):
    learning_rate: Rate
    flip_sign: bool = True

    @property
    def facts(self) -> Facts:
        return Facts(station=Station.STEP, keeps_zero=True, turns=self.flip_sign)

    def check(self) -> None:
        check.nonnegative(learning_rate=self.learning_rate)

    def factor(self, g: Array, p: Param, k: Scalars) -> Hyper:
        return -self.learning_rate if self.flip_sign else self.learning_rate


class Unscale(Factor):
    loss_scale: Rate
    facts = Facts(station=Station.CLEANSE, keeps_zero=True, unscales=True)

    def check(self) -> None:
        check.divisor(loss_scale=self.loss_scale)

    def scalars(self, t: Array) -> Scalars:
        return jnp.asarray(1.0, float) / self.loss_scale

    def factor(self, g: Array, p: Param, k: Scalars) -> Scalars:
        return k


class ScaleBySign(Rule):
    facts = Facts(station=Station.DIRECT, real_only=True, keeps_zero=True)

    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Array, Memory]:
        return jnp.sign(g), s


class ScaleByTrustRatio(Factor):
    min_norm: Hyper = 0.0
    trust_coefficient: Hyper = 1.0
    eps: Hyper = 0.0
    facts = Facts(reach=Reach.ARRAY, station=Station.DIRECT, needs_params=True)

    def check(self) -> None:
        check.nonnegative(min_norm=self.min_norm, trust_coefficient=self.trust_coefficient, eps=self.eps)

    def factor(self, g: Array, p: Param, k: Scalars) -> Array:
        p_norm = jnp.maximum(root(rootable(jnp.sum(abs_sq(p)))), self.min_norm)
        g_norm = jnp.maximum(jnp.minimum(root(jnp.sum(abs_sq(g))), jnp.finfo(g.dtype).max), self.min_norm)
        ratio = quotient(self.trust_coefficient * p_norm, g_norm + self.eps, self.eps)
        return jnp.where((p_norm == 0.0) | (g_norm == 0.0), 1.0, jnp.minimum(ratio, jnp.finfo(ratio.dtype).max))


class Identity(Rule):
    facts = Facts(station=Station.DIRECT, keeps_zero=True, homogeneous=True)

    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Array, Memory]:
        return g, s


class SetToZero(Rule):
    facts = Facts(station=Station.DIRECT, keeps_zero=True)

    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Array, Memory]:
        return jnp.zeros_like(g), s


def scale(step_size: Hyper) -> Chain:
    """Multiply: `u = step_size · g`.

    step_size: any finite number, a schedule, or a table.
    Reach: element. State: none.
    Raises: ValueError if step_size is not finite.
    """
    return lift(Scale(step_size))


def scale_by_schedule(step_size_fn: Hyper) -> Chain:
    """Multiply by a schedule: `u = step_size_fn(t - 1) · g`, so that the first step takes the value at 0.

    The sign is the user's; `scale_by_learning_rate` turns it.
    Reach: element. State: none (the chain counts the steps).
    """
    return lift(ScaleBySchedule(check.given(check.finite, step_size_fn=step_size_fn)))


def scale_by_learning_rate(learning_rate: Hyper | None = None, *, flip_sign: bool = True) -> Chain:
    """Turn a direction into a step: `u = -learning_rate · g`.

    The one place in a chain where the sign changes: a further factor says `flip_sign=False`. None is optax's: no
    scaling at all, `u = g`, uphill.
    learning_rate: at least 0; a number, a 0-d array, a list or iterable (the i-th value at the i-th update, the
    last one from then on), a schedule `count -> value` (0 at the first update), or `tunable(...)`.
    Reach: element. State: none.
    Raises: ValueError if learning_rate < 0, or if a leaf meets two stages that turn the sign.
    """
    check.boolean(flip_sign=flip_sign)
    return identity() if learning_rate is None else lift(ScaleByLearningRate(learning_rate, flip_sign))


def descend(learning_rate: Hyper) -> Chain:
    """`scale_by_learning_rate` of an optimizer: there must be a rate, without one it would climb."""
    return lift(ScaleByLearningRate(learning_rate))


def unscale(loss_scale: Hyper) -> Chain:
    """Undo a fixed loss scale: `u = g · (1 / loss_scale)`.

    First in the chain; weight decay that stands before it meets the scaled gradient (MindSpore multiplies that decay
    by the loss scale), decay behind it the true one. Overflow is not looked for.
    Reach: element. State: none.
    Raises: ValueError if loss_scale <= 0; in a chain for what would take scaled gradients for the loss's before it.
    """
    return lift(Unscale(loss_scale))


def scale_by_sign() -> Chain:
    """Keep the sign alone: `u = sign(g)`, with sign(0) = 0.

    Reach: element. State: none.
    Raises: ValueError if the parameter is complex.
    Source: Bernstein et al. 2018, arXiv:1802.04434.
    """
    return lift(ScaleBySign())


def scale_by_trust_ratio(min_norm: Hyper = 0.0, trust_coefficient: Hyper = 1.0, eps: Hyper = 0.0) -> Chain:
    """Scale each array to its parameter's norm: `u = g · trust_coefficient · ‖p‖ / (‖g‖ + eps)`.

    Both norms are at least min_norm; where either is 0 the ratio is 1. Behind the direction, before the learning rate.
    Reach: array. State: none.
    Raises: ValueError if an argument is negative or params are missing.
    Source: You et al. 2017, arXiv:1708.03888 (LARS); 2019, arXiv:1904.00962 (LAMB).
    """
    return lift(ScaleByTrustRatio(min_norm, trust_coefficient, eps))


def identity() -> Chain:
    """Pass everything through: `u = g`, in float32 or wider. `chain()` does too, and leaves the dtype alone.

    Reach: element. State: none.
    """
    return lift(Identity())


def set_to_zero() -> Chain:
    """Zero every update: `u = 0`. To freeze parameters take `freeze`, which also keeps no state for them.

    Reach: element. State: none.
    """
    return lift(SetToZero())
