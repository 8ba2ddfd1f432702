"""How a state lies over devices, before there is one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import jax
from jax.sharding import NamedSharding, PartitionSpec

from gradxform.core.chain import Chain, stages_of
from gradxform.core.stage import NO_NAMES, Names
from gradxform.core.transform import GradientTransformation
from gradxform.core.tree import open_tree, parameter, without_functions
from gradxform.core.types import AxisName, Mesh, Params, Path, Shardings, Structure, Transformation
from gradxform.core.value import Value
from gradxform.strategies.layout import (
    Layout,
    check_mesh,
    laid_out,
    lay_state,
    of_parameter,
    refuse_strays,
    sharding,
    specs_by_path,
)
from gradxform.strategies.sharded import Sharding


class _Plan:
    """The layouts of parameters, and which stages keep state that is split."""

    def __init__(
        self, tx: Transformation, params: Params, specs: dict[Path, PartitionSpec], mesh: Mesh, axis: AxisName | None
    ) -> None:
        self.mesh, self.axis = mesh, axis
        shapes = {
            path: parameter(path, x).shape for path, x in zip(*open_tree(params)[:2], strict=True) if x is not None
        }
        known = {path: of_parameter(path, shape, specs) for path, shape in shapes.items()}

        def split_over(axis: AxisName) -> dict[Path, Layout]:
            return {path: laid_out(shape, known[path], mesh, axis) for path, shape in shapes.items()}

        self.everywhere = split_over(axis or ())
        self.stages = {
            name: (split_over(stage.axis), mesh, stage.axis) for stage in _sharded(tx) for name in stage.inner_names()
        }

    def of(self, names: tuple[str, ...]) -> tuple[dict[Path, Layout], Mesh, AxisName | None]:
        """The layouts for memory under these names, the mesh, and the axis that splits it."""
        if self.axis is None:
            for name in names:
                if name in self.stages:
                    return self.stages[name]
        return self.everywhere, self.mesh, self.axis


def _sharded(tx: object, taken: Names = NO_NAMES) -> Iterator[Sharding]:
    """Every `sharded` inside a transformation, its stages named as they are in the state."""
    if isinstance(tx, Chain):
        for _, stage in tx.named(taken):
            if isinstance(stage, Sharding):
                yield stage
                continue
            for _, part, inner in stage.parts():
                yield from _sharded(part, inner)
            yield from _sharded(stage.wrapped)
    elif isinstance(tx, Value):
        for f in dataclasses.fields(tx):
            yield from _sharded(getattr(tx, f.name))


def state_shardings(
    tx: Transformation,
    params: Params,
    param_shardings: Shardings,
    mesh: Mesh | None = None,
    axis: AxisName | None = None,
) -> Shardings:
    """How the state of `tx` lies, given how parameters lie: a tree of shardings shaped like `tx.init(params)`.

    For `jax.jit(tx.init, out_shardings=...)`, `in_shardings` and checkpoints; params may be `ShapeDtypeStruct`. What
    has a parameter's shape lies where it lies, a statistic by rows or columns by what it keeps of it, a `left` or
    `right` of a matrix, or what its memory's `sides` say, as that side, scales of codes where they divide, the rest is
    the same everywhere; so it is for other libraries' pairs, whose statistics are known by the path of their
    parameter. What `sharded` keeps is split as it splits it.
    param_shardings: a tree of `NamedSharding` or specs, or one for a whole subtree; specs need `mesh`.
    axis: split all state over this axis too, along the first dimension that divides evenly and is not taken; what
    cannot be split stays as it is.
    Raises: ValueError without a mesh, for an unknown axis or for a layout where no parameter is, TypeError for another
    kind of sharding.
    """
    if param_shardings is None:
        raise TypeError("param_shardings must hold NamedSharding or PartitionSpec, got None")
    specs, params = specs_by_path(param_shardings, "param_shardings"), without_functions(params)
    refuse_strays(specs, params, "param_shardings")
    outside = [x.mesh for x in jax.tree.leaves(param_shardings) if isinstance(x, NamedSharding)]
    inside = [stage.mesh for stage in _sharded(tx)]
    mesh = next(iter([mesh] if mesh is not None else outside + inside), None)
    if mesh is None:
        raise ValueError("state_shardings needs a mesh: give mesh=, or NamedSharding in param_shardings")
    check_mesh(mesh, axis)
    if not isinstance(tx, GradientTransformation):
        stages_of(tx, "tx")
    for path, x in zip(*open_tree(params)[:2], strict=True):
        parameter(path, x)
    traced, shapes = jax.make_jaxpr(tx[0] if isinstance(tx, tuple) else tx.init, return_shape=True)(params)
    structure: Structure = jax.tree.structure(shapes)
    types = structure.unflatten(traced.out_avals)
    plan = _Plan(tx, params, specs, mesh, axis)
    return lay_state(types, params, plan.of, lambda x, spec: sharding(mesh, spec, x), ())
