"""What MindSpore's optimizers accept, kind by kind: the same exception for the same bad argument.

Numbers become what the framework makes of them, float32, also for float64 parameters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from gradxform.compat.common.float32 import Float32Schedule, in_float32
from gradxform.core import check
from gradxform.core.hyper import Hyper, Schedule, Tunable
from gradxform.core.plain import fitting, got, is_gone

LearningRate: TypeAlias = float | jax.Array | NDArray[Any] | Iterable[float] | Schedule | Tunable
"""A number, an array of 0 or 1 axes, an iterable of numbers (the last one stays), a schedule, or a tunable."""
WeightDecay: TypeAlias = float | Schedule | Tunable
"""A number, no array; a schedule, or a tunable."""


LARGEST = float(np.finfo(np.float32).max)


class Rates(Float32Schedule):
    """The i-th rate at the i-th step, unchecked as in the framework; past the end the last one stays."""

    values: tuple[float, ...]

    def __call__(self, count: Any) -> Any:
        if not self.values:
            raise RuntimeError("learning_rate must have a value for the first step, got an empty vector")
        return jnp.asarray(self.values, dtype=float)[jnp.clip(count, 0, len(self.values) - 1)]


class Unchecked(Rates):
    """A rate from an array without axes: a number that the framework does not check."""


def is_dynamic(learning_rate: Hyper) -> bool:
    """Whether the framework looks the rate up at every step: a vector or a schedule."""
    return isinstance(learning_rate, Schedule) and not isinstance(learning_rate, Unchecked)


def beside_dynamic(learning_rate: Hyper) -> Hyper:
    """A number where the rate of some group is dynamic: the framework then computes `(lr + 1) - 1` in float32."""
    if isinstance(learning_rate, float):
        return float(np.float32(learning_rate) + np.float32(1) - np.float32(1))
    if isinstance(learning_rate, Unchecked):
        return Unchecked(tuple(map(beside_dynamic, learning_rate.values)))
    return learning_rate


def read_learning_rate(x: object) -> Hyper:
    """A number is checked; the entries of a vector, and an array without axes, are not.

    Raises: TypeError for another kind (functions, `numpy.float32` and None too), ValueError for a negative number, NaN,
    infinity, a string, a dict, or an array of 2 or more axes.
    """
    if isinstance(x, jax.core.Tracer | Tunable):
        return in_float32(x)
    if isinstance(x, int | float):
        x = fitting("learning_rate", x)
        nonnegative_floats(learning_rate=x)
        return in_float32(x)
    if isinstance(x, str | bytes | Mapping | set):
        raise ValueError(f"learning_rate must be a number, a vector or a schedule, got {x!r}, which holds no numbers")
    if isinstance(x, jax.Array | np.ndarray):
        if is_gone(x) or not jnp.issubdtype(x.dtype, jnp.number):
            raise TypeError(f"learning_rate must be an array of numbers, {got(x)}")
        if jnp.iscomplexobj(x):
            raise TypeError(f"learning_rate must be real, {got(x)}")
        if x.ndim > 1:
            raise ValueError(f"learning_rate must be an array of 0 or 1 axes, got {x.ndim} (shape {x.shape})")
        values = tuple(np.asarray(x, np.float32).reshape(-1).tolist())
        if x.ndim == 1:
            return Rates(values)
        return values[0] if 0.0 <= values[0] < math.inf else Unchecked(values)
    if isinstance(x, Iterable):
        entries = list(x)
        try:
            return Rates(tuple(float(np.float32(float(v))) for v in entries))
        except (TypeError, ValueError, ArithmeticError) as error:
            raise ValueError(f"learning_rate must hold numbers, got {entries!r}: {error}") from None
    if isinstance(x, Schedule):
        return in_float32(x)
    raise TypeError(
        "learning_rate must be an int, a float, an array, an iterable of numbers or a schedule (to write one, subclass "
        f"LearningRateSchedule), {got(x)}"
    )


def read_weight_decay(x: object) -> Hyper:
    """A number or a schedule (what the framework writes as a `Cell`), called with the global step.

    Raises: TypeError for another kind (`numpy.float32`, arrays and lists too), ValueError for a negative number.
    """
    if isinstance(x, int | float):
        x = fitting("weight_decay", x)
        nonnegative_floats(weight_decay=x)
        return x
    if not isinstance(x, Schedule | Tunable | jax.core.Tracer):
        raise TypeError(f"weight_decay must be an int, a float or a schedule, {got(x)}")
    return x


def read_loss_scale(x: float) -> float:
    """Raises: TypeError unless it is an int or a float, ValueError unless it is positive and finite."""
    x = fitting("loss_scale", x) if isinstance(x, int) else x
    floats(loss_scale=x)
    check.positive(loss_scale=x)
    if x * LARGEST < 1.0:
        raise ValueError(f"loss_scale must be a number by which float32 can divide, got {x}")
    return float(x)


def floats(**named: float) -> None:
    """Refuse everything but floats: ints and bools too, as the framework does for most hyperparameters."""
    for name, x in named.items():
        if not isinstance(x, float):
            raise TypeError(f"{name} must be a float, {got(x)}")
        if LARGEST < abs(x) < math.inf:
            raise ValueError(f"{name} must be a number that float32 holds, got {x}")


def nonnegative_floats(**named: float) -> None:
    floats(**named)
    check.nonnegative(**named)


def inside_unit(**named: float) -> None:
    """Floats in (0, 1), both ends excluded."""
    floats(**named)
    for name, x in named.items():
        if not 0.0 < x < 1.0:
            raise ValueError(f"{name} must be in (0, 1), got {x}")
