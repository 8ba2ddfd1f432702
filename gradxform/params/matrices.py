"""Which arrays are matrices, and how: in names."""

from __future__ import annotations

import functools
import math
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.chain import Chain, map_rules
from gradxform.core.plain import got
from gradxform.core.stacks import by_matrix
from gradxform.core.types import Array, Transformation
from gradxform.core.value import Value
from gradxform.params.select import selector

Names = tuple[str, ...]


class Matrix(Value):
    """How an array is a stack of matrices: `Matrix("layer in (head out)", rows="in", columns="out", head=12)`.

    axes: a name for each axis of the array; in parentheses the axes that one axis is made of, the slowest first, all
    but one with their sizes. A `+` there stands between unequal parts: `"in (q + k + v)", q=768, k=256`.
    rows, columns: the axes that are the rows and the columns of a matrix, flattened in this order where there are
    several; a part has those that it names. All other axes count matrices. `x @ W` has its input for rows.
    Raises: TypeError for what is no text or size, ValueError for a name that is missing or there twice.
    """

    axes: str
    rows: str
    columns: str
    sizes: tuple[tuple[str, int], ...] = ()

    def __init__(self, axes: str, rows: str, columns: str, **sizes: int) -> None:
        super().__init__(axes, rows, columns, tuple(sorted(sizes.items())))

    def __post_init__(self) -> None:
        for name in ("axes", "rows", "columns"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(f"{name} must be names in a string, {got(getattr(self, name))}")
        check.integer(1, **dict(self.sizes))
        if not re.fullmatch(r"\s*((\w+|\((\s*\w+)+(\s*\+(\s*\w+)+)*\s*\))\s*)+", self.axes):
            raise ValueError(f"axes must be names, some in parentheses, with + between unequal parts, {got(self.axes)}")
        if sum("+" in group for group in self._groups()) > 1:
            raise ValueError(f"axes may have unequal parts along one axis alone, {got(self.axes)}")
        known = {name for part in _parts(self) for name in part.names}
        for what, names in {"rows": self.rows, "columns": self.columns, "a size": " ".join(dict(self.sizes))}.items():
            if strange := [name for name in names.split() if name not in known]:
                raise ValueError(f"{what} names {strange[0]!r}, and the axes are {self.axes!r}")
        for part in _parts(self):
            if not part.rows or not part.columns or {*part.rows} & {*part.columns}:
                raise ValueError(f"{self!r} must have rows and columns, and none that is both")
            if len({*part.names}) < len(part.names):
                raise ValueError(f"axes has a name twice, {got(self.axes)}")

    def __repr__(self) -> str:
        sizes = "".join(f", {name}={size}" for name, size in self.sizes)
        return f"Matrix({self.axes!r}, rows={self.rows!r}, columns={self.columns!r}{sizes})"

    def _groups(self) -> list[str]:
        """What is said of each axis."""
        return [group.strip("()") for group in re.findall(r"\([^)]*\)|\w+", self.axes)]

    @property
    def parts(self) -> Names:
        """The names of unequal parts; none where all matrices have one shape."""
        parts = _parts(self)
        return tuple(part.label for part in parts) if len(parts) > 1 else ()

    def shapes(self, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Matrices, rows and columns of each part of an array of this shape."""
        return [laid.folded for laid in _laid(self, shape)]

    def fold(self, x: Array) -> list[Array]:
        """`x` as `[matrices, rows, columns]`, part by part."""
        return [
            x[laid.place].reshape(laid.sizes).transpose(laid.order).reshape(laid.folded)
            for laid in _laid(self, x.shape)
        ]

    def unfold(self, stacks: Sequence[Array], shape: tuple[int, ...]) -> Array:
        """The array of this shape that folds to the stacks."""
        laid = _laid(self, shape)
        xs = [
            y.reshape([part.sizes[i] for i in part.order]).transpose(part.back).reshape(part.shape)
            for y, part in zip(stacks, laid, strict=True)
        ]
        return xs[0] if len(xs) == 1 else jnp.concatenate(xs, laid[0].axis)


class Part(NamedTuple):
    """One of the unequal parts of an array: the names of each axis, and those of a matrix."""

    label: str
    axes: tuple[Names, ...]
    rows: Names
    columns: Names

    @property
    def names(self) -> Names:
        return tuple(name for axis in self.axes for name in axis)


class Laid(NamedTuple):
    """A part of an array of known shape: where it is, the size of every named axis, and the way to matrices."""

    axis: int
    place: tuple[slice, ...]
    shape: tuple[int, ...]
    sizes: tuple[int, ...]
    order: tuple[int, ...]
    folded: tuple[int, ...]

    @property
    def back(self) -> list[int]:
        return sorted(range(len(self.order)), key=self.order.__getitem__)


def _parts(spec: Matrix) -> list[Part]:
    groups = [[tuple(way.split()) for way in group.split("+")] for group in spec._groups()]
    axis = next((i for i, ways in enumerate(groups) if len(ways) > 1), 0)
    parts = []
    for way in groups[axis]:
        axes = (*(ways[0] for ways in groups[:axis]), way, *(ways[0] for ways in groups[axis + 1 :]))
        names = {name for names in axes for name in names}
        own = [name for name in way if sum(name in other for other in groups[axis]) == 1]
        rows, columns = (tuple(n for n in said.split() if n in names) for said in (spec.rows, spec.columns))
        parts.append(Part("_".join(own), axes, rows, columns))
    return parts


@functools.lru_cache(maxsize=4096)
def _laid(spec: Matrix, shape: tuple[int, ...]) -> list[Laid]:
    parts, given = _parts(spec), dict(spec.sizes)
    if len(parts[0].axes) != len(shape):
        raise ValueError(f"{spec!r} is for {len(parts[0].axes)} axes")
    axis = next((i for i, axes in enumerate(zip(*(part.axes for part in parts), strict=True)) if len({*axes}) > 1), 0)
    ways = [part.axes[axis] for part in parts]
    known = [math.prod(given[n] for n in way) if {*way} <= given.keys() else None for way in ways]
    if len(parts) > 1 and known.count(None) == 1:
        known[known.index(None)] = shape[axis] - sum(n or 0 for n in known)
    laid, start = [], 0
    for part, size in zip(parts, known if len(parts) > 1 else [shape[axis]], strict=True):
        if size is None or size < 1:
            raise ValueError(f"{spec!r} leaves the parts of axis {axis} open: give the sizes of all but one")
        dims = (*shape[:axis], size, *shape[axis + 1 :])
        sizes = {n: s for names, size in zip(part.axes, dims, strict=True) for n, s in _sizes(spec, names, size)}
        batch = [n for n in part.names if n not in (*part.rows, *part.columns)]
        folded = tuple(math.prod(sizes[n] for n in names) for names in (batch, part.rows, part.columns))
        order = tuple(part.names.index(n) for n in (*batch, *part.rows, *part.columns))
        place = (slice(None),) * axis + (slice(start, start + size),)
        laid.append(Laid(axis, place, dims, tuple(sizes[n] for n in part.names), order, folded))
        start += size
    if start != shape[axis]:
        raise ValueError(f"{spec!r} has parts of {start} together along axis {axis}")
    return laid


def _sizes(spec: Matrix, names: Names, size: int) -> list[tuple[str, int]]:
    """The size of each name that an axis is made of."""
    given = dict(spec.sizes)
    known, free = math.prod(given.get(n, 1) for n in names), [n for n in names if n not in given]
    if len(free) > 1 or size % known or (not free and size != known):
        raise ValueError(f"{spec!r} does not make {size} of {' '.join(names)!r}: give the sizes of all but one")
    return [(n, given.get(n, size // known)) for n in names]


def matrices(tx: Transformation, specs: Mapping[Any, Matrix] | None = None, *, together: int = 0) -> Chain:
    """Let what looks at a whole array see each matrix of it: `matrices(lamb(1e-3), {"layers/.*/kernel": Matrix(...)})`.

    For arrays that are stacks: layers under `scan`, heads, experts, convolutions, fused projections. Norms, ratios,
    means and what is written for matrices then see one matrix at a time; elementwise stages, tree-wide ones and arrays
    without a spec stay as they are.
    specs: selector, regular expression or `(path, leaf) -> bool` -> `Matrix`; the first that fits counts. together: of
    what is written for matrices, those of one shape run side by side, at most so many elements at a time; 0: each leaf
    by itself.
    Reach: that of the stages. State: of such stages, stacks `[matrices, ...]`, by part where parts are unequal.
    Raises: TypeError if `tx` is not made of rules, ValueError if a name matches nothing, or a spec does not fit.
    """
    check.integer(0, sys.maxsize, together=together)
    if specs is not None and not isinstance(specs, Mapping):
        raise TypeError(f"specs must map selectors to gx.Matrix(...), {got(specs)}")
    chosen = []
    for where, spec in (specs or {}).items():
        if not isinstance(spec, Matrix):
            raise TypeError(f"specs must map selectors to gx.Matrix(...), {got(spec)} for {where!r}")
        chosen.append((selector(where, "a key of specs"), spec))
    fields = {"specs": tuple(chosen)} | ({"together": together} if together else {})
    return map_rules(tx, lambda rule: by_matrix(rule, **fields), "matrices")
