"""paddle's schedulers that go one way: decays and steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, ClassVar

from gradxform.compat.common.schedules import FrameworkSchedule, PolynomialCycles, RunningProduct, python_function
from gradxform.core import check
from gradxform.core.hyper import Beta, Hyper, Schedule, coerce
from gradxform.core.plain import got
from gradxform.core.value import Child
from gradxform.schedules import (
    exponential_decay,
    inverse_time_decay,
    multi_step_schedule,
    natural_exp_decay,
    noam_schedule,
    polynomial_schedule,
    step_decay,
)
from gradxform.schedules.piecewise import Held
from gradxform.schedules.timed import check_number


class LRScheduler(FrameworkSchedule):
    """Base of the schedulers here; each has fields `last_epoch` and `verbose` besides its own."""

    resumes: ClassVar[bool] = True
    """False where paddle computes a rate from the last one, so that `last_epoch` does not only shift the step."""

    def __post_init__(self) -> None:
        super().__post_init__()
        fields: Any = self
        if isinstance(rate := getattr(self, "learning_rate", None), float):
            check.nonnegative(learning_rate=rate)
        if type(self) is LRScheduler:
            raise NotImplementedError("LRScheduler is what the schedulers share; its subclasses say what the rate is")
        check.integer(-1, last_epoch=fields.last_epoch)
        check.boolean(verbose=fields.verbose)
        if not self.resumes and fields.last_epoch != -1:
            raise ValueError(f"last_epoch must be -1 for {self.public_name()}, got {fields.last_epoch}")

    def at(self, count: Any) -> Any:
        fields: Any = self
        return self.rate(count + (fields.last_epoch + 1))

    def rate(self, k: Any) -> Any:
        """The rate after k calls of `scheduler.step()`."""
        return self.schedule()(k)


class NoamDecay(LRScheduler):
    """Warm up linearly, then decay by the root of time: `lr d_model^-½ min(k^-½, k W^-3/2)`, and 0 for k = 0.

    Raises: TypeError or ValueError if `d_model` is not positive or `warmup_steps` is below 1.
    """

    d_model: Hyper
    warmup_steps: int
    learning_rate: Hyper = 1.0
    last_epoch: int = -1
    verbose: bool = False

    def check(self) -> None:
        check.positive(d_model=self.d_model)
        check.integer(1, warmup_steps=self.warmup_steps)

    def rate(self, k: Any) -> Any:
        return noam_schedule(self.d_model, self.warmup_steps, self.learning_rate)(k - 1)


class PiecewiseDecay(LRScheduler):
    """Hold `values[i]` while i boundaries have been reached, and the last value after the last boundary.

    Raises: TypeError or ValueError if there are no boundaries, or no more values than boundaries.
    """

    boundaries: Iterable[int]
    values: Child[Iterable[Any]]
    last_epoch: int = -1
    verbose: bool = False

    def check(self) -> None:
        boundaries = steps_of("boundaries", self.boundaries)
        if not isinstance(self.values, tuple | list):
            raise TypeError(f"values must be a list or tuple of numbers, {got(self.values)}")
        values = tuple(coerce(f"values[{i}]", v) for i, v in enumerate(self.values))
        if not boundaries:
            raise ValueError("boundaries must not be empty, got none")
        if len(values) <= len(boundaries):
            raise ValueError(f"values must be one more than boundaries ({len(boundaries)}), got {len(values)}")
        for i, value in enumerate(values):
            check_number(f"values[{i}]", value)
        object.__setattr__(self, "boundaries", boundaries)
        object.__setattr__(self, "values", values)

    def schedule(self) -> Schedule:
        boundaries, values = tuple(self.boundaries), tuple(self.values)
        return Held(boundaries, (*values[: len(boundaries)], values[-1]))


def steps_of(name: str, x: object) -> tuple[int, ...]:
    if not isinstance(x, tuple | list):
        raise TypeError(f"{name} must be a list or tuple of integers, {got(x)}")
    check.integer(0, **{f"{name}[{i}]": step for i, step in enumerate(x)})
    return tuple(map(int, x))


class NaturalExpDecay(LRScheduler):
    """Decay exponentially: `lr exp(-gamma k)`.

    Raises: TypeError or ValueError if `gamma` is not positive.
    """

    learning_rate: Hyper
    gamma: Hyper
    last_epoch: int = -1
    verbose: bool = False

    def check(self) -> None:
        check.positive(gamma=self.gamma)

    def schedule(self) -> Schedule:
        return natural_exp_decay(self.learning_rate, 1, self.gamma)


class InverseTimeDecay(LRScheduler):
    """Decay as one over time: `lr / (1 + gamma k)`.

    Raises: TypeError or ValueError if `gamma` is below 0.
    """

    learning_rate: Hyper
    gamma: Hyper
    last_epoch: int = -1
    verbose: bool = False

    def check(self) -> None:
        check.nonnegative(gamma=self.gamma)

    def schedule(self) -> Schedule:
        return inverse_time_decay(self.learning_rate, 1, self.gamma)


class PolynomialDecay(LRScheduler):
    """Decay to `end_lr` along a power: `(lr - end_lr)(1 - min(k, D)/D)^power + end_lr`.

    cycle: instead of the minimum, D grows to `D max(1, ceil(k/D))`, so that the rate rises after each D steps
    Raises: TypeError or ValueError if `decay_steps` is below 1 or `power` is not positive.
    """

    learning_rate: Hyper
    decay_steps: int
    end_lr: Hyper = 0.0001
    power: Hyper = 1.0
    cycle: bool = False
    last_epoch: int = -1
    verbose: bool = False

    def check(self) -> None:
        check.integer(1, decay_steps=self.decay_steps)
        check.positive(power=self.power)
        check.boolean(cycle=self.cycle)

    def schedule(self) -> Schedule:
        if self.cycle:
            return PolynomialCycles(self.learning_rate, self.end_lr, self.power, self.decay_steps)
        return polynomial_schedule(self.learning_rate, self.end_lr, self.power, self.decay_steps)


class ExponentialDecay(LRScheduler):
    """Multiply the rate by `gamma` every step: `lr gamma^k`.

    Raises: TypeError or ValueError if `gamma` is outside (0, 1).
    """

    learning_rate: Hyper
    gamma: Beta
    last_epoch: int = -1
    verbose: bool = False

    def check(self) -> None:
        check.positive(gamma=self.gamma)
        check.fraction(gamma=self.gamma)

    def schedule(self) -> Schedule:
        return exponential_decay(self.learning_rate, 1, self.gamma)


class MultiStepDecay(LRScheduler):
    """Multiply the rate by `gamma` at each milestone: `lr gamma^(milestones ≤ k)`.

    Raises: TypeError or ValueError if the milestones do not increase, or `gamma` is not below 1.
    """

    learning_rate: Hyper
    milestones: Iterable[int]
    gamma: Hyper = 0.1
    last_epoch: int = -1
    verbose: bool = False

    def check(self) -> None:
        milestones = steps_of("milestones", self.milestones)
        if any(a >= b for a, b in pairwise(milestones)):
            raise ValueError(f"milestones must increase, {got(milestones)}")
        check.fraction(gamma=self.gamma)
        object.__setattr__(self, "milestones", milestones)

    def schedule(self) -> Schedule:
        return multi_step_schedule(self.learning_rate, tuple(self.milestones), self.gamma)


class StepDecay(LRScheduler):
    """Multiply the rate by `gamma` every `step_size` steps: `lr gamma^floor(k/step_size)`.

    Raises: TypeError or ValueError if `step_size` is below 1 or `gamma` outside (0, 1).
    """

    learning_rate: Hyper
    step_size: int
    gamma: Beta = 0.1
    last_epoch: int = -1
    verbose: bool = False

    def check(self) -> None:
        check.integer(1, step_size=self.step_size)
        check.positive(gamma=self.gamma)
        check.fraction(gamma=self.gamma)

    def schedule(self) -> Schedule:
        return step_decay(self.learning_rate, self.step_size, self.gamma)


class LambdaDecay(LRScheduler):
    """Multiply the rate by a function of the step: `lr lr_lambda(k)`.

    A function that cannot be traced (one with `if`, say) runs on the host.
    Raises: TypeError if `lr_lambda` is no function.
    """

    learning_rate: Hyper
    lr_lambda: Callable[[Any], Any]
    last_epoch: int = -1
    verbose: bool = False

    def check(self) -> None:
        object.__setattr__(self, "lr_lambda", python_function("lr_lambda", self.lr_lambda))

    def rate(self, k: Any) -> Any:
        return self.learning_rate * self.lr_lambda(k)


class MultiplicativeDecay(LRScheduler):
    """Multiply the rate by a function of each step in turn: `lr f(1) f(2) ... f(k)`.

    The product is taken anew at every step, as in paddle, at a cost of k evaluations. A function that cannot be
    traced runs on the host.
    Raises: TypeError if `lr_lambda` is no function.
    """

    learning_rate: Hyper
    lr_lambda: Callable[[Any], Any]
    last_epoch: int = -1
    verbose: bool = False

    def check(self) -> None:
        object.__setattr__(self, "lr_lambda", python_function("lr_lambda", self.lr_lambda))

    def schedule(self) -> Schedule:
        return RunningProduct(self.learning_rate, python_function("lr_lambda", self.lr_lambda))
