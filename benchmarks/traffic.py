"""How near AdamW comes to the memory traffic that it cannot avoid.

`python -m benchmarks.traffic`: the floor for Adam is 4 reads and 3 writes of each element (p, g, mu, nu; p, mu, nu),
and one more read of g where the global norm must be known first. The bandwidth is that of `x + 1` in place and of
`a + s·b` into a, the better of the two, on arrays as large as the parameters, in the same run.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp

import gradxform as gx
from benchmarks import shapes


def milliseconds(f: Any, *state: Any, repeat: int = 15) -> float:
    """Median time of a step that returns what it is called with, donated."""
    times = []
    for i in range(repeat + 2):
        start = time.perf_counter()
        state = jax.block_until_ready(f(*state))
        if i > 1:
            times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def bandwidth(n: int) -> float:
    """Bytes per second."""
    inplace = milliseconds(jax.jit(lambda x: (x + 1,), donate_argnums=0), jnp.ones(n))
    add = jax.jit(lambda a, b: (a + 0.5 * b, b), donate_argnums=(0, 1))
    return max(2 * 4 * n / inplace, 3 * 4 * n / milliseconds(add, jnp.ones(n), jnp.ones(n))) * 1e3


def main() -> None:
    tree = shapes.ALL["gpt2-small"]()
    params = {k: jnp.full(s, 0.02) for k, s in tree.items()}
    n = sum(x.size for x in params.values())
    rate = bandwidth(n)
    print(f"{jax.devices()[0].device_kind}: {rate / 1e9:.1f} GB/s, GPT-2-small, {n / 1e6:.0f} M parameters, float32\n")
    print("| step | passes | floor ms | measured ms | measured / floor |\n|---|---|---|---|---|")
    chains = {"adamw": (7, gx.adamw(1e-3)), "clip + adamw": (8, gx.chain(gx.clip_by_global_norm(1.0), gx.adamw(1e-3)))}
    for name, (passes, tx) in chains.items():
        step = gx.make_step(tx)
        grads = {k: jnp.full(s, 0.01) for k, s in tree.items()}
        own = {k: jnp.copy(x) for k, x in params.items()}
        taken = milliseconds(lambda p, s, step=step, grads=grads: step(p, s, grads), own, tx.init(own))
        floor = 1e3 * passes * 4 * n / rate
        print(f"| {name} | {passes} | {floor:.0f} | {taken:.0f} | {taken / floor:.2f} |")


if __name__ == "__main__":
    main()
