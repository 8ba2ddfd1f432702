"""Train on handwritten digits with differential privacy: DP-SGD, and what it guarantees.

    python examples/train_private.py [--epochs 40] [--noise 3.0] [--seed 0]

Every step draws each image with the same probability, bounds the gradient of each one and adds noise to their sum.
What follows, (epsilon, delta)-differential privacy for adding or removing one image, is counted by the library
dp-accounting from three numbers: noise multiplier, sampling probability, steps. The seed of a real run must be secret.
The program ends with a table, beside a run without noise, and fails if the private run falls short.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import dp_accounting
import jax
import jax.numpy as jnp
import numpy as np
from dp_accounting.pld import PLDAccountant
from rich.console import Console
from rich.table import Table
from train_digits import Digits, Params, load_split, options_parser, parse

import gradxform as gx

DRAWN = 256  # images a step, on average
CLIP = 1.0
DELTA = 1e-4  # less than one in the number of images
REQUIRED = 0.90  # test accuracy of the private run


class Batch(NamedTuple):
    """As many places for every batch, so that one program does; and which of them are taken."""

    data: Digits
    taken: np.ndarray


def drawn(data: Digits, probability: float, steps: int, seed: int) -> Iterator[Batch]:
    """Poisson sampling, which the accountant assumes: every image is in a batch or not, whatever the others are."""
    rng = np.random.default_rng(seed)
    n = len(data.labels)
    places = min(n, math.ceil(n * probability + 6 * math.sqrt(n * probability)))
    for _ in range(steps):
        chosen = np.flatnonzero(rng.random(n) < probability)
        # One batch in about 10^9 has no room for all: those left out are as if not drawn.
        rows = np.resize(chosen[:places] if len(chosen) else [0], places)
        yield Batch(Digits(data.images[rows], data.labels[rows]), np.arange(places) < len(chosen))


def init_params(seed: int) -> Params:
    """A linear classifier: noise grows with the number of parameters, and the signal does not."""
    kernel = 0.01 * jax.random.normal(jax.random.key(seed), (64, 10))
    return {"kernel": kernel, "bias": jnp.zeros(10)}


def logits(params: Params, images: Any) -> jax.Array:
    return images.reshape(len(images), -1) @ params["kernel"] + params["bias"]


def loss(params: Params, image: Any, label: Any, taken: Any) -> jax.Array:
    """Cross-entropy of one image, 0 for an empty place."""
    return jnp.where(taken, -jax.nn.log_softmax(logits(params, image[None])[0])[label], 0.0)


gradients = jax.jit(jax.vmap(jax.grad(loss), (None, 0, 0, 0)))


@jax.jit
def accuracy(params: Params, data: Digits) -> jax.Array:
    return (logits(params, data.images).argmax(-1) == data.labels).mean()


class Run(NamedTuple):
    """What the accountant needs to know, and what was learned."""

    noise: float
    probability: float
    steps: int
    accuracy: float


def train(noise: float, epochs: int, seed: int) -> Run:
    train_data, test_data = load_split()
    probability = DRAWN / len(train_data.labels)
    steps = math.ceil(epochs / probability)
    tx = gx.dpsgd(1.0, CLIP, noise, seed, momentum=0.9)
    params = init_params(seed)
    state, step = tx.init(params), gx.make_step(tx)
    for batch in drawn(train_data, probability, steps, seed):
        params, state = step(params, state, gradients(params, *batch.data, batch.taken))
    return Run(noise, probability, steps, float(accuracy(params, test_data)))


def epsilon(run: Run) -> float:
    """The epsilon that belongs to DELTA, by composing privacy loss distributions."""
    if run.noise == 0:
        return math.inf
    step = dp_accounting.PoissonSampledDpEvent(run.probability, dp_accounting.GaussianDpEvent(run.noise))
    accountant = PLDAccountant()
    accountant.compose(dp_accounting.SelfComposedDpEvent(step, run.steps))
    return float(accountant.get_epsilon(DELTA))


def table(runs: list[Run]) -> Table:
    found = Table("noise multiplier", "drawn a step", "steps", f"epsilon at delta {DELTA:g}", "test accuracy")
    for run in runs:
        share = f"{run.probability:.1%}"
        found.add_row(f"{run.noise:g}", share, str(run.steps), f"{epsilon(run):.2f}", f"{run.accuracy:.4f}")
    return found


def main(argv: list[str] | None = None) -> None:
    parser = options_parser("Train a linear classifier of handwritten digits with differential privacy.", epochs=40)
    parser.add_argument("--noise", type=float, default=3.0, help="deviation of the noise, in units of the bound")
    options = parse(parser, argv)
    if not 0.5 <= options.noise <= 100:
        parser.error("--noise must be between 0.5 and 100")
    runs = [train(noise, options.epochs, options.seed) for noise in (options.noise, 0.0)]
    Console().print(table(runs))
    if runs[0].accuracy < REQUIRED:
        raise SystemExit(f"The private run reached a test accuracy of {runs[0].accuracy:.4f}; {REQUIRED} was asked.")


if __name__ == "__main__":
    main()
