"""Train a small GPT with AdamW and with Muon on eight devices, kill it, and go on bit for bit.

    python examples/train_gpt.py [--batches 600] [--methods AdamW Muon] [--directory examples/output/gpt]

The text is Python's own language reference, which ships with it (`pydoc_data.topics`), character by character. The
parameters are bfloat16, with the 16 bits that they lack in the state; moments are int8; every two batches make a step;
an average of the parameters is kept, and evaluated; all of that state is split over the devices, which are virtual: XLA
divides the CPU. Orbax saves parameters and state now and then, also between the two batches of a step.

Each method trains twice: undisturbed; and in a process of its own, which is killed when it is half through. What that
one has saved is taken up, and must end in the same bits: `train` goes on from the last checkpoint of its directory, and
the batch of a step depends on its number alone.
"""

from __future__ import annotations

import os

# XLA reads these once, before the first computation.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import argparse
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

import gradxform as gx

HEADS, CONTEXT, BATCH, EVERY = 4, 64, 32, 2
COLUMNS = (TextColumn("{task.description:16}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[now]}"))
Params = dict[str, Any]
# Queries, keys and values are matrices of their own.
QKV = {"qkv": gx.Matrix("in (which out)", rows="in", columns="out", which=3)}


def load_text() -> tuple[np.ndarray, np.ndarray, int]:
    """Text to train on and every tenth piece, held out, as numbers of characters; how many characters there are."""
    text = "\n".join(topics[name] for name in sorted(topics))
    alphabet = {c: i for i, c in enumerate(sorted(set(text)))}
    pieces = np.array_split(np.array([alphabet[c] for c in text], np.int32), 50)
    train = np.concatenate([piece for i, piece in enumerate(pieces) if i % 10 != 9])
    return train, np.concatenate(pieces[9::10]), len(alphabet)


def windows(text: np.ndarray, seed: int, count: int) -> np.ndarray:
    starts = np.random.default_rng(seed).integers(0, len(text) - CONTEXT - 1, count)
    return text[starts[:, None] + np.arange(CONTEXT + 1)]


def init_params(characters: int, width: int, layers: int) -> Params:
    rng = np.random.default_rng(0)

    def kernel(*shape: int, scale: float = 1.0) -> jax.Array:
        return jnp.asarray(scale * rng.standard_normal(shape) / shape[0] ** 0.5, jnp.bfloat16)

    def norm() -> jax.Array:
        return jnp.ones(width, jnp.bfloat16)

    deep = (2 * layers) ** -0.5
    blocks = [
        {
            "norm1": norm(),
            "qkv": kernel(width, 3 * width),
            "out": kernel(width, width, scale=deep),
            "norm2": norm(),
            "up": kernel(width, 4 * width),
            "down": kernel(4 * width, width, scale=deep),
        }
        for _ in range(layers)
    ]
    embedding = {"letters": kernel(characters, width, scale=0.2), "places": kernel(CONTEXT, width, scale=0.2)}
    return {"embedding": embedding, "blocks": blocks, "norm": norm(), "head": kernel(width, characters)}


def logits(params: Params, x: Any) -> Any:
    def normed(x: Any, scale: Any) -> Any:
        return scale * x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6)

    p = jax.tree.map(lambda w: w.astype(jnp.float32), params)
    h = p["embedding"]["letters"][x] + p["embedding"]["places"]
    for block in p["blocks"]:
        qkv = jnp.split(normed(h, block["norm1"]) @ block["qkv"], 3, axis=-1)
        q, k, v = (y.reshape(*x.shape, HEADS, -1) for y in qkv)
        h += jax.nn.dot_product_attention(q, k, v, is_causal=True).reshape(h.shape) @ block["out"]
        h += jax.nn.gelu(normed(h, block["norm2"]) @ block["up"]) @ block["down"]
    return normed(h, p["norm"]) @ p["head"]


def loss_fn(params: Params, batch: Any) -> Any:
    """Mean cross-entropy, in nats per character."""
    log_p = jax.nn.log_softmax(logits(params, batch[:, :-1]))
    return -jnp.take_along_axis(log_p, batch[:, 1:, None], axis=-1).mean()


def optimizer(method: str, batches: int, mesh: Any) -> gx.GradientTransformation:
    """The whole recipe. Muon's steps are as long as AdamW's (`consistent_rms`), so one rate does for both.

    By their names, hidden matrices are Muon's; embedding, head and norms AdamW's.
    """
    steps = batches // EVERY
    rate = gx.warmup_cosine_decay_schedule(0.0, 8e-3, steps // 15, steps, 8e-4)
    decay = {"weight_decay": 0.1, "adam_weight_decay": 0.1, "adam_eps": 1e-8, "consistent_rms": 0.2}
    tx = gx.matrices(gx.muon(rate, **decay), QKV) if method == "Muon" else gx.adamw(rate, b2=0.95, weight_decay=0.1)
    small = gx.chain(gx.clip_by_global_norm(1.0), gx.stored_as("int8", tx))
    average = gx.ema_of_params(0.98)
    return gx.accumulate(gx.sharded(gx.chain(small, gx.round_updates("split16"), average), mesh), EVERY)


class Run(NamedTuple):
    """The end of a training; params and state hold every bit of it."""

    params: Params
    state: Any
    loss: float
    validation: float
    bytes_per_param: float


def train(given: argparse.Namespace, method: str, directory: Path, report: Callable[[int, float], None]) -> Run:
    """Train from the last checkpoint of the directory, if it has one; `report(batch, loss)` after each batch."""
    text, held_out, characters = load_text()
    mesh = jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))
    everywhere = NamedSharding(mesh, PartitionSpec())
    tx = optimizer(method, given.batches, mesh)
    step = gx.make_train_step(loss_fn, tx, metrics="loss", mesh=mesh)

    params = jax.device_put(init_params(characters, given.width, given.layers), everywhere)
    state, loss = tx.init(params), math.nan
    every = EVERY * (given.batches // 8) + 1  # so that every other checkpoint is in the middle of a step
    options = ocp.CheckpointManagerOptions(max_to_keep=2, save_interval_steps=every)
    with ocp.CheckpointManager(directory.resolve(), options=options) as saved:
        done = saved.latest_step() or 0
        if done:
            wanted = jax.tree.map(ocp.utils.to_shape_dtype_struct, (params, state))
            params, state = saved.restore(done, args=ocp.args.StandardRestore(wanted))
        for number in range(done + 1, given.batches + 1):
            params, state, metrics = step(params, state, windows(text, number, BATCH))
            loss = float(metrics["loss"])
            report(number, loss)
            if saved.should_save(number):
                saved.save(number, args=ocp.args.StandardSave((params, state)))

    @jax.jit
    def evaluated(params: Params, state: Any, batch: Any) -> Any:
        return loss_fn(gx.eval_params(tx, state, params), batch)

    validation = evaluated(params, state, windows(held_out, 0, 256))
    size = sum(x.nbytes for x in jax.tree.leaves(state)) / sum(x.size for x in jax.tree.leaves(params))
    return Run(params, state, loss, float(validation), size)


def kill_midway(given: argparse.Namespace, method: str, directory: Path) -> int:
    """Train in a process of its own and end it without warning half through: the batch that it had come to."""
    size = [f"--{name}={getattr(given, name)}" for name in ("batches", "width", "layers")]
    command = [sys.executable, __file__, "--alone", *size, "--methods", method, "--directory", directory]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            if int(line) > given.batches // 2:
                process.kill()  # SIGKILL
                return int(line)
    raise SystemExit(f"the process to be killed ended by itself, with status {process.returncode}")


def same_bits(one: Any, other: Any) -> bool:
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in pairs)


def both(given: argparse.Namespace, method: str, progress: Progress) -> tuple[Run, int, bool]:
    """The undisturbed run; where the other was killed; and whether that ends in the same bits."""

    def shown(what: str) -> Callable[[int, float], None]:
        task = progress.add_task(f"{method}, {what}", total=given.batches, now="compiling")
        return lambda number, loss: progress.update(task, completed=number, now=f"loss {loss:.3f}")

    shutil.rmtree(given.directory / method, ignore_errors=True)
    undisturbed, disturbed = (given.directory / method / name for name in ("undisturbed", "killed"))
    run = train(given, method, undisturbed, shown("undisturbed"))
    killed = kill_midway(given, method, disturbed)
    again = train(given, method, disturbed, shown("resumed"))
    return run, killed, same_bits((run.params, run.state), (again.params, again.state))


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", type=int, default=600, help=f"every {EVERY} of them make a step")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--methods", nargs="+", choices=("AdamW", "Muon"), default=("AdamW", "Muon"))
    parser.add_argument(
        "--directory",
        type=Path,
        default=Path(__file__).parent / "output" / "gpt",
        help="for checkpoints; its folders AdamW and Muon are made anew",
    )
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.batches < 8 or given.width < HEADS or given.width % HEADS or given.layers < 1:
        parser.error(f"--batches must be at least 8, --width a multiple of {HEADS}, --layers at least 1")
    return given


def main(argv: list[str] | None = None) -> None:
    given = parse(argv)
    if given.alone:
        train(given, given.methods[0], given.directory, lambda number, _: print(number, flush=True))
        return

    console = Console()
    table = Table("method", title=f"A GPT on {jax.device_count()} devices, {given.batches} batches")
    for heading in ("loss", "validation loss", "bytes of state per parameter", "killed at", "resumed"):
        table.add_column(heading, justify="right")
    with Progress(*COLUMNS, console=console) as progress:
        for method in given.methods:
            run, killed, same = both(given, method, progress)
            if not same:
                raise SystemExit(f"{method}: the resumed run ended in other bits than the undisturbed one")
            figures = f"{run.loss:.4f}", f"{run.validation:.4f}", f"{run.bytes_per_param:.2f}"
            table.add_row(method, *figures, f"batch {killed}", "bit for bit")
    console.print(table)


if __name__ == "__main__":
    main()
