"""torch's line search for the strong Wolfe conditions, evaluation by evaluation."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gradxform.core.types import Array, ArrayLike

C1, C2, CHANGE = 1e-4, 0.9, 1e-9


class Point(NamedTuple):
    """t, f, slope: scalars, the step, the loss there and its slope along the direction; g: the gradient, one row."""

    t: Array
    f: Array
    g: Array
    slope: Array


class Search(NamedTuple):
    """Two ends of the interval, in the order of torch's lists; outwards, the last two points.

    n: evaluations, scalar int32; bracketed, done, slow: scalar bools.
    """

    a: Point
    b: Point
    n: Array
    bracketed: Array
    done: Array
    slow: Array


def strong_wolfe(
    on: Callable[[Array], tuple[Array, Array, Array]],
    t: Array,
    size: Array,
    f: Array,
    g: Array,
    slope: Array,
    most: ArrayLike,
) -> tuple[Array, Array, Array, Array]:
    """Loss, gradient, step and evaluations of torch's `_strong_wolfe`; `on` gives loss, gradient and slope."""
    start = Point(jnp.zeros_like(t), f, g, slope)
    no, zero = jnp.zeros((), bool), jnp.zeros((), jnp.int32)

    def at(t: Array) -> Point:
        return Point(t, *on(t))

    def outwards(s: Search) -> Search:
        far = (s.b.f > f + C1 * s.b.t * slope) | ((s.n > 1) & (s.b.f >= s.a.f))
        good = ~far & (jnp.abs(s.b.slope) <= -C2 * slope)
        closed = far | good | (s.b.slope >= 0)

        def further() -> Search:
            low, high = s.b.t + 0.01 * (s.b.t - s.a.t), s.b.t * 10
            return s._replace(a=s.b, b=at(_cubic(s.a, s.b, low, high)), n=s.n + 1)

        after: Search = jax.lax.cond(closed, lambda: s._replace(bracketed=closed, done=good), further)
        return after

    s = Search(start, at(t), zero, no, no, no)
    s = jax.lax.while_loop(lambda s: ~s.bracketed & (s.n < most), outwards, s)
    s = s._replace(a=_pick(s.bracketed, s.a, start))

    def wide(s: Search) -> Array:
        return ~s.done & (s.n < most) & (jnp.abs(s.b.t - s.a.t) * size >= CHANGE)

    def inwards(s: Search) -> Search:
        left, right = jnp.minimum(s.a.t, s.b.t), jnp.maximum(s.a.t, s.b.t)
        t, margin = _cubic(s.a, s.b, left, right), 0.1 * (right - left)
        close = jnp.minimum(right - t, t - left) < margin
        push = close & (s.slow | (t >= right) | (t <= left))
        pushed = jnp.where(jnp.abs(t - right) < jnp.abs(t - left), right - margin, left + margin)
        new = at(jnp.where(push, pushed, t))
        a_low = s.a.f <= s.b.f
        low, high = _pick(a_low, s.a, s.b), _pick(a_low, s.b, s.a)
        worse = (new.f > f + C1 * new.t * slope) | (new.f >= low.f)
        good = ~worse & (jnp.abs(new.slope) <= -C2 * slope)
        turned = ~worse & ~good & (new.slope * (high.t - low.t) >= 0)
        high, low = _pick(worse, new, _pick(turned, low, high)), _pick(worse, low, new)
        return Search(_pick(a_low, low, high), _pick(a_low, high, low), s.n + 1, s.bracketed, good, close & ~push)

    at_once = s.done
    s = jax.lax.while_loop(wide, inwards, s)
    best = _pick(~at_once & (s.a.f <= s.b.f), s.a, s.b)
    return best.f, best.g, best.t, s.n + 1


def _cubic(one: Point, two: Point, low: Array, high: Array) -> Array:
    """The minimum of the cubic through two points with slopes, inside the bounds; their middle where it has none."""
    a, b = _pick(one.t <= two.t, one, two), _pick(one.t <= two.t, two, one)
    d1 = one.slope + two.slope - 3 * (one.f - two.f) / (one.t - two.t)
    square = d1**2 - one.slope * two.slope
    d2 = jnp.sqrt(jnp.maximum(square, 0))
    t = b.t - (b.t - a.t) * ((b.slope + d2 - d1) / (b.slope - a.slope + 2 * d2))
    return jnp.where(square >= 0, jnp.clip(t, low, high), (low + high) / 2)


def _pick(condition: Array, yes: Point, no: Point) -> Point:
    return Point(*(jnp.where(condition, y, n) for y, n in zip(yes, no, strict=True)))
