"""The schedulers of `paddle.optimizer.lr`, as values: with paddle's names and arguments, and k as the step from 0.

Step t = 1, 2, ... has the rate after t - 1 calls of `scheduler.step()`. `last_epoch` shifts k, as resuming there does;
`verbose` is accepted and prints nothing, since a value is evaluated inside compiled code.
Where paddle asserts, these raise ValueError.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, ClassVar

from gradxform.compat.schedules import (
    CosineWave,
    FrameworkSchedule,
    PolynomialCycles,
    RunningProduct,
    Triangles,
    check_one_cycle,
    check_triangles,
    one_cycle,
    python_function,
)
from gradxform.core import check
from gradxform.core.hyper import Beta, Hyper, Schedule, coerce
from gradxform.core.value import Child
from gradxform.schedules import (
    cosine_restarts_schedule,
    exponential_decay,
    inverse_time_decay,
    join_schedules,
    linear_schedule,
    multi_step_schedule,
    natural_exp_decay,
    noam_schedule,
    polynomial_schedule,
    step_decay,
)
from gradxform.schedules.piecewise import Held


class LRScheduler(FrameworkSchedule):
    """Base of the schedulers here."""

    from_last_rate: ClassVar[bool] = False
    """paddle computes the rate from the last one, so that `last_epoch` would not only shift it."""
    last_epoch: ClassVar[int]

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(getattr(self, "learning_rate", None), float):
            check.nonnegative(learning_rate=getattr(self, "learning_rate"))
        check.integer(-1, last_epoch=self.last_epoch)
        check.boolean(verbose=getattr(self, "verbose"))
        if self.from_last_rate and self.last_epoch != -1:
            raise ValueError(f"last_epoch must be -1 in {self.public_name()}, got {self.last_epoch}")

    def at(self, count: Any) -> Any:
        return self.rate(count + (self.last_epoch + 1))

    def rate(self, k: Any) -> Any:
        """The rate after k calls of `scheduler.step()`."""
        return self.schedule()(k)
