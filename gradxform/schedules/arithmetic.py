"""Arithmetic that schedules share: steps are subtracted as integers, and only their ratios become floats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

LARGEST = int(np.iinfo(np.int32).max)


def as_count(count: Any) -> Any:
    """The number of updates done, as an integer array where it is an integer."""
    if isinstance(count, int) and abs(count) > LARGEST:
        count = float(count)
    count = jnp.asarray(count)
    if jnp.issubdtype(count.dtype, jnp.floating):
        return count.astype(jnp.promote_types(count.dtype, jnp.float32))
    return count.astype(int)


def elapsed(count: Any, start: Any) -> Any:
    """Steps since `start`, and 0 before it."""
    return jnp.maximum(count - as_steps(start), 0)


def shares(count: Any, steps: Any) -> tuple[Any, Any]:
    """The shares of `steps` still to come and done, (1, 0) at count 0 and (0, 1) from `steps` on.

    Neither is computed from the other, so that neither loses digits where it is small.
    With no steps at all nothing ever happens: always (1, 0).
    """
    if steps == 0:
        return jnp.ones(jnp.shape(count), dtype=float), jnp.zeros(jnp.shape(count), dtype=float)
    count = jnp.clip(count, 0, as_steps(steps))
    left, done = (jnp.asarray(n, dtype=float) / float(steps) for n in (as_steps(steps) - count, count))
    return left, done


def passed(count: Any, boundaries: Sequence[Any]) -> Any:
    """How many of the boundaries have been reached."""
    reached = [jnp.asarray(count >= as_steps(b), dtype=int) for b in boundaries]
    return sum(reached, start=jnp.zeros(jnp.shape(count), dtype=int))


def linear(left: Any, done: Any) -> tuple[Any, Any]:
    return left, done


def half_cosine(left: Any, done: Any) -> tuple[Any, Any]:
    """(1 + cos πx)/2 with x the share done, as a squared sine, and its complement."""
    return jnp.square(jnp.sin(np.pi / 2 * left)), jnp.square(jnp.sin(np.pi / 2 * done))


def square_root(left: Any, done: Any) -> tuple[Any, Any]:
    """1 - √x with x the share done, and its complement."""
    return left / (1.0 + jnp.sqrt(done)), jnp.sqrt(done)


SHAPES = {"linear": linear, "cosine": half_cosine, "sqrt": square_root}
"""Shares of a transition's steps -> weights of its first and its last value."""


def raised(weight: Any, power: Any) -> tuple[Any, Any]:
    """weight**power and its complement."""
    weight = weight**power
    return weight, 1.0 - weight


def between(start: Any, end: Any, weights: tuple[Any, Any]) -> Any:
    return start * weights[0] + end * weights[1]


def stacked(values: Sequence[Any]) -> Any:
    return jnp.stack([jnp.asarray(v, dtype=float) for v in values])


def as_steps(steps: Any) -> Any:
    """Integers that no int32 holds, as floats."""
    return float(steps) if isinstance(steps, int) and abs(steps) > LARGEST else steps
