"""paddle's schedulers that go round, beside transcripts."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from gradxform.compat import paddle_schedules
from gradxform.core.hyper import Schedule
from tests.compat.rates import compare, each, recursion


def cosine(last: float, k: int) -> float:
    if (k - 1 - 8) % 16 == 0:
        return last + (0.1 - 0.001) * (1 - math.cos(math.pi / 8)) / 2
    return (1 + math.cos(math.pi * k / 8)) / (1 + math.cos(math.pi * (k - 1) / 8)) * (last - 0.001) + 0.001


def restarts(k: int) -> float:
    length = 3
    while k >= length:
        k, length = k - length, length * 2
    return 0.01 + (0.1 - 0.01) * (1 + math.cos(math.pi * k / length)) / 2


def triangle(scale: Callable[[float, int], float]) -> Callable[[int], float]:
    def rate(k: int) -> float:
        size, up = 14.0, 5 / 14.0
        cycle = 1 + k // size
        share = 1.0 + k / size - cycle
        height = share / up if share <= up else (1 - share) / (1 - up)
        return 0.01 + (0.1 - 0.01) * height * scale(cycle, k)

    return rate


def one_cycle(knots: list[tuple[float, float]], strategy: str) -> Callable[[int], float]:
    def rate(k: int) -> float:
        for i, ((start, a), (end, b)) in enumerate(pairwise(knots)):
            if k <= end or i == len(knots) - 2:
                done = (k - start) / (end - start)
                return b + (a - b) / 2.0 * (math.cos(math.pi * done) + 1) if strategy == "cos" else (b - a) * done + a
        raise AssertionError

    return rate


RATES = [
    (paddle_schedules.CosineAnnealingDecay(0.1, 8, 0.001), recursion(0.1, cosine)),
    (paddle_schedules.OneCycleLR(0.5, 60), each(one_cycle([(0, 0.02), (17, 0.5), (59, 0.0001)], "cos"))),
    (
        paddle_schedules.OneCycleLR(0.5, 59, 10.0, 0.003, 0.2, "linear", three_phase=True),
        each(one_cycle([(0, 0.05), (10.8, 0.5), (21.6, 0.05), (58, 0.003)], "linear")),
    ),
    (paddle_schedules.CyclicLR(0.01, 0.1, 5, 9), each(triangle(lambda cycle, k: 1.0))),
    (
        paddle_schedules.CyclicLR(0.01, 0.1, 5, 9, "triangular2"),
        each(triangle(lambda cycle, k: 1 / 2.0 ** (cycle - 1))),
    ),
    (paddle_schedules.CyclicLR(0.01, 0.1, 5, 9, "exp_range", 0.95), each(triangle(lambda cycle, k: 0.95**k))),
    (
        paddle_schedules.CyclicLR(0.01, 0.1, 5, 9, scale_fn=lambda x: 0.9**x),
        each(triangle(lambda cycle, k: 0.9**cycle)),
    ),
    (paddle_schedules.CosineAnnealingWarmRestarts(0.1, 3, 2, 0.01), each(restarts)),
    (
        paddle_schedules.CosineAnnealingWarmRestarts(0.1, 8),
        each(lambda k: 0.1 * (1 + math.cos(math.pi * (k % 8) / 8)) / 2),
    ),
]


@pytest.mark.parametrize(("schedule", "expected"), RATES, ids=[s.public_name() for s, _ in RATES])
def test_rates(schedule: Schedule, expected: list[float]) -> None:
    compare(schedule, expected)


BAD = [
    (lambda: paddle_schedules.CosineAnnealingDecay(0.1, 5.0), TypeError, "T_max must be an integer, got 5.0"),
    (
        lambda: paddle_schedules.CosineAnnealingDecay(0.1, 5, last_epoch=3),
        ValueError,
        "last_epoch must be -1 for CosineAnnealing",
    ),
    (lambda: paddle_schedules.OneCycleLR(-0.1, 10), ValueError, "max_learning_rate must be at least 0"),
    (
        lambda: paddle_schedules.OneCycleLR(0.1, 10, phase_pct=0.6, three_phase=True),
        ValueError,
        "phase_pct must be below 0.5",
    ),
    (lambda: paddle_schedules.CyclicLR(0.01, 0.1, 0), ValueError, "step_size_up must be at least 1, got 0"),
    (
        lambda: paddle_schedules.CyclicLR(0.01, 0.1, 5, scale_mode="x"),
        ValueError,
        "scale_mode must be one of 'cycle', 'iterat",
    ),
    (lambda: paddle_schedules.CosineAnnealingWarmRestarts(0.1, 0), ValueError, "T_0 must be at least 1, got 0"),
]


@pytest.mark.parametrize(("make", "error", "message"), BAD, ids=[message for *_, message in BAD])
def test_bad_arguments_are_refused_by_name(make: Callable[[], Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        make()
