"""Fromage: each array is turned by a fixed angle, and keeps its length."""

from __future__ import annotations

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.facts import Facts, Station
from gradxform.core.hyper import Hyper
from gradxform.core.rule import Rule
from gradxform.core.types import Array, Count, Memory, Param, Scalars
from gradxform.transforms.scale import scale_by_trust_ratio


class StepAndShrink(Rule):
    """`(p - learning_rate·g) / √(1 + learning_rate²) - p`."""

    learning_rate: Hyper
    name = "fromage"
    facts = Facts(station=Station.STEP, needs_params=True, turns=True)

    def check(self) -> None:
        check.nonnegative(learning_rate=self.learning_rate)

    def scalars(self, t: Count) -> Scalars:
        power = -0.5 * jnp.log1p(1.0 * self.learning_rate**2)
        return jnp.exp(power), jnp.expm1(power)

    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Array, Memory]:
        return k[1] * p - self.learning_rate * k[0] * g, s


def fromage(learning_rate: Hyper, min_norm: Hyper = 0.0) -> Chain:
    """Turn each array by an angle: `p <- (p - learning_rate·g·‖p‖/‖g‖) / √(1 + learning_rate²)`.

    Both norms are at least min_norm; where one is 0 the ratio is 1, as the authors have it. With optax's min_norm of
    1e-6, an array that starts as 0 hardly moves. 0.01 is a rate to try first.
    Reach: array. State: none.
    Raises: ValueError if an argument is negative or params are missing.
    Source: Bernstein et al. 2020, arXiv:2002.03432, algorithm 1.
    """
    least = check.given(check.nonnegative, min_norm=min_norm)
    return chain(scale_by_trust_ratio(least), lift(StepAndShrink(learning_rate)))
