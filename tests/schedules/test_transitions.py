"""From one value to another: against optax in double, and at the ends."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from gradxform.core.hyper import Schedule
from gradxform.schedules import (
    constant_schedule,
    cosine_decay_schedule,
    cosine_restarts_schedule,
    linear_schedule,
    polynomial_schedule,
    step_decay,
)
from tests.schedules import checks

LIKE_OPTAX = [
    ("constant_schedule", (0.3,)),
    ("linear_schedule", (1.0, 0.01, 100)),
    ("linear_schedule", (0.0, 0.2, 50, 7)),
    ("linear_schedule", (1.0, 0.01, 0)),
    ("polynomial_schedule", (1.0, 0.01, 2, 100)),
    ("polynomial_schedule", (0.1, 0.01, 0.5, 100, 5)),
    ("cosine_decay_schedule", (0.1, 100)),
    ("cosine_decay_schedule", (0.1, 100, 0.1, 2.0)),
]


BAD = [
    (lambda: constant_schedule("a"), TypeError, "value must be a number"),
    (lambda: constant_schedule(math.nan), ValueError, "value must be finite, got nan"),
    (lambda: constant_schedule([0.1, 0.2]), TypeError, "value must be a number, got \\[0.1, 0.2\\]"),
    (lambda: constant_schedule(lambda count: 0.1), TypeError, "value must be a number"),
    (lambda: constant_schedule(True), TypeError, "value must be a number"),
    (lambda: linear_schedule(1.0, math.inf, 10), ValueError, "end_value must be finite, got inf"),
    (lambda: linear_schedule(1.0, 0.0, -1), ValueError, "transition_steps must be at least 0, got -1"),
    (lambda: linear_schedule(1.0, 0.0, 10, -2), ValueError, "transition_begin must be at least 0, got -2"),
    (lambda: linear_schedule(1.0, 0.0, "10"), TypeError, "transition_steps must be a number of steps, got '10'"),
    (lambda: linear_schedule(1.0, 0.0, True), TypeError, "transition_steps must be a number of steps, got True"),
    (lambda: linear_schedule(1.0, 0.0, math.inf), ValueError, "transition_steps must be at least 0 and finite"),
    (lambda: polynomial_schedule(1.0, 0.0, -1, 10), ValueError, "power must be at least 0 and finite, got -1"),
    (lambda: cosine_decay_schedule(0.1, 0), ValueError, "decay_steps must be at least 1, got 0"),
    (lambda: cosine_decay_schedule(0.1, 10, exponent=-1), ValueError, "exponent must be at least 0"),
]


@pytest.mark.parametrize(("name", "args"), LIKE_OPTAX)
def test_equals_optax(name: str, args: Any) -> None:
    checks.equals_optax(name, args)


@pytest.mark.parametrize("name", sorted({name for name, _ in LIKE_OPTAX}))
def test_signature_is_that_of_optax(name: str) -> None:
    checks.has_the_signature_of_optax(name)


@pytest.mark.parametrize("schedule", checks.made(LIKE_OPTAX), ids=checks.names)
def test_it_is_a_value(schedule: Schedule) -> None:
    checks.is_a_value(schedule)


def test_large_counts_keep_their_digits() -> None:
    long = 10**9
    np.testing.assert_allclose(linear_schedule(1.0, 0.0, long)(long - 3), 3 / long, rtol=2e-7)
    np.testing.assert_allclose(linear_schedule(1.0, 0.0, 4, long)(long + 3), 0.25, rtol=2e-7)
    np.testing.assert_allclose(cosine_decay_schedule(1.0, long)(long - 3), (math.pi * 3 / long / 2) ** 2, rtol=5e-7)
    assert step_decay(1.0, 10, 0.5)(long + 9) == step_decay(1.0, 10, 0.5)(long)
    np.testing.assert_allclose(linear_schedule(1.0, 0.0, 2**40)(2**39), 0.5, rtol=2e-7)
    np.testing.assert_allclose(linear_schedule(1.0, 0.0, 2**40)(jnp.int32(2**30)), 1 - 2**-10, rtol=2e-7)
    np.testing.assert_allclose(cosine_restarts_schedule(1.0, 1, 2)(2**30 - 1), 1.0, rtol=2e-7)
    assert linear_schedule(1.0, 0.0, 10, 100)(np.uint8(3)) == 1.0


@pytest.mark.parametrize(("make", "error", "message"), BAD, ids=[message for *_, message in BAD])
def test_bad_arguments_are_refused_by_name(make: Callable[[], Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        make()
