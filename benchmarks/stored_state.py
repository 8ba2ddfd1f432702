"""What low-precision state costs: AdamW on GPT-2-small shapes with each codec beside float32 state, in one run.

`python -m benchmarks.stored_state`; fewer blocks of the net with `--layers`. `--outliers` prints what codes lose where
some rows or columns are 100 times as large as others.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gradxform as gx
from benchmarks import shapes

ADAMW = gx.adamw(1e-3, weight_decay=0.1)
ROWS: dict[str, Any] = {
    "float32": ADAMW,
    "bfloat16": gx.stored_as("bfloat16", ADAMW),
    "bfloat16 stochastic": gx.stored_as("bfloat16", ADAMW, stochastic=True),
    "float16": gx.stored_as("float16", ADAMW),
    "int8": gx.stored_as("int8", ADAMW),
    "int8 stochastic": gx.stored_as("int8", ADAMW, stochastic=True),
    "int4": gx.stored_as("int4", ADAMW),
    "float8_e4m3": gx.stored_as("float8_e4m3", ADAMW),
    "clip, float32": gx.chain(gx.clip_by_global_norm(1.0), ADAMW),
    "clip, int8": gx.chain(gx.clip_by_global_norm(1.0), gx.stored_as("int8", ADAMW)),
}
PARAMETERS_IN_BFLOAT16: dict[str, Any] = {
    "bfloat16 parameters, master weights": gx.master_weights(ADAMW),
    "bfloat16 parameters, split16": gx.chain(ADAMW, gx.round_updates("split16")),
    "bfloat16 parameters, split16, int8": gx.chain(gx.stored_as("int8", ADAMW), gx.round_updates("split16")),
    "bfloat16 parameters, kahan, int8": gx.chain(gx.stored_as("int8", ADAMW), gx.round_updates("kahan")),
    "bfloat16 parameters, stochastic, int8": gx.chain(gx.stored_as("int8", ADAMW), gx.round_updates("stochastic")),
}


class Row:
    """One compiled step with its own parameters, state and gradients."""

    def __init__(self, tx: Any, layers: int, dtype: Any) -> None:
        rng = np.random.default_rng(0)
        wanted = {k: s for k, s in shapes.gpt2_small().items() if not k.startswith("h") or int(k[1:3]) < layers}
        values = {k: rng.standard_normal(s, np.float32) for k, s in wanted.items()}
        self.params = {k: jnp.asarray(0.02 * v, dtype) for k, v in values.items()}
        self.grads = {k: jnp.asarray(0.01 * v, dtype) for k, v in values.items()}
        self.state = jax.jit(tx.init)(self.params)
        self.parameters = sum(x.size for x in values.values())
        self.bytes = sum(x.nbytes for x in jax.tree.leaves((self.params, self.state))) / self.parameters
        self.step = gx.make_step(tx).lower(self.params, self.state, self.grads).compile()
        self.temporaries = self.step.memory_analysis().temp_size_in_bytes / sum(
            x.nbytes for x in jax.tree.leaves(self.params)
        )
        self.times: list[float] = []

    def run(self, steps: int) -> None:
        start = time.perf_counter()
        for _ in range(steps):
            self.params, self.state = self.step(self.params, self.state, self.grads)
        jax.block_until_ready(self.params)
        self.times.append((time.perf_counter() - start) / steps)


def measure(names: dict[str, Any], dtype: Any, layers: int, rounds: int) -> list[str]:
    """A line for each transformation; the base is run beside it, in turn, so that both see the same machine."""
    lines = []
    base = Row(ADAMW, layers, jnp.float32)
    base.run(2)
    for name, tx in names.items():
        row = Row(tx, layers, dtype)
        row.run(2)
        base.times, row.times = [], []
        for _ in range(rounds):
            base.run(2)
            row.run(2)
        ratios = [a / b for a, b in zip(row.times, base.times, strict=True)]
        step = 1e3 * statistics.median(row.times)
        lines.append(
            f"| {name} | {step:.1f} | {statistics.median(ratios):.2f} | {min(row.times) / min(base.times):.2f} "
            f"| {100 * row.temporaries:.1f} | {row.bytes:.2f} |"
        )
        print(lines[-1], flush=True)
    return lines


def error(shape: tuple[int, int], sizes: Any, codec: str, steps: int = 60) -> float:
    """How far Adam's direction is from that of exact state, of its size, over the last 20 steps; gradients have heavy
    tails (Student's t of 3 degrees) and these sizes."""
    grads = jnp.asarray(np.random.default_rng(0).standard_t(3, (steps, *shape)) * sizes, jnp.float32)
    exact, stored = gx.scale_by_adam(), gx.stored_as(codec, gx.scale_by_adam())

    def step(states: Any, g: Any) -> Any:
        (u, first), (v, second) = (tx.update(g, s) for tx, s in zip((exact, stored), states, strict=True))
        return (first, second), jnp.sqrt(jnp.sum((u - v) ** 2) / jnp.sum(u**2))

    p = jnp.zeros(shape)
    return float(jnp.mean(jax.jit(lambda s: jax.lax.scan(step, s, grads)[1])((exact.init(p), stored.init(p)))[-20:]))


def outliers() -> None:
    for shape in ((256, 256), (128, 512)):
        rows, columns = (np.where(np.arange(n) % 50 == 0, 100.0, 1.0) for n in shape)
        for where, sizes in (("nowhere", 1.0), ("in rows", rows[:, None]), ("in columns", columns)):
            errors = [f"{codec} {error(shape, sizes, codec):.3f}" for codec in ("int8", "float8_e4m3")]
            print(f"{shape}, outliers {where}: {', '.join(errors)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=12, help="blocks of the net")
    parser.add_argument("--rounds", type=int, default=10, help="rounds of 2 steps of each side")
    parser.add_argument("--only", default="", help="measure the rows that contain this text")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "output" / "stored_state.md")
    parser.add_argument("--outliers", action="store_true", help="print errors of the direction instead")
    options = parser.parse_args()
    if options.outliers:
        outliers()
        return
    head = [
        "| state | step, ms | ratio, median | ratio of the fastest | temporaries, % of parameters | B per parameter |",
        "|---|---|---|---|---|---|",
    ]
    print(*head, sep="\n")
    for names, dtype in ((ROWS, jnp.float32), (PARAMETERS_IN_BFLOAT16, jnp.bfloat16)):
        chosen = {name: tx for name, tx in names.items() if options.only in name}
        head += measure(chosen, dtype, options.layers, options.rounds) if chosen else []
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text("\n".join(head) + "\n")


if __name__ == "__main__":
    main()
