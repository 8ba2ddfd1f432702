"""The base of all schedules: numbers as hyperparameters, lengths in steps or as fractions of a declared total."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any

import jax

from gradxform.core import check
from gradxform.core.hyper import Hyper, Schedule, coerce, coerce_fields
from gradxform.core.plain import fitting, got, plain
from gradxform.core.schema import Field, schema
from gradxform.core.types import Array, ArrayLike
from gradxform.core.value import Pair
from gradxform.schedules.arithmetic import as_count

Steps = Annotated[int | float, "steps"]
"""A number of steps, or a float in [0, 1]: that fraction of the total declared by `over`."""
Boundaries = Annotated[tuple[Steps, ...], "boundaries"]
Scales = Annotated[Mapping[Any, float] | tuple[tuple[Steps, float], ...] | None, "scales"]


class Items(tuple[tuple[Steps, float], ...]):
    """The items of a mapping by steps, sorted; prints as that mapping."""

    def __repr__(self) -> str:
        return repr(dict(self))


class Timed(Schedule):
    """A schedule whose `Hyper` fields are single numbers and whose lengths stand in `Steps` fields.

    Subclasses write `at`, which sees the count as an array of integers (or floats, if the caller has floats).
    """

    def __post_init__(self) -> None:
        coerce_fields(self)
        for f in schema(type(self)):
            x = getattr(self, f.name)
            if f.kind in ("hyper", "beta") and x is not None:
                check_number(f.name, x)
            elif f.annotation is float:
                object.__setattr__(self, f.name, _number(f.name, x))
            elif (length := _length(f)) is not None:
                object.__setattr__(self, f.name, _LENGTHS[length](f.name, x))
        self.check()

    def check(self) -> None:
        """Refuse arguments out of range; called once, when a user makes the schedule."""

    def at(self, count: Array) -> Array:
        raise NotImplementedError

    def __call__(self, count: ArrayLike) -> Array:
        for f in schema(type(self)):
            if _length(f) and any(map(is_fraction, _lengths(getattr(self, f.name)))):
                raise ValueError(
                    f"{f.name} of {self!r} is a fraction: declare the total with over(total_steps, schedule)"
                )
        return self.at(as_count(count))


class Composed(Timed):
    """A schedule written in terms of others, which keeps its own name and arguments."""

    def schedule(self) -> Schedule:
        raise NotImplementedError

    def at(self, count: Array) -> Array:
        value: Array = self.schedule()(count)
        return value


def over(total_steps: int, schedule: Schedule) -> Schedule:
    """Declare the total that the fractions in a schedule refer to: `steps = round(fraction · total_steps)`.

    Wherever a schedule of this library takes a number of steps or a boundary, it takes a float in [0, 1] as well;
    a total declared here turns all of them into steps, in joined schedules too. Numbers of steps stay as they are.

    Raises: ValueError or TypeError if `total_steps` is not a positive integer or the rounded steps are out of range.
    """
    check.integer(1, total_steps=total_steps)
    if not isinstance(schedule, Schedule):
        raise TypeError(f"schedule must be a schedule, {got(schedule)}")
    declared: Schedule = _declared(schedule, int(total_steps))
    return declared


def _declared(x: Any, total: int) -> Any:
    if isinstance(x, Timed):
        return type(x)(**{f.name: _declared_field(f, getattr(x, f.name), total) for f in schema(type(x))})
    return tuple(_declared(part, total) for part in x) if type(x) is tuple else x


def _declared_field(f: Field, x: Any, total: int) -> Any:
    def steps(n: Steps) -> Steps:
        return round(n * total) if is_fraction(n) else n

    if f.kind == "child":
        return _declared(x, total)
    match _length(f):
        case "steps":
            return steps(x)
        case "boundaries":
            return tuple(map(steps, x))
        case "scales":
            declared = {steps(n): scale for n, scale in x}
            if len(declared) < len(x):
                raise ValueError(f"total_steps must keep the boundaries of {x!r} apart, got {total}")
            return declared
    return x


def _length(f: Field) -> str | None:
    """What a field that holds lengths holds; None for another."""
    return next((mark for mark in f.marks if mark in _LENGTHS), None)


def is_fraction(steps: Steps) -> bool:
    return isinstance(steps, float) and steps <= 1.0


def lasting(**named: Steps) -> None:
    """Refuse a length of no steps."""
    for name, steps in named.items():
        if steps == 0:
            raise ValueError(f"{name} must be at least 1, got {steps}")


def in_turn(**named: Steps) -> None:
    """Refuse fractions of one total that follow one another and are more than all of it: the last would never end."""
    total = sum(steps for steps in named.values() if is_fraction(steps))
    if total > 1.0 + 1e-9:
        given = ", ".join(f"{name}={steps}" for name, steps in named.items() if is_fraction(steps))
        raise ValueError(f"{' + '.join(named)} must be at most 1 in fractions of the total, got {total:g}: {given}")


def check_number(name: str, x: Hyper) -> None:
    """Refuse what is not one finite number (or a number still being traced)."""
    if not isinstance(x, float | jax.core.Tracer | Pair):
        raise TypeError(f"{name} must be a number, {got(x)}")
    check.finite(**{name: x})


def increasing(name: str, boundaries: Boundaries) -> None:
    if any(isinstance(a, int) == isinstance(b, int) and a > b for a, b in pairwise(boundaries)):
        raise ValueError(f"{name} must not decrease, {got(boundaries)}")


def _steps(name: str, x: Any) -> Steps:
    x = plain(x)
    if isinstance(x, int) and not isinstance(x, bool):
        check.integer(0, 2**63 - 1, **{name: x})
        return x
    if not isinstance(x, float):
        raise TypeError(f"{name} must be a number of steps, {got(x)}")
    if not 0.0 <= x < math.inf:
        raise ValueError(f"{name} must be at least 0 and finite, got {x}")
    fitting(name, x)
    return int(x) if x == 0.0 or (x > 1.0 and x.is_integer()) else x


def _boundaries(name: str, x: Any) -> Boundaries:
    given = check.sequence("steps", **{name: x})
    boundaries = tuple(_steps(f"{name}[{i}]", b) for i, b in enumerate(given))
    increasing(name, boundaries)
    return boundaries


def _scales(name: str, x: Any) -> Items:
    if x is None:
        return Items()
    if not isinstance(x, Mapping | Items):
        raise TypeError(f"{name} must map steps to scales, {got(x)}")
    items = []
    for n, scale in dict(x).items():
        scale = plain(scale)
        if isinstance(scale, bool) or not isinstance(scale, int | float):
            raise TypeError(f"{name}[{n!r}] must be a number, {got(scale)}")
        check.nonnegative(**{f"{name}[{n!r}]": float(scale)})
        items.append((_steps(f"a step in {name}", n), float(scale)))
    return Items(sorted(items))


def _number(name: str, x: Hyper) -> float:
    x = coerce(name, x)
    check_number(name, x)
    return float(x)


def _lengths(x: Any) -> tuple[Any, ...]:
    if isinstance(x, Items):
        return tuple(n for n, _ in x)
    return x if isinstance(x, tuple) else (x,)


_LENGTHS: dict[str, Any] = {"steps": _steps, "boundaries": _boundaries, "scales": _scales}
