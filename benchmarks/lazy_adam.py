"""Measure lazy Adam on 1024 rows of a 1,000,000 x 64 table beside optax's dense Adam on the same table.

`python -m benchmarks.lazy_adam [--rounds 20]` prints a table. All steps are compiled with parameters and state donated,
and measured in turn, round by round; the ratio is the median over the rounds. Room is what the compiled step needs
beside its arguments and results.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import gradxform as gx
from gradxform.compat import mindspore

ROWS, WIDTH, TOUCHED = 1_000_000, 64, 1024
DENSE = "optax.adam, dense"


class Run:
    """One compiled training step with its own table and state."""

    def __init__(self, step: Callable[..., Any], tx: Any, grads: Any) -> None:
        self.params = jnp.zeros((ROWS, WIDTH))
        self.state, self.grads = tx.init(self.params), grads
        self.step = jax.jit(step, donate_argnums=(0, 1)).lower(self.params, self.state, grads).compile()
        self.room = self.step.memory_analysis().temp_size_in_bytes

    def seconds(self, times: int) -> float:
        start = time.perf_counter()
        for _ in range(times):
            self.params, self.state = self.step(self.params, self.state, self.grads)
        jax.block_until_ready((self.params, self.state))
        return (time.perf_counter() - start) / times


def made(library: Any, tx: Any) -> Callable[..., Any]:
    def step(params: Any, state: Any, grads: Any) -> Any:
        updates, state = tx.update(grads, state, params)
        return library.apply_updates(params, updates), state

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds

    rng = np.random.default_rng(0)
    indices = rng.choice(ROWS, TOUCHED).astype(np.int32)
    sparse = gx.Rows(indices, rng.standard_normal((TOUCHED, WIDTH), np.float32), (ROWS, WIDTH))
    dense = sparse.dense()
    lazy, port = gx.lazy(gx.adam(1e-3)), mindspore.adam(use_lazy=True)
    runs = {
        DENSE: Run(made(optax, tx := optax.adam(1e-3)), tx, dense),
        "gx.lazy(gx.adam), 1024 rows": Run(made(gx, lazy), lazy, sparse),
        "compat.mindspore.adam(use_lazy=True), 1024 rows": Run(made(gx, port), port, sparse),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            taken = run.seconds(1 if name == DENSE else 20)
            if number:
                times[name].append(taken)

    print(f"table {ROWS:,} x {WIDTH} float32, {TOUCHED} rows touched, {rounds} rounds, {jax.devices()[0].device_kind}")
    print(f"{'':50}{'step':>12}{'times faster':>16}{'room':>14}")
    for name, run in runs.items():
        ratio = statistics.median(slow / fast for slow, fast in zip(times[DENSE], times[name], strict=True))
        step = f"{1e3 * statistics.median(times[name]):.3f} ms"
        print(f"{name:50}{step:>12}{ratio:>16.1f}{f'{run.room / 2**20:.2f} MiB':>14}")


if __name__ == "__main__":
    main()
