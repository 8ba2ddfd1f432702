"""Programs whose passes were counted by hand, compiled for a device that is not there: a target in, both counts out.

A pass is 256 MB here: half of it a TPU would keep in its VMEM, where nothing is counted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from benchmarks.compiled import targets

# isort: split
import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding

import gradxform as gx
from benchmarks.compiled.cost import cost

SIDE = 8192
PASS = 4 * SIDE * SIDE


def cases(shaped: Any, tpu: bool) -> Iterator[tuple[str, float, int, Any, tuple[Any, ...], Any]]:
    """Name, passes, how often a conditional takes its dearer branch, function, arguments, and which are donated."""
    x, few, n = shaped(SIDE, SIDE), shaped(8, SIDE), shaped(dtype="int32")
    half, nibbles = shaped(SIDE, SIDE, dtype="bfloat16"), shaped(SIDE, SIDE, dtype="int4")
    yield "nothing", 0, 1, lambda x: x, (x,), 0
    yield "add in place", 2, 1, lambda x: x + 1, (x,), 0
    yield "bfloat16", 1, 1, lambda x: x * 2, (half,), 0
    yield "int4", 0.25, 1, lambda x: -x, (nibbles,), 0
    yield "norm, then scale", 3, 1, lambda x: x / jnp.sqrt(jnp.sum(x * x)), (x,), 0
    # A TPU transposes into a copy: written and read again.
    yield "transpose and add", 5 if tpu else 3, 1, lambda x, y: x.T + y, (x, x), 1
    yield "concatenate and scale", 2, 1, lambda *x: jnp.concatenate(x) * 2, (shaped(SIDE // 4, SIDE),) * 4, ()

    def rows(i: Any, x: Any) -> Any:
        part = jnp.sin(jax.lax.dynamic_slice_in_dim(x, 1024 * i, 1024))
        return jax.lax.dynamic_update_slice_in_dim(x, part, 1024 * i, 0)

    # 8 slices of 1024 rows, each read and written in place: all of it once.
    yield "loop over slices in place", 2, 1, lambda x: jax.lax.fori_loop(0, 8, rows, x), (x,), 0
    # w is read in each of 5 turns; what it is multiplied by is 1/1024, a few times. A TPU reads w once and
    # writes it in bfloat16, in which it is read 5 times.
    products = lambda x, w: jax.lax.fori_loop(0, 5, lambda i, x: jnp.tanh(x @ w), x)  # noqa: E731
    yield "products in a loop", 4 if tpu else 5, 1, products, (few, x), 0
    unknown = lambda n, x: jax.lax.fori_loop(0, n, lambda i, x: jnp.sin(x) + i, x)  # noqa: E731
    yield "loop of unknown trips, once", 2, 1, unknown, (n, x), 1

    def branches(n: Any, x: Any, w: Any) -> Any:
        return jax.lax.cond(n > 3, lambda x: jnp.tanh(jnp.sort(x, axis=0) @ w) @ w, lambda x: x, x)

    # Two products read w twice; sorting and tanh move 1/1024 a few times.
    yield "conditional, dearer branch", 2, 1, branches, (n, few, x), 1
    yield "conditional, once in four", 0.5, 4, branches, (n, few, x), 1
    yield "slice of rows", 1 / 4, 1, lambda n, x: jax.lax.dynamic_slice_in_dim(x, n, SIDE // 8) * 2, (n, x), ()
    yield "gather of rows", 2 / 128, 1, lambda n, x: x[n] * 2, (shaped(64, dtype="int32"), x), ()
    yield (
        "scatter in place",
        3 / 128,
        1,
        lambda n, x, r: x.at[n].add(r),
        (shaped(64, dtype="int32"), x, shaped(64, SIDE)),
        1,
    )

    for name, count, tx in [
        ("sgd", 3, gx.sgd(0.1)),
        ("momentum", 5, gx.momentum(0.1)),
        ("adamw", 7, gx.adamw(1e-3)),
        ("clip and adamw", 8, gx.chain(gx.clip_by_global_norm(1.0), gx.adamw(1e-3))),
    ]:
        state = jax.tree.map(lambda x: shaped(*x.shape, dtype=x.dtype), jax.eval_shape(tx.init, x))
        yield name, count, 1, gx.make_step(tx).jitted, (x, state, x), None


def main(target: str) -> None:
    one = SingleDeviceSharding(targets.devices(target)[0])

    def shaped(*shape: int, dtype: Any = "float32") -> Any:
        return jax.ShapeDtypeStruct(shape, dtype, sharding=one)

    found = {}
    for name, count, every, f, arguments, donated in cases(shaped, target == "v5e"):
        jitted = f if donated is None else jax.jit(f, donate_argnums=donated)
        compiled = jitted.trace(*arguments).lower(lowering_platforms=(targets.PLATFORM[target],)).compile()
        found[name] = (count, cost(compiled.as_text(), every).moved / PASS)
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
