"""Checks of hyperparameters, each a sentence with the argument's name and value.

Each takes keyword arguments `name=value`, looks at every number it can see (a float, the values of a table, the
initial value of a tunable) and lets schedules and tracers pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax.numpy as jnp

from gradxform.core.hyper import Hyper, Table, Tunable, coerce
from gradxform.core.plain import got, plain
from gradxform.core.types import Dtype
from gradxform.core.value import Value


def fraction(**named: Hyper) -> None:
    """In [0, 1): a decay rate."""
    _all(named, lambda x: 0.0 <= x < 1.0, "in [0, 1)")


def unit(**named: Hyper) -> None:
    """In [0, 1]."""
    _all(named, lambda x: 0.0 <= x <= 1.0, "in [0, 1]")


def percentage(**named: Hyper) -> None:
    """In [0, 100]."""
    _all(named, lambda x: 0.0 <= x <= 100.0, "in [0, 100]")


def positive(**named: Hyper) -> None:
    _all(named, lambda x: 0.0 < x < math.inf, "positive and finite")


def divisor(**named: Hyper) -> None:
    """Positive, and not so small that float32 has no number for what is divided by it."""
    positive(**named)
    least = float(jnp.finfo(jnp.float32).tiny)
    _all(named, lambda x: x >= least, f"at least {least:.3g}, the smallest number that float32 divides by")


def nonnegative(**named: Hyper) -> None:
    _all(named, lambda x: 0.0 <= x < math.inf, "at least 0 and finite")


def positive_bound(**named: Hyper) -> None:
    """Positive; infinity bounds nothing."""
    _all(named, lambda x: x > 0.0, "positive")


def nonnegative_bound(**named: Hyper) -> None:
    """At least 0; infinity bounds nothing."""
    _all(named, lambda x: x >= 0.0, "at least 0")


def at_least(least: float, **named: Hyper) -> None:
    _all(named, lambda x: least <= x < math.inf, f"at least {least:g} and finite")


def finite(**named: Hyper) -> None:
    _all(named, math.isfinite, "finite")


def ordered(**named: Hyper) -> None:
    """Two bounds, none of them NaN, the first at most the second at every step."""
    (low, lowers), (high, uppers) = ((name, _numbers(x)) for name, x in named.items())
    _all(named, lambda x: not math.isnan(x), "a number")
    for i in range(max(len(lowers), len(uppers)) if lowers and uppers else 0):
        a, b = (x[min(i, len(x) - 1)] for x in (lowers, uppers))
        if a > b:
            raise ValueError(f"{low} must be at most {high}, got {low}={a}, {high}={b}")


def integer(at_least: int = 0, at_most: int = 2**31 - 1, **named: Any) -> None:
    """An integer that counters, which are int32, can reach."""
    for name, x in named.items():
        if isinstance(x, bool) or not isinstance(n := plain(x), int):
            raise TypeError(f"{name} must be an integer, {got(x)}")
        if n < at_least:
            raise ValueError(f"{name} must be at least {at_least}, got {x}")
        if n > at_most:
            raise ValueError(f"{name} must be at most {at_most}, got {x}")


def boolean(**named: Any) -> None:
    for name, x in named.items():
        if not isinstance(x, bool):
            raise TypeError(f"{name} must be True or False, {got(x)}")


def choice(*options: Any, **named: Any) -> None:
    for name, x in named.items():
        if not isinstance(x, str | None) or x not in options:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, options))}, {got(x)}")


def function(**named: Any) -> None:
    """A function, or None."""
    for name, x in named.items():
        if x is not None and not callable(x):
            raise TypeError(f"{name} must be a function, {got(x)}")


def floating(**named: Dtype | None) -> None:
    """A dtype of floating-point or complex numbers, or None."""
    for name, x in named.items():
        if x is None:
            continue
        what = got(x)
        try:
            right = not hasattr(x, "shape") and jnp.issubdtype(jnp.dtype(x), jnp.inexact)
            what = what if hasattr(x, "shape") else f"got {jnp.dtype(x)}"
        except (TypeError, ValueError):
            right = False
        if not right:
            raise TypeError(f"{name} must be a floating dtype, {what}")


def sequence(of: str, **named: Any) -> tuple[Any, ...]:
    """What a list, a tuple, an array of one axis or a generator holds, in order."""
    ((name, x),) = named.items()
    unordered = isinstance(x, str | bytes | Mapping | set | frozenset | type | Value) or getattr(x, "ndim", 1) != 1
    if unordered or not isinstance(x, Iterable):
        raise TypeError(f"{name} must be a sequence of {of}, {got(x)}")
    return tuple(x)


def pair(of: str, **named: Any) -> tuple[Any, Any]:
    """What a sequence of two holds."""
    ((name, x),) = named.items()
    found = sequence(of, **named)
    if len(found) != 2:
        raise ValueError(f"{name} must be {of}, got {x!r}")
    return found[0], found[1]


def axes(**named: Any) -> None:
    """An axis of an array, several, or None."""
    for name, x in named.items():
        for axis in () if x is None else x if isinstance(x, tuple) else (x,):
            if isinstance(axis, bool) or not isinstance(axis, int):
                raise TypeError(f"{name} must be an integer, a tuple of them or None, {got(x)}")


def names(**named: Any) -> None:
    """A name, or several."""
    for name, x in named.items():
        if not isinstance(x, str | tuple | list) or not all(isinstance(part, str) for part in x):
            raise TypeError(f"{name} must be a name or a sequence of names, {got(x)}")


def axis(**named: Any) -> None:
    """The name of a device axis, or a tuple of names."""
    for name, x in named.items():
        parts = x if isinstance(x, tuple) else (x,)
        if not all(isinstance(part, str) for part in parts):
            raise TypeError(f"{name} must be the name of an axis or a tuple of names, {got(x)}")
        if "" in parts or not parts:
            raise ValueError(f"{name} must be the name of an axis or a tuple of names, {got(x)}")


def axis_or_none(**named: Any) -> None:
    """As `axis`, or None."""
    axis(**{name: x for name, x in named.items() if x is not None})


def given(check: Callable[..., None], **named: Hyper) -> Hyper:
    """One hyperparameter in its stored form, checked under the name that its caller knows it by."""
    ((name, x),) = named.items()
    x = coerce(name, x)
    check(**{name: x})
    return x


def number(check: Callable[..., None], infinite: bool = False, **named: Hyper) -> float:
    """One plain number, checked: what a schedule or a tunable cannot stand for. infinite: infinity passes unchecked."""
    ((name, x),) = named.items()
    if infinite and isinstance(x, float) and x == math.inf:
        return x
    coerced = given(check, **named)
    if not isinstance(coerced, float):
        raise TypeError(f"{name} must be a number, {got(x)}")
    return coerced


def _all(named: dict[str, Hyper], holds: Callable[[float], bool], words: str) -> None:
    for name, x in named.items():
        for number in _numbers(x):
            if not holds(number):
                raise ValueError(f"{name} must be {words}, got {number}")


def _numbers(x: Hyper) -> tuple[float, ...]:
    if isinstance(x, Tunable):
        return _numbers(x.initial)
    if isinstance(x, Table):
        return x.values
    return (x,) if isinstance(x, float) else ()
