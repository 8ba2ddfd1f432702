"""What the frameworks' schedulers refuse: every bad argument by name and value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gradxform.compat import mindspore_schedules as ms
from gradxform.compat import paddle_schedules as paddle
from gradxform.compat import torch_schedules


def uneven(step: int) -> float:
    return 0.9 if step % 3 else 0.8


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
    (lambda: torch_schedules.CosineAnnealingLR(0.1, 0), ValueError, "T_max must be at least 1, got 0"),
    (lambda: torch_schedules.CosineAnnealingWarmRestarts(0.1, 0), ValueError, "T_0 must be at least 1, got 0"),
    (lambda: torch_schedules.CosineAnnealingWarmRestarts(0.1, 5, 0), ValueError, "T_mult must be at least 1, got 0"),
    (lambda: torch_schedules.LambdaLR(0.1, 3), TypeError, "lr_lambda must be a function, got 3"),
    (lambda: torch_schedules.MultiplicativeLR(0.1, 3), TypeError, "lr_lambda must be a function, got 3"),
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
    (lambda: torch_schedules.SequentialLR([], []), ValueError, "schedulers must hold at least one"),
    (lambda: torch_schedules.SequentialLR([0.1], []), TypeError, r"schedulers\[0\] must be a scheduler, got 0.1"),
    (
        lambda: torch_schedules.SequentialLR([torch_schedules.StepLR(0.1, 3)], [5]),
        ValueError,
        r"milestones must be one fewer than schedulers \(1\), got 1",
    ),
    (
        lambda: torch_schedules.SequentialLR(
            [torch_schedules.StepLR(0.1, 3), torch_schedules.MultiplicativeLR(0.1, uneven)], [5]
        ),
        ValueError,
        r"schedulers\[1\] must have a closed form in a sequence, got MultiplicativeLR",
    ),
    (
        lambda: torch_schedules.SequentialLR([torch_schedules.OneCycleLR(0.1, 20)], []),
        ValueError,
        r"schedulers\[0\] must have cycle_momentum=False in a sequence, got OneCycleLR",
    ),
    (
        lambda: torch_schedules.ChainedScheduler([torch_schedules.LambdaLR(0.1, uneven)]),
        ValueError,
        r"schedulers\[0\] must only multiply the rate in a chain, got LambdaLR",
    ),
    (
        lambda: torch_schedules.ChainedScheduler([torch_schedules.CosineAnnealingLR(0.1, 5, 0.01)]),
        ValueError,
        r"schedulers\[0\] must only multiply the rate in a chain",
    ),
    (
        lambda: torch_schedules.ChainedScheduler([torch_schedules.StepLR(0.1, 3), torch_schedules.StepLR(0.2, 3)]),
        ValueError,
        r"schedulers\[1\] must have the rate of the first one, 0.1, got 0.2",
    ),
    (lambda: paddle.StepDecay("a", 3), TypeError, "learning_rate must be a number"),
    (lambda: paddle.StepDecay(-0.1, 3), ValueError, "learning_rate must be at least 0 and finite, got -0.1"),
    (lambda: paddle.StepDecay(0.1, 3.5), TypeError, "step_size must be an integer, got 3.5"),
    (lambda: paddle.StepDecay(0.1, 3, 1.0), ValueError, r"gamma must be in \[0, 1\), got 1.0"),
    (lambda: paddle.StepDecay(0.1, 3, verbose=1), TypeError, "verbose must be True or False, got 1"),
    (lambda: paddle.NoamDecay(0, 4), ValueError, "d_model must be positive"),
    (lambda: paddle.PiecewiseDecay([], [0.1]), ValueError, "boundaries must not be empty"),
    (lambda: paddle.PiecewiseDecay([3], [0.1]), ValueError, r"values must be one more than boundaries \(1\), got 1"),
    (lambda: paddle.PiecewiseDecay([3], [0.1, "a"]), TypeError, r"values\[1\] must be a number"),
    (lambda: paddle.NaturalExpDecay(0.1, 0.0), ValueError, "gamma must be positive"),
    (lambda: paddle.InverseTimeDecay(0.1, -1), ValueError, "gamma must be at least 0"),
    (lambda: paddle.PolynomialDecay(0.1, 0), ValueError, "decay_steps must be at least 1, got 0"),
    (lambda: paddle.PolynomialDecay(0.1, 5, power=0.0), ValueError, "power must be positive"),
    (lambda: paddle.LinearWarmup("a", 5, 0.0, 0.1), TypeError, "learning_rate must be a number"),
    (lambda: paddle.LinearWarmup(0.1, 0, 0.0, 0.1), ValueError, "warmup_steps must be at least 1, got 0"),
    (
        lambda: paddle.LinearWarmup(0.1, 5, 0.2, 0.1),
        ValueError,
        r"end_lr must be greater than start_lr \(0.2\), got 0.1",
    ),
    (lambda: paddle.ExponentialDecay(0.1, 1.0), ValueError, r"gamma must be in \[0, 1\), got 1.0"),
    (lambda: paddle.MultiStepDecay(0.1, 3), TypeError, "milestones must be a list or tuple of integers, got 3"),
    (lambda: paddle.MultiStepDecay(0.1, [3, 3]), ValueError, r"milestones must increase, got \(3, 3\)"),
    (lambda: paddle.LambdaDecay(0.1, 3), TypeError, "lr_lambda must be a function, got 3"),
    (lambda: paddle.MultiplicativeDecay(0.1, 3), TypeError, "lr_lambda must be a function, got 3"),
    (lambda: paddle.CosineAnnealingDecay(0.1, 5.0), TypeError, "T_max must be an integer, got 5.0"),
    (
        lambda: paddle.CosineAnnealingDecay(0.1, 5, last_epoch=3),
        ValueError,
        "last_epoch must be -1 for CosineAnnealing",
    ),
    (lambda: paddle.OneCycleLR(-0.1, 10), ValueError, "max_learning_rate must be at least 0"),
    (lambda: paddle.OneCycleLR(0.1, 10, phase_pct=0.6, three_phase=True), ValueError, "phase_pct must be below 0.5"),
    (lambda: paddle.CyclicLR(0.01, 0.1, 0), ValueError, "step_size_up must be at least 1, got 0"),
    (lambda: paddle.CyclicLR(0.01, 0.1, 5, scale_mode="x"), ValueError, "scale_mode must be one of 'cycle', 'iterat"),
    (lambda: paddle.LinearLR(0.1, 0), ValueError, "total_steps must be at least 1, got 0"),
    (lambda: paddle.CosineAnnealingWarmRestarts(0.1, 0), ValueError, "T_0 must be at least 1, got 0"),
    (lambda: ms.ExponentialDecayLR(1, 0.9, 4), TypeError, "learning_rate must be a float, got 1 of type int"),
    (lambda: ms.ExponentialDecayLR(0.1, 0.0, 4), ValueError, "decay_rate must be positive"),
    (lambda: ms.ExponentialDecayLR(0.1, 0.9, 4.0), TypeError, "decay_steps must be an integer, got 4.0"),
    (lambda: ms.ExponentialDecayLR(0.1, 0.9, True), TypeError, "decay_steps must be an integer, got True"),
    (lambda: ms.NaturalExpDecayLR(0.1, 0.9, 4, 1), TypeError, "is_stair must be True or False, got 1"),
    (lambda: ms.InverseDecayLR(0.0, 0.9, 4), ValueError, "learning_rate must be positive"),
    (lambda: ms.CosineDecayLR(0.1, 0.1, 4), ValueError, r"max_lr must be greater than min_lr \(0.1\), got 0.1"),
    (lambda: ms.CosineDecayLR(0, 0.1, 4), TypeError, "min_lr must be a float, got 0"),
    (lambda: ms.PolynomialDecayLR(0.1, 0.01, 0, 1.0), ValueError, "decay_steps must be at least 1, got 0"),
    (lambda: ms.PolynomialDecayLR(0.1, 0.01, 9, 2), TypeError, "power must be a float, got 2"),
    (lambda: ms.WarmUpLR(-0.1, 9), ValueError, "learning_rate must be at least 0"),
    (lambda: ms.piecewise_constant_lr(3, [0.1]), TypeError, "milestone must be a list or a tuple, got 3"),
    (
        lambda: ms.piecewise_constant_lr([3], []),
        ValueError,
        r"learning_rates must be as many as milestone \(1\), got 0",
    ),
    (lambda: ms.piecewise_constant_lr([3, 2], [0.1, 0.2]), ValueError, r"milestone must not decrease, got \[3, 2\]"),
    (lambda: ms.piecewise_constant_lr([3], [1]), TypeError, r"learning_rates\[0\] must be a float, got 1"),
    (lambda: ms.exponential_decay_lr(0.1, 0.9, 0, 2, 1), ValueError, "total_step must be at least 1, got 0"),
    (lambda: ms.warmup_lr(0.1, 6, 2, 0), ValueError, "warmup_epoch must be at least 1, got 0"),
    (lambda: ms.cosine_decay_lr(0.01, 0.1, 6, 0, 2), ValueError, "step_per_epoch must be at least 1, got 0"),
    (lambda: ms.natural_exp_decay_lr(0.1, 0.9, 6, 2, 2.5), TypeError, "decay_epoch must be an integer, got 2.5"),
    (lambda: ms.inverse_decay_lr(0.1, "a", 6, 2, 2), TypeError, "decay_rate must be a float, got 'a'"),
    (lambda: ms.polynomial_decay_lr(0.1, 0.01, 6, 2, 2, 1.0, 1), TypeError, "update_decay_epoch must be True or False"),
]


@pytest.mark.parametrize(("make", "error", "message"), BAD, ids=[message for *_, message in BAD])
def test_bad_arguments_are_refused_by_name(make: Callable[[], Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        make()
