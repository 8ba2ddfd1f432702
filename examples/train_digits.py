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
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import gradxform as gx

BATCH = 96
DENSE = gx.matching("^dense.*/kernel$")


class Digits(NamedTuple):
    """Images (n, 8, 8, 1) with pixels in [0, 1], and labels (n,)."""

    images: np.ndarray
    labels: np.ndarray


def load_split() -> tuple[Digits, Digits]:
    """The same 80 % for training and 20 % for testing every time, each digit in the same proportion."""
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32).reshape(-1, 8, 8, 1)
    x, x_test, y, y_test = train_test_split(images, labels, test_size=0.2, stratify=labels, random_state=0)
    return Digits(x, y), Digits(x_test, y_test)


def epochs_of(data: Digits, epochs: int, seed: int) -> Iterator[Digits]:
    """Per epoch all batches of a new order, stacked: images (steps, BATCH, 8, 8, 1) and labels (steps, BATCH)."""
    rng = np.random.default_rng(seed)
    steps = len(data.labels) // BATCH
    for _ in range(epochs):
        order = rng.permutation(len(data.labels))[: steps * BATCH].reshape(steps, BATCH)
        yield Digits(data.images[order], data.labels[order])


def init_params(seed: int) -> dict[str, Any]:
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


def logits(params: dict[str, Any], images: Any) -> jax.Array:
    def conv(p: Any, x: Any, stride: int) -> jax.Array:
        layout = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, p["kernel"], (stride, stride), "SAME", dimension_numbers=layout) + p["bias"]

    def norm(p: Any, x: jax.Array) -> jax.Array:
        x = x - x.mean(-1, keepdims=True)
        return x * lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-5) * p["scale"] + p["bias"]

    x = jax.nn.relu(norm(params["norm1"], conv(params["conv1"], images, 1)))
    x = jax.nn.relu(norm(params["norm2"], conv(params["conv2"], x, 2)))
    x = x.reshape(len(x), -1)
    x = jax.nn.relu(x @ params["dense1"]["kernel"] + params["dense1"]["bias"])
    return x @ params["dense2"]["kernel"] + params["dense2"]["bias"]


def loss(params: dict[str, Any], batch: Digits) -> jax.Array:
    """Mean cross-entropy."""
    log_p = jax.nn.log_softmax(logits(params, batch.images))
    return -jnp.take_along_axis(log_p, batch.labels[:, None], axis=1).mean()


@jax.jit
def accuracy(params: dict[str, Any], data: Digits) -> jax.Array:
    return (logits(params, data.images).argmax(-1) == data.labels).mean()


def adamw_chain(steps: int) -> gx.GradientTransformation:
    """Clipping, then AdamW: the rate warms up and decays, and biases and normalisation are not decayed."""
    rate = gx.warmup_cosine_decay_schedule(0.0, 5e-3, steps // 10, steps)
    return gx.chain(gx.clip_by_global_norm(1.0), gx.adamw(rate, weight_decay=0.01, mask=gx.weights_only))


def optimizers(steps: int) -> dict[str, gx.GradientTransformation]:
    return {
        "AdamW, clipped": adamw_chain(steps),
        "Nesterov with L2": gx.chain(
            gx.add_decayed_weights(5e-4, gx.weights_only), gx.momentum(0.02, 0.9, nesterov=True)
        ),
        "proximal Adagrad, l1": gx.proximal_adagrad(0.02, l1=0.003),
    }


def epoch_of(tx: gx.GradientTransformation) -> Callable[..., Any]:
    """An epoch as one function: `params, state, batches -> params, state, losses`."""

    def step(carry: Any, batch: Digits) -> tuple[Any, jax.Array]:
        params, state = carry
        value, grads = jax.value_and_grad(loss)(params, batch)
        updates, state = tx.update(grads, state, params)
        return (gx.apply_updates(params, updates), state), value

    def epoch(params: Any, state: Any, batches: Digits) -> tuple[Any, Any, jax.Array]:
        (params, state), losses = lax.scan(step, (params, state), batches)
        return params, state, losses

    return epoch
