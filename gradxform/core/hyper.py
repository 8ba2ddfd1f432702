"""Hyperparameters: a number, a table, a schedule, or a tunable that lives in the state."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core.plain import fitting, got, is_array, is_real, number_in, wrong_kind
from gradxform.core.schema import Field, schema
from gradxform.core.state import State
from gradxform.core.types import Count, Number, OptState
from gradxform.core.value import Pair, Value

Hyper = Annotated[Any, "hyper"]
"""float | array of shape () | iterable of numbers, a table in time | schedule `count -> value` | `tunable(...)`."""
Beta = Annotated[Any, "beta"]
"""A `Hyper` in [0, 1) that a rule also uses as `1 - beta`; carried as `Pair` where it is data."""
Rate = Annotated[Any, "hyper", "data"]
"""A `Hyper` that meets arrays only, never another number: one rounding, whether it is a constant or data."""
Decay = Annotated[Any, "hyper", "data", "zero"]
"""A `Rate` that a rule leaves out where it is the plain number 0."""
ScalarOrSchedule = Hyper
"""The same under optax's name."""

V = TypeVar("V", bound=Value)


class Schedule(Value):
    """A hyperparameter as a function of the number of updates done: 0 at the first update, then 1, 2, ..."""

    def __call__(self, count: Count) -> Number:
        raise NotImplementedError


class Table(Schedule):
    """The i-th value at the i-th update; past the end the last value stays."""

    values: tuple[float, ...]

    def __repr__(self) -> str:
        return repr([*self.values])

    def __call__(self, count: Count) -> Number:
        last = len(self.values) - 1
        return jnp.asarray(self.values, dtype=float)[jnp.clip(count, 0, last)]


class FromFunction(Schedule):
    """A user's own function `count -> value`; equal to another only if it is the same function."""

    function: Callable[[Count], Number]

    def __call__(self, count: Count) -> Number:
        return self.function(count)

    def __repr__(self) -> str:
        return getattr(self.function, "__name__", repr(self.function))


class Tunable(Value):
    """A hyperparameter that has a slot in the state and can be set there while training."""

    initial: Hyper

    def __repr__(self) -> str:
        return f"tunable({self.initial!r})"


class Given(Value):
    """A number that `giving` hands over: the compiled code of un-jitted updates takes it as data."""

    index: int
    tunable: bool = False

    def __repr__(self) -> str:
        return "..."


def has_slot(x: Hyper) -> bool:
    """Whether a hyperparameter has a slot in the state."""
    return isinstance(x, Tunable) or (isinstance(x, Given) and x.tunable)


_NUMBERS: contextvars.ContextVar[Sequence[Number]] = contextvars.ContextVar("numbers")


@contextlib.contextmanager
def giving(numbers: Sequence[Number]) -> Iterator[None]:
    """What every `Given` is inside the block."""
    before = _NUMBERS.set(numbers)
    try:
        yield
    finally:
        _NUMBERS.reset(before)


class Slot(NamedTuple):
    """A hyperparameter that becomes a `Given`: its name, and the way to the state of its chain."""

    x: Hyper
    key: str
    beta: bool
    place: tuple[str, ...]

    @property
    def moves(self) -> bool:
        """Whether it depends on the state."""
        return not isinstance(self.x, float)

    def state(self, state: OptState) -> State | None:
        """The state of its chain; None where there is none."""
        for name in self.place:
            state = state.get(name) if isinstance(state, dict) else getattr(state, name, None)
        if not isinstance(state, State) or state.count is None or np.shape(state.count) != ():
            return None
        if isinstance(self.x, Tunable) and isinstance(state.hyper.get(self.key), Pair) != self.beta:
            return None
        return None if isinstance(self.x, Tunable) and self.key not in state.hyper else state

    def now(self, state: State) -> Number:
        return resolve(self.x, state.count, state.hyper.get(self.key), self.beta, self.key)


class Slots:
    """The numbers that are taken out of a transformation, in the order of their `Given`.

    order: each number with the index of its `Given`. place: the way to the state of the part at hand; None where
    schedules and tunables cannot be read before the update.
    """

    def __init__(self, order: dict[Slot, int], place: tuple[str, ...] | None = ()) -> None:
        self.order, self.place = order, place

    def inside(self, *names: str) -> Slots:
        """The same for a part whose state stands under these names."""
        return Slots(self.order, None if self.place is None else (*self.place, *names))

    def take(self, value: V, names: Mapping[str, str]) -> V:
        """The value with a `Given` for each number that may be data; names: field -> name of the hyperparameter."""
        new: dict[str, Given] = {}
        for name, x in hyper_fields(value).items():
            if is_data(value, name, x) or (isinstance(x, Schedule | Tunable) and self.place is not None):
                slot = Slot(x, names[name], is_beta(value, name), self.place or ())
                new[name] = Given(self.order.setdefault(slot, len(self.order)), isinstance(x, Tunable))
        return replace_hyper(value, new) if new else value


def coerce(name: str, x: Hyper) -> Hyper:
    """Bring what a user may write as a hyperparameter into its one stored form.

    float, `Schedule`, `Tunable`, or (under a trace) the tracer itself.
    Raises: TypeError for a wrong kind, ValueError for an empty table, an array of 1 or more axes, or a number that no
    float holds.
    """
    if isinstance(x, Schedule | Tunable | Pair):
        return x
    if is_array(x):
        return number_in(name, x)
    if isinstance(x, int | float) and not isinstance(x, bool):
        return fitting(name, x)
    if callable(x) and not isinstance(x, type):
        return FromFunction(x)
    if isinstance(x, _NO_TABLES) or not isinstance(x, Iterable):
        raise wrong_kind(name, x)
    values = tuple(coerce(name, v) for v in itertools.islice(x, LONGEST + 1))
    if not values:
        raise ValueError(f"{name} must have at least one value, got an empty {type(x).__name__}")
    if len(values) > LONGEST:
        raise ValueError(f"{name} must have at most {LONGEST:,} values, got more from {x!r}: write a schedule")
    if not all(isinstance(v, float) for v in values):
        raise TypeError(f"{name} must hold numbers only, got {values!r}")
    return Table(values)


LONGEST = 10_000_000
_NO_TABLES = (str, bytes, bytearray, memoryview, Mapping, bool, type, set, frozenset)


def coerce_fields(value: Value) -> None:
    """Coerce the hyperparameter fields of a value under construction, in place; bounds have their own way."""
    for f in schema(type(value)):
        x = getattr(value, f.name)
        absent = x is None and (f.default is None or "optional" in f.marks)
        if absent or f.kind not in ("hyper", "beta") or "bound" in f.marks:
            continue
        x = coerce(f.name, x)
        if f.kind == "beta" and isinstance(x, jax.core.Tracer):
            x = Pair(x, 1 - x)
        object.__setattr__(value, f.name, x)


def hyper_fields(value: Value) -> dict[str, Hyper]:
    """Field -> stored hyperparameter, those of an inner rule included (a strategy keeps its rule's names)."""
    fields: dict[str, Hyper] = {}
    for f in schema(type(value)):
        x = getattr(value, f.name)
        if f.kind in ("hyper", "beta"):
            if x is not None:
                fields[f.name] = x
        elif f.kind == "child" and isinstance(x, Value):
            fields.update(hyper_fields(x))
    return fields


def replace_hyper(value: V, new: Mapping[str, Hyper]) -> V:
    """The value with the named hyperparameters exchanged, those of an inner rule included."""
    if not new:
        return value
    fields: dict[str, Any] = {}
    for f in schema(type(value)):
        x = getattr(value, f.name)
        if f.kind in ("hyper", "beta") and f.name in new:
            fields[f.name] = new[f.name]
        elif f.kind == "child" and isinstance(x, Value):
            fields[f.name] = replace_hyper(x, new)
    return value.with_fields(**fields)


def rule_fields(value: Value) -> tuple[str, ...]:
    """All fields that a user wrote, those of an inner rule included."""
    names: tuple[str, ...] = ()
    for f in schema(type(value)):
        x = getattr(value, f.name)
        names += rule_fields(x) if f.kind == "child" and isinstance(x, Value) else (f.name,)
    return names


def rebuild(value: V, new: Mapping[str, Any]) -> V:
    """The value made anew with the named fields exchanged, coerced and checked."""
    fields: dict[str, Any] = {}
    for f in schema(type(value)):
        x = getattr(value, f.name)
        if f.kind == "child" and isinstance(x, Value):
            fields[f.name] = rebuild(x, new)
        elif f.name in new:
            fields[f.name] = new[f.name]
    return dataclasses.replace(value, **fields)


def field_of(value: Value, name: str) -> Field | None:
    """The field of a hyperparameter, of an inner rule too."""
    for f in schema(type(value)):
        x = getattr(value, f.name)
        if f.name == name and f.kind in ("hyper", "beta"):
            return f
        if f.kind == "child" and isinstance(x, Value) and name in hyper_fields(x):
            return field_of(x, name)
    return None


def is_beta(value: Value, name: str) -> bool:
    f = field_of(value, name)
    return f is not None and f.kind == "beta"


def is_data(value: Value, name: str, x: Hyper) -> bool:
    """Whether a number gives the same result as data as it gives as a constant."""
    f = field_of(value, name) if isinstance(x, float) else None
    return f is not None and "data" in f.marks and (x != 0.0 or "zero" not in f.marks)


def evaluate(x: Hyper, count: Count, name: str = "the value") -> Number:
    """A hyperparameter at a step: numbers stay as they are, schedules become scalars.

    Raises: TypeError or ValueError for a schedule that gives anything but one number.
    """
    if not isinstance(x, Schedule):
        return x
    value = x(count)

    def told() -> str:
        return f"{name}, from the schedule {x!r},"

    if not is_array(value):
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{told()} must be a number, {got(value)}")
        value = np.full(np.shape(count), fitting(told(), value))
    value = value if isinstance(value, jax.Array) else np.asarray(value)
    if value.shape != np.shape(count):
        raise ValueError(f"{told()} must be one number, got an array of shape {value.shape}")
    if not is_real(value.dtype):
        raise TypeError(f"{told()} must be a real number, got one of dtype {value.dtype}")
    return jnp.asarray(value, dtype=float)


def called(name: str, function: Callable[..., Any], count: Count, *rest: Any) -> Number:
    """What a user's function of the step, and of what else it is told, gives there. Raises: as `evaluate`."""
    return evaluate(FromFunction(functools.wraps(function)(lambda count: function(count, *rest))), count, name)


def slot(x: Tunable, beta: bool) -> Number:
    """The state of a tunable: its number, or NaN while its schedule rules."""
    number = x.initial if not isinstance(x.initial, Schedule) else math.nan
    if beta:
        pair = number if isinstance(number, Pair) else Pair(number, 1.0 - number)
        return Pair(*(jnp.asarray(v, dtype=float) for v in pair))
    return jnp.asarray(number, dtype=float)


def resolve(x: Hyper, count: Count, in_slot: Number, beta: bool, name: str) -> Number:
    """A hyperparameter at a step, where `in_slot` stands in its slot in the state if it is tunable."""
    if isinstance(x, Given):
        return _NUMBERS.get()[x.index]
    if not isinstance(x, Tunable):
        return evaluate(x, count, name)
    base = evaluate(x.initial, count, name)
    if beta and not isinstance(base, Pair):
        base = Pair(base, 1 - base)
    return jax.tree.map(lambda b, h: jnp.where(jnp.isnan(h), b, h), base, in_slot)
