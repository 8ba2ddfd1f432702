"""Compile a row for a device, and read the program's figures."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

import gradxform as gx
from benchmarks.compiled.cost import cost, different
from benchmarks.compiled.rows import Row
from benchmarks.compiled.targets import PLATFORM, devices

Place = Callable[..., Any]
"""From a shape, and for parts of a state `memory=True`, how an array of it lies on the devices."""


def alone(target: str) -> Place:
    one = SingleDeviceSharding(devices(target)[0])
    return lambda shape, memory=False: one


def mesh_of(target: str, count: tuple[int, ...]) -> Mesh:
    import numpy as np

    return Mesh(np.array(devices(target, count)).reshape(count), ("data", "model"))


def over(mesh: Mesh, kind: str) -> Place:
    """All whole on each device, all split over "data" along the longest axis that divides, or the state alone."""

    def place(shape: tuple[int, ...], memory: bool = False) -> Any:
        ways = mesh.shape["data"]
        longest = max((i for i, n in enumerate(shape) if n % ways == 0), key=lambda i: shape[i], default=None)
        if kind == "whole" or (kind == "state" and not memory):
            longest = None
        return NamedSharding(mesh, PartitionSpec(*("data" if i == longest else None for i in range(len(shape)))))

    return place


def program(library: Any, make: Callable[[Any], Any], row: Row, place: Place, mesh: Mesh | None = None) -> Any:
    """A jitted step of the row, and its arguments."""

    def shaped(dtype: str, *more: int) -> Any:
        def leaf(shape: tuple[int, ...]) -> Any:
            return jax.ShapeDtypeStruct((*more, *shape), dtype, sharding=place((*more, *shape)))

        return jax.tree.map(leaf, row.shapes, is_leaf=lambda x: isinstance(x, tuple))

    params = shaped(row.params)
    grads = shaped(row.grads or row.params, *[row.examples] * bool(row.examples))
    given = row.extra()
    fixed = {key: x for key, x in given.items() if callable(x)}
    arrays = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place(x.shape)),
        {key: x for key, x in given.items() if key not in fixed},
    )
    tx = make(library) if library is gx else library.with_extra_args_support(make(library))
    # Ours says by itself what lies in the host's memory, and which part on which device.
    state = tx.init(params) if library is gx else jax.eval_shape(tx.init, params)
    where = jax.tree.map(lambda x: x.sharding or place(x.shape, memory=True), state)
    if mesh is not None and library is gx:
        where = gx.state_shardings(tx, params, jax.tree.map(lambda p: p.sharding, params), mesh)
    state = jax.tree.map(lambda x, at: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=at), state, where)
    whole = gx.make_step(tx) if library is gx and not fixed and row.axis is None else None

    def step(params: Any, state: Any, grads: Any, arrays: Any) -> Any:
        if whole is not None:
            return whole(params, state, grads, **arrays)
        more = {"grad": grads} if "value_fn" in fixed else {}

        def update(_: Any = None) -> Any:
            return tx.update(grads, state, params, **arrays, **fixed, **more)

        along = jax.vmap(update, out_axes=None, axis_name=row.axis)
        updates, state = along(jnp.zeros(1)) if row.axis else update()
        return library.apply_updates(params, updates), state

    lies = jax.tree.map(lambda x: x.sharding, (params, state))
    return jax.jit(step, donate_argnums=(0, 1), out_shardings=lies), (params, state, grads, arrays)


def timed(jitted: Any, arguments: Any, target: str) -> tuple[Any, float, float]:
    """The compiled program, and the seconds of its trace and of its compilation."""
    start = time.perf_counter()
    lowered = jitted.trace(*arguments).lower(lowering_platforms=(PLATFORM[target],))
    traced = time.perf_counter()
    compiled = lowered.compile()
    return compiled, traced - start, time.perf_counter() - traced


def read(compiled: Any, parameters: float, every: int = 1) -> dict[str, Any]:
    """The figures of a compiled program, in units of so many float32 parameters."""
    found = cost(compiled.as_text(), every)
    return {
        "passes": found.moved / (4 * parameters),
        "temp": 100 * compiled.memory_analysis().temp_size_in_bytes / (4 * parameters),
        "kernels": found.kernels,
        "copies": found.kinds["copy"],
        "cycles": found.cycles / parameters,  # per parameter, so that rows of other sizes compare
        "sent": found.sent,
        "notes": found.notes,
    }


def measured(
    library: Any, make: Callable[[Any], Any], row: Row, target: str, place: Place, mesh: Mesh | None = None
) -> tuple[dict[str, Any], str]:
    """A row's figures of one library, and the compiled text."""
    start = time.perf_counter()
    jitted, arguments = program(library, make, row, place, mesh)
    built = time.perf_counter() - start
    compiled, trace, compilation = timed(jitted, arguments, target)
    each = sum(math.prod(p.sharding.shard_shape(p.shape)) for p in jax.tree.leaves(arguments[0]))
    figures = read(compiled, each, row.every) | {"trace_s": built + trace, "compile_s": compilation}
    return figures, compiled.as_text()


def seconds(library: Any, make: Callable[[Any], Any], row: Row, target: str, repeat: int) -> dict[str, Any]:
    """Median seconds of trace and compilation, nothing remembered between, and how many kernels differ."""
    traces, compilations = [], []
    place = alone(target)
    for _ in range(repeat):
        jax.clear_caches()
        start = time.perf_counter()
        jitted, arguments = program(library, make, row, place)
        built = time.perf_counter() - start
        compiled, trace, compilation = timed(jitted, arguments, target)
        traces.append(built + trace)
        compilations.append(compilation)
    medians = {"trace_s": statistics.median(traces), "compile_s": statistics.median(compilations)}
    return medians | {"different": different(compiled.as_text())}
