"""torch's schedulers that multiply the rate by a factor of the step, beside torch itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gradxform.compat import torch_schedules
from tests.compat.rates import compare, uneven
from tests.compat.torch.schedules.live import live

RATES = [
    ("StepLR", {"step_size": 7, "gamma": 0.3}),
    ("StepLR", {"step_size": 1, "gamma": 1.01}),
    ("MultiStepLR", {"milestones": [5, 5, 20, 0, 41]}),
    ("ConstantLR", {}),
    ("ConstantLR", {"factor": 0.5, "total_iters": 0}),
    ("LinearLR", {}),
    ("LinearLR", {"start_factor": 0.1, "end_factor": 0.4, "total_iters": 30}),
    ("LinearLR", {"start_factor": 1.0, "end_factor": 0.0, "total_iters": 30}),
    ("LinearLR", {"total_iters": 0}),
    ("ExponentialLR", {"gamma": 0.95}),
    ("PolynomialLR", {}),
    ("PolynomialLR", {"total_iters": 40, "power": 2.0}),
    ("PolynomialLR", {"total_iters": 40, "power": 0.5}),
    ("PolynomialLR", {"total_iters": 0}),
    ("LambdaLR", {"lr_lambda": lambda step: 0.95**step}),
    ("LambdaLR", {"lr_lambda": uneven}),
    ("MultiplicativeLR", {"lr_lambda": lambda step: 0.95}),
    ("MultiplicativeLR", {"lr_lambda": lambda step: step / (step + 1)}),
    ("MultiplicativeLR", {"lr_lambda": uneven}),
]


@pytest.mark.parametrize(("name", "arguments"), RATES, ids=[name for name, _ in RATES])
def test_rates(name: str, arguments: Any) -> None:
    schedule = getattr(torch_schedules, name)(0.1, **arguments)
    compare(schedule, live(lambda lr_scheduler, optimizer: getattr(lr_scheduler, name)(optimizer, **arguments))[0])
    assert schedule.momentum is None


BAD = [
    (lambda: torch_schedules.StepLR("a", 3), TypeError, "lr must be a number"),
    (lambda: torch_schedules.StepLR(0.1, 0), ValueError, "step_size must be at least 1, got 0"),
    (lambda: torch_schedules.StepLR(0.1, 3.0), TypeError, "step_size must be an integer, got 3.0"),
    (lambda: torch_schedules.MultiStepLR(0.1, 3), TypeError, "milestones must be a sequence of integers, got 3"),
    (lambda: torch_schedules.MultiStepLR(0.1, [1.5]), TypeError, r"milestones\[0\] must be an integer, got 1.5"),
    (lambda: torch_schedules.ConstantLR(0.1, 1.5), ValueError, r"factor must be in \[0, 1\], got 1.5"),
    (lambda: torch_schedules.LinearLR(0.1, 0.0), ValueError, "start_factor must be positive"),
    (lambda: torch_schedules.LinearLR(0.1, 0.5, 1.5), ValueError, r"end_factor must be in \[0, 1\], got 1.5"),
    (lambda: torch_schedules.ExponentialLR(0.1, 0.0), ValueError, "gamma must be positive and finite, got 0"),
    (lambda: torch_schedules.PolynomialLR(0.1, 5, -1.0), ValueError, "power must be at least 0"),
    (lambda: torch_schedules.LambdaLR(0.1, 3), TypeError, "lr_lambda must be a function, got 3"),
    (lambda: torch_schedules.MultiplicativeLR(0.1, 3), TypeError, "lr_lambda must be a function, got 3"),
]


@pytest.mark.parametrize(("make", "error", "message"), BAD, ids=[message for *_, message in BAD])
def test_bad_arguments_are_refused_by_name(make: Callable[[], Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        make()
