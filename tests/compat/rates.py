"""Rates of schedules, step by step, beside those that are expected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core.hyper import Schedule

STEPS = 60


def rates(schedule: Any, steps: int = STEPS) -> np.ndarray:
    return np.asarray(schedule(jnp.arange(steps)))


def compare(schedule: Schedule, expected: Any) -> None:
    """Equal one by one, as an array, and compiled with the schedule as data."""
    expected = np.asarray(expected, dtype=np.float64)
    counts = jnp.arange(len(expected))
    # Recursions end in 1e-17 where the closed form has 0.
    np.testing.assert_allclose(schedule(counts), expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(jax.jit(lambda s, c: s(c))(schedule, counts), expected, rtol=5e-6, atol=1e-9)
    np.testing.assert_allclose(
        [schedule(i) for i in (0, 1, len(expected) - 1)], expected[[0, 1, -1]], rtol=1e-6, atol=1e-9
    )


def recursion(first: float, then: Callable[[float, int], float]) -> list[float]:
    """Rates that paddle computes from the last one: `then(last_lr, k)`."""
    values = [first]
    for k in range(1, STEPS):
        values.append(then(values[-1], k))
    return values


def each(rate: Callable[[int], float]) -> list[float]:
    return [rate(k) for k in range(STEPS)]


def uneven(step: int) -> float:
    """A function that cannot be traced."""
    return 0.9 if step % 3 else 0.8
