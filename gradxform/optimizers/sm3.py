"""SM3: Adagrad with one sum a row, a column, a slice, and the least of them for an element."""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import abs_sq, inverse_root
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.facts import Facts, Reach
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.rule import Rule
from gradxform.core.sizes import saturated
from gradxform.core.types import Array, Param, Scalars
from gradxform.transforms.scale import descend


class Sm3Memory(NamedTuple):
    """sums: one for each axis, with the others of length 1; of a vector and a number, shaped like p. mu: like p."""

    sums: tuple[Array, ...]
    mu: Array


def largest(x: Array, axis: int) -> Array:
    """The largest over all axes but one; of a vector and a number, itself."""
    others = [other for other in range(x.ndim) if other != axis]
    return saturated(x.max(others, keepdims=True, initial=0)) if others else saturated(x)


class ScaleBySm3(Rule):
    b1: Beta = 0.9
    b2: Hyper = 1.0
    eps: Hyper = 1e-8
    facts = Facts(reach=Reach.ARRAY, real_only=True)

    def check(self) -> None:
        check.unit(b2=self.b2)
        check.nonnegative(eps=self.eps)

    def init(self, p: Array) -> Sm3Memory:
        sums = (largest(p, axis) for axis in range(max(p.ndim, 1)))
        return Sm3Memory(tuple(jnp.zeros_like(x) for x in sums), jnp.zeros_like(p))

    def update(self, g: Array, s: Sm3Memory, p: Param, k: Scalars) -> tuple[Array, Sm3Memory]:
        fresh = jnp.where(self.b2 == 1, 1, 1 - self.b2)
        total = self.b2 * functools.reduce(jnp.minimum, s.sums) + fresh * abs_sq(g)
        unit = g * jnp.where(total > 0, inverse_root(total + self.eps, self.eps), 0)
        mu = self.b1 * s.mu + (1 - self.b1) * unit
        return mu, Sm3Memory(tuple(largest(total, axis) for axis in range(max(g.ndim, 1))), mu)


def scale_by_sm3(b1: Beta = 0.9, b2: Hyper = 1.0, eps: Hyper = 1e-8) -> Chain:
    """Divide by the root of a bound of the sum of squares, and average: `u <- b1·u + (1-b1)·g / √(ν + eps)`.

    `ν = b2·min(sums of its row, its column, ...) + |g|²`, and each sum becomes the largest ν in it: memory grows with
    the sum of the axes, not their product. With b2 < 1 the sums are means, and |g|² counts 1-b2.
    Reach: array. State: sums, a tuple with one for each axis; mu, shaped like p; float32 or wider.
    Raises: ValueError if b1 is not in [0, 1), b2 not in [0, 1], eps < 0, or the parameter is complex.
    Source: Anil et al. 2019, arXiv:1901.11150, algorithm SM3-II (the authors' code has eps 1e-30).
    """
    return lift(ScaleBySm3(b1, b2, eps))


def sm3(learning_rate: Hyper, momentum: Beta = 0.9) -> Chain:
    """SM3: `chain(scale_by_sm3(momentum), scale_by_learning_rate(learning_rate))`.

    Source: Anil et al. 2019, arXiv:1901.11150.
    """
    return chain(scale_by_sm3(check.given(check.fraction, momentum=momentum)), descend(learning_rate))
