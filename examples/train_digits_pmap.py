"""Train as `train_digits.py` does, on four devices at once, and compare the losses with those of one device.

    python examples/train_digits_pmap.py [--epochs 10] [--seed 0]

Every batch is split over the devices, parameters and state are the same on all of them, and `mean_across`, first in the
chain, averages the gradients. One step function runs under `jit`, `pmap` and `shard_map`. The devices are virtual: XLA
divides the CPU.
"""

from __future__ import annotations

import os

# XLA reads these once, before the first computation.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import argparse
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from train_digits import BATCH, COLUMNS, Digits, Params, adamw_chain, init_params, load_split, loss, shuffled

import gradxform as gx

DEVICES = 4
# The losses may differ by this many roundings of the largest: sums over a batch are taken in another order.
ROUNDINGS = 16


class Run(NamedTuple):
    losses: np.ndarray  # (steps,)
    seconds: float


def training_step(tx: gx.GradientTransformation) -> Callable[..., Any]:
    def step(params: Params, state: Any, batch: Digits) -> tuple[Params, Any, jax.Array]:
        value, grads = jax.value_and_grad(loss)(params, batch)
        updates, state = tx.update(grads, state, params)
        return gx.apply_updates(params, updates), state, value[None]

    return step


def on_one_device(tx: gx.GradientTransformation) -> Callable[..., Any]:
    return jax.jit(training_step(tx))


def with_pmap(tx: gx.GradientTransformation) -> Callable[..., Any]:
    """`pmap` wants the devices as the first axis of what it splits; None is the same on all."""
    axes = {"in_axes": (None, None, 0), "out_axes": (None, None, 0)}
    step = jax.pmap(
        training_step(gx.chain(gx.mean_across("batch"), tx)), "batch", devices=jax.devices()[:DEVICES], **axes
    )

    def split(x: np.ndarray) -> np.ndarray:
        return x.reshape(DEVICES, -1, *x.shape[1:])

    return lambda params, state, batch: step(params, state, jax.tree.map(split, batch))


def with_shard_map(tx: gx.GradientTransformation) -> Callable[..., Any]:
    """`shard_map` would add up the gradients of replicated parameters by itself; without `check_vma` it leaves that."""
    mesh = Mesh(np.array(jax.devices()[:DEVICES]), ("batch",))
    same, split = PartitionSpec(), PartitionSpec("batch")
    step = training_step(gx.chain(gx.mean_across("batch"), tx))
    specs = {"in_specs": (same, same, split), "out_specs": (same, same, split)}
    return jax.jit(jax.shard_map(step, mesh=mesh, check_vma=False, **specs))


WAYS = {"one device": on_one_device, f"pmap, {DEVICES} devices": with_pmap, f"shard_map, {DEVICES} devices": with_shard_map}


def train(way: Callable[..., Any], epochs: int, seed: int, report: Callable[[float], None]) -> Run:
    data = load_split()[0]
    tx = adamw_chain(epochs * (len(data.labels) // BATCH))
    step, params = way(tx), init_params(seed)
    state = tx.init(params)
    losses, start = [], time.perf_counter()
    for epoch in shuffled(data, epochs, seed):
        for batch in epoch:
            params, state, values = step(params, state, batch)
            losses.append(float(np.mean(values)))
        report(losses[-1])
    return Run(np.array(losses), time.perf_counter() - start)


def train_all(console: Console, epochs: int, seed: int) -> dict[str, Run]:
    runs = {}
    with Progress(*COLUMNS, console=console) as progress:
        for name, way in WAYS.items():
            task = progress.add_task(name, total=epochs, now="compiling")

            def report(loss: float, task: Any = task) -> None:
                progress.update(task, advance=1, now=f"loss {loss:.4f}")

            runs[name] = train(way, epochs, seed, report)
    return runs


def differences(runs: dict[str, Run]) -> tuple[dict[str, float], float]:
    """For each run its largest distance from the loss curve of one device, and the bound on it."""
    one = runs["one device"].losses
    bound = ROUNDINGS * float(np.finfo(np.float32).eps * one.max())
    return {name: float(np.max(np.abs(run.losses - one))) for name, run in runs.items()}, bound


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train on four virtual devices and compare with one device.")
    parser.add_argument("--epochs", type=int, default=10, help="passes over the training images (default: 10)")
    parser.add_argument("--seed", type=int, default=0, help="for the first weights and the order of the images")
    options = parser.parse_args(argv)
    if options.epochs < 1:
        parser.error(f"--epochs must be at least 1, got {options.epochs}")
    if jax.device_count() < DEVICES:
        parser.error(f"needs {DEVICES} devices, JAX sees {jax.device_count()}: unset XLA_FLAGS and JAX_PLATFORMS")

    console = Console()
    runs = train_all(console, options.epochs, options.seed)
    largest, bound = differences(runs)
    table = Table("", title=f"{len(runs['one device'].losses)} steps on the same batches")
    for heading in ("first loss", "last loss", "largest difference", "seconds"):
        table.add_column(heading, justify="right")
    for name, run in runs.items():
        table.add_row(name, f"{run.losses[0]:.6f}", f"{run.losses[-1]:.6f}", f"{largest[name]:.1e}", f"{run.seconds:.1f}")
    console.print(table)
    worst = max(largest.values())
    what = f"the losses differ by {worst:.1e}; {ROUNDINGS} float32 roundings of the largest are {bound:.1e}"
    if not worst <= bound:
        raise SystemExit(f"The loss curves are not equal: {what}.")
    console.print(f"The loss curves are equal to rounding: {what}.", soft_wrap=True)


if __name__ == "__main__":
    main()
