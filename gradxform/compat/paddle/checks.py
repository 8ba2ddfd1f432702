"""What paddle's optimizers accept; where it fails by an assertion, an index or an attribute, with words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import numpy as np

from gradxform.compat.common.groups import Listed, Members, Refusals, is_function, where_of
from gradxform.compat.paddle.attributes import GradientClip, L2Decay, ParamAttr, Regularizer
from gradxform.compat.paddle.schedules.plateau import ReduceOnPlateau
from gradxform.core.hyper import FromFunction, Hyper, Schedule, Tunable, coerce
from gradxform.core.plain import fitting, got, is_gone
from gradxform.params.select import Selector, selector

REFUSALS = Refusals(empty=ValueError, element=TypeError, nameless=ValueError)

LearningRate: TypeAlias = float | Schedule | Callable[[Any], Any] | Tunable | ReduceOnPlateau
"""A float of any sign, no int; a schedule or function of the count; a tunable; the scheduler that has a metric."""
NumberLike: TypeAlias = float | np.integer[Any] | np.floating[Any] | Schedule | Tunable
"""What stands where paddle has a number: a number of any sign, no array; a schedule, or a tunable."""
WeightDecay: TypeAlias = float | Regularizer | None
"""The coefficient of L2 decay, `L1Decay`, `L2Decay`, or None for none."""
ParamAttrs: TypeAlias = Mapping[Any, ParamAttr]
"""From parameters (a regular expression, a `Selector`, a function `(path, leaf) -> bool`, or a tuple of paths) to what
is said of them; the first that fits counts."""


def read_learning_rate(x: object) -> Hyper:
    """A float of any sign, a schedule or tunable.

    Raises: ValueError for None; TypeError for another kind, ints, bools, arrays, `numpy.float32` and lists too.
    """
    if x is None:
        raise ValueError("learning_rate must be set, got None")
    if isinstance(x, ReduceOnPlateau):
        return x.tunable
    if isinstance(x, float | Schedule | Tunable | jax.core.Tracer):
        return float(x) if isinstance(x, float) else x
    if is_function(x):
        return FromFunction(x)
    raise TypeError(f"learning_rate must be a float or a schedule, {got(x)}")


def read_weight_decay(x: object) -> Regularizer | None:
    """The coefficient of L2 decay, a regularizer, or None.

    Raises: TypeError for another kind, arrays, strings and `numpy.float32` too.
    """
    if x is None or isinstance(x, Regularizer):
        return x
    if isinstance(x, int | float):
        return L2Decay(fitting("weight_decay", x))
    raise TypeError(f"weight_decay must be a float, an int, L1Decay or L2Decay, {got(x)}")


def read_group_decay(x: object) -> Regularizer | None:
    """What a group says. Raises: as `read_weight_decay`, and TypeError for an int, which the framework takes there for
    a regularizer."""
    if isinstance(x, int):
        raise TypeError(f"weight_decay of a group must be a float, L1Decay or L2Decay, {got(x)}; write {float(x)}")
    return read_weight_decay(x)


def read_clip(x: object) -> GradientClip | None:
    if not isinstance(x, GradientClip | None):
        raise TypeError(f"grad_clip must be ClipGradByValue, ClipGradByNorm or ClipGradByGlobalNorm, {got(x)}")
    return x


def number(name: str, x: object) -> Hyper:
    """A number of any sign, an array of one element, a schedule or tunable.

    Raises: ValueError for None, TypeError for another kind.
    """
    if x is None:
        raise ValueError(f"{name} must be set, got None")
    if isinstance(x, bool):
        return float(x)
    if isinstance(x, int | float | np.integer | np.floating | Schedule | Tunable | jax.core.Tracer):
        return coerce(name, x)
    if isinstance(x, jax.Array | np.ndarray) and not is_gone(x) and x.size == 1:
        return coerce(name, x.reshape(()))
    raise TypeError(f"{name} must be a number or a schedule, {got(x)}")


def at_least_zero(**named: object) -> None:
    _within(lambda x: x >= 0.0, "at least 0", named)


def fractions(**named: object) -> None:
    _within(lambda x: 0.0 <= x < 1.0, "in [0, 1)", named)


def function_or_none(**named: object) -> None:
    for name, x in named.items():
        if x is not None and not is_function(x):
            raise TypeError(f"{name} must be a function or None, {got(x)}")


def not_none(**named: object) -> None:
    """Refuse None, where paddle asserts."""
    for name, x in named.items():
        if x is None:
            raise ValueError(f"{name} must be set, got None")


def _within(holds: Callable[[float], bool], words: str, named: Mapping[str, object]) -> None:
    for name, x in named.items():
        value = number(name, x)
        value = value.initial if isinstance(value, Tunable) else value
        if isinstance(value, float) and not holds(value):
            raise ValueError(f"{name} must be {words}, got {value}")


def read_attributes(x: object) -> tuple[tuple[Selector, ParamAttr], ...]:
    """`{where: ParamAttr}` as pairs; where is a regular expression, a selector, a function or a tuple of paths.

    Raises: TypeError for another kind.
    """
    if x is None:
        return ()
    if not isinstance(x, Mapping):
        raise TypeError(f"param_attr must map parameters to ParamAttr, {got(x)}")
    for where, attribute in x.items():
        if not isinstance(attribute, ParamAttr):
            raise TypeError(f"param_attr must hold ParamAttr, {got(attribute)} for {where!r}")
    return tuple((Listed(k) if isinstance(k, tuple) else selector(k), attribute) for k, attribute in x.items())


def read_frozen(x: Members | None) -> Selector | None:
    """What `params` of a group may be, and a set of paths as well."""
    try:
        return None if x is None else where_of(sorted(x) if isinstance(x, set | frozenset) else x)
    except (TypeError, ValueError) as error:
        raise type(error)(f"frozen: {error}") from None
