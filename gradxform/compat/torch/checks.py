"""What torch's optimizers accept: the same exception for the same bad argument."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ParamSpec, TypeAlias, TypeVar

import jax
import numpy as np

from gradxform.compat.common.groups import Refusals, flags
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

    @functools.wraps(make)
    def made(*args: P.args, **kwargs: P.kwargs) -> R:
        if "params" in kwargs or (args and ("lr" in kwargs or _is_parameters(args[0]))):
            raise TypeError(
                f"params: {make.__name__} takes the parameters at init, and its arguments from lr on: "
                f"tx = {make.__name__}(lr=..., groups=[...] where there are groups), state = tx.init(params)"
            )
        if isinstance(kwargs.get("lr", args and args[0]), ReduceLROnPlateau) and kwargs.get("groups") is not None:
            kwargs["groups"] = [*map(_lowered_too, kwargs["groups"])]  # type: ignore[call-overload]
        flags(**{name: kwargs[name] for name in FLAGS & kwargs.keys() if kwargs[name] is not None})
        return make(*args, **{name: x for name, x in kwargs.items() if name not in FLAGS})  # type: ignore[arg-type]

    return made


def _lowered_too(group: Any) -> Any:
    """A group whose own rate is lowered beside the others."""
    lr = number("lr", group["lr"]) if isinstance(group, Mapping) and "lr" in group else None
    return {**group, "lr": Tunable(lr)} if isinstance(lr, float) else group


def _is_parameters(x: object) -> bool:
    """Whether it holds arrays or tensors: a module, a tree, or what runs through one."""
    if isinstance(x, Schedule | Tunable | ReduceLROnPlateau):
        return False
    several = not jax.tree_util.all_leaves([x]) and any(hasattr(leaf, "shape") for leaf in jax.tree.leaves(x))
    return several or isinstance(x, Mapping | Iterator) or hasattr(x, "parameters")


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
