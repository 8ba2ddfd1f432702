"""What torch's optimizers accept: the same exception for the same bad argument."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ParamSpec, TypeAlias, TypeVar

import jax
import numpy as np

from gradxform.compat.common import constructors
from gradxform.compat.common.groups import Groups, Refusals, listed, said
from gradxform.compat.torch.schedules.plateau import ReduceLROnPlateau
from gradxform.core.hyper import Hyper, Schedule, Tunable, coerce
from gradxform.core.plain import got, is_gone
from gradxform.core.types import ArrayLike

REFUSALS = Refusals(empty=ValueError, element=TypeError, nameless=KeyError)

P = ParamSpec("P")
R = TypeVar("R")

FLAGS = frozenset({"foreach", "fused", "capturable", "differentiable"})
"""Arguments that choose an implementation there, and change no number."""

NumberLike: TypeAlias = ArrayLike | Schedule | Callable[[Any], Any] | Tunable | ReduceLROnPlateau
"""What stands where torch has a number: a number, an array of one element, a schedule or function
of the count, or a tunable."""


def constructor(make: Callable[P, R]) -> Callable[P, R]:
    """An optimizer that takes torch's call as it is written there, but for the parameters, which `init` takes."""
    plain = constructors.constructor("params", FLAGS, "lr=..., groups=[...] where there are groups", ahead=True)(make)
    default = inspect.signature(make).parameters["lr"].default

    @functools.wraps(make)
    def made(*args: P.args, **kwargs: P.kwargs) -> R:
        if "groups" in kwargs:
            lr, groups = kwargs.get("lr", args[0] if args else default), listed(kwargs["groups"])  # type: ignore[arg-type]
            kwargs["groups"] = lowered_together(lr, groups)
        return plain(*args, **kwargs)

    return made


def lowered_together(lr: object, groups: Groups | None) -> Groups | None:
    """The groups; where the rate of one waits for a metric, torch's scheduler lowers those of all.

    Raises: ValueError for another scheduler beside it.
    """
    if not isinstance(groups, Sequence) or not any(isinstance(x, ReduceLROnPlateau) for x in (lr, *said(groups, "lr"))):
        return groups
    rates = [number("lr", group.get("lr", lr)) if isinstance(group, Mapping) else None for group in groups]
    if schedules := [rate for rate in rates if isinstance(rate, Schedule)]:
        raise ValueError(
            "ReduceLROnPlateau lowers the rates of all groups, which must be numbers then; to have it beside another "
            "scheduler, let it lower a factor behind the optimizer: gx.scale_by_learning_rate(ReduceLROnPlateau(1.0, "
            f"eps=0.0).tunable, flip_sign=False); got {schedules[0]!r}"
        )
    return [
        {**group, "lr": Tunable(rate) if isinstance(rate, float) else rate} if isinstance(group, Mapping) else group
        for group, rate in zip(groups, rates, strict=True)
    ]


def number(name: str, x: object) -> Hyper:
    """A hyperparameter as torch takes it: a number, an array of one element; and a schedule or tunable.

    Raises: TypeError for another kind, lists too; ValueError for an array of several elements.
    """
    if isinstance(x, ReduceLROnPlateau):
        return x.tunable
    if isinstance(x, jax.core.Tracer | Schedule | Tunable):
        return x
    if is_gone(x):
        return coerce(name, x)
    if isinstance(x, jax.Array | np.ndarray):
        if x.size != 1:
            raise ValueError(f"{name} must have one element, got an array of shape {x.shape}")
        return coerce(name, x.reshape(()))
    if isinstance(x, bool):
        return float(x)
    if isinstance(x, Iterable) and not callable(x):
        raise TypeError(f"{name} must be a number or a schedule, {got(x)}")
    return coerce(name, x)


def nonnegative(**named: object) -> None:
    """Refuse numbers below 0; NaN and infinity pass, as in torch."""
    for name, x in named.items():
        if (value := seen(number(name, x))) is not None and value < 0.0:
            raise ValueError(f"{name} must be at least 0, got {value}")


def positive(**named: object) -> None:
    for name, x in named.items():
        if (value := seen(number(name, x))) is not None and not value > 0.0:
            raise ValueError(f"{name} must be positive, got {value}")


def refuse_cycles(optimizer: str, lr: object) -> None:
    """Refuse a scheduler that cycles the momentum of an optimizer that has none, as torch does."""
    if _cycled(lr):
        raise ValueError(f"lr must have cycle_momentum=False, for {optimizer} has no momentum to cycle, {got(lr)}")


def refuse_fixed(name: str, momentum: object, lr: object, written: str = "momentum=lr.momentum") -> None:
    """Refuse a number beside a scheduler that would cycle it in torch, whatever it is."""
    if _cycled(lr) and isinstance(momentum, float):
        raise ValueError(
            f"{name} must be that of the scheduler, which cycles it: make lr first and write {written}, or give the "
            f"scheduler cycle_momentum=False; got {name}={momentum}"
        )


def _cycled(lr: object) -> bool:
    lr = lr.initial if isinstance(lr, Tunable) else lr
    return isinstance(lr, Schedule) and getattr(lr, "momentum", None) is not None


def pair(name: str, x: object) -> tuple[Hyper, Hyper]:
    """Two numbers under one name. Raises: TypeError for what has no two entries."""
    if isinstance(x, str) or not isinstance(x, Sequence) or len(x) != 2:
        raise TypeError(f"{name} must be a pair of numbers, {got(x)}")
    return number(f"{name}[0]", x[0]), number(f"{name}[1]", x[1])


def fractions(name: str, x: object) -> None:
    """Refuse a pair of decay rates outside [0, 1)."""
    for i, part in enumerate(pair(name, x)):
        if (value := seen(part)) is not None and not 0.0 <= value < 1.0:
            raise ValueError(f"{name}[{i}] must be in [0, 1), got {value}")


def seen(x: Hyper) -> float | None:
    """The number that can be checked now: none where it is a schedule or a tracer."""
    x = x.initial if isinstance(x, Tunable) else x
    return x if isinstance(x, float) else None
