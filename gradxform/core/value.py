"""Values: immutable dataclasses that compare, hash and print by content, and are pytrees.

A field annotated `Hyper`, `Beta` or `Child[...]` is a branch of the tree; every other field is structure.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, ClassVar, NamedTuple, Self, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core.schema import names_around, schema
from gradxform.core.types import Count, Number

T = TypeVar("T")
Child = Annotated[T, "child"]
"""A field that holds values itself: a rule inside a strategy, the stages of a chain."""


class Pair(NamedTuple):
    """A decay rate `b` with its complement `1 - b`, both rounded from double, written like a number in a rule.

    A rate that is data (it came through `jit`, or lives in the state) would lose digits in `1 - b`;
    carried as a pair it loses none.
    """

    value: Number
    complement: Number

    def __mul__(self, x: Number) -> Number:
        return self.value * x

    def __rmul__(self, x: Number) -> Number:
        return self.value * x

    def __rsub__(self, one: Number) -> Number:
        return self.complement if isinstance(one, int) and one == 1 else one - self.value

    def __sub__(self, other: Number) -> Number:
        return other.complement - self.complement if isinstance(other, Pair) else self.value - other

    def __rtruediv__(self, x: Number) -> Number:
        return x / self.value

    def __pow__(self, t: Count) -> Number:
        return self.value**t


class _Signature:
    """What `inspect.signature` reads: the fields as arguments."""

    def __get__(self, value: object, owner: type) -> inspect.Signature:
        parameter, empty = inspect.Parameter, inspect.Parameter.empty
        kind = parameter.POSITIONAL_OR_KEYWORD
        fields = [(f.name, empty if f.default is dataclasses.MISSING else f.default) for f in schema(owner)]
        return inspect.Signature([parameter(name, kind, default=default) for name, default in fields])


class _Fields:
    """Makes a class a dataclass when its fields are first asked for.

    What dataclass would generate stands in `Value` once: to generate it for every class is most of the import time.
    """

    def __get__(self, value: object, owner: type) -> Any:
        dataclasses.dataclass(init=False, repr=False, eq=False, match_args=False)(owner)
        return owner.__dict__["__dataclass_fields__"]


@dataclass_transform(frozen_default=True)
class Value:
    """Base of rules, schedules, selectors, stages and transformations."""

    __signature__: ClassVar[Any] = _Signature()
    __dataclass_fields__: ClassVar[Any]
    _names_around: ClassVar[Mapping[str, Any]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__doc__ = cls.__doc__ or f"What `{cls.public_name()}` makes."
        cls.__dataclass_fields__ = _Fields()
        cls._names_around = names_around(cls)
        jax.tree_util.register_pytree_with_keys(cls, _flatten_with_keys, _unflattener(cls), _flatten)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        fields, what = schema(type(self)), self.public_name()
        if len(args) > len(fields):
            raise TypeError(f"{what} takes {len(fields)} arguments, got {len(args)}")
        values = {f.name: x for f, x in zip(fields, args, strict=False)}
        for name, x in kwargs.items():
            if name in values:
                raise TypeError(f"{what} got two values for argument {name!r}")
            if name not in {f.name for f in fields}:
                takes = ", ".join(f.name for f in fields) or "none"
                raise TypeError(f"{what} got an unexpected argument {name!r}; it takes {takes}")
            values[name] = x
        for f in fields:
            if f.name not in values and f.default is dataclasses.MISSING:
                raise TypeError(f"{what} needs the argument {f.name!r}")
            x = values.get(f.name, f.default)
            object.__setattr__(self, f.name, plain(x) if f.kind == "static" else x)
        self.__post_init__()

    def __post_init__(self) -> None:
        """Coerce and check what a user gave; not called when JAX unflattens."""

    def __setattr__(self, name: str, value: object) -> None:
        raise dataclasses.FrozenInstanceError(f"{self.public_name()} is a value; make another with dataclasses.replace")

    def __eq__(self, other: object) -> bool:
        return self is other or (type(self) is type(other) and _contents(self) == _contents(other))

    def __hash__(self) -> int:
        return hash((type(self), *_contents(self)))

    def __repr__(self) -> str:
        shown = ", ".join(f"{f.name}={getattr(self, f.name)!r}" for f in schema(type(self)) if f.shown)
        return f"{self.public_name()}({shown})"

    @classmethod
    def public_name(cls) -> str:
        """The function a user calls to make one: `ScaleByAdam` prints as `scale_by_adam`."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()

    def with_fields(self, **fields: Any) -> Self:
        """The same value with some fields exchanged, and nothing checked or coerced again."""
        new = object.__new__(type(self))
        for f in schema(type(self)):
            object.__setattr__(new, f.name, fields.get(f.name, getattr(self, f.name)))
        return new


def _contents(value: Value) -> tuple[Any, ...]:
    return tuple(getattr(value, f.name) for f in schema(type(value)))


def plain(x: Any) -> Any:
    """A number of NumPy's or JAX's, and each in a tuple, as Python's: of equal ones nobody can tell which was given."""
    if type(x) is tuple:
        return tuple(map(plain, x))
    if not isinstance(x, np.generic | np.ndarray | jax.Array) or isinstance(x, jax.core.Tracer) or x.ndim:
        return x
    if isinstance(x, jax.Array) and x.is_deleted():
        return x
    return x.item() if jnp.issubdtype(x.dtype, jnp.integer) or jnp.issubdtype(x.dtype, jnp.floating) else x


def shown(x: object) -> str:
    """A value in a message, also where it can't print itself (an array whose memory was donated)."""
    try:
        return repr(x)
    except Exception:
        return "what is no more"


def got(x: object) -> str:
    """The end of a refusal."""
    return f"got {shown(x)} of type {type(x).__name__}"


def as_array(what: str, x: Any) -> jax.Array:
    """An array of JAX's. Raises: ValueError for a number that no dtype holds, TypeError for what is no number."""
    try:
        array = jnp.asarray(x)
        if jnp.issubdtype(array.dtype, jnp.number) or array.dtype == bool:
            return array
        raise TypeError
    except OverflowError:
        raise ValueError(f"{what} is {x}, which is more than its dtype holds") from None
    except TypeError:
        raise TypeError(f"{what} must be an array or a number, {got(x)}") from None


def is_hashable(x: object) -> bool:
    try:
        hash(x)
    except TypeError:
        return False
    return True


def _flatten(value: Value) -> tuple[list[Any], tuple[Any, ...]]:
    children, static = [], []
    for f in schema(type(value)):
        x = getattr(value, f.name)
        if f.kind == "static":
            static.append(x)
        elif f.kind == "beta" and isinstance(x, float):
            children.append(Pair(x, 1.0 - x))
        else:
            children.append(x)
    return children, tuple(static)


def _flatten_with_keys(value: Value) -> tuple[list[Any], tuple[Any, ...]]:
    children, static = _flatten(value)
    names = [f.name for f in schema(type(value)) if f.kind != "static"]
    keyed = [(jax.tree_util.GetAttrKey(n), c) for n, c in zip(names, children, strict=True)]
    return keyed, static


def _unflattener(cls: type[Value]) -> Callable[[Iterable[Any], Iterable[Any]], Value]:
    def unflatten(static: Iterable[Any], children: Iterable[Any]) -> Value:
        new = object.__new__(cls)
        branches, rest = iter(children), iter(static)
        for f in schema(cls):
            x = next(rest) if f.kind == "static" else next(branches)
            if f.kind == "beta" and isinstance(x, Pair) and isinstance(x.value, float):
                x = x.value
            object.__setattr__(new, f.name, x)
        return new

    return unflatten
