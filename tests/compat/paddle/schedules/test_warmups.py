"""paddle's schedulers that begin low, beside transcripts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gradxform.compat import paddle_schedules
from gradxform.core.hyper import Schedule
from tests.compat.rates import compare, each, recursion


def linear(last: float, k: int) -> float:
    if k > 12:
        return last
    return last * (1.0 + (0.9 - 0.25) / (12 * 0.25 + (k - 1) * (0.9 - 0.25)))


RATES = [
    (paddle_schedules.LinearWarmup(0.3, 7, 0.0, 0.2), each(lambda k: 0.2 * k / 7 if k < 7 else 0.3)),
    (
        paddle_schedules.LinearWarmup(paddle_schedules.StepDecay(0.2, 5, 0.5, last_epoch=3), 7, 0.01, 0.2),
        each(lambda k: (0.2 - 0.01) * k / 7 + 0.01 if k < 7 else 0.2 * 0.5 ** ((k - 7) // 5)),
    ),
    (paddle_schedules.LinearLR(0.1, 12, 0.25, 0.9), recursion(0.1 * 0.25, linear)),
]


@pytest.mark.parametrize(("schedule", "expected"), RATES, ids=[s.public_name() for s, _ in RATES])
def test_rates(schedule: Schedule, expected: list[float]) -> None:
    compare(schedule, expected)


BAD = [
    (lambda: paddle_schedules.LinearWarmup("a", 5, 0.0, 0.1), TypeError, "learning_rate must be a number"),
    (lambda: paddle_schedules.LinearWarmup(0.1, 0, 0.0, 0.1), ValueError, "warmup_steps must be at least 1, got 0"),
    (
        lambda: paddle_schedules.LinearWarmup(0.1, 5, 0.2, 0.1),
        ValueError,
        r"end_lr must be greater than start_lr \(0.2\), got 0.1",
    ),
    (lambda: paddle_schedules.LinearLR(0.1, 0), ValueError, "total_steps must be at least 1, got 0"),
]


@pytest.mark.parametrize(("make", "error", "message"), BAD, ids=[message for *_, message in BAD])
def test_bad_arguments_are_refused_by_name(make: Callable[[], Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        make()
