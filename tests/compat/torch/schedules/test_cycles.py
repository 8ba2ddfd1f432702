"""torch's schedulers that go round, beside torch itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from gradxform.compat import torch_schedules
from tests.compat.rates import compare
from tests.compat.torch.schedules.live import live

RATES = [
    ("CosineAnnealingLR", {"T_max": 8, "eta_min": 0.001}),
    ("CosineAnnealingLR", {"T_max": 50}),
    ("CosineAnnealingLR", {"T_max": 1, "eta_min": 0.2}),
    ("CosineAnnealingWarmRestarts", {"T_0": 7}),
    ("CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 2, "eta_min": 0.01}),
    ("CosineAnnealingWarmRestarts", {"T_0": 1, "T_mult": 3}),
]


@pytest.mark.parametrize(("name", "arguments"), RATES, ids=[name for name, _ in RATES])
def test_rates(name: str, arguments: Any) -> None:
    schedule = getattr(torch_schedules, name)(0.1, **arguments)
    compare(schedule, live(lambda lr_scheduler, optimizer: getattr(lr_scheduler, name)(optimizer, **arguments))[0])
    assert schedule.momentum is None


CYCLIC_RATES = [
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 5, "step_size_down": 9, "mode": "triangular2"}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 4, "mode": "exp_range", "gamma": 0.97}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 4, "scale_fn": lambda x: 0.5 if x > 3 else 1.0}),
    (
        "CyclicLR",
        {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 4, "scale_fn": lambda x: 0.9**x, "scale_mode": "iterations"},
    ),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 4, "cycle_momentum": False}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 100}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 30, "div_factor": 10, "final_div_factor": 100}),
    ("OneCycleLR", {"max_lr": 0.5, "epochs": 5, "steps_per_epoch": 10, "anneal_strategy": "linear"}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 37, "three_phase": True}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 37, "three_phase": True, "anneal_strategy": "linear"}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 20, "pct_start": 0.9, "three_phase": True}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 20, "pct_start": 0.0, "cycle_momentum": False}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 1}),
]


@pytest.mark.parametrize(("name", "arguments"), CYCLIC_RATES, ids=[name for name, _ in CYCLIC_RATES])
def test_the_rate_and_the_momentum(name: str, arguments: Any) -> None:
    schedule = getattr(torch_schedules, name)(**arguments)
    lrs, momenta = live(lambda lr_scheduler, optimizer: getattr(lr_scheduler, name)(optimizer, **arguments))
    compare(schedule, lrs)
    if arguments.get("cycle_momentum", True):
        compare(schedule.momentum, momenta)
    else:
        assert schedule.momentum is None


def test_after_its_end_one_cycle_holds_the_last_rate() -> None:
    schedule = torch_schedules.OneCycleLR(0.5, total_steps=20, anneal_strategy="linear")
    np.testing.assert_allclose(schedule(jnp.asarray([21, 22, 1000])), 0.5 / 25 / 1e4, rtol=5e-7)


BAD = [
    (lambda: torch_schedules.CosineAnnealingLR(0.1, 0), ValueError, "T_max must be at least 1, got 0"),
    (lambda: torch_schedules.CosineAnnealingWarmRestarts(0.1, 0), ValueError, "T_0 must be at least 1, got 0"),
    (lambda: torch_schedules.CosineAnnealingWarmRestarts(0.1, 5, 0), ValueError, "T_mult must be at least 1, got 0"),
    (lambda: torch_schedules.CyclicLR(0.01, 0.1, mode="square"), ValueError, "mode must be one of 'triangular'"),
    (lambda: torch_schedules.CyclicLR(0.01, 0.1, 0), ValueError, "step_size_up must be at least 1 and finite, got 0"),
    (lambda: torch_schedules.OneCycleLR(0.1), ValueError, "total_steps, or both epochs and steps_per_epoch, must be"),
    (lambda: torch_schedules.OneCycleLR(0.1, -5), ValueError, "total_steps must be a positive integer, got -5"),
    (lambda: torch_schedules.OneCycleLR(0.1, 10, pct_start=1.5), ValueError, "pct_start must be a float in"),
    (lambda: torch_schedules.OneCycleLR(0.1, 10, base_momentum="a"), TypeError, "base_momentum must be a number"),
    (lambda: torch_schedules.OneCycleLR(0.1, 10, cycle_momentum=1), TypeError, "cycle_momentum must be True or False"),
    (lambda: torch_schedules.CyclicLR(0.01, 0.1, max_momentum="a"), TypeError, "max_momentum must be a number"),
    (lambda: torch_schedules.CyclicLR(0.01, 0.1, step_size_down=0.5), ValueError, "step_size_down must be at least 1"),
    (lambda: torch_schedules.OneCycleLR(0.1, 10, pct_start=0.1), ValueError, "pct_start must not give a first phase"),
    (lambda: torch_schedules.OneCycleLR(0.1, 10, anneal_strategy="x"), ValueError, "anneal_strategy must be one of"),
]


@pytest.mark.parametrize(("make", "error", "message"), BAD, ids=[message for *_, message in BAD])
def test_bad_arguments_are_refused_by_name(make: Callable[[], Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        make()
