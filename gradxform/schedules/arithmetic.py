"""Arithmetic that schedules share: steps are subtracted as integers, and only their ratios become floats."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from gradxform.core.hyper import Hyper
from gradxform.core.types import Array, ArrayLike

Weights = tuple[Array | float, Array | float]
"""Of the first and of the last value of a transition; together 1."""
LARGEST = int(np.iinfo(np.int32).max)


def as_count(count: ArrayLike) -> Array:
    """The number of updates done, as an integer array where it is an integer."""
    n = jnp.asarray(float(count) if isinstance(count, int) and abs(count) > LARGEST else count)
    if jnp.issubdtype(n.dtype, jnp.floating):
        return n.astype(jnp.promote_types(n.dtype, jnp.float32))
    return n.astype(int)


def elapsed(count: Array, start: int | float) -> Array:
    """Steps since `start`, and 0 before it."""
    return jnp.maximum(count - as_steps(start), 0)


def shares(count: Array, steps: int | float) -> Weights:
    """The shares of `steps` still to come and done, (1, 0) at count 0 and (0, 1) from `steps` on.

    Neither is computed from the other, so that neither loses digits where it is small.
    With no steps at all nothing ever happens: always (1, 0).
    """
    if steps == 0:
        return jnp.ones(jnp.shape(count), dtype=float), jnp.zeros(jnp.shape(count), dtype=float)
    count = jnp.clip(count, 0, as_steps(steps))
    left, done = (jnp.asarray(n, dtype=float) / float(steps) for n in (as_steps(steps) - count, count))
    return left, done


def passed(count: Array, boundaries: Sequence[int | float]) -> Array:
    """How many of the boundaries have been reached."""
    reached = [jnp.asarray(count >= as_steps(b), dtype=int) for b in boundaries]
    return sum(reached, start=jnp.zeros(jnp.shape(count), dtype=int))


def linear(left: Array | float, done: Array | float) -> Weights:
    return left, done


def half_cosine(left: Array | float, done: Array | float) -> Weights:
    """(1 + cos πx)/2 with x the share done, as a squared sine, and its complement."""
    return jnp.square(jnp.sin(np.pi / 2 * left)), jnp.square(jnp.sin(np.pi / 2 * done))


def square_root(left: Array | float, done: Array | float) -> Weights:
    """1 - √x with x the share done, and its complement."""
    return left / (1.0 + jnp.sqrt(done)), jnp.sqrt(done)


SHAPES = {"linear": linear, "cosine": half_cosine, "sqrt": square_root}
"""Shares of a transition's steps -> weights of its first and its last value."""


def raised(weight: Array | float, power: Hyper) -> Weights:
    """weight**power and its complement."""
    weight = weight**power
    return weight, 1.0 - weight


def between(start: Hyper, end: Hyper, weights: Weights) -> Array:
    value: Array = start * weights[0] + end * weights[1]
    return value


def stacked(values: Sequence[Hyper]) -> Array:
    return jnp.stack([jnp.asarray(v, dtype=float) for v in values])


def as_steps(steps: int | float) -> int | float:
    """Integers that no int32 holds, as floats."""
    return float(steps) if isinstance(steps, int) and abs(steps) > LARGEST else steps
