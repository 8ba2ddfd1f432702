"""The schedulers of `paddle.optimizer.lr`, as values: with paddle's names and arguments, and k as the step from 0.

Step t = 1, 2, ... has the rate after t - 1 calls of `scheduler.step()`. `last_epoch` shifts k, as resuming there does;
`verbose` is accepted and prints nothing, since a value is evaluated inside compiled code.
Where paddle asserts, these raise ValueError.
"""

from __future__ import annotations

from gradxform.compat.paddle.schedules.cycles import (
    CosineAnnealingDecay,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    OneCycleLR,
)
from gradxform.compat.paddle.schedules.decays import (
    ExponentialDecay,
    InverseTimeDecay,
    LambdaDecay,
    LRScheduler,
    MultiplicativeDecay,
    MultiStepDecay,
    NaturalExpDecay,
    NoamDecay,
    PiecewiseDecay,
    PolynomialDecay,
    StepDecay,
)
from gradxform.compat.paddle.schedules.plateau import ReduceOnPlateau
from gradxform.compat.paddle.schedules.warmups import LinearLR, LinearWarmup

__all__ = [
    "CosineAnnealingDecay",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialDecay",
    "InverseTimeDecay",
    "LRScheduler",
    "LambdaDecay",
    "LinearLR",
    "LinearWarmup",
    "MultiStepDecay",
    "MultiplicativeDecay",
    "NaturalExpDecay",
    "NoamDecay",
    "OneCycleLR",
    "PiecewiseDecay",
    "PolynomialDecay",
    "ReduceOnPlateau",
    "StepDecay",
]
