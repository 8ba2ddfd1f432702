"""Rprop: steps of a size of their own for every element, by the sign of the gradient alone."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.facts import Facts
from gradxform.core.hyper import Hyper
from gradxform.core.rule import Halves
from gradxform.core.types import Array, Param, Scalars
from gradxform.transforms.scale import Turn


class StepSizes(NamedTuple):
    """step_size, and prev, the last gradient: shaped like p."""

    step_size: Array
    prev: Array


class ScaleByRprop(Halves):
    learning_rate: Hyper
    eta_minus: Hyper = 0.5
    eta_plus: Hyper = 1.2
    min_step_size: Hyper = 1e-6
    max_step_size: Hyper = 50.0
    facts = Facts(real_only=True)

    def check(self) -> None:
        check.nonnegative(learning_rate=self.learning_rate, min_step_size=self.min_step_size)
        check.positive(eta_minus=self.eta_minus)
        check.unit(eta_minus=self.eta_minus)
        check.at_least(1.0, eta_plus=self.eta_plus)
        check.ordered(min_step_size=self.min_step_size, max_step_size=self.max_step_size)

    def init(self, p: Array) -> StepSizes:
        return StepSizes(jnp.full_like(p, self.learning_rate), jnp.zeros_like(p))

    def remember(self, g: Array, s: StepSizes, p: Param, k: Scalars) -> StepSizes:
        turn = jnp.sign(g) * jnp.sign(s.prev)
        factor = jnp.where(turn > 0, self.eta_plus, jnp.where(turn < 0, self.eta_minus, 1.0))
        size = jnp.clip(s.step_size * factor, self.min_step_size, self.max_step_size)
        return StepSizes(size, jnp.where(turn < 0, 0.0, g))

    def emit(self, g: Array, s: StepSizes, p: Param, k: Scalars) -> Array:
        return jnp.sign(s.prev) * s.step_size


def scale_by_rprop(
    learning_rate: Hyper, eta_minus: Hyper = 0.5, eta_plus: Hyper = 1.2, min_step_size: Hyper = 1e-6,
    max_step_size: Hyper = 50.0,
) -> Chain:  # fmt: skip
    """Step by signs: `u = sign(g)·s`, where s grows while the sign stays and shrinks when it turns.

    `s <- clip(s·eta_plus, min, max)` where g and the last gradient have one sign, `s·eta_minus` where they differ; then
    u = 0 there, and the gradient counts as 0 at the next step. For full batches: it takes no account of sizes.
    learning_rate: what s starts from (a number: it is used once, at init).
    Reach: element. State: step_size (s), prev (the last gradient), shaped like p, float32 or wider.
    Raises: ValueError if learning_rate or min_step_size is negative, eta_minus is not in (0, 1], eta_plus < 1, or
    max_step_size < min_step_size; or if the parameter is complex.
    Source: Riedmiller, Braun 1993; Igel, Huesken 2003 (iRprop-).
    """
    return lift(ScaleByRprop(learning_rate, eta_minus, eta_plus, min_step_size, max_step_size))


def rprop(
    learning_rate: Hyper, eta_minus: Hyper = 0.5, eta_plus: Hyper = 1.2, min_step_size: Hyper = 1e-6,
    max_step_size: Hyper = 50.0,
) -> Chain:  # fmt: skip
    """Rprop: `chain(scale_by_rprop(learning_rate, ...), scale(-1.0))`.

    learning_rate: the first size of a step.
    Source: Riedmiller, Braun 1993; Igel, Huesken 2003 (iRprop-).
    """
    return chain(scale_by_rprop(learning_rate, eta_minus, eta_plus, min_step_size, max_step_size), lift(Turn()))
