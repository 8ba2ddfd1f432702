"""Cycles and restarts against optax in double, and against closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from gradxform.core.hyper import Schedule
from gradxform.schedules import (
    cosine_onecycle_schedule,
    cosine_restarts_schedule,
    linear_onecycle_schedule,
    sgdr_schedule,
)
from tests.schedules import checks

SGDR = [
    {"init_value": 0.0, "peak_value": 0.1, "warmup_steps": 2, "decay_steps": 20},
    {"init_value": 0.01, "peak_value": 0.05, "warmup_steps": 3, "decay_steps": 30, "end_value": 0.001},
]


LIKE_OPTAX = [
    ("linear_onecycle_schedule", (100, 1.0)),
    ("linear_onecycle_schedule", (3, 1.0, 0.1, 0.2)),
    ("cosine_onecycle_schedule", (100, 1.0)),
    ("cosine_onecycle_schedule", (1, 1.0)),
    ("sgdr_schedule", (SGDR,)),
]


def cosine_with_restarts(t: int) -> float:
    start, length, n = 0, 7, 0
    while t >= start + length:
        start, length, n = start + length, 3 * length, n + 1
    return 0.2 * (0.1 + (0.5**n - 0.1) * (1 + math.cos(math.pi * (t - start) / length)) / 2)


CLOSED_FORMS = [
    (cosine_restarts_schedule(0.2, 7, 3, 0.5, 0.1), cosine_with_restarts),
    (cosine_restarts_schedule(0.2, 10), lambda t: 0.2 * (1 + math.cos(math.pi * (t % 10) / 10)) / 2),
]


BAD = [
    (lambda: linear_onecycle_schedule(0, 1.0), ValueError, "transition_steps must be at least 1, got 0"),
    (lambda: linear_onecycle_schedule(10, 1.0, pct_start=1.5), ValueError, r"pct_start must be in \[0, 1\], got 1.5"),
    (lambda: linear_onecycle_schedule(10, 1.0, div_factor=0.0), ValueError, "div_factor must be positive"),
    (lambda: linear_onecycle_schedule(10, 1.0, div_factor=1e-50), ValueError, "div_factor must be at least 1.18e-38"),
    (
        lambda: cosine_onecycle_schedule(10, 1.0, div_factor=1e-30, final_div_factor=1e-30),
        ValueError,
        r"div_factor \* final_div_factor must be at least 1.18e-38",
    ),
    (lambda: cosine_restarts_schedule(0.1, 1e39), ValueError, "first_decay_steps must be a number that float32 holds"),
    (lambda: cosine_onecycle_schedule(10, 1.0, pct_start="a"), TypeError, "pct_start must be a number"),
    (lambda: cosine_onecycle_schedule(0, 1.0), ValueError, "transition_steps must be at least 1, got 0"),
    (lambda: cosine_restarts_schedule(0.1, 0), ValueError, "first_decay_steps must be at least 1, got 0"),
    (lambda: cosine_restarts_schedule(0.1, 10, 0), ValueError, "t_mul must be at least 1, got 0"),
    (lambda: cosine_restarts_schedule(0.1, 10, 1.5), TypeError, "t_mul must be an integer, got 1.5"),
    (lambda: cosine_restarts_schedule(0.1, 10, m_mul=0.0), ValueError, "m_mul must be positive"),
    (lambda: sgdr_schedule([]), ValueError, "cosine_kwargs must have at least one cycle"),
    (
        lambda: sgdr_schedule([{"peak_value": 1.0}]),
        TypeError,
        r"cosine_kwargs\[0\]\['decay_steps'\] must be an integer",
    ),
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


@pytest.mark.parametrize(("make", "error", "message"), BAD, ids=[message for *_, message in BAD])
def test_bad_arguments_are_refused_by_name(make: Callable[[], Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        make()
