"""Schedules: hyperparameters as functions of the number of updates done."""

from __future__ import annotations

from gradxform.core.names import namespace
from gradxform.schedules.cycles import (
    cosine_onecycle_schedule,
    cosine_restarts_schedule,
    linear_onecycle_schedule,
    sgdr_schedule,
)
from gradxform.schedules.decays import (
    exponential_decay,
    inverse_sqrt_schedule,
    inverse_time_decay,
    natural_exp_decay,
    noam_schedule,
    step_decay,
)
from gradxform.schedules.joined import (
    join_schedules,
    warmup_constant_schedule,
    warmup_cosine_decay_schedule,
    warmup_exponential_decay_schedule,
    warmup_stable_decay_schedule,
)
from gradxform.schedules.piecewise import (
    multi_step_schedule,
    piecewise_constant_schedule,
    piecewise_interpolate_schedule,
)
from gradxform.schedules.timed import over
from gradxform.schedules.transitions import (
    constant_schedule,
    cosine_decay_schedule,
    linear_schedule,
    polynomial_schedule,
)

__all__ = [
    "constant_schedule",
    "cosine_decay_schedule",
    "cosine_onecycle_schedule",
    "cosine_restarts_schedule",
    "exponential_decay",
    "inverse_sqrt_schedule",
    "inverse_time_decay",
    "join_schedules",
    "linear_onecycle_schedule",
    "linear_schedule",
    "multi_step_schedule",
    "natural_exp_decay",
    "noam_schedule",
    "over",
    "piecewise_constant_schedule",
    "piecewise_interpolate_schedule",
    "polynomial_schedule",
    "sgdr_schedule",
    "step_decay",
    "warmup_constant_schedule",
    "warmup_cosine_decay_schedule",
    "warmup_exponential_decay_schedule",
    "warmup_stable_decay_schedule",
]

namespace(__name__, ["Schedule"])
