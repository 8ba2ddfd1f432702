"""paddle's schedulers that go one way, beside transcripts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from gradxform.compat import paddle_schedules
from gradxform.core.hyper import Schedule
from tests.compat.rates import compare, each, recursion, uneven


def noam(k: int) -> float:
    return 1.0 * 16**-0.5 * min(1 if k == 0 else k**-0.5, 4**-1.5 * k)


def polynomial(k: int, cycle: bool) -> float:
    length = 9 * (1 if k == 0 else math.ceil(k / 9)) if cycle else 9
    return (0.1 - 0.01) * (1 - (k if cycle else min(k, 9)) / length) ** 1.5 + 0.01


RATES = [
    (paddle_schedules.NoamDecay(16, 4), each(noam)),
    (
        paddle_schedules.PiecewiseDecay([3, 6], [0.1, 0.05, 0.01]),
        each(lambda k: 0.1 if k < 3 else 0.05 if k < 6 else 0.01),
    ),
    (paddle_schedules.PiecewiseDecay([3], (0.1, 0.05, 0.01)), each(lambda k: 0.1 if k < 3 else 0.01)),
    (paddle_schedules.NaturalExpDecay(0.1, 0.2), each(lambda k: 0.1 * math.exp(-0.2 * k))),
    (paddle_schedules.InverseTimeDecay(0.1, 0.2), each(lambda k: 0.1 / (1 + 0.2 * k))),
    (paddle_schedules.PolynomialDecay(0.1, 9, 0.01, 1.5), each(lambda k: polynomial(k, cycle=False))),
    (paddle_schedules.PolynomialDecay(0.1, 9, 0.01, 1.5, cycle=True), each(lambda k: polynomial(k, cycle=True))),
    (paddle_schedules.ExponentialDecay(0.1, 0.9), each(lambda k: 0.1 * 0.9**k)),
    (
        paddle_schedules.MultiStepDecay(0.1, [4, 9, 30], 0.5),
        each(lambda k: 0.1 * 0.5 ** sum(k >= m for m in (4, 9, 30))),
    ),
    (paddle_schedules.StepDecay(0.1, 7), each(lambda k: 0.1 * 0.1 ** (k // 7))),
    (paddle_schedules.StepDecay(0.1, 7, 0.5, 5), each(lambda k: 0.1 * 0.5 ** ((k + 6) // 7))),
    (paddle_schedules.LambdaDecay(0.1, uneven), each(lambda k: 0.1 * uneven(k))),
    (paddle_schedules.MultiplicativeDecay(0.1, uneven), recursion(0.1, lambda last, k: last * uneven(k))),
]


@pytest.mark.parametrize(("schedule", "expected"), RATES, ids=[s.public_name() for s, _ in RATES])
def test_rates(schedule: Schedule, expected: list[float]) -> None:
    compare(schedule, expected)


BAD = [
    (lambda: paddle_schedules.StepDecay("a", 3), TypeError, "learning_rate must be a number"),
    (lambda: paddle_schedules.StepDecay(-0.1, 3), ValueError, "learning_rate must be at least 0 and finite, got -0.1"),
    (lambda: paddle_schedules.StepDecay(0.1, 3.5), TypeError, "step_size must be an integer, got 3.5"),
    (lambda: paddle_schedules.StepDecay(0.1, 3, 1.0), ValueError, r"gamma must be in \[0, 1\), got 1.0"),
    (lambda: paddle_schedules.StepDecay(0.1, 3, verbose=1), TypeError, "verbose must be True or False, got 1"),
    (lambda: paddle_schedules.NoamDecay(0, 4), ValueError, "d_model must be positive"),
    (lambda: paddle_schedules.PiecewiseDecay([], [0.1]), ValueError, "boundaries must not be empty"),
    (
        lambda: paddle_schedules.PiecewiseDecay([3], [0.1]),
        ValueError,
        r"values must be one more than boundaries \(1\), got 1",
    ),
    (lambda: paddle_schedules.PiecewiseDecay([3], [0.1, "a"]), TypeError, r"values\[1\] must be a number"),
    (lambda: paddle_schedules.NaturalExpDecay(0.1, 0.0), ValueError, "gamma must be positive"),
    (lambda: paddle_schedules.InverseTimeDecay(0.1, -1), ValueError, "gamma must be at least 0"),
    (lambda: paddle_schedules.PolynomialDecay(0.1, 0), ValueError, "decay_steps must be at least 1, got 0"),
    (lambda: paddle_schedules.PolynomialDecay(0.1, 5, power=0.0), ValueError, "power must be positive"),
    (lambda: paddle_schedules.ExponentialDecay(0.1, 1.0), ValueError, r"gamma must be in \[0, 1\), got 1.0"),
    (
        lambda: paddle_schedules.MultiStepDecay(0.1, 3),
        TypeError,
        "milestones must be a list or tuple of integers, got 3",
    ),
    (lambda: paddle_schedules.MultiStepDecay(0.1, [3, 3]), ValueError, r"milestones must increase, got \(3, 3\)"),
    (lambda: paddle_schedules.LambdaDecay(0.1, 3), TypeError, "lr_lambda must be a function, got 3"),
    (lambda: paddle_schedules.MultiplicativeDecay(0.1, 3), TypeError, "lr_lambda must be a function, got 3"),
]


@pytest.mark.parametrize(("make", "error", "message"), BAD, ids=[message for *_, message in BAD])
def test_bad_arguments_are_refused_by_name(make: Callable[[], Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        make()
