"""Train as `train_digits.py` does, on four devices at once, and compare the losses with those of one device.

    python examples/train_digits_pmap.py [--epochs 10] [--seed 0]

Every batch is split over the devices, parameters and state are the same on all of them, and `mean_across`, first in the
chain, averages the gradients. One step function runs under `jit`, `pmap` and `shard_map`. The devices are virtual: XLA
divides the CPU. Sums in another order round differently, and training amplifies that; how much, a second run on one
device shows, whose first weights are all one rounding off. With JAX_ENABLE_X64=1 everything happens in float64.
"""

from __future__ import annotations

import os

# XLA reads these once, before the first computation.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from train_digits import (
    BATCH,
    COLUMNS,
    Digits,
    Params,
    adamw_chain,
    init_params,
    load_split,
    loss,
    options_parser,
    parse,
    shuffled,
)

import gradxform as gx

DEVICES = 4
ONE, NUDGED = "one device", "one device, nudged"
# Devices may differ from one device by this many times what a nudge of every first weight by one rounding does.
FACTOR = 16


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
    step = training_step(gx.chain(gx.mean_across("batch"), tx))
    axes = {"in_axes": (None, None, 0), "out_axes": (None, None, 0)}
    on_all = jax.pmap(step, "batch", devices=jax.devices()[:DEVICES], **axes)

    def split(x: np.ndarray) -> np.ndarray:
        return x.reshape(DEVICES, -1, *x.shape[1:])

    return lambda params, state, batch: on_all(params, state, jax.tree.map(split, batch))


def with_shard_map(tx: gx.GradientTransformation) -> Callable[..., Any]:
    """`shard_map` would add up the gradients of replicated parameters by itself; without `check_vma` it leaves that."""
    mesh = Mesh(np.array(jax.devices()[:DEVICES]), ("batch",))
    same, split = PartitionSpec(), PartitionSpec("batch")
    step = training_step(gx.chain(gx.mean_across("batch"), tx))
    specs = {"in_specs": (same, same, split), "out_specs": (same, same, split)}
    return jax.jit(jax.shard_map(step, mesh=mesh, check_vma=False, **specs))


def train(way: Callable[..., Any], params: Params, epochs: int, seed: int, report: Callable[[float], None]) -> Run:
    data = load_split()[0]
    tx = adamw_chain(epochs * (len(data.labels) // BATCH))
    step, state = way(tx), tx.init(params)
    losses, start = [], time.perf_counter()
    for epoch in shuffled(data, epochs, seed):
        for batch in epoch:
            params, state, values = step(params, state, batch)
            losses.append(float(np.mean(values)))
        report(losses[-1])
    return Run(np.array(losses), time.perf_counter() - start)


def train_all(console: Console, epochs: int, seed: int) -> dict[str, Run]:
    params = init_params(seed)
    nudged = jax.tree.map(lambda x: jnp.nextafter(x, jnp.inf), params)
    ways = {
        ONE: (on_one_device, params),
        NUDGED: (on_one_device, nudged),
        f"pmap, {DEVICES} devices": (with_pmap, params),
        f"shard_map, {DEVICES} devices": (with_shard_map, params),
    }
    runs = {}
    with Progress(*COLUMNS, console=console) as progress:
        for name, (way, start) in ways.items():
            task = progress.add_task(name, total=epochs, now="compiling")

            def report(loss: float, task: Any = task) -> None:
                progress.update(task, advance=1, now=f"loss {loss:.4f}")

            runs[name] = train(way, start, epochs, seed, report)
    return runs


def distances(runs: dict[str, Run]) -> dict[str, float]:
    """For each other run, how far its loss curve gets from that of one device."""
    return {name: float(np.max(np.abs(run.losses - runs[ONE].losses))) for name, run in runs.items() if name != ONE}


def table(runs: dict[str, Run]) -> Table:
    out = Table("", title=f"AdamW, {len(runs[ONE].losses)} steps on the same batches")
    for heading in ("first loss", "last loss", "largest difference", "seconds"):
        out.add_column(heading, justify="right")
    apart = distances(runs)
    for name, run in runs.items():
        difference = f"{apart[name]:.1e}" if name in apart else ""
        out.add_row(name, f"{run.losses[0]:.6f}", f"{run.losses[-1]:.6f}", difference, f"{run.seconds:.1f}")
    return out


def verdict(runs: dict[str, Run]) -> tuple[bool, str]:
    """Whether the curves are equal to rounding, and a sentence that says how far apart they are."""
    apart = distances(runs)
    bound = FACTOR * apart.pop(NUDGED)
    equal = all(x <= bound for x in apart.values())
    return equal, (
        f"The loss curves are {'equal' if equal else 'not equal'} to accumulated rounding: they differ by "
        f"{max(apart.values()):.1e}, and {bound:.1e} is {FACTOR} times what one rounding of the first weights does."
    )


def main(argv: list[str] | None = None) -> None:
    parser = options_parser("Train on four virtual devices and compare with one device.", epochs=10)
    options = parse(parser, argv)
    if jax.device_count() < DEVICES:
        parser.error(f"needs {DEVICES} devices, JAX sees {jax.device_count()}: unset XLA_FLAGS and JAX_PLATFORMS")

    console = Console()
    runs = train_all(console, options.epochs, options.seed)
    console.print(table(runs))
    equal, sentence = verdict(runs)
    if not equal:
        raise SystemExit(sentence)
    console.print(sentence, soft_wrap=True)


if __name__ == "__main__":
    main()
