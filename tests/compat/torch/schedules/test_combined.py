"""torch's schedulers of schedulers, beside torch itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gradxform.compat import torch_schedules
from tests.compat.rates import compare, uneven
from tests.compat.torch.schedules.live import live


def sequence(module: Any, *first: Any) -> list[Any]:
    return [
        module.LinearLR(*first, 0.1, 1.0, 10),
        module.CosineAnnealingLR(*first, 20, 0.001),
        module.StepLR(*first, 5, 0.5),
        module.CosineAnnealingWarmRestarts(*first, 4),
    ]


def other_sequence(module: Any, *first: Any) -> list[Any]:
    return [
        module.MultiplicativeLR(*first, uneven),
        module.PolynomialLR(*first, 10),
        module.LambdaLR(*first, lambda step: 0.9**step),
        module.ConstantLR(*first, 0.5, 4),
    ]


@pytest.mark.parametrize("schedulers", [sequence, other_sequence])
def test_in_sequence(schedulers: Any) -> None:
    ours = torch_schedules.SequentialLR(schedulers(torch_schedules, 0.1), [10, 30, 50])
    lrs, _ = live(lambda module, optimizer: module.SequentialLR(optimizer, schedulers(module, optimizer), [10, 30, 50]))
    compare(ours, lrs)


def chain(module: Any, *first: Any) -> list[Any]:
    return [module.ConstantLR(*first, 0.1, 20), module.ExponentialLR(*first, 0.9), module.MultiStepLR(*first, [9, 30])]


def chain_with_cosine(module: Any, *first: Any) -> list[Any]:
    return [
        module.LinearLR(*first, 0.1, 1.0, 25),
        module.CosineAnnealingLR(*first, 15),
        module.StepLR(*first, 4, 0.8),
        module.MultiplicativeLR(*first, uneven),
    ]


def chain_through_zero(module: Any, *first: Any) -> list[Any]:
    """The line ends at zero, from where only the cosine comes back."""
    return [module.LinearLR(*first, 0.5, 0.0, 2), module.CosineAnnealingLR(*first, 2)]


@pytest.mark.parametrize("schedulers", [chain, chain_with_cosine, chain_through_zero])
def test_chained(schedulers: Any) -> None:
    ours = torch_schedules.ChainedScheduler(schedulers(torch_schedules, 0.1))
    compare(ours, live(lambda module, optimizer: module.ChainedScheduler(schedulers(module, optimizer)))[0])


BAD = [
    (lambda: torch_schedules.SequentialLR([], []), ValueError, "schedulers must hold at least one"),
    (lambda: torch_schedules.SequentialLR([0.1], []), TypeError, r"schedulers\[0\] must be a scheduler, got 0.1"),
    (
        lambda: torch_schedules.SequentialLR([torch_schedules.StepLR(0.1, 3)], [5]),
        ValueError,
        r"milestones must be one fewer than schedulers \(1\), got 1",
    ),
    (
        lambda: torch_schedules.SequentialLR(
            [torch_schedules.StepLR(0.1, 3), torch_schedules.ChainedScheduler([torch_schedules.StepLR(0.1, 3)])], [5]
        ),
        ValueError,
        r"schedulers\[1\] must be no combination: torch cannot begin one, got ChainedScheduler",
    ),
    (
        lambda: torch_schedules.SequentialLR(
            [torch_schedules.StepLR(0.1, 3), torch_schedules.MultiplicativeLR(0.2, uneven)], [5]
        ),
        ValueError,
        r"schedulers\[1\] must have the rate of the first one, 0.1, got 0.2",
    ),
    (
        lambda: torch_schedules.ChainedScheduler([torch_schedules.StepLR(0.1, 3), torch_schedules.StepLR(0.2, 3)]),
        ValueError,
        r"schedulers\[1\] must have the rate of the first one, 0.1, got 0.2",
    ),
]


@pytest.mark.parametrize(("make", "error", "message"), BAD, ids=[message for *_, message in BAD])
def test_bad_arguments_are_refused_by_name(make: Callable[[], Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        make()
