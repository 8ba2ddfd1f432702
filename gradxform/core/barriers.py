"""What tells XLA how to divide a program into kernels, each thing only where it helps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.interpreters import ad

from gradxform.core.devices import varying_axes
from gradxform.core.platforms import on_cpus, on_gpus
from gradxform.core.rows import Rows
from gradxform.core.types import Array, Gradient, Tree

SMALL = 16384
"""Arrays of at most so many elements stand behind a barrier TOGETHER at a time: less to trace and to compile."""

TOGETHER = 32

BRIEF = 2**18
"""With at most so many elements a leaf takes a GPU less time than the start of a kernel does."""

_same = on_cpus("barrier_on_cpu", lambda *xs: jax.lax.optimization_barrier(xs), lambda *xs: xs)
ad.primitive_jvps[_same] = lambda xs, tangents: (_same.bind(*xs), tangents)


def barrier(tree: Tree) -> Tree:
    """The same arrays, so that what a sum computes from them is its own.

    XLA's CPU compiler reads a computed array into a sum where nothing else wants it; where something does, the array is
    written to memory first, and two computations of one thing are made one. Those for GPU and TPU write several arrays
    in one kernel: there it is better to compute once, and no barrier stands.
    """
    leaves = jax.tree.leaves(tree)
    traced = any(isinstance(x, jax.core.Tracer) for x in leaves)
    return jax.tree.unflatten(jax.tree.structure(tree), _same.bind(*leaves)) if traced else tree


def barrier_each(arrays: Sequence[Array | Rows]) -> list[Any]:
    """`barrier` of each array; of small ones TOGETHER at a time."""
    small = [i for i, x in enumerate(arrays) if x.size <= SMALL]
    parts = [small[i : i + TOGETHER] for i in range(0, len(small), TOGETHER)]
    apart: dict[int, Any] = {}
    for part in (*parts, *([i] for i, x in enumerate(arrays) if x.size > SMALL)):
        apart |= zip(part, barrier([arrays[i] for i in part]), strict=True)
    return [apart[i] for i in range(len(arrays))]


def in_place(new: Array, old: Array) -> Array:
    """new, a memory that follows from nothing that was remembered, for the place of old.

    XLA writes over an array, in the kernel that reads it, only what depends on it; anything else it writes elsewhere
    on GPUs, and copies. So there new depends on old: where they are equal it is old, perhaps a zero of the other sign.
    """
    chosen: Array = on_gpus(_old_if_equal, _new, new, old)
    return chosen


def _old_if_equal(new: Array, old: Array) -> Array:
    return jnp.where(new == old, old.astype(new.dtype), new)


def _new(new: Array, old: Array) -> Array:
    return new


def in_common(x: Gradient, whole: dict[Any, Array]) -> Array | None:
    """What the kernels of leaves that are like x read in common: all true, but the compiler can't tell (`beside`)."""
    if not isinstance(x, jax.core.Tracer) or x.size > BRIEF or varying_axes(x):
        return None
    kind = jax.typeof(x).update(dtype=jnp.bool_, weak_type=False)
    if kind not in whole:
        whole[kind] = jax.lax.optimization_barrier(jnp.full_like(x, True, jnp.bool_))
    return whole[kind]


def beside(common: Array | None, x: Any) -> Any:
    """The same array, read beside one that others of its shape are read beside too.

    On GPUs XLA makes one kernel of several that have an array in common, of a dozen leaves' for AdamW; it makes one of
    each leaf else. 1000 adapters behind clipping start 153 kernels for an H100 instead of 1067.
    """
    if common is None:
        return x

    def read(common: Array, x: Array) -> Array:
        return jax.lax.select(common, x, jnp.zeros_like(x))

    return on_gpus(read, lambda common, x: x, common, x)
