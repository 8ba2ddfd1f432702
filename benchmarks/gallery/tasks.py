"""What the optimizers of the gallery are tried on: five tasks, and twelve tests that one passes or fails."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import gradxform as gx
from benchmarks import quality
from gradxform.inspect import problems


class Task(NamedTuple):
    """words: what is asked, for the page. goal: the measured loss that a test must end below, and a task may reach."""

    words: str
    make: Callable[[], gx.Problem]
    steps: int
    goal: float | None = None


@functools.cache
def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pixels in [0, 1] and labels, to train on; and those held out, as in `examples/train_digits.py`."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    split = train_test_split(images.astype(np.float32) / 16, labels, test_size=0.2, stratify=labels, random_state=0)
    x, held, y, held_labels = split
    return x, y, held, held_labels


def net(sizes: tuple[int, ...], last: str) -> tuple[Callable[[Any], Any], Callable[[Any, Any], Any]]:
    """Dense layers of these sizes with tanh between: start and output."""
    names = [*(f"hidden{i}" for i in range(len(sizes) - 2)), last]

    def init(key: Any) -> Any:
        shapes = itertools.pairwise(sizes)
        return {
            name: {"kernel": jax.random.normal(k, shape) / math.sqrt(shape[0]), "bias": jnp.zeros(shape[1])}
            for name, k, shape in zip(names, jax.random.split(key, len(names)), shapes, strict=True)
        }

    def output(params: Any, x: Any) -> Any:
        for name in names[:-1]:
            x = jnp.tanh(x @ params[name]["kernel"] + params[name]["bias"])
        return x @ params[last]["kernel"] + params[last]["bias"]

    return init, output


def classifier() -> gx.Problem:
    x, y, held, held_labels = digits()
    init, output = net((64, 32, 32, 10), "head")

    def loss(params: Any, batch: Any) -> Any:
        log_p = jax.nn.log_softmax(output(params, batch[0]))
        return -jnp.take_along_axis(log_p, batch[1][:, None], axis=1).mean()

    def batch(key: Any) -> Any:
        rows = jax.random.randint(key, (64,), 0, len(y))
        return jnp.asarray(x)[rows], jnp.asarray(y)[rows]

    return gx.Problem(init, loss, batch, lambda params: loss(params, (held, held_labels)))


def autoencoder() -> gx.Problem:
    x, _, held, _ = digits()
    init, output = net((64, 32, 8, 32, 64), "output")

    def loss(params: Any, batch: Any) -> Any:
        return jnp.square(output(params, batch) - batch).mean()

    def batch(key: Any) -> Any:
        return jnp.asarray(x)[jax.random.randint(key, (64,), 0, len(x))]

    return gx.Problem(init, loss, batch, lambda params: loss(params, held))


def transformer() -> gx.Problem:
    training, held, letters = quality.text()
    drawn = quality.initial(0, letters, np.float32, d=32, layers=1)

    def init(key: Any) -> Any:
        leaves, structure = jax.tree.flatten(drawn)
        keys = jax.random.split(key, len(leaves))
        new = [x if x.ndim < 2 else x.std() * jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
        return jax.tree.unflatten(structure, new)

    def batch(key: Any) -> Any:
        starts = jax.random.randint(key, (4,), 0, len(training) - quality.CONTEXT - 1)
        return jnp.asarray(training)[starts[:, None] + jnp.arange(quality.CONTEXT + 1)]

    validation = quality.windows(held, 1, np.random.default_rng(0), 16)[0]
    return gx.Problem(init, quality.loss, batch, lambda params: quality.loss(params, validation))


def logistic() -> gx.Problem:
    """`gx.compare`'s, above its least value, which Newton's method finds."""
    given = problems.logistic()
    flat, unravel = ravel_pytree(given.init(jax.random.key(0)))
    loss = jax.jit(lambda flat: given.loss(unravel(flat)))
    for _ in range(30):
        flat = flat - jnp.linalg.solve(jax.hessian(loss)(flat), jax.grad(loss)(flat))
    least = loss(flat)
    return given._replace(measure=lambda params: jnp.maximum(given.loss(params) - least, 0.0))


TASKS = {
    "digits": Task("tell digits apart, a net of two hidden layers: cross-entropy on images held out", classifier, 400),
    "autoencoder": Task("press digits through 8 numbers: mean squared error on images held out", autoencoder, 400),
    "transformer": Task("a transformer of one layer on help texts: cross-entropy on text held out", transformer, 150),
    "logistic": Task(
        "logistic regression, all of the data at each step: loss above the least, to 10⁻⁶", logistic, 1000, 1e-6
    ),
    "deep linear": Task(
        "a product of 3 matrices is to be one of condition 1000: squared error",
        lambda: problems.deep_linear(width=16, condition=1e3),
        500,
    ),
}

SIDE = 4
"""The tests are on one matrix of this side, so that what is for matrices takes part, and its step compiles once."""


def at(values: Any) -> Callable[[Any], Any]:
    """A start about these values, 1 % apart from seed to seed."""
    values = np.broadcast_to(np.asarray(values, np.float32), (SIDE, SIDE))
    return lambda key: {"hidden": {"kernel": values * (1 + 0.01 * jax.random.normal(key, values.shape))}}


def kernel(params: Any) -> Any:
    return params["hidden"]["kernel"].astype(jnp.float32)


def on_matrix(start: Any, loss: Callable[..., Any], draw: Any = None, measure: Any = None, dtype: Any = None) -> Any:
    """A problem on the matrix itself: `loss(w)`, or `loss(w, drawn)` with `draw(key)`."""
    init = at(start)
    return lambda: gx.Problem(
        init if dtype is None else lambda key: jax.tree.map(lambda x: x.astype(dtype), init(key)),
        (lambda params: loss(kernel(params))) if draw is None else lambda params, drawn: loss(kernel(params), drawn),
        draw,
        None if measure is None else lambda params: measure(kernel(params)),
    )


def rosenbrock(w: Any) -> Any:
    x, y = jnp.split(w.ravel(), 2)
    return jnp.mean((1 - x) ** 2 + 100 * (y - x**2) ** 2)


def saddle(w: Any) -> Any:
    x, y = jnp.split(w.ravel(), 2)
    return jnp.mean(0.5 * x**2 + 0.25 * (y**2 - 1) ** 2)


CURVATURES = np.geomspace(1.0, 1e-3, SIDE * SIDE, dtype=np.float32)
TURN = np.linalg.qr(np.random.default_rng(0).standard_normal((SIDE * SIDE, SIDE * SIDE)))[0].astype(np.float32)


def quadratic(w: Any) -> Any:
    return 0.5 * jnp.sum(CURVATURES * w.ravel() ** 2)


def cosine_to_ones(w: Any) -> Any:
    return 1 - w.mean() / jnp.sqrt(jnp.mean(w**2) + 1e-12)


def normal(key: Any) -> Any:
    return jax.random.normal(key, (SIDE, SIDE))


def square(w: Any) -> Any:
    return 0.5 * jnp.mean(w**2)


def rows_seen(key: Any) -> Any:
    return jax.random.bernoulli(key, 1 / 16, (SIDE, SIDE)).astype(jnp.float32)


def rare(key: Any) -> Any:
    """11 in one draw of ten and -1 else: 0.2 on average."""
    return jnp.where(jax.random.bernoulli(key, 0.1, (SIDE, SIDE)), 11.0, -1.0)


ALTERNATING = np.where(np.arange(SIDE * SIDE).reshape(SIDE, SIDE) % 2, 1.0, -0.9)
TESTS = {
    "Rosenbrock": Task(
        "follows a bent valley to its end",
        on_matrix(np.repeat([-1.2, 1.0], SIDE * SIDE // 2).reshape(SIDE, SIDE), rosenbrock),
        3000,
        1e-2,
    ),
    "saddle": Task(
        "leaves a saddle, from 10⁻³ beside it",
        on_matrix(np.repeat([1.0, 1e-3], SIDE * SIDE // 2).reshape(SIDE, SIDE), saddle),
        1000,
        1e-2,
    ),
    "plateau": Task(
        "crosses a plateau with gradients of 10⁻³",
        on_matrix(4.0, lambda w: jnp.sum(1 - jnp.exp(-0.5 * w**2))),
        1000,
        1.0,
    ),
    "sparse": Task(
        "learns elements that one step in 16 sees",
        on_matrix(1.0, lambda w, seen: 0.5 * jnp.sum(seen * w**2), rows_seen, square),
        1000,
        5e-5,
    ),
    "noise": Task(
        "comes to rest in gradients that are noise",
        on_matrix(1.0, lambda w, drawn: 0.5 * jnp.sum(w**2) + jnp.vdot(drawn, w), normal, square),
        1000,
        5e-3,
    ),
    "axes": Task("a quadratic of condition 1000, along the axes", on_matrix(1.0, quadratic), 1000, 1e-4),
    "turned": Task("the same quadratic, turned", on_matrix(1.0, lambda w: quadratic(TURN @ w.ravel())), 1000, 1e-4),
    "cliff": Task(
        "goes on after a first gradient of 10⁶",
        on_matrix(1.1, lambda w: jnp.sum(0.5 * w**2 + 1e6 * jax.nn.relu(jnp.abs(w) - 1)), None, square),
        1000,
        0.1,
    ),
    "bfloat16": Task(
        "brings a bfloat16 parameter to rest within 1 %",
        on_matrix(2.0, lambda w: 0.5 * jnp.sum((w - 1) ** 2), None, lambda w: square(w - 1), jnp.bfloat16),
        1000,
        5e-5,
    ),
    "no gradient": Task(
        "stays, within 10 %, where the gradient is zero",
        on_matrix(1.0, lambda w: 0.0 * jnp.sum(w), None, lambda w: jnp.max(jnp.abs(w - 1))),
        300,
        0.15,
    ),
    "scale-invariant": Task(
        "turns a weight whose length does not matter",
        on_matrix(ALTERNATING, cosine_to_ones),
        1000,
        1e-3,
    ),
    "rare": Task(
        "trusts rare large gradients over many small ones",
        on_matrix(0.1, lambda w, drawn: jnp.vdot(drawn, w) + 0.1 * jnp.sum(w**2), rare, lambda w: w.mean()),
        3000,
        -0.5,
    ),
}
ALL = TASKS | TESTS


@functools.cache
def problem(name: str) -> gx.Problem:
    return ALL[name].make()
