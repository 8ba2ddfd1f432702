"""Two ways to a part of an array on each device: laid out by the compiler, or cut by hand inside `shard_map`."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from gradxform.core.devices import axis_names, gathered, mean_over, varying_axes
from gradxform.core.rows import Rows
from gradxform.core.tree import Leaf
from gradxform.strategies.layout import Layout, lay_memory, lay_state, sharding, ways

FREE = PartitionSpec.UNCONSTRAINED


class ByCompiler(NamedTuple):
    """Under `jit`: every array is whole in the program, and constraints say where its parts lie."""

    mesh: Any
    axis: Any
    known: bool
    """Whether the layout of the parameters over other axes is known; where not, it is left to the compiler."""

    def part(self, x: Any, layout: Layout) -> Any:
        """A part of a parameter. The barrier keeps the parameter whole: the compiler would split that too, in loops."""
        if isinstance(x, jax.Array):
            x = jax.lax.optimization_barrier(self.whole(x, layout))
        return self.gradient(x, layout)

    def gradient(self, x: Any, layout: Layout) -> Any:
        return x if isinstance(x, Rows) else self._placed(x, layout.state, layout.split)

    def whole(self, x: Any, layout: Layout) -> Any:
        return self._placed(x, layout.own, layout.split)

    def memory(self, memory: Any, layout: Layout) -> Any:
        return lay_memory(memory, layout, self.mesh, lambda x, spec: self._placed(x, spec, layout.split))

    def tree(self, key: str, memory: Any, layouts: dict[str, Layout], params: Any) -> Any:
        """Memory that sees the whole tree, by the ends of paths."""

        def of(names: Any) -> Any:
            return layouts, self.mesh, self.axis

        return lay_state(memory, params, of, lambda x, spec: self._placed(x, spec, None), (key,))

    def _placed(self, x: Any, entries: Any, split: int | None) -> Any:
        if isinstance(x, Rows):
            return x.with_values(self._placed(x.values, (None, *entries[1:]), split))
        if x is None or not x.ndim:
            return x
        if isinstance(x, jax.ShapeDtypeStruct):
            return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(self.mesh, PartitionSpec(*entries)))
        here = jax.sharding.get_abstract_mesh()
        mesh = here if set(axis_names(self.axis)) <= set(here.axis_names) else self.mesh
        if is_explicit(self.mesh, self.axis):
            return jax.sharding.reshard(x, NamedSharding(mesh, PartitionSpec(*entries)))
        if not self.known:
            entries = (*entries, *(None,) * (x.ndim - len(entries)))
            entries = [FREE if e is None and d != split else e for d, e in enumerate(entries)]
        return jax.lax.with_sharding_constraint(x, sharding(mesh, PartitionSpec(*entries), x))


class ByHand(NamedTuple):
    """Inside `shard_map`: each device has the whole of parameters and gradients, and cuts its part."""

    mesh: Any
    axis: Any

    def part(self, x: Any, layout: Layout) -> Any:
        if x is None or layout.split is None:
            return x
        size = x.shape[layout.split] // ways(self.mesh, self.axis)
        return jax.lax.dynamic_slice_in_dim(x, jax.lax.axis_index(self.axis) * size, size, layout.split)

    def gradient(self, x: Any, layout: Layout) -> Any:
        """This device's part of the mean; gradients that are the same on all devices are their mean."""
        if x is None or any(name in axis_names(self.axis) for e in layout.own for name in axis_names(e)):
            return x
        if layout.split is None:
            return mean_over(x, self.axis)
        here = varying_axes(jax.lax.axis_index(self.axis))
        if here and not here <= varying_axes(x):
            return self.part(mean_over(x, self.axis), layout)
        total = jax.lax.psum_scatter(x, self.axis, scatter_dimension=layout.split, tiled=True)
        return total / ways(self.mesh, self.axis)

    def whole(self, x: Any, layout: Layout) -> Any:
        return x if x is None or layout.split is None else gathered(x, self.axis, layout.split)

    def memory(self, memory: Any, layout: Layout) -> Any:
        return memory

    def tree(self, key: str, memory: Any, layouts: dict[str, Layout], params: Any) -> Any:
        return memory


def is_explicit(mesh: Any, axis: Any) -> bool:
    """Whether layouts over the axis are part of the types of arrays."""
    kinds = dict(zip(mesh.axis_names, mesh.axis_types, strict=True))
    return all(kinds[name] == AxisType.Explicit for name in axis_names(axis))


def is_manual(axis: Any) -> bool:
    """Whether the trace is inside `shard_map` or `pmap` over the axis."""
    try:
        jax.lax.axis_index(axis)
    except NameError:
        return False
    return True


def spec_at_hand(leaf: Leaf, explicit: bool) -> Any:
    """The layout that a leaf is known to have: by its type, or as an array that is there; None where nobody says."""
    x = leaf.array
    if isinstance(x, jax.core.Tracer) and not explicit:
        return None
    held = jax.typeof(x).sharding if isinstance(x, jax.core.Tracer) else getattr(x, "sharding", None)
    return held.spec if isinstance(held, NamedSharding) else None
