"""The learning-rate schedules of `mindspore.nn`, as values, and its functions that return lists of rates.

The classes are called with the global step s = 0, 1, 2, ..., and compute as the framework executes, which is not
always what it documents: `NaturalExpDecayLR` does not divide the step by `decay_steps`, and `WarmUpLR` begins at 0.
"""

from __future__ import annotations

from gradxform.compat.mindspore.schedules.decays import (
    CosineDecayLR,
    ExponentialDecayLR,
    InverseDecayLR,
    LearningRateSchedule,
    NaturalExpDecayLR,
    PolynomialDecayLR,
    WarmUpLR,
)
from gradxform.compat.mindspore.schedules.lists import (
    cosine_decay_lr,
    exponential_decay_lr,
    inverse_decay_lr,
    natural_exp_decay_lr,
    piecewise_constant_lr,
    polynomial_decay_lr,
    warmup_lr,
)
from gradxform.compat.mindspore.schedules.plateau import ReduceLROnPlateau

__all__ = [
    "CosineDecayLR",
    "ExponentialDecayLR",
    "InverseDecayLR",
    "LearningRateSchedule",
    "NaturalExpDecayLR",
    "PolynomialDecayLR",
    "ReduceLROnPlateau",
    "WarmUpLR",
    "cosine_decay_lr",
    "exponential_decay_lr",
    "inverse_decay_lr",
    "natural_exp_decay_lr",
    "piecewise_constant_lr",
    "polynomial_decay_lr",
    "warmup_lr",
]
