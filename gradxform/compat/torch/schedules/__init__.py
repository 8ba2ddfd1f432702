"""The schedulers of `torch.optim.lr_scheduler` that need no metric, as values.

Where torch takes the optimizer, these take its rate: `StepLR(opt, 30)` of an optimizer with `lr=0.1` is
`StepLR(0.1, 30)` here, and stands where the rate stands: `sgd(lr=StepLR(0.1, 30))`. `OneCycleLR` and `CyclicLR`,
which replace the optimizer's rate, take none. Step t = 1, 2, ... has the rate after t - 1 calls of `scheduler.step()`;
the count lives in the optimizer's state, so `last_epoch` is -1.
"""

from __future__ import annotations

from gradxform.compat.torch.schedules.combined import ChainedScheduler, SequentialLR
from gradxform.compat.torch.schedules.cycles import (
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    OneCycleLR,
)
from gradxform.compat.torch.schedules.decays import (
    SWALR,
    ConstantLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    PolynomialLR,
    StepLR,
    TorchSchedule,
)
from gradxform.compat.torch.schedules.plateau import ReduceLROnPlateau

__all__ = [
    "SWALR",
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PolynomialLR",
    "ReduceLROnPlateau",
    "SequentialLR",
    "StepLR",
    "TorchSchedule",
]
