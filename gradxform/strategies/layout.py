"""How arrays lie over a mesh: the dimension that an axis splits, and what a statistic has of its parameter's layout."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from jax.sharding import NamedSharding, PartitionSpec

from gradxform.core import check
from gradxform.core.devices import axis_names, in_host_memory
from gradxform.core.plain import got
from gradxform.core.state import State
from gradxform.core.tree import name_of, open_memories, open_tree, upwards
from gradxform.core.types import Array, AxisName, Memory, Mesh, OptState, Params, Path, Shardings, Tree
from gradxform.core.value import Value

Entry = str | tuple[str, ...] | None
"""The axes that split one dimension."""
Entries = tuple[Any, ...]
"""One entry a dimension, as in a `PartitionSpec`."""
Put = Callable[[Any, PartitionSpec], Any]
"""What is made of an array, by the layout that it is to have."""


class Layout(NamedTuple):
    """One parameter's layout: its shape, its spec, the spec of its state, and the dimension split for that."""

    shape: tuple[int, ...]
    param: Entries
    state: Entries
    split: int | None


def laid_out(shape: Sequence[int], spec: Iterable[Any], mesh: Mesh, axis: AxisName) -> Layout:
    """Split the first dimension that no axis has taken and that divides evenly; none where there is none.

    Parts of the first one lie one after another in memory: those of another are transposed on their way together.
    """
    entries = tuple(spec)
    entries += (None,) * (len(shape) - len(entries))
    taken = [name for entry in entries for name in axis_names(entry)]
    parts = ways(mesh, axis)
    free = [d for d, n in enumerate(shape) if entries[d] is None and n and n % parts == 0]
    if parts == 1 or not free or any(name in taken for name in axis_names(axis)):
        return Layout(tuple(shape), entries, entries, None)
    split = free[0]
    return Layout(tuple(shape), entries, (*entries[:split], axis, *entries[split + 1 :]), split)


def ways(mesh: Mesh, axis: Entry) -> int:
    """Into how many parts axes split a dimension."""
    return math.prod(mesh.shape[name] for name in axis_names(axis))


def told(keys: Sequence[Any], memory: Tree = None, shape: Sequence[int] = ()) -> dict[str, Any]:
    """What is said of a statistic's layout, for `of_statistic`: the way to it in the memory of a matrix of that shape.

    A memory says which dimensions of matrices its statistics have, `sides(rows, columns)`; else a name does, a `col`, a
    `left` or a `right` side.
    """
    names = [*map(name_of, keys)]
    sides = getattr(getattr(type(memory), "plain", type(memory)), "sides", None)  # not a field
    known = sides(*shape[-2:]) if callable(sides) and len(shape) > 1 else {}
    named = {"left": (-2, None), "right": (-1, None)}
    found = [known[name] for name in names if name in known]
    found += [dims for side, dims in named.items() if names[-1].startswith(side)]
    return {"last": "col" in names[-1], "dims": next(iter(found), None)}


def of_statistic(
    shape: Sequence[int],
    like: Sequence[int],
    spec: Sequence[Any],
    mesh: Mesh,
    last: bool = False,
    dims: Sequence[int | None] | None = None,
) -> Entries | None:
    """The layout of a statistic whose parameter has shape `like` and layout `spec`; None where it has nothing of it.

    The same dimensions have the same layout; blocks of a dimension share it where they divide; a sum over dimensions
    has what is left. last: which of equal dimensions are left, the last ones instead of the first. dims: of which
    dimensions of matrices those of the statistic are, None for one of its own; a vector has the first alone.
    """
    n, m = len(shape), len(like)
    if dims is not None and n >= m - 1 > 0 and tuple(shape[: m - 2]) == tuple(like[:-2]):
        own = dims[: n - m + 2]
        if n <= m and all(d is None or like[d] == size for d, size in zip(own, shape[m - 2 :], strict=True)):
            return (*spec[:-2], *(None if d is None else spec[d] for d in own))
    if n > m:
        return (None,) * (n - m) + tuple(spec) if m and tuple(shape[n - m :]) == tuple(like) else None
    if n == m and all(a and b % a == 0 for a, b in zip(shape, like, strict=True)):
        return tuple(e if a % ways(mesh, e) == 0 else None for a, e in zip(shape, spec, strict=True))
    turn = -1 if last else 1
    entries: list[Entry] = [None] * n
    left = list(range(n))[::turn]
    for d in list(range(m))[::turn]:
        if left and like[d] == shape[left[0]]:
            entries[left.pop(0)] = spec[d]
    return None if left or not n else tuple(entries)


def spec_of(
    path: Path, shape: Sequence[int], layouts: Mapping[str, Layout], mesh: Mesh, axis: AxisName | None
) -> PartitionSpec:
    """The layout of an array somewhere in a state: of the parameter whose path its own ends with, if the shape fits.

    axis: what splits state. An array of one dimension that belongs to no parameter is then split as it can be.
    """
    layout = _owner(path, layouts) or _owner(path.removesuffix("/value"), layouts)
    if layout is not None:
        entries = of_statistic(shape, layout.shape, layout.state, mesh, "col" in path)
        if entries is not None or not shape:
            return PartitionSpec(*entries or ())
    if axis is not None and len(shape) == 1:
        return PartitionSpec(*laid_out(shape, (), mesh, axis).state)
    return PartitionSpec()


def _owner(path: Path, layouts: Mapping[str, Layout]) -> Layout | None:
    ends = [p for p in layouts if p in ("", path) or path.endswith(f"/{p}")]
    return layouts[max(ends, key=len)] if ends else None


Layouts = Callable[[tuple[str, ...]], tuple[Mapping[Path, Layout], Mesh, AxisName | None]]
"""The names on the way to an array -> the layouts of parameters for it by path, the mesh, and what splits state."""


def lay_state(state: OptState, params: Params, of: Layouts, put: Put, names: tuple[str, ...]) -> OptState:
    """Any state with `put(x, spec)` in place of each array x."""

    def lay(keys: tuple[Any, ...], x: Any) -> Any:
        path = (*names, *map(name_of, keys))
        if isinstance(x, State):
            return _lay_ours(x, params, of, put, path)
        return put(x, spec_of("/".join(path), x.shape, *of(path)))

    return jax.tree_util.tree_map_with_path(lay, state, is_leaf=lambda x: isinstance(x, State))


def _lay_ours(state: State, params: Params, of: Layouts, put: Put, names: tuple[str, ...]) -> State:
    opened = open_memories(state.leaves, params)
    for leaf in opened.leaves:
        if isinstance(leaf.memory, dict):
            layouts = {name: of((*names, name)) for name in leaf.memory}
            leaf.memory = {
                name: lay_memory(m, layouts[name][0].get(leaf.path), layouts[name][1], put)
                for name, m in leaf.memory.items()
            }
    tree = {key: lay_state(memory, params, of, put, (*names, *key.split("/"))) for key, memory in state.tree.items()}
    count, hyper = jax.tree.map(lambda x: put(x, PartitionSpec()), (state.count, state.hyper))
    return State(count, opened.close_memories(), tree, hyper)


def lay_memory(memory: Memory, layout: Layout | None, mesh: Mesh, put: Put) -> Memory:
    """One parameter's memory with `put(x, spec)` in place of each array x."""

    def lay(keys: tuple[Any, ...], x: Any) -> Any:
        if layout is None:
            return put(x, PartitionSpec())
        said = told(keys, memory, layout.shape)
        return put(x, PartitionSpec(*of_statistic(x.shape, layout.shape, layout.state, mesh, **said) or ()))

    return jax.tree_util.tree_map_with_path(lay, memory)


def specs_by_path(shardings: Shardings, what: str) -> dict[str, PartitionSpec]:
    """Layouts of parameters, or of whole subtrees of them, by path."""
    if isinstance(shardings, Value):
        raise TypeError(f"{what} must be a tree of NamedSharding or PartitionSpec, {got(shardings)}")
    return {p: _spec(p, x, what) for p, x in zip(*open_tree(shardings)[:2], strict=True) if x is not None}


def refuse_strays(specs: Mapping[Path, Any], params: Params, what: str) -> None:
    """Refuse layouts of what is no parameter, and none at all where there are some."""
    paths, ps, _ = open_tree(params)
    if not specs and any(p is not None for p in ps):
        raise ValueError(f"{what} has no layout for any parameter; the paths are: {', '.join(paths)}")
    strays = sorted(set(specs).difference([""], *map(upwards, paths)))
    if strays:
        raise ValueError(
            f"{what} has a layout at {', '.join(map(repr, strays))}, where no parameter is; the paths are: "
            f"{', '.join(paths)}"
        )


def _spec(path: Path, x: object, what: str) -> PartitionSpec:
    if isinstance(x, PartitionSpec):
        return x
    if isinstance(x, NamedSharding):
        return x.spec
    raise TypeError(f"{what} must hold NamedSharding or PartitionSpec, {got(x)} at {path!r}")


def of_parameter(path: Path, shape: Sequence[int], specs: Mapping[str, PartitionSpec]) -> PartitionSpec:
    """The layout of one parameter: its own, or that of the nearest subtree that has one; the same everywhere else."""
    spec = next((specs[p] for p in upwards(path) if p in specs), PartitionSpec())
    if len(spec) > len(shape):
        raise ValueError(f"{spec} is no layout for the parameter {path!r} of shape {tuple(shape)}")
    return spec


def sharding(mesh: Mesh, spec: PartitionSpec, x: Array | jax.core.ShapedArray) -> NamedSharding:
    """A layout in the kind of memory that x is in."""
    return NamedSharding(mesh, spec, memory_kind="pinned_host") if in_host_memory(x) else NamedSharding(mesh, spec)


def check_mesh(mesh: object, axis: AxisName | None) -> None:
    """Refuse what is no mesh, and an axis that it does not have."""
    if not isinstance(mesh, jax.sharding.Mesh | jax.sharding.AbstractMesh):
        raise TypeError(f"mesh must be a jax.sharding.Mesh, {got(mesh)}")
    if axis is not None:
        check.axis(axis=axis)
        if not axis_names(axis) or any(name not in mesh.shape for name in axis_names(axis)):
            raise ValueError(f"axis must be of the mesh, which has {', '.join(mesh.axis_names)}; {got(axis)}")
