"""Bounds: hyperparameters that may differ from element to element, or from leaf to leaf."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any

import jax
import numpy as np

from gradxform.core import check
from gradxform.core.hyper import Hyper, coerce
from gradxform.core.plain import fitting, got, is_array, is_real, numbers_in
from gradxform.core.tree import Leaf, open_tree
from gradxform.core.types import Params, Path, Shaped
from gradxform.core.value import Value

Bound = Annotated[Any, "hyper", "bound"]
"""A `Hyper` that may also be an array that broadcasts to the leaf, or a tree of both like the parameters."""
MOST = 100_000
"""Elements of the arrays of one bound: they are written into the program."""


class Elements(Value):
    """An array of numbers, equal to another by content."""

    content: bytes
    shape: tuple[int, ...]

    @property
    def array(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.frombuffer(self.content).reshape(self.shape)

    def __repr__(self) -> str:
        return repr(self.array)


class ByPath(Value):
    """A bound for each parameter; asked as a selector, it refuses other parameters than its own."""

    name: str
    bounds: tuple[tuple[Path, float | Elements], ...]

    def __repr__(self) -> str:
        return repr(dict(self.bounds))

    def select(self, leaves: Sequence[Leaf], tree: Params) -> list[bool]:
        paths = {leaf.path for leaf in leaves if leaf.array is not None}
        for path, _ in self.bounds:
            if path not in paths:
                raise ValueError(f"{self.name} has a bound for {path!r}, and there is no such parameter")
        return [True] * len(leaves)


def coerce_bound(name: str, x: Any) -> Hyper:
    """Bring what a user may write as a bound into its one stored form: as `coerce` does, `Elements` or `ByPath`.

    Raises: TypeError for a list of numbers or another kind, ValueError for too many elements.
    """
    if isinstance(x, Elements | ByPath):
        return x
    if is_array(x) and not isinstance(x, jax.core.Tracer) and np.ndim(x):
        return _elements(name, x)
    if isinstance(x, jax.Array | np.ndarray | np.generic | Value | str | set | frozenset | type) or callable(x):
        return coerce(name, x)
    paths, leaves, _ = ([""], [x], None) if isinstance(x, Iterator) else open_tree(x)
    if paths == [""] and not isinstance(x, Iterable):
        return coerce(name, x)
    if paths in ([], [""]) or (isinstance(x, list | tuple) and not any(map(is_array, leaves))):
        raise TypeError(
            f"{name} must be a number, an array that broadcasts to the parameter, or a tree like the parameters, "
            f"{got(x)}; jnp.array(x) gives each element a bound of its own"
        )
    named = [(path, f"{name} at {path!r}", b) for path, b in zip(paths, leaves, strict=True) if b is not None]
    bounds = tuple((path, _entry(where, b)) for path, where, b in named)
    if sum(b.array.size for _, b in bounds if isinstance(b, Elements)) > MOST:
        raise ValueError(
            f"{name} must have at most {MOST:,} elements in its arrays, which are written into the program"
        )
    return ByPath(name, bounds)


def _entry(name: str, x: Any) -> float | Elements:
    b = coerce_bound(name, x)
    if not isinstance(b, float | Elements):
        raise TypeError(f"{name} must be a number or an array, {got(x)}")
    return b


def _elements(name: str, x: Any) -> Elements:
    array = numbers_in(name, x)
    if not is_real(array.dtype):
        raise TypeError(f"{name} must hold real numbers, got an array of dtype {array.dtype}")
    if array.size > MOST:
        raise ValueError(
            f"{name} must have at most {MOST:,} elements, which are written into the program, got {array.size:,}"
        )
    array = array.astype(np.float64)
    for number in array[np.isfinite(array)]:
        fitting(name, number)
    return Elements(array.tobytes(), array.shape)


def at_leaf(name: str, x: Hyper, path: Path, p: Shaped) -> Hyper:
    """The bound of one parameter. Raises: ValueError naming the leaf if there is none, or of another shape."""
    if isinstance(x, ByPath):
        x = dict(x.bounds).get(path)
        if x is None:
            raise ValueError(f"{name} has no bound for {path!r}; a tree of bounds is like the parameters")
    if isinstance(x, Elements) and not _fits(x.shape, p.shape):
        raise ValueError(
            f"{name} has shape {x.shape}, and {path!r} has {p.shape}, to which it does not broadcast; give a tree like "
            "the parameters, or choose the parameters with masked(...)"
        )
    return x


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return len(shape) <= len(wanted) and all(a in (1, b) for a, b in zip(shape[::-1], wanted[::-1], strict=False))


def as_numbers(x: Hyper) -> Any:
    """A bound as its reader wants it: numbers, arrays, a dict of them by path."""
    if isinstance(x, ByPath):
        return {path: as_numbers(b) for path, b in x.bounds}
    return x.array if isinstance(x, Elements) else x


def by_element(x: Hyper) -> bool:
    """Whether a bound knows the shape of the parameter."""
    return isinstance(x, Elements) or (isinstance(x, ByPath) and any(isinstance(b, Elements) for _, b in x.bounds))


def ordered(**named: Hyper) -> None:
    """`check.ordered` for two bounds: at every leaf, and in every element."""
    trees = [dict(x.bounds) for x in named.values() if isinstance(x, ByPath)]
    if not trees:
        _ordered("", **named)
    for path in trees[0] if trees else ():
        if path in trees[-1]:
            here = {name: dict(x.bounds)[path] if isinstance(x, ByPath) else x for name, x in named.items()}
            _ordered(f" at {path!r}", **here)


def _ordered(place: str, **named: Hyper) -> None:
    if not place and not any(isinstance(x, Elements) for x in named.values()):
        check.ordered(**named)
        return
    (low, a), (high, b) = ((name, np.asarray(as_numbers(x))) for name, x in named.items())
    for name, array in ((low, a), (high, b)):
        if array.dtype != object and np.isnan(array).any():
            raise ValueError(f"{name} must be a number{place}, got nan")
    if object in (a.dtype, b.dtype):
        return
    try:
        a, b = np.broadcast_arrays(a, b)
    except ValueError:
        raise ValueError(f"{low} and {high} must fit each other{place}, got {a.shape} and {b.shape}") from None
    for i in np.argwhere(a > b)[:1].tolist():
        x, y = float(a[tuple(i)]), float(b[tuple(i)])
        raise ValueError(f"{low} must be at most {high}, got {low}={x}, {high}={y}{place}" + f", element {i}" * bool(i))
