"""What paddle's optimizers accept: the same exception for the same bad argument."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from gradxform.compat.common.groups import Listed, Refusals, is_function, where_of
from gradxform.compat.paddle.attributes import GradientClip, L2Decay, ParamAttr, Regularizer
from gradxform.core.hyper import FromFunction, Schedule, Tunable, coerce
from gradxform.params.select import Selector, selector

REFUSALS = Refusals(empty=IndexError, element=AttributeError, nameless=AssertionError)


def read_learning_rate(x: Any) -> Any:
    """A float of any sign, a schedule or tunable.

    Raises: ValueError for None; TypeError for another kind, ints, bools, arrays, `numpy.float32` and lists too.
    """
    if x is None:
        raise ValueError("learning_rate must be set, got None")
    if isinstance(x, float | Schedule | Tunable | jax.core.Tracer):
        return float(x) if isinstance(x, float) else x
    if is_function(x):
        return FromFunction(x)
    raise TypeError(f"learning_rate must be a float or a schedule, got {x!r} of type {type(x).__name__}")


def read_weight_decay(x: Any) -> Any:
    """The coefficient of L2 decay, a regularizer, or None.

    Raises: TypeError for another kind, arrays, strings and `numpy.float32` too.
    """
    if x is None or isinstance(x, Regularizer):
        return x
    if isinstance(x, int | float):
        return L2Decay(float(x))
    raise TypeError(f"weight_decay must be a float, an int, L1Decay or L2Decay, got {x!r} of type {type(x).__name__}")


def read_clip(x: Any) -> GradientClip | None:
    if not isinstance(x, GradientClip | None):
        raise TypeError(
            "grad_clip must be ClipGradByValue, ClipGradByNorm or ClipGradByGlobalNorm, "
            f"got {x!r} of type {type(x).__name__}"
        )
    return x


def number(name: str, x: Any) -> Any:
    """A number of any sign, a schedule or tunable.

    Raises: ValueError for None, TypeError for another kind.
    """
    if x is None:
        raise ValueError(f"{name} must be set, got None")
    if isinstance(x, bool):
        return float(x)
    if isinstance(x, int | float | np.integer | np.floating | Schedule | Tunable | jax.core.Tracer):
        return coerce(name, x)
    raise TypeError(f"{name} must be a number or a schedule, got {x!r} of type {type(x).__name__}")


def at_least_zero(**named: Any) -> None:
    _within(lambda x: x >= 0.0, "at least 0", named)


def fractions(**named: Any) -> None:
    _within(lambda x: 0.0 <= x < 1.0, "in [0, 1)", named)


def given(**named: Any) -> None:
    """Refuse None, as paddle asserts."""
    for name, x in named.items():
        if x is None:
            raise AssertionError(f"{name} must be set, got None")


def _within(holds: Callable[[float], bool], words: str, named: Mapping[str, Any]) -> None:
    for name, x in named.items():
        x = number(name, x)
        x = x.initial if isinstance(x, Tunable) else x
        if isinstance(x, float) and not holds(x):
            raise ValueError(f"{name} must be {words}, got {x}")


def read_attributes(x: Any) -> tuple[tuple[Selector, ParamAttr], ...]:
    """`{where: ParamAttr}` as pairs; where is a regular expression, a selector, a function or a tuple of paths.

    Raises: TypeError for another kind.
    """
    if x is None:
        return ()
    if not isinstance(x, Mapping):
        raise TypeError(f"param_attr must map parameters to ParamAttr, got {x!r} of type {type(x).__name__}")
    for where, attribute in x.items():
        if not isinstance(attribute, ParamAttr):
            kind = type(attribute).__name__
            raise TypeError(f"param_attr must hold ParamAttr, got {attribute!r} of type {kind} for {where!r}")
    return tuple((Listed(k) if isinstance(k, tuple) else selector(k), attribute) for k, attribute in x.items())


def read_frozen(x: Any) -> Selector | None:
    """What `params` of a group may be, and a set of paths as well."""
    return None if x is None else where_of(sorted(x) if isinstance(x, set | frozenset) else x)
