"""Values by boundaries: against optax in double, and against closed forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gradxform.core.hyper import Schedule
from gradxform.schedules import multi_step_schedule, piecewise_constant_schedule, piecewise_interpolate_schedule
from tests.schedules import checks

LIKE_OPTAX = [
    ("piecewise_constant_schedule", (1.0, {100: 0.1, 8: 0.01})),
    ("piecewise_constant_schedule", (1.0,)),
    ("piecewise_interpolate_schedule", ("linear", 1.0, {4: 0.1, 8: 3.0})),
    ("piecewise_interpolate_schedule", ("cosine", 1.0, {0: 0.5, 4: 0.1, 8: 0.01})),
    ("piecewise_interpolate_schedule", ("linear", 0.7)),
]


CLOSED_FORMS = [
    (multi_step_schedule(0.1, (10, 10, 50)), lambda t: 0.1 * 0.1 ** (2 * (t >= 10) + (t >= 50))),
]


BAD = [
    (
        lambda: piecewise_constant_schedule(1.0, {10: -0.1}),
        ValueError,
        r"boundaries_and_scales\[10\] must be at least 0",
    ),
    (lambda: piecewise_constant_schedule(1.0, {10: "a"}), TypeError, r"boundaries_and_scales\[10\] must be a number"),
    (lambda: piecewise_constant_schedule(1.0, {-1: 0.1}), ValueError, "a step in boundaries_and_scales must be at le"),
    (lambda: piecewise_constant_schedule(1.0, [10]), TypeError, "boundaries_and_scales must map steps to scales"),
    (lambda: piecewise_interpolate_schedule("sqrt", 1.0), ValueError, "interpolate_type must be one of 'linear', 'cos"),
    (lambda: multi_step_schedule(1.0, (5, 3)), ValueError, r"boundaries must not decrease, got \(5, 3\)"),
    (lambda: multi_step_schedule(1.0, 5), TypeError, "boundaries must be a sequence of steps, got 5"),
    (lambda: multi_step_schedule(1.0, (5,), -1.0), ValueError, "decay_rate must be at least 0"),
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
