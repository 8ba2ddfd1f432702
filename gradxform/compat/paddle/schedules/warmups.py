"""paddle's schedulers that warm up in a straight line."""

from __future__ import annotations

from typing import Any

from gradxform.compat.paddle.schedules.decays import LRScheduler
from gradxform.core import check
from gradxform.core.hyper import Hyper, Schedule, coerce
from gradxform.core.value import Child
from gradxform.schedules import join_schedules, linear_schedule
from gradxform.schedules.timed import check_number


class LinearWarmup(LRScheduler):
    """Go from `start_lr` to `end_lr` in a straight line, then follow `learning_rate`, a number or a schedule.

    The schedule counts from the end of the warm-up, whatever its own `last_epoch`.
    Raises: TypeError or ValueError if `learning_rate` is neither, `warmup_steps` is below 1, or `end_lr` is not
    greater than `start_lr`.
    """

    learning_rate: Child[Any]
    warmup_steps: int
    start_lr: Hyper
    end_lr: Hyper
    last_epoch: int = -1
    verbose: bool = False

    def check(self) -> None:
        after = coerce("learning_rate", self.learning_rate)
        if not isinstance(after, Schedule):
            check_number("learning_rate", after)
        check.finite(learning_rate=after)
        object.__setattr__(self, "learning_rate", after)
        check.integer(1, warmup_steps=self.warmup_steps)
        check.nonnegative(start_lr=self.start_lr)
        if isinstance(self.start_lr, float) and isinstance(self.end_lr, float) and self.end_lr <= self.start_lr:
            raise ValueError(f"end_lr must be greater than start_lr ({self.start_lr}), got {self.end_lr}")

    def schedule(self) -> Schedule:
        after = self.learning_rate
        if isinstance(after, LRScheduler):
            after = after.with_fields(last_epoch=-1)
        warm = linear_schedule(self.start_lr, self.end_lr, self.warmup_steps)
        return join_schedules((warm, after), (self.warmup_steps,))


class LinearLR(LRScheduler):
    """Scale the rate by a factor that goes from `start_factor` to `end_factor` in a straight line.

    Raises: TypeError or ValueError if `total_steps` is below 1, `start_factor` outside (0, 1], `end_factor` outside
    [0, 1], or `last_epoch` is given.
    """

    learning_rate: Hyper
    total_steps: int
    start_factor: Hyper = 1.0 / 3
    end_factor: Hyper = 1.0
    last_epoch: int = -1
    verbose: bool = False
    resumes = False

    def check(self) -> None:
        check.integer(1, total_steps=self.total_steps)
        check.positive(start_factor=self.start_factor)
        check.unit(start_factor=self.start_factor, end_factor=self.end_factor)

    def schedule(self) -> Schedule:
        lr = self.learning_rate
        return linear_schedule(lr * self.start_factor, lr * self.end_factor, self.total_steps)
