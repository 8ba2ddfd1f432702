"""Steps are integers until their ratio is taken: shares, counts and weights against Python's own numbers."""

from __future__ import annotations

import math
from fractions import Fraction

import jax.numpy as jnp
import numpy as np
import pytest

from gradxform.schedules.arithmetic import (
    LARGEST,
    SHAPES,
    as_count,
    as_steps,
    between,
    elapsed,
    passed,
    raised,
    shares,
    stacked,
)


@pytest.mark.parametrize("count", [7, np.uint8(7), jnp.int32(7), np.int64(7)])
def test_integer_counts_stay_integers(count: object) -> None:
    found = as_count(count)
    assert jnp.issubdtype(found.dtype, jnp.integer)
    assert found == 7


def test_other_counts_are_float32_or_wider() -> None:
    assert as_count(np.float16(2.5)).dtype == jnp.float32
    assert as_count(2.5) == 2.5
    assert as_count(2**40) == 2.0**40
    assert as_steps(2**40) == 2.0**40
    assert as_steps(LARGEST) is LARGEST


def test_elapsed_steps_are_subtracted_exactly() -> None:
    counts = jnp.array([0, 2**30, 2**30 + 1, LARGEST])
    np.testing.assert_array_equal(elapsed(counts, 2**30), [0, 0, 1, LARGEST - 2**30])


@pytest.mark.parametrize("steps", [1, 3, 1000, 10**9])
def test_shares_lose_no_digits_at_either_end(steps: int) -> None:
    for count in sorted({0, 1, steps // 3, steps - 1, steps, steps + 5}):
        left, done = shares(jnp.int32(count), steps)
        exact = Fraction(min(count, steps), steps)
        np.testing.assert_allclose(done, float(exact), rtol=3e-7)
        np.testing.assert_allclose(left, float(1 - exact), rtol=3e-7)


def test_of_no_steps_nothing_is_ever_done() -> None:
    assert [float(x) for x in shares(jnp.int32(9), 0)] == [1.0, 0.0]


def test_boundaries_that_have_been_reached() -> None:
    np.testing.assert_array_equal(passed(jnp.arange(6), (0, 3, 3, 5)), [1, 1, 1, 3, 3, 4])
    assert passed(jnp.int32(LARGEST), (2**40,)) == 0
    assert passed(jnp.int32(4), ()) == 0


FORMULAS = {
    "linear": lambda x: 1 - x,
    "cosine": lambda x: (1 + math.cos(math.pi * x)) / 2,
    "sqrt": lambda x: 1 - math.sqrt(x),
}


@pytest.mark.parametrize("name", SHAPES)
def test_weights_are_their_formula_and_add_up(name: str) -> None:
    for x in (0.0, 1e-6, 0.25, 0.5, 0.9, 1.0):
        first, last = SHAPES[name](jnp.float32(1 - x), jnp.float32(x))
        np.testing.assert_allclose(first, FORMULAS[name](x), rtol=2e-6, atol=1e-12)
        np.testing.assert_allclose(first + last, 1.0, rtol=3e-7)


def test_powers_values_between_and_stacks() -> None:
    assert [float(x) for x in raised(jnp.float32(0.5), 2.0)] == [0.25, 0.75]
    assert between(2.0, 10.0, (0.75, 0.25)) == 4.0
    found = stacked([1, jnp.float32(2.5)])
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, [1.0, 2.5])
