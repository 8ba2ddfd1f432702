"""MindSpore's learning-rate schedules, beside transcripts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from gradxform.compat import mindspore_schedules
from gradxform.core.hyper import Hyper, Schedule
from tests.compat.rates import compare, each


def mindspore_polynomial(s: int, update: bool) -> float:
    length = 9 * max(math.ceil(s / 9), 1) if update else 9
    return (0.1 - 0.01) * (1 - (s if update else min(s, 9)) / length) ** 1.5 + 0.01


RATES = [
    (mindspore_schedules.ExponentialDecayLR(0.1, 0.9, 4), each(lambda s: 0.1 * 0.9 ** (s / 4))),
    (mindspore_schedules.ExponentialDecayLR(0.1, 0.9, 4, True), each(lambda s: 0.1 * 0.9 ** (s // 4))),
    (mindspore_schedules.NaturalExpDecayLR(0.1, 0.2, 4), each(lambda s: 0.1 * math.exp(-0.2 * s))),
    (mindspore_schedules.NaturalExpDecayLR(0.1, 0.2, 4, True), each(lambda s: 0.1 * math.exp(-0.2 * (s // 4 * 4)))),
    (mindspore_schedules.InverseDecayLR(0.1, 0.2, 4), each(lambda s: 0.1 / (1 + 0.2 * s / 4))),
    (mindspore_schedules.InverseDecayLR(0.1, 0.2, 4, True), each(lambda s: 0.1 / (1 + 0.2 * (s // 4)))),
    (
        mindspore_schedules.CosineDecayLR(0.01, 0.1, 40),
        each(lambda s: 0.01 + 0.5 * (0.1 - 0.01) * (1 + math.cos(math.pi * min(s, 40) / 40))),
    ),
    (mindspore_schedules.PolynomialDecayLR(0.1, 0.01, 9, 1.5), each(lambda s: mindspore_polynomial(s, update=False))),
    (
        mindspore_schedules.PolynomialDecayLR(0.1, 0.01, 9, 1.5, True),
        each(lambda s: mindspore_polynomial(s, update=True)),
    ),
    (mindspore_schedules.WarmUpLR(0.1, 9), each(lambda s: 0.1 * min(s, 9) / 9)),
]


@pytest.mark.parametrize(("schedule", "expected"), RATES, ids=[s.public_name() for s, _ in RATES])
def test_rates(schedule: Schedule, expected: list[float]) -> None:
    compare(schedule, expected)


def test_a_users_own_schedule() -> None:
    class Falling(mindspore_schedules.LearningRateSchedule):
        base: Hyper
        slope: Hyper

        def construct(self, global_step: Any) -> Any:
            return self.base + self.slope * global_step

    compare(Falling(0.1, -0.001), each(lambda s: 0.1 - 0.001 * s))
    with pytest.raises(TypeError, match="base must be a float, got 1 of type int"):
        Falling(1, -0.001)


BAD = [
    (
        lambda: mindspore_schedules.ExponentialDecayLR(1, 0.9, 4),
        TypeError,
        "learning_rate must be a float, got 1 of type int",
    ),
    (lambda: mindspore_schedules.ExponentialDecayLR(0.1, 0.0, 4), ValueError, "decay_rate must be positive"),
    (
        lambda: mindspore_schedules.ExponentialDecayLR(0.1, 0.9, 4.0),
        TypeError,
        "decay_steps must be an integer, got 4.0",
    ),
    (
        lambda: mindspore_schedules.ExponentialDecayLR(0.1, 0.9, True),
        TypeError,
        "decay_steps must be an integer, got True",
    ),
    (lambda: mindspore_schedules.NaturalExpDecayLR(0.1, 0.9, 4, 1), TypeError, "is_stair must be True or False, got 1"),
    (lambda: mindspore_schedules.InverseDecayLR(0.0, 0.9, 4), ValueError, "learning_rate must be positive"),
    (
        lambda: mindspore_schedules.CosineDecayLR(0.1, 0.1, 4),
        ValueError,
        r"max_lr must be greater than min_lr \(0.1\), got 0.1",
    ),
    (lambda: mindspore_schedules.CosineDecayLR(0, 0.1, 4), TypeError, "min_lr must be a float, got 0"),
    (
        lambda: mindspore_schedules.PolynomialDecayLR(0.1, 0.01, 0, 1.0),
        ValueError,
        "decay_steps must be at least 1, got 0",
    ),
    (lambda: mindspore_schedules.PolynomialDecayLR(0.1, 0.01, 9, 2), TypeError, "power must be a float, got 2"),
    (lambda: mindspore_schedules.WarmUpLR(-0.1, 9), ValueError, "learning_rate must be at least 0"),
]


@pytest.mark.parametrize(("make", "error", "message"), BAD, ids=[message for *_, message in BAD])
def test_bad_arguments_are_refused_by_name(make: Callable[[], Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        make()
