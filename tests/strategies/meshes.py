"""A tree whose leaves divide by eight but for a few, meshes to lay it over, and what lies where."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding

from tests.devices.layout import P

SHAPES = {"embed": (96, 64), "dense": {"kernel": (64, 128), "bias": (128,)}, "norm": (6,), "scale": ()}


SPECS = {"embed": P("model"), "dense": {"kernel": P(None, "model"), "bias": P("model")}, "norm": P(), "scale": P()}


def line(kind: AxisType = AxisType.Auto) -> Any:
    return jax.make_mesh((8,), ("data",), axis_types=(kind,))


def plane(kind: AxisType = AxisType.Auto) -> Any:
    return jax.make_mesh((4, 2), ("data", "model"), axis_types=(kind, kind))


def at_hand(mesh: Any) -> Any:
    return (jax.set_mesh if hasattr(jax, "set_mesh") else jax.sharding.use_mesh)(mesh)


def numbers(seed: int, *front: int) -> Any:
    draw = np.random.default_rng(seed).standard_normal
    return jax.tree.map(
        lambda shape: draw((*front, *shape)).astype(np.float32), SHAPES, is_leaf=lambda x: isinstance(x, tuple)
    )


def put(tree: Any, mesh: Any, specs: Any = None) -> Any:
    specs = P() if specs is None else specs
    return jax.device_put(tree, jax.tree.map(lambda s: NamedSharding(mesh, s), specs))


def bytes_here(tree: Any) -> int:
    """Bytes on the first device."""
    return sum(s.data.nbytes for x in jax.tree.leaves(tree) for s in x.addressable_shards if s.device.id == 0)


def assert_lies(tree: Any, shardings: Any) -> None:
    def lies(x: Any, wanted: Any) -> None:
        assert x.sharding.is_equivalent_to(wanted, x.ndim), (x.shape, x.sharding, wanted)

    jax.tree.map(lies, tree, shardings)
