"""Two ways to a part of an array on each device: laid out by the compiler, or cut by hand inside `shard_map`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from gradxform.core.devices import axis_names, gathered, mean_over, varying_axes
from gradxform.core.rows import Rows
from gradxform.core.shares import Share, shared
from gradxform.core.tree import Leaf
from gradxform.core.types import Array, AxisName, Gradient, Memory, Mesh, Param, Params, Path
from gradxform.strategies.layout import Layout, lay_memory, lay_state, sharding, ways

FREE = PartitionSpec.UNCONSTRAINED


def joined(way: Way, u: Gradient, layout: Layout, p: Param, part: Param) -> Gradient:
    """The whole of an update, for whoever reads it; `apply_updates` adds in parts, and gathers the parameter."""
    whole = way.whole(u, layout)
    if layout.split is None or u is None or isinstance(u, Rows):
        return whole
    return shared(whole, Share(u, lambda x: part if x is p else way.part(x, layout), partial(way.whole, layout=layout)))


class Way(Protocol):
    """How a device's part is made of an array, and the whole of the parts."""

    def part(self, x: Param, layout: Layout) -> Param: ...
    def gradient(self, x: Gradient, layout: Layout) -> Gradient: ...
    def whole(self, x: Gradient, layout: Layout) -> Gradient: ...
    def memory(self, memory: Memory, layout: Layout) -> Memory: ...
    def tree(self, key: str, memory: Memory, layouts: dict[Path, Layout], params: Params) -> Memory: ...


class ByCompiler(NamedTuple):
    """Under `jit`: every array is whole in the program, and constraints say where its parts lie."""

    mesh: Mesh
    axis: AxisName
    known: bool
    """Whether the layout of the parameters over other axes is known; where not, it is left to the compiler."""

    def part(self, x: Param, layout: Layout) -> Param:
        """A part of a parameter, cut by hand: what is only laid out would have the parameter split too, in loops."""
        if isinstance(x, jax.core.Tracer) and layout.split is not None and not is_explicit(self.mesh, self.axis):
            x = _cut(self._mesh(), self.axis, layout)(self.whole(x, layout))
        return self.gradient(x, layout)

    def gradient(self, x: Gradient, layout: Layout) -> Gradient:
        return x if isinstance(x, Rows) else self._placed(x, layout.state, layout.split)

    def whole(self, x: Gradient, layout: Layout) -> Gradient:
        return self._placed(x, layout.param, layout.split)

    def memory(self, memory: Memory, layout: Layout) -> Memory:
        return lay_memory(memory, layout, self.mesh, lambda x, spec: self._placed(x, spec, layout.split))

    def tree(self, key: str, memory: Memory, layouts: dict[Path, Layout], params: Params) -> Memory:
        """Memory that sees the whole tree, by the ends of paths."""

        def of(names: tuple[str, ...]) -> tuple[dict[Path, Layout], Mesh, AxisName]:
            return layouts, self.mesh, self.axis

        return lay_state(memory, params, of, lambda x, spec: self._placed(x, spec, None), (key,))

    def _mesh(self) -> Mesh:
        """The mesh at hand where it has the axis, as a trace inside `shard_map` over others needs it."""
        here = jax.sharding.get_abstract_mesh()
        return here if set(axis_names(self.axis)) <= set(here.axis_names) else self.mesh

    def _placed(self, x: Gradient, spec: Iterable[Any], split: int | None) -> Gradient:
        entries = tuple(spec)
        if isinstance(x, Rows):
            return x.with_values(self._placed(x.values, (None, *entries[1:]), split))
        if x is None or not x.ndim:
            return x
        if isinstance(x, jax.ShapeDtypeStruct):
            return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(self.mesh, PartitionSpec(*entries)))
        mesh = self._mesh()
        if is_explicit(self.mesh, self.axis):
            return jax.sharding.reshard(x, NamedSharding(mesh, PartitionSpec(*entries)))
        if not self.known:
            entries = (*entries, *(None,) * (x.ndim - len(entries)))
            entries = tuple(FREE if e is None and d != split else e for d, e in enumerate(entries))
        return jax.lax.with_sharding_constraint(x, sharding(mesh, PartitionSpec(*entries), x))


class ByHand(NamedTuple):
    """Inside `shard_map`: each device has the whole of parameters and gradients, and cuts its part."""

    mesh: Mesh
    axis: AxisName

    def part(self, x: Param, layout: Layout, index: Array | None = None) -> Param:
        """index: of this device along the axis, where the axis cannot say."""
        if x is None or layout.split is None:
            return x
        size = x.shape[layout.split] // ways(self.mesh, self.axis)
        if isinstance(x, jax.ShapeDtypeStruct):
            return jax.ShapeDtypeStruct((*x.shape[: layout.split], size, *x.shape[layout.split + 1 :]), x.dtype)
        index = jax.lax.axis_index(self.axis) if index is None else index
        return jax.lax.dynamic_slice_in_dim(x, index * size, size, layout.split)

    def gradient(self, x: Gradient, layout: Layout) -> Gradient:
        """This device's part of the mean; gradients that are the same on all devices are their mean."""
        if x is None or any(name in axis_names(self.axis) for e in layout.param for name in axis_names(e)):
            return x
        if layout.split is None:
            return mean_over(x, self.axis)
        here = varying_axes(jax.lax.axis_index(self.axis))
        if here and not here <= varying_axes(x):
            return self.part(mean_over(x, self.axis), layout)
        total = jax.lax.psum_scatter(x, self.axis, scatter_dimension=layout.split, tiled=True)
        return total / ways(self.mesh, self.axis)

    def whole(self, x: Gradient, layout: Layout) -> Gradient:
        return x if x is None or layout.split is None else gathered(x, self.axis, layout.split)

    def memory(self, memory: Memory, layout: Layout) -> Memory:
        return memory

    def tree(self, key: str, memory: Memory, layouts: dict[Path, Layout], params: Params) -> Memory:
        return memory


@lru_cache(maxsize=1024)
def _cut(mesh: Mesh, axis: AxisName, layout: Layout) -> Callable[[Array], Array]:
    """From the whole of an array to parts, one function of the program for all of one layout."""
    out = PartitionSpec(*(axis if d == layout.split else None for d in range(len(layout.shape))))
    cut, names = partial(ByHand(mesh, axis).part, layout=layout), set(axis_names(axis))
    mapped = partial(jax.shard_map, mesh=mesh, out_specs=out, axis_names=names)
    if names == set(mesh.axis_names):
        return jax.jit(mapped(cut, in_specs=PartitionSpec()))
    # Where other axes are the compiler's, it does not know what a device's index is in a function that is called twice.
    by_index = mapped(lambda x, i: cut(x, index=i[0]), in_specs=(PartitionSpec(), PartitionSpec(axis)))
    return jax.jit(lambda x: by_index(x, jnp.arange(ways(mesh, axis))))


def is_explicit(mesh: Mesh, axis: AxisName) -> bool:
    """Whether layouts over the axis are part of the types of arrays."""
    kinds = dict(zip(mesh.axis_names, mesh.axis_types, strict=True))
    return all(kinds[name] == AxisType.Explicit for name in axis_names(axis))


def is_manual(axis: AxisName) -> bool:
    """Whether the trace is inside `shard_map` or `pmap` over the axis."""
    try:
        jax.lax.axis_index(axis)
    except NameError:
        return False
    return True


def spec_at_hand(leaf: Leaf, explicit: bool) -> PartitionSpec | None:
    """The layout that a leaf is known to have: by its type, or as an array that is there; None where nobody says."""
    x = leaf.array
    if isinstance(x, jax.core.Tracer) and not explicit:
        return None
    known = jax.typeof(x).sharding if isinstance(x, jax.core.Tracer) else getattr(x, "sharding", None)
    return known.spec if isinstance(known, NamedSharding) else None
