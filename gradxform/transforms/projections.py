"""Projections, last stages at the station "land": each array's step ends in a set, at the point nearest to `p + u`.

Balls and half-spaces are aimed at from 8 roundings inside, and no element is rounded away from them.
"""

from __future__ import annotations

import abc

import jax
import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import compute_dtype, quotient, root
from gradxform.core.bounds import Bound, ByPath, as_numbers, at_leaf
from gradxform.core.chain import Chain, lift
from gradxform.core.facts import Facts, Reach, Station
from gradxform.core.hyper import Hyper
from gradxform.core.rule import Rule
from gradxform.core.sizes import squarable
from gradxform.core.types import Array, ArrayLike, Memory, Param, Path, Scalars, Where
from gradxform.transforms.clip import clip_factor
from gradxform.transforms.proximal import steered

Target = tuple[Array, ArrayLike, ArrayLike]
"""A point, and the bounds between which its elements stay in the set."""


class Projection(Rule, abstract=True):
    facts = Facts(Reach.ARRAY, Station.LAND, needs_params=True, real_only=True, stored_params=True)

    @abc.abstractmethod
    def nearest(self, v: Array) -> Target:
        """The point of the set that is nearest to v."""

    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Array, Memory]:
        if not p.size:
            return g, s
        wide = p.astype(compute_dtype(p.dtype))
        target, lower, upper = self.nearest(wide + g)
        return steered(target - wide, p, lower, upper), s


class InBall(Projection, abstract=True):
    scale: Hyper = 1.0

    def check(self) -> None:
        check.positive(scale=self.scale)


def within(x: Array) -> Target:
    """x in a set that holds, with a point, all that is nearer to 0 in every element."""
    return x, jnp.minimum(x, 0), jnp.maximum(x, 0)


def inner(scale: Hyper, v: Array) -> Array:
    """A radius that is smaller by some roundings."""
    return jnp.asarray(scale, v.dtype) * (1 - 8 * jnp.finfo(v.dtype).eps)


def lowered(v: Array, total: Array) -> Array:
    """`max(v - x, 0)`, with the x that makes the sum the total: x rises until it leaves out no more elements."""
    down = jnp.maximum(v - v.max(), -total)

    def rise(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        _, n, x = carry
        above = down > x
        kept = jnp.sum(above, dtype=jnp.int32)
        return n, kept, (jnp.sum(jnp.where(above, down, 0)) - total) / jnp.maximum(kept, 1)

    n = jnp.int32(v.size)
    first = n + 2, n + 1, -total
    return jnp.maximum(down - jax.lax.while_loop(lambda carry: carry[1] < carry[0], rise, first)[2], 0)


def length(v: Array) -> tuple[Array, Array]:
    """v, its largest elements cut off where their squares would overflow, and its L2 norm."""
    v = squarable(v, v.size)
    return v, root(jnp.sum(v * v))


class ProximalSimplex(InBall):
    def nearest(self, v: Array) -> Target:
        return lowered(v, jnp.asarray(self.scale, v.dtype)), 0.0, jnp.inf


class ProximalL1Ball(InBall):
    def nearest(self, v: Array) -> Target:
        size, scale = jnp.abs(v), inner(self.scale, v)
        return within(jnp.where(jnp.sum(size) <= scale, v, jnp.sign(v) * lowered(size, scale)))


class ProximalL1Sphere(InBall):
    def nearest(self, v: Array) -> Target:
        return jnp.sign(v) * lowered(jnp.abs(v), jnp.asarray(self.scale, v.dtype)), -jnp.inf, jnp.inf


class ProximalL2Ball(InBall):
    def nearest(self, v: Array) -> Target:
        (v, norm), scale = length(v), inner(self.scale, v)
        return within(v * clip_factor(scale, norm))


class ProximalL2Sphere(InBall):
    def nearest(self, v: Array) -> Target:
        v, norm = length(v)
        return v * quotient(self.scale, norm, 0.0), -jnp.inf, jnp.inf


class ProximalLinfBall(InBall):
    facts = Projection.facts.with_fields(reach=Reach.ELEMENT)

    def nearest(self, v: Array) -> Target:
        return v, -self.scale, self.scale


class AlongNormal(Projection, abstract=True):
    a: Bound
    b: Hyper

    def check(self) -> None:
        check.finite(a=self.a, b=self.b)

    def for_leaf(self, path: Path, p: Array) -> Rule:
        a = at_leaf("a", self.a, path, p)
        return self if a is self.a else self.with_fields(a=a)

    @property
    def selectors(self) -> tuple[Where, ...]:
        return (self.a,) if isinstance(self.a, ByPath) else ()

    def moved(self, v: Array, slack: float) -> tuple[Array, Array, Array]:
        """v on the plane, moved twice for the digits that the first move loses; the normal; how far v is beyond."""
        v = squarable(v, v.size)
        a = jnp.broadcast_to(jnp.asarray(as_numbers(self.a), v.dtype), v.shape)

        def beyond(x: Array) -> Array:
            over: Array = jnp.sum(a * x) - self.b + slack * jnp.sum(jnp.abs(a * x))
            return over

        square, x = jnp.sum(a * a), v
        for _ in range(2):
            x = x - quotient(beyond(x), square, 0.0) * a
        return x, a, beyond(v)


class ProximalHyperplane(AlongNormal):
    def nearest(self, v: Array) -> Target:
        return self.moved(v, 0.0)[0], -jnp.inf, jnp.inf


class ProximalHalfspace(AlongNormal):
    def nearest(self, v: Array) -> Target:
        x, a, beyond = self.moved(v, 8 * float(jnp.finfo(v.dtype).eps))
        outside = beyond > 0
        lower, upper = jnp.where(outside & (a < 0), x, -jnp.inf), jnp.where(outside & (a > 0), x, jnp.inf)
        return jnp.where(outside, x, v), lower, upper


def proximal_simplex(scale: Hyper = 1.0) -> Chain:
    """Keep each array a distribution: `u = max(v - x, 0) - p`, `v = p + u`, with the x that makes the sum scale.

    No element is negative; the sum is met to rounding.
    Reach: array. State: none.
    Raises: ValueError if scale <= 0, params are missing, or the parameter is complex.
    Source: Duchi et al. 2008, "Efficient projections onto the l1-ball for learning in high dimensions", figure 1.
    """
    return lift(ProximalSimplex(scale))


def proximal_l1_ball(scale: Hyper = 1.0) -> Chain:
    """Keep each array's L1 norm at most scale: `u = sign(v)·max(|v| - x, 0) - p`, `v = p + u`, with the least x >= 0.

    Makes exact zeros, as many as the bound asks for.
    Reach: array. State: none.
    Raises: ValueError if scale <= 0, params are missing, or the parameter is complex.
    Source: Duchi et al. 2008, section 4.
    """
    return lift(ProximalL1Ball(scale))


def proximal_l1_sphere(scale: Hyper = 1.0) -> Chain:
    """Keep each array's L1 norm at scale: `u = sign(v)·max(|v| - x, 0) - p`, `v = p + u`, with the x that does it.

    An element that lands on 0 stays there. The norm is met to rounding.
    Reach: array. State: none.
    Raises: ValueError if scale <= 0, params are missing, or the parameter is complex.
    Source: optax's `projections.projection_l1_sphere`, for one array.
    """
    return lift(ProximalL1Sphere(scale))


def proximal_l2_ball(scale: Hyper = 1.0) -> Chain:
    """Keep each array's L2 norm at most scale: `u = v·min(1, scale / ‖v‖₂) - p`, `v = p + u`.

    Reach: array. State: none.
    Raises: ValueError if scale <= 0, params are missing, or the parameter is complex.
    Source: Parikh, Boyd 2014, section 6.5.1.
    """
    return lift(ProximalL2Ball(scale))


def proximal_l2_sphere(scale: Hyper = 1.0) -> Chain:
    """Keep each array's L2 norm at scale: `u = v·scale / ‖v‖₂ - p`, `v = p + u`; what lands on 0 stays there.

    The norm is met to rounding.
    Reach: array. State: none.
    Raises: ValueError if scale <= 0, params are missing, or the parameter is complex.
    Source: Parikh, Boyd 2014, section 6.5.1.
    """
    return lift(ProximalL2Sphere(scale))


def proximal_linf_ball(scale: Hyper = 1.0) -> Chain:
    """Keep each element's size at most scale: `u = min(max(p + u, -scale), scale) - p`.

    Reach: element. State: none.
    Raises: ValueError if scale <= 0, params are missing, or the parameter is complex.
    Source: Parikh, Boyd 2014, section 6.2.4.
    """
    return lift(ProximalLinfBall(scale))


def proximal_hyperplane(a: Bound, b: Hyper) -> Chain:
    """Keep each array on a plane, `Σ a·p = b`: `u = v + (b - Σ a·v) / Σ a²·a - p`, `v = p + u`.

    The sum is met to rounding. a: as the bounds of `proximal_box`; an array that is 0 moves nothing.
    Reach: array. State: none.
    Raises: ValueError if a fits no parameter, b is not finite, params are missing, or the parameter is complex.
    Source: Parikh, Boyd 2014, section 6.2.2.
    """
    return lift(ProximalHyperplane(a, b))


def proximal_halfspace(a: Bound, b: Hyper) -> Chain:
    """Keep each array on one side of a plane, `Σ a·p <= b`: `u = v - max(Σ a·v - b, 0) / Σ a²·a - p`, `v = p + u`.

    a: as the bounds of `proximal_box`; an array that is 0 moves nothing.
    Reach: array. State: none.
    Raises: ValueError if a fits no parameter, b is not finite, params are missing, or the parameter is complex.
    Source: Parikh, Boyd 2014, section 6.2.3.
    """
    return lift(ProximalHalfspace(a, b))
