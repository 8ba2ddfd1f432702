"""What tells XLA how to divide a program into kernels, each thing only where it helps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from gradxform.core.rows import Rows
from gradxform.core.types import Array, Tree

SMALL = 16384
"""Arrays of at most so many elements stand behind a barrier TOGETHER at a time: less to trace and to compile."""

TOGETHER = 32

_same = Primitive("barrier_on_cpu")
"""The arrays as they are. A primitive, and no `platform_dependent`: that traces and lowers a conditional each time."""
_same.multiple_results = True
_same.def_impl(lambda *xs: xs)
_same.def_abstract_eval(lambda *xs: xs)
ad.primitive_jvps[_same] = lambda xs, tangents: (_same.bind(*xs), tangents)
batching.primitive_batchers[_same] = lambda xs, axes: (_same.bind(*xs), axes)
mlir.register_lowering(_same, lambda _, *xs: xs)
_behind = mlir.lower_fun(lambda *xs: jax.lax.optimization_barrier(xs), multiple_results=True)
mlir.register_lowering(_same, _behind, platform="cpu")


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


def on_gpus(there: Callable[..., Any], elsewhere: Callable[..., Any], *args: Any) -> Any:
    """What one function gives where the program is compiled for a GPU, another for all else."""
    return jax.lax.platform_dependent(*args, cuda=there, rocm=there, default=elsewhere)
