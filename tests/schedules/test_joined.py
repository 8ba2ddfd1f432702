"""Schedules one after another: against optax in double, and against closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import optax
import pytest

from gradxform.core.hyper import Schedule
from gradxform.schedules import (
    cosine_decay_schedule,
    join_schedules,
    linear_schedule,
    over,
    polynomial_schedule,
    warmup_constant_schedule,
    warmup_cosine_decay_schedule,
    warmup_exponential_decay_schedule,
    warmup_stable_decay_schedule,
)
from tests.schedules import checks

LIKE_OPTAX = [
    ("warmup_constant_schedule", (0.0, 0.1, 10)),
    ("warmup_constant_schedule", (0.3, 0.1, 0)),
    ("warmup_cosine_decay_schedule", (0.0, 0.1, 10, 100)),
    ("warmup_cosine_decay_schedule", (0.0, 0.1, 0, 100, 0.01, 2.0)),
    ("warmup_cosine_decay_schedule", (0.1, 0.0, 10, 100, 0.01)),
    ("warmup_exponential_decay_schedule", (0.0, 0.1, 10, 20, 0.9)),
    ("warmup_exponential_decay_schedule", (0.0, 0.1, 10, 20, 0.9, 5, True, 0.01)),
]


def cooled(shape: Callable[[float], float]) -> Callable[[int], float]:
    def value(t: int) -> float:
        if t < 10:
            return 0.01 + (0.3 - 0.01) * t / 10
        return 0.02 + (0.3 - 0.02) * shape(min(max(t - 50, 0) / 50, 1.0))

    return value


CLOSED_FORMS = [
    (warmup_stable_decay_schedule(0.01, 0.3, 10, 40, 50, 0.02), cooled(lambda x: 1 - x)),
    (
        warmup_stable_decay_schedule(0.01, 0.3, 10, 40, 50, 0.02, "cosine"),
        cooled(lambda x: (1 + math.cos(math.pi * x)) / 2),
    ),
    (warmup_stable_decay_schedule(0.01, 0.3, 10, 40, 50, 0.02, "sqrt"), cooled(lambda x: 1 - math.sqrt(x))),
]


BAD = [
    (
        lambda: join_schedules([0.1, 0.2, 0.3], [5]),
        ValueError,
        r"boundaries must be one fewer than schedules \(3\), got 1",
    ),
    (lambda: join_schedules([], []), ValueError, r"boundaries must be one fewer than schedules \(0\), got 0"),
    (lambda: join_schedules(["a"], []), TypeError, r"schedules\[0\] must be a number"),
    (lambda: join_schedules(3, []), TypeError, "schedules must be a sequence of schedules, got 3"),
    (
        lambda: over(100, warmup_stable_decay_schedule(0, 1, 0.8, 0.4, 0.4)),
        ValueError,
        r"warmup_steps \+ stable_steps \+ decay_steps must be at most 1 in fractions .* got 1.6: warmup_steps=0.8",
    ),
    (
        lambda: warmup_exponential_decay_schedule(0.0, 1.0, 0.5, 10, 0.9, 0.6),
        ValueError,
        r"warmup_steps \+ transition_begin must be at most 1 in fractions of the total, got 1.1",
    ),
    (
        lambda: linear_schedule(1.0, 0.0, 0.6, 0.5),
        ValueError,
        r"transition_begin \+ transition_steps must be at most 1",
    ),
    (lambda: polynomial_schedule(1.0, 0.0, 2.0, 0.6, 0.5), ValueError, r"transition_begin \+ transition_steps must be"),
    (lambda: warmup_constant_schedule(0.0, 1.0, -1), ValueError, "warmup_steps must be at least 0, got -1"),
    (
        lambda: warmup_cosine_decay_schedule(0.0, 1.0, 10, 10),
        ValueError,
        "decay_steps must be greater than warmup_steps",
    ),
    (lambda: warmup_cosine_decay_schedule(0.0, 1.0, 0.5, 0.4), ValueError, "decay_steps must be greater than warmup"),
    (lambda: warmup_exponential_decay_schedule(0.0, 1.0, 5, 5, -0.5), ValueError, "decay_rate must be positive"),
    (lambda: warmup_stable_decay_schedule(0.0, 1.0, 5, 5, 0), ValueError, "decay_steps must be at least 1, got 0"),
    (
        lambda: warmup_stable_decay_schedule(0.0, 1.0, 5, 5, 5, decay_type="exp"),
        ValueError,
        "decay_type must be one of",
    ),
]


@pytest.mark.parametrize(("name", "args"), LIKE_OPTAX)
def test_equals_optax(name: str, args: Any) -> None:
    checks.equals_optax(name, args)


@pytest.mark.parametrize("name", sorted({name for name, _ in LIKE_OPTAX} | {"join_schedules"}))
def test_signature_is_that_of_optax(name: str) -> None:
    checks.has_the_signature_of_optax(name)


@pytest.mark.parametrize(("schedule", "formula"), CLOSED_FORMS, ids=[s.public_name() for s, _ in CLOSED_FORMS])
def test_equals_its_closed_form(schedule: Schedule, formula: Callable[[int], float]) -> None:
    checks.equals_its_closed_form(schedule, formula)


@pytest.mark.parametrize("schedule", checks.made(LIKE_OPTAX) + [s for s, _ in CLOSED_FORMS], ids=checks.names)
def test_it_is_a_value(schedule: Schedule) -> None:
    checks.is_a_value(schedule)


def test_join_equals_optax() -> None:
    def middle(count: Any) -> Any:
        return 0.1 / (2 + count**2)

    with checks.double():
        parts = [optax.linear_schedule(0.0, 0.2, 5), middle, optax.cosine_decay_schedule(0.3, 9)]
        ours = join_schedules([linear_schedule(0.0, 0.2, 5), middle, cosine_decay_schedule(0.3, 9)], [5, 20])
        expected = checks.at(optax.join_schedules(parts, [5, 20]))
        np.testing.assert_allclose(checks.at(ours), expected, rtol=1e-13, atol=1e-16)


def test_ends_are_exact() -> None:
    schedule = warmup_cosine_decay_schedule(0.0, 0.1, 10, 100)
    assert schedule(0) == 0.0
    assert schedule(10) == np.float32(0.1)
    assert schedule(100) == 0.0
    assert linear_schedule(0.1, 0.7, 30)(30) == np.float32(0.7)


@pytest.mark.parametrize(("make", "error", "message"), BAD, ids=[message for *_, message in BAD])
def test_bad_arguments_are_refused_by_name(make: Callable[[], Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize("surplus", [(8,), (8, 12)])
def test_a_boundary_after_the_last_schedule_is_left_out_as_in_optax(surplus: tuple[int, ...]):
    parts, theirs = [0.3, linear_schedule(0.0, 1.0, 4)], [lambda count: 0.3, optax.linear_schedule(0.0, 1.0, 4)]
    made = join_schedules(parts, [3, *surplus])
    assert made == join_schedules(parts, [3])
    for count in (0, 2, 3, 5, 9, 20):
        np.testing.assert_allclose(made(count), optax.join_schedules(theirs, [3, *surplus])(count), rtol=1e-6)


def test_fractions_that_fill_the_total_are_no_more_than_it():
    whole = warmup_stable_decay_schedule(0.0, 1.0, 0.1, 0.7, 0.2)
    np.testing.assert_allclose([over(10, whole)(i) for i in (0, 1, 8, 9, 10)], [0, 1, 1, 0.5, 0], atol=1e-7)
