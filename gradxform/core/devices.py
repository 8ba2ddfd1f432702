"""Named device axes: what differs between devices, and means over them."""

from __future__ import annotations

import inspect

import jax
import jax.numpy as jnp

from gradxform.core.types import Array, AxisName, Tree


def axis_names(axis_name: AxisName | None) -> tuple[str, ...]:
    """One name, several or none, as a tuple."""
    return (axis_name,) if isinstance(axis_name, str) else tuple(axis_name or ())


def along(axis_name: AxisName) -> Array:
    """The index of this device along an axis. Raises: ValueError where no such axis is at hand."""
    try:
        return jax.lax.axis_index(axis_name)
    except NameError:
        raise ValueError(
            f"axis_name {axis_name!r} is no axis here: the update must run inside pmap or shard_map over it"
        ) from None


def axes_to_sum(x: Tree, names: tuple[str, ...]) -> tuple[str, ...]:
    """The axes to sum x over: where `shard_map` keeps account of it, those along which it varies."""
    return tuple(a for a in names if not varying_axes(along(a)) or a in varying_axes(x))


def mean_over(x: Array, axis_name: AxisName | None) -> Array:
    """x, averaged over the devices along `axis_name` where they may differ."""
    axes = axes_to_sum(x, axis_names(axis_name))
    return jax.lax.pmean(x, axes) if axes else x


def gathered(x: Array, axis_name: AxisName, dimension: int = 0) -> Array:
    """What all devices hold, one after another, and where `shard_map` keeps account of it, known to be equal on all."""
    here = along(axis_name)
    varies = bool(varying_axes(here))
    if not varies or "to" in inspect.signature(jax.lax.all_gather).parameters:
        equal = {"to": "invarying"} if varies else {}
        whole: Array = jax.lax.all_gather(x, axis_name, axis=dimension, tiled=True, **equal)
        return whole
    alone = jnp.zeros((jax.lax.psum(1, axis_name), *x.shape), x.dtype).at[here].set(x)
    side = jnp.moveaxis(jax.lax.psum(alone, axis_name), 0, dimension)
    return side.reshape(*x.shape[:dimension], -1, *x.shape[dimension + 1 :])


def varying_axes(tree: Tree) -> frozenset[str]:
    """The manual mesh axes over which an array, or rows, differ between devices, inside `shard_map`."""
    return frozenset().union(*map(_varying_axes, jax.tree.leaves(tree)))


def _varying_axes(x: object) -> frozenset[str]:
    return varying_of(jax.typeof(x)) if isinstance(x, jax.Array) else frozenset()


def varying_of(kind: object) -> frozenset[str]:
    """The manual mesh axes over which arrays of a JAX type differ between devices."""
    kind = getattr(kind, "mat", kind)
    return frozenset(getattr(kind, "varying", None) or getattr(kind, "vma", None) or ())


def in_host_memory(x: Array | jax.core.ShapedArray) -> bool:
    """Whether an array, or its type, is in host memory."""
    kind = jax.typeof(x) if isinstance(x, jax.Array) else x
    return "Host" in str(getattr(kind, "memory_space", ""))
