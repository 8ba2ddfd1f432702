"""Decays against optax in double, and against closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

from gradxform.core.hyper import Schedule
from gradxform.schedules import (
    exponential_decay,
    inverse_sqrt_schedule,
    inverse_time_decay,
    natural_exp_decay,
    noam_schedule,
    step_decay,
)
from tests.schedules import checks

LIKE_OPTAX = [
    ("exponential_decay", (0.1, 10, 0.9)),
    ("exponential_decay", (0.1, 10, 0.9, 3, True)),
    ("exponential_decay", (0.1, 1000, 0.96, 3, False, 0.05)),
    ("exponential_decay", (0.1, 10, 1.1, 3, False, 0.4)),
    ("exponential_decay", (0.1, 0, 0.9)),
]


CLOSED_FORMS = [
    (natural_exp_decay(0.1, 20, 0.7), lambda t: 0.1 * math.exp(-0.7 * t / 20)),
    (natural_exp_decay(0.1, 20, 0.7, 3, True), lambda t: 0.1 * math.exp(-0.7 * (max(t - 3, 0) // 20))),
    (inverse_time_decay(0.1, 20, 0.7, 3), lambda t: 0.1 / (1 + 0.7 * max(t - 3, 0) / 20)),
    (inverse_time_decay(0.1, 20, 0.7, staircase=True), lambda t: 0.1 / (1 + 0.7 * (t // 20))),
    (step_decay(0.1, 20, 0.5), lambda t: 0.1 * 0.5 ** (t // 20)),
    (inverse_sqrt_schedule(0.01, 0.1, 20), lambda t: 0.01 + 0.09 * t / 20 if t < 20 else 0.1 * math.sqrt(20 / t)),
    (noam_schedule(512, 40, 2.0), lambda t: 2 * 512**-0.5 * min((t + 1) ** -0.5, (t + 1) * 40**-1.5)),
]


BAD = [
    (lambda: exponential_decay(1.0, 10, 0.0), ValueError, "decay_rate must be positive and finite, got 0"),
    (lambda: exponential_decay(1.0, -10, 0.5), ValueError, "transition_steps must be at least 0, got -10"),
    (lambda: exponential_decay(1.0, 10, 0.5, staircase=1), TypeError, "staircase must be True or False, got 1"),
    (lambda: exponential_decay(1.0, 10, 0.5, end_value="a"), TypeError, "end_value must be a number"),
    (lambda: natural_exp_decay(1.0, 10, "a"), TypeError, "decay_rate must be a number"),
    (lambda: inverse_time_decay(1.0, 10, -0.5), ValueError, "decay_rate must be at least 0 and finite, got -0.5"),
    (lambda: step_decay(1.0, 0), ValueError, "transition_steps must be at least 1, got 0"),
    (lambda: step_decay(1.0, 10, -0.1), ValueError, "decay_rate must be positive and finite, got -0.1"),
    (lambda: inverse_sqrt_schedule(0.0, 0.1, 0), ValueError, "warmup_steps must be at least 1, got 0"),
    (lambda: noam_schedule(0, 10), ValueError, "d_model must be positive and finite, got 0"),
    (lambda: noam_schedule(512, 0), ValueError, "warmup_steps must be at least 1, got 0"),
]


@pytest.mark.parametrize(("name", "args"), LIKE_OPTAX)
def test_equals_optax(name: str, args: Any) -> None:
    checks.equals_optax(name, args)


@pytest.mark.parametrize("name", sorted({name for name, _ in LIKE_OPTAX}))
def test_signature_is_that_of_optax(name: str) -> None:
    checks.has_the_signature_of_optax(name)


@pytest.mark.parametrize(("schedule", "formula"), CLOSED_FORMS, ids=[s.public_name() for s, _ in CLOSED_FORMS])
def test_equals_its_closed_form(schedule: Schedule, formula: Callable[[int], float]) -> None:
    checks.equals_its_closed_form(schedule, formula)


@pytest.mark.parametrize("schedule", checks.made(LIKE_OPTAX) + [s for s, _ in CLOSED_FORMS], ids=checks.names)
def test_it_is_a_value(schedule: Schedule) -> None:
    checks.is_a_value(schedule)


@pytest.mark.parametrize("given_as", ["constant", "data"])
def test_rates_near_one_keep_their_digits(given_as: str) -> None:
    schedule = exponential_decay(1.0, 1, 1 - 1e-6)
    value = jax.jit(lambda s, c: s(c))(schedule, 10**6) if given_as == "data" else schedule(10**6)
    np.testing.assert_allclose(value, math.exp(10**6 * math.log1p(-1e-6)), rtol=3e-7)


@pytest.mark.parametrize(("make", "error", "message"), BAD, ids=[message for *_, message in BAD])
def test_bad_arguments_are_refused_by_name(make: Callable[[], Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        make()
