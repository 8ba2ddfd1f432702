"""Train a small convolutional net on handwritten digits with three optimizers, side by side.

    python examples/train_digits.py [--epochs 30] [--seed 0] [--out examples/output]

The data are the 1797 images of 8 x 8 pixels that scikit-learn ships. The program ends with a table and a picture of the
loss curves, and fails if an optimizer falls short of what is asked of it.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import gradxform as gx

BATCH = 96
COLUMNS = (TextColumn("{task.description:16}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[now]}"))
Params = dict[str, Any]
# What the program must reach: test accuracy, and the share of weights in the dense layers that are exactly zero.
REQUIRED = {"AdamW": (0.97, 0.0), "proximal Adagrad": (0.93, 0.5)}


class Digits(NamedTuple):
    """Images (n, 8, 8, 1) with pixels in [0, 1], and labels (n,)."""

    images: np.ndarray
    labels: np.ndarray


def load_split() -> tuple[Digits, Digits]:
    """The same 80 % for training and 20 % for testing every time, each digit in the same proportion."""
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8, 1) / 16
    x, x_test, y, y_test = train_test_split(images, labels, test_size=0.2, stratify=labels, random_state=0)
    return Digits(x, y), Digits(x_test, y_test)


def shuffled(data: Digits, epochs: int, seed: int) -> Iterator[list[Digits]]:
    """For every epoch all full batches, in a new order."""
    rng = np.random.default_rng(seed)
    steps = len(data.labels) // BATCH
    for _ in range(epochs):
        order = rng.permutation(len(data.labels))[: steps * BATCH].reshape(steps, BATCH)
        yield [Digits(data.images[rows], data.labels[rows]) for rows in order]


def init_params(seed: int) -> Params:
    keys = iter(jax.random.split(jax.random.key(seed), 4))

    def weights(*shape: int) -> dict[str, jax.Array]:
        kernel = jax.random.normal(next(keys), shape) * math.sqrt(2 / math.prod(shape[:-1]))
        return {"kernel": kernel, "bias": jnp.zeros(shape[-1])}

    def norm(width: int) -> dict[str, jax.Array]:
        return {"scale": jnp.ones(width), "bias": jnp.zeros(width)}

    return {
        "conv1": weights(3, 3, 1, 16),
        "norm1": norm(16),
        "conv2": weights(3, 3, 16, 32),
        "norm2": norm(32),
        "dense1": weights(4 * 4 * 32, 64),
        "dense2": weights(64, 10),
    }


def logits(params: Params, images: Any) -> jax.Array:
    def conv(p: Any, x: Any, stride: int) -> jax.Array:
        layout = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, p["kernel"], (stride, stride), "SAME", dimension_numbers=layout) + p["bias"]

    def norm(p: Any, x: jax.Array) -> jax.Array:
        x = x - x.mean(-1, keepdims=True)
        return x * lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-5) * p["scale"] + p["bias"]

    x = jax.nn.gelu(norm(params["norm1"], conv(params["conv1"], images, 1)))
    x = jax.nn.gelu(norm(params["norm2"], conv(params["conv2"], x, 2)))
    x = x.reshape(len(x), -1)
    x = jax.nn.gelu(x @ params["dense1"]["kernel"] + params["dense1"]["bias"])
    return x @ params["dense2"]["kernel"] + params["dense2"]["bias"]


def loss(params: Params, batch: Digits) -> jax.Array:
    """Mean cross-entropy."""
    log_p = jax.nn.log_softmax(logits(params, batch.images))
    return -jnp.take_along_axis(log_p, batch.labels[:, None], axis=1).mean()


loss_and_grads = jax.jit(jax.value_and_grad(loss))


@jax.jit
def accuracy(params: Params, data: Digits) -> jax.Array:
    return (logits(params, data.images).argmax(-1) == data.labels).mean()


def adamw_chain(steps: int) -> gx.GradientTransformation:
    """Clipping, then AdamW: the rate warms up and decays, and biases and normalisation are not decayed."""
    rate = gx.warmup_cosine_decay_schedule(0.0, 1e-2, steps // 10, steps)
    return gx.chain(gx.clip_by_global_norm(1.0), gx.adamw(rate, weight_decay=0.5, mask=gx.weights_only))


def nesterov_chain() -> gx.GradientTransformation:
    """The decay stands before the momentum: it is L2 regularisation here, and decoupled decay in AdamW."""
    decay = gx.add_decayed_weights(5e-4, gx.weights_only)
    return gx.chain(gx.clip_by_global_norm(1.0), decay, gx.momentum(0.02, 0.9, nesterov=True))


def proximal_chain() -> gx.GradientTransformation:
    """The l1 penalty acts where the step lands, so weights become exactly zero."""
    return gx.proximal_adagrad(0.05, l1=0.005)


class Run(NamedTuple):
    """What is known of one optimizer after training."""

    losses: np.ndarray  # (epochs, steps per epoch)
    accuracy: float
    zeros: float
    steps_per_second: float
    state_bytes: int


def train(tx: gx.GradientTransformation, epochs: int, seed: int, report: Callable[[float, float], None]) -> Run:
    """Train from the start and on the batches that `seed` gives; `report(loss, accuracy)` after each epoch."""
    data, test = load_split()
    params = init_params(seed)
    state = tx.init(params)
    state_bytes = sum(x.nbytes for x in jax.tree.leaves(state))
    step = gx.make_step(tx)
    losses, seconds = [], []
    for epoch in shuffled(data, epochs, seed):
        start = time.perf_counter()
        values = []
        for batch in epoch:
            value, grads = loss_and_grads(params, batch)
            params, state = step(params, state, grads)
            values.append(value)
        losses.append(np.array(values))
        seconds.append(time.perf_counter() - start)
        report(float(losses[-1].mean()), float(accuracy(params, test)))
    dense = np.concatenate([np.ravel(params[layer]["kernel"]) for layer in ("dense1", "dense2")])
    rate = len(losses[0]) / float(np.median(seconds))  # the median leaves out the first epoch, which compiles
    return Run(np.stack(losses), float(accuracy(params, test)), float(np.mean(dense == 0)), rate, state_bytes)


def train_all(console: Console, epochs: int, seed: int) -> dict[str, Run]:
    steps = epochs * (len(load_split()[0].labels) // BATCH)
    optimizers = {"AdamW": adamw_chain(steps), "Nesterov": nesterov_chain(), "proximal Adagrad": proximal_chain()}
    runs = {}
    with Progress(*COLUMNS, console=console) as progress:
        for name, tx in optimizers.items():
            task = progress.add_task(name, total=epochs, now="compiling")

            def report(loss: float, accuracy: float, task: Any = task) -> None:
                progress.update(task, advance=1, now=f"loss {loss:.4f}, test accuracy {accuracy:.3f}")

            runs[name] = train(tx, epochs, seed, report)
    return runs


def table(runs: dict[str, Run]) -> Table:
    out = Table("optimizer", title=f"Handwritten digits, {len(load_split()[1].labels)} test images")
    for heading in ("test accuracy", "zeros in dense kernels", "steps/s", "state, bytes"):
        out.add_column(heading, justify="right")
    for name, run in runs.items():
        figures = f"{run.accuracy:.4f}", f"{run.zeros:.1%}", f"{run.steps_per_second:.0f}", f"{run.state_bytes:,}"
        out.add_row(name, *figures)
    return out


def draw_losses(runs: dict[str, Run], path: Path) -> None:
    """Loss of every step, faint, and its mean over each epoch."""
    axes = (figure := Figure(figsize=(7, 4.5), layout="constrained")).add_subplot()
    for name, run in runs.items():
        epochs, steps = run.losses.shape
        (line,) = axes.plot(np.arange(epochs) + 0.5, run.losses.mean(1), label=name)
        x = (np.arange(epochs * steps) + 0.5) / steps
        axes.plot(x, run.losses.ravel(), color=line.get_color(), alpha=0.25, linewidth=0.7)
    axes.set(yscale="log", xlabel="epoch", ylabel="training loss", title="Handwritten digits")
    axes.legend()
    figure.savefig(path, dpi=150)


def shortfall(runs: dict[str, Run]) -> str | None:
    """A sentence for what was asked and not reached, or None."""
    for name, (accuracy, zeros) in REQUIRED.items():
        if runs[name].accuracy < accuracy:
            return f"{name} reached a test accuracy of {runs[name].accuracy:.4f}; at least {accuracy} was asked."
        if runs[name].zeros < zeros:
            return f"{name} made {runs[name].zeros:.1%} of the dense weights zero; at least {zeros:.0%} was asked."
    return None


def options_parser(description: str, epochs: int) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--epochs", type=int, default=epochs, help="passes over the training images")
    parser.add_argument("--seed", type=int, default=0, help="for first weights and order of the images")
    return parser


def parse(parser: argparse.ArgumentParser, argv: list[str] | None) -> argparse.Namespace:
    options = parser.parse_args(argv)
    if options.epochs < 1 or options.seed < 0:
        parser.error("--epochs must be at least 1 and --seed at least 0")
    return options


def main(argv: list[str] | None = None) -> None:
    parser = options_parser("Train a small net on handwritten digits with three optimizers.", epochs=30)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "output", help="folder for the picture")
    options = parse(parser, argv)

    console = Console()
    runs = train_all(console, options.epochs, options.seed)
    console.print(table(runs))
    options.out.mkdir(parents=True, exist_ok=True)
    draw_losses(runs, options.out / "digits.png")
    console.print(f"Loss curves: {options.out / 'digits.png'}", soft_wrap=True)
    if complaint := shortfall(runs):
        raise SystemExit(complaint)


if __name__ == "__main__":
    main()
