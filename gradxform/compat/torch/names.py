"""Which array of torch's is which parameter here, and how its axes stand."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gradxform.core.plain import got
from gradxform.core.tree import open_tree
from gradxform.core.types import Params, Path

Names: TypeAlias = Mapping[Any, Any] | Sequence[Any] | None
"""From torch's indices or names of parameters to places, or the places in torch's order.

A place is a path, `(path, layout)`, `(path, layout, torch's shape)`, or a list of those: equal parts along torch's
first axis. Layout "T" is that of `Linear` and `Conv` (out, in, ...), whose first two axes stand last and turned here;
a tuple of axes is what `transpose` takes, `""` leaves them. None goes by torch's names where there are some, else the
order is that of the leaves.
"""
SYNONYMS = {"weight": ("weight", "kernel", "scale", "embedding")}
"""The last part of torch's name of a parameter -> what it may be called here."""


class Place(NamedTuple):
    """Where an array of torch's, or a part of it, stands here."""

    path: Path
    layout: str | tuple[int, ...] | None = None
    """None where nobody said."""
    shape: tuple[int, ...] | None = None
    part: int = 0
    parts: int = 1

    def axes(self, n: int) -> tuple[int, ...]:
        """What turns torch's axes into ours."""
        if self.layout == "T":
            return (*range(2, n), 1, 0) if n > 1 else (0,) * n
        axes = self.layout if isinstance(self.layout, tuple) else tuple(range(n))
        if sorted(axes) != [*range(n)]:
            raise ValueError(f"names has the layout {axes} for {self.path!r}, which is none of {n} axes")
        return axes

    def whole(self, ours: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of torch's array, all parts of it, for a parameter of this shape."""
        shape = self.shape
        if shape is None:
            turned = dict(zip(self.axes(len(ours)), ours, strict=True))
            shape = tuple(turned[i] for i in range(len(ours)))
        elif math.prod(shape) != math.prod(ours):
            raise ValueError(f"names has torch's shape {shape} for {self.path!r}, which has {ours}")
        if self.parts > 1 and not shape:
            raise ValueError(f"names splits what {self.path!r} is a part of, and it has no axes")
        return shape if self.parts == 1 else (shape[0] * self.parts, *shape[1:])

    def read(self, value: NDArray[Any], ours: tuple[int, ...]) -> NDArray[Any]:
        """The parameter's part of torch's array, as it stands here."""
        part = value if self.parts == 1 else np.split(value, self.parts)[self.part]
        return part.transpose(self.axes(part.ndim)).reshape(ours)

    def write(self, value: NDArray[Any]) -> NDArray[Any]:
        """What torch has for it: one part."""
        shape = self._replace(parts=1).whole(value.shape)
        axes = self.axes(len(shape))
        return value.reshape([shape[i] for i in axes]).transpose(np.argsort(axes))

    def swaps_last(self, n: int) -> bool:
        """Whether torch's last two axes stand turned here. Raises: ValueError if other axes stand last."""
        last = self.axes(n)[-2:]
        if self.shape is not None or self.parts > 1 or sorted(last) != [n - 2, n - 1]:
            raise ValueError(
                f"names must leave torch's last two axes last for {self.path!r}, which is factored by them"
            )
        return last == (n - 1, n - 2)

    def refuse_unsaid(self, ours: tuple[int, ...]) -> None:
        """A kernel that could be turned or not, by its shape. Raises: ValueError unless names says which."""
        is_turned = self._replace(layout="T").whole(ours) == self._replace(layout="").whole(ours)
        if self.layout is None and self.path.split("/")[-1] == "kernel" and len(ours) > 1 and is_turned:
            raise ValueError(
                f"names must say how the axes of {self.path!r} stand, whose shape {ours} does not tell: "
                f'({self.path!r}, "T") transposes the weight of torch, ({self.path!r}, "") takes it as it is'
            )

    def advice(self) -> str:
        return f'to transpose it, names takes ({self.path!r}, "T")'


def places(
    names: Names, params: Params, groups: Sequence[Mapping[str, Any]] | None, *, anything: bool = True
) -> dict[Any, list[Place]]:
    """From torch's index to the places. groups: torch's, None where nothing of torch's is known.

    anything: whether there is something to put there, so that parameters must be told apart.
    """
    known = None if groups is None else [i for group in groups for i in group["params"]]
    shapes = {path: np.shape(p) for path, p in zip(*open_tree(params)[:2], strict=True) if p is not None}
    titles = _titles(groups or ())
    if names is None:
        return {key: [Place(path)] for key, path in _unnamed(shapes, titles, known, anything).items()}
    if isinstance(names, str) or not isinstance(names, Mapping | Sequence):
        raise TypeError(f"names must map indices to paths, or list paths, {got(names)}")
    items = names.items() if isinstance(names, Mapping) else enumerate(names)
    where = {}
    for key, place in items:
        if not isinstance(key, str):
            where[key] = listed(place)
        elif not titles:
            raise ValueError(
                f"names has torch's name {key!r}, and nothing tells its index: param_groups have param_names if the "
                "optimizer was made with model.named_parameters()"
            )
        elif key in titles:
            where[titles[key]] = listed(place)
    for key, found in where.items():
        if known is not None and key not in known:
            raise ValueError(f"names has index {key!r} for {found[0].path!r}, and param_groups have only {known}")
    refuse_strangers(where, shapes)
    return where


def listed(x: object) -> list[Place]:
    """The places that are written for one array of torch's."""
    entries = x if isinstance(x, list) else [x]
    return [_place(entry)._replace(part=i, parts=len(entries)) for i, entry in enumerate(entries)]


def _place(x: Any) -> Place:
    path, layout, shape = (*x, None, None)[:3] if isinstance(x, tuple) and 0 < len(x) <= 3 else (x, None, None)
    if not isinstance(path, str):
        raise TypeError(f"names must lead to paths, or to (path, layout), {got(x)}")
    if layout not in (None, "", "T") and not _are_integers(layout):
        raise ValueError(f'names must have the layout "T", "" or a tuple of axes for {path!r}, {got(layout)}')
    if shape is not None and not _are_integers(shape):
        raise ValueError(f"names must have a tuple as torch's shape for {path!r}, {got(shape)}")
    return Place(path, layout, shape)


def _are_integers(x: object) -> bool:
    return isinstance(x, tuple) and all(isinstance(n, int) for n in x)


def refuse_strangers(where: Mapping[Any, list[Place]], paths: Mapping[Path, Any]) -> None:
    """Raises: ValueError for a path that is no parameter's, or that two arrays lead to."""
    reached: set[Path] = set()
    for key, path in ((key, place.path) for key, found in where.items() for place in found):
        if path not in paths:
            raise ValueError(f"names must lead to parameters, and {key!r} leads to {path!r}; there are {[*paths]}")
        if path in reached:
            raise ValueError(f"names must lead to every parameter once, and {key!r} leads to {path!r} again")
        reached.add(path)


def _titles(groups: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """From torch's names to its indices, where each parameter has a name of its own."""
    named = [pair for group in groups for pair in zip(group.get("param_names", ()), group["params"], strict=False)]
    titles = dict(named)
    return titles if len(titles) == len(named) == sum(len(group["params"]) for group in groups) else {}


def by_name(titles: Mapping[str, Any], paths: Mapping[Path, Any]) -> dict[Any, Path]:
    """What each of torch's names is called here: `fc.weight` is `fc/weight`, `fc/kernel`, ...; one path or none."""
    found = {}
    for title, key in titles.items():
        *outer, last = title.split(".")
        called = {
            "/".join((*above, *outer, name)) for name in SYNONYMS.get(last, (last,)) for above in ((), ("params",))
        }
        if len(called & paths.keys()) == 1:
            found[key] = (called & paths.keys()).pop()
    return found


def _unnamed(
    shapes: Mapping[Path, tuple[int, ...]], titles: Mapping[str, Any], known: Sequence[Any] | None, anything: bool
) -> dict[Any, Path]:
    """From torch's index to the path, where the user says nothing."""
    if known is None:
        return dict(enumerate(shapes))
    if len(known) != len(shapes):
        raise ValueError(f"param_groups have {len(known)} parameters, params {len(shapes)}: {[*shapes]}; give names")
    found = by_name(titles, shapes)
    if len(found) == len(set(found.values())) == len(shapes):
        return found
    alike: dict[tuple[int, ...], Path] = {}
    for path, shape in shapes.items() if anything else ():
        other = alike.setdefault(tuple(sorted(shape)), path)
        if other != path:
            told = f"torch calls its parameters {[*titles]}" if titles else "param_groups have no param_names"
            raise ValueError(f"names must tell {other!r} from {path!r}, which their shapes do not, and {told}")
    return dict(zip(known, shapes, strict=True))
