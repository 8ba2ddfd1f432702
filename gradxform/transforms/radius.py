"""The length of a parameter: steps that keep it, that brake what lengthens it, or that are in proportion to it."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import abs_sq, quotient, root
from gradxform.core.chain import Chain, lift
from gradxform.core.facts import Facts, Reach, Station
from gradxform.core.hyper import Hyper, Rate
from gradxform.core.rule import Rule
from gradxform.core.sizes import rootable, squarable, tame
from gradxform.core.types import Array, Memory, Param, Scalars


def length(x: Array) -> Array:
    return root(rootable(jnp.sum(abs_sq(x))))


def inner(p: Array, x: Array) -> Array:
    return jnp.sum((p.conj() * x).real)


def of_length(grown: Array, p: Array, step: Array, along: Array, size: Array) -> Array:
    """The step to where `p + step` has the length `(1 + grown)·‖p‖`, the step's part along p and size in units of ‖p‖.

    No sum reads where it lands: `‖p + step‖² / ‖p‖² = 1 + 2·along + size²`, of at least `(1 - size)²`. What p is
    shortened by is a quotient of small numbers, so that the update has all its digits.
    """
    more, ratio = 2 * along + size * size, 1 + grown
    landed = jnp.maximum(root(jnp.maximum(1 + more, 0)), jnp.abs(1 - size))
    share = quotient(grown * (1 + ratio) - more, (ratio + landed) * landed, 0.0)
    return share * p + quotient(ratio, landed, 0.0) * step


class Radius(NamedTuple):
    """radius: real scalar, the parameter's length at first."""

    radius: Array


class Hyperball(Rule):
    learning_rate: Rate
    radius: str = "start"
    facts = Facts(Reach.ARRAY, Station.STEP, needs_params=True, turns=True)

    def check(self) -> None:
        check.nonnegative(learning_rate=self.learning_rate)
        check.choice("start", "now", radius=self.radius)

    @property
    def remembers(self) -> bool:
        return self.radius == "start"

    def init(self, p: Array) -> Memory:
        return Radius(length(p)) if self.remembers else None

    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Array, Memory]:
        g, before = squarable(g, g.size), length(p)
        size, radius = length(g), s.radius if self.remembers else before
        grown = quotient(radius - before, before, 0.0)
        rate = self.learning_rate * (1 + grown)
        cosine = jnp.clip(tame(quotient(quotient(inner(p, g), before, 0.0), size, 0.0)), -1, 1)
        step = -self.learning_rate * quotient(radius, size, 0.0) * g
        return of_length(grown, p, step, -rate * cosine, jnp.where(size > 0, rate, 0)), s


class PinRadius(Rule):
    facts = Facts(Reach.ARRAY, Station.LAND, needs_params=True)

    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Array, Memory]:
        g, before = squarable(g, g.size), length(p)
        size = quotient(length(g), before, 0.0)
        seen = 1 / jnp.maximum(size / 2**30, 1)  # beyond it only the step's direction counts, and squares stay finite
        along = tame(quotient(quotient(inner(p, g), before, 0.0), before, 0.0)) * seen
        pinned = of_length(jnp.maximum(along, -1), p, seen * g, along, seen * size)
        return jnp.where(before > 0, pinned, g), s


class RadialBrake(Rule):
    outward: Hyper = 0.5
    inward: Hyper = 1.0
    facts = Facts(Reach.ARRAY, Station.DIRECT, needs_params=True)

    def check(self) -> None:
        check.nonnegative(outward=self.outward, inward=self.inward)

    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Array, Memory]:
        along = tame(quotient(inner(p, g), rootable(jnp.sum(abs_sq(p))), 0.0))
        return g + (jnp.where(along < 0, self.outward, self.inward) - 1) * along * p, s


class UpdateFloor(Rule):
    ratio: Hyper
    per: str = "neuron"
    eps: Hyper = 1e-8

    @property
    def facts(self) -> Facts:
        return Facts(Reach.ARRAY, Station.DIRECT, needs_params=True, matrix=self.per == "neuron")

    def check(self) -> None:
        check.nonnegative(ratio=self.ratio, eps=self.eps)
        check.choice("neuron", "array", per=self.per)

    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Array, Memory]:
        g = squarable(g, g.size)
        axis = 0 if self.per == "neuron" else None
        target, size = (jnp.maximum(root(rootable(abs_sq(x).sum(axis))), self.eps) for x in (p, g))
        return g * jnp.maximum(tame(quotient(self.ratio * target, size, self.eps)), 1), s


def hyperball(learning_rate: Hyper, radius: str = "start") -> Chain:
    """Turn each array without changing its length r: `v = p - η·r·g / ‖g‖`, `u = r·v / ‖v‖ - p`, η the learning rate.

    Behind the direction in place of the learning rate, last in the chain; without weight decay. For chosen matrices,
    as in `muonh`: in `groups`; for each of a stack: by `matrices`. What is 0 stays 0.
    radius: "start", ‖p‖ at `init`; "now", ‖p‖ before each step, as the authors' code, which rounding of p moves.
    Reach: array. State: radius, scalar, real, with "start".
    Raises: ValueError if learning_rate < 0, radius is another word, or params are missing.
    Source: Wen et al. 2026, arXiv:2606.16899; its code, marin-community/marin.
    """
    return lift(Hyperball(learning_rate, radius))


def pin_radius() -> Chain:
    """Let only the step's part along p change its length: `v = p + u`, `u <- (‖p‖ + p·u / ‖p‖)·v / ‖v‖ - p`.

    Last in the chain: a step across p, which would lengthen it by √(‖p‖² + ‖u‖²) - ‖p‖, does not. What is 0 takes the
    step as it is.
    Reach: array. State: none.
    Raises: ValueError if params are missing.
    Source: KellerJordan/modded-nanogpt, track 3, record 29.
    """
    return lift(PinRadius())


def radial_brake(outward: Hyper = 0.5, inward: Hyper = 1.0) -> Chain:
    """Scale the part of a direction along its parameter: `u = g + (c - 1)·(p·g / p·p)·p`, c = outward where `p·g < 0`.

    Behind the direction: what would lengthen p is taken half, what would shorten it whole (c = inward). 0 and 0 leave
    the part across it, as `orthogonalize_gradient`.
    Reach: array. State: none.
    Raises: ValueError if an argument is negative or params are missing.
    Source: KellerJordan/modded-nanogpt, track 3, record 29.
    """
    return lift(RadialBrake(outward, inward))


def update_floor(ratio: Hyper, per: str = "neuron", eps: Hyper = 1e-8) -> Chain:
    """Lengthen what is short for its parameter: `u = g·max(1, ratio·‖p‖ / ‖g‖)`, for each neuron; no norm below eps.

    Behind Muon's direction, before the learning rate. per: "neuron", a column, as `x @ W` has it; or "array".
    Reach: array. State: none.
    Raises: ValueError if an argument is negative, per is another word, or params are missing; with "neuron", at init
    for an array that is no matrix.
    Source: KellerJordan/modded-nanogpt, track 3, records 9 and 46.
    """
    return lift(UpdateFloor(ratio, per, eps))
