"""Small problems to compare optimizers on: seconds of one core, each hard in one way."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core.types import Array, Params


class Problem(NamedTuple):
    """What is minimised: where a run begins, the loss, and the batches if it is drawn from data.

    init: `key -> params`. loss: `(params, batch) -> scalar`, or `params -> scalar` without batches. batch: `key ->
    batch`, a new one each step. measure: `params -> scalar`, the loss that is reported; None: `loss` without batches,
    else `loss` on one batch that is the same for every run.
    """

    init: Callable[[Array], Params]
    loss: Callable[..., Array]
    batch: Callable[[Array], Any] | None = None
    measure: Callable[[Params], Array] | None = None

    def loss_at(self, key: Array) -> Callable[[Params], Array]:
        """The loss of one step as a function of the parameters."""
        if self.batch is None:
            return self.loss
        batch = self.batch(key)
        return lambda params: self.loss(params, batch)

    def measured(self, params: Params) -> Array:
        """What is reported of parameters."""
        return (self.measure or self.loss_at(jax.random.key(2**31)))(params)


def rosenbrock() -> Problem:
    """The banana valley: `(1 - x)² + 100 (y - x²)²` from (-1.2, 1), with its minimum 0 at (1, 1)."""
    return Problem(
        lambda key: {"xy": jnp.array([-1.2, 1.0]) + 0.1 * jax.random.normal(key, (2,))},
        lambda params: (1 - params["xy"][0]) ** 2 + 100 * (params["xy"][1] - params["xy"][0] ** 2) ** 2,
    )


def quadratic(size: int = 32, condition: float = 1e3, noise: float = 0.0) -> Problem:
    """`½ Σ λᵢ (Q x)ᵢ²`, λ from 1 down to 1/condition, axes turned by a random Q; gradients with normal noise added."""
    turned, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((size, size), np.float32))
    curvatures = np.geomspace(1.0, 1.0 / condition, size, dtype=np.float32)

    def measure(params: Any) -> Array:
        return 0.5 * jnp.sum(curvatures * (turned @ params["x"]) ** 2)

    return Problem(
        lambda key: {"x": jax.random.normal(key, (size,)) / np.sqrt(curvatures)},
        lambda params, drawn: measure(params) + noise * jnp.vdot(drawn, params["x"]),
        lambda key: jax.random.normal(key, (size,)),
        measure,
    )


def deep_linear(width: int = 24, layers: int = 3, condition: float = 100.0) -> Problem:
    """A product of matrices is to become one whose singular values fall from 1 to 1/condition: mean squared error."""
    left, right = np.linalg.qr(np.random.default_rng(0).standard_normal((2, width, width)))[0]
    target = ((left * np.geomspace(1.0, 1.0 / condition, width)) @ right).astype(np.float32)

    def loss(params: Any) -> Array:
        product = params["layer0"]
        for i in range(1, layers):
            product = product @ params[f"layer{i}"]
        return jnp.sum((product - target) ** 2) / width

    def init(key: Array) -> Params:
        keys = jax.random.split(key, layers)
        return {f"layer{i}": jax.random.normal(k, (width, width)) / math.sqrt(2 * width) for i, k in enumerate(keys)}

    return Problem(init, loss)


def logistic(size: int = 64, samples: int = 512) -> Problem:
    """Logistic regression with few informative and rarely seen features, l2 penalty 1e-4: convex, badly scaled."""
    rng = np.random.default_rng(0)
    seen = rng.random((samples, size)) < np.geomspace(1.0, 0.02, size)
    features = (seen * rng.standard_normal((samples, size))).astype(np.float32)
    logits = features @ (3.0 * rng.standard_normal(size) * (np.arange(size) % 4 == 0))
    signs = np.where(rng.random(samples) < 1 / (1 + np.exp(-logits)), np.float32(1), np.float32(-1))

    def loss(params: Any) -> Array:
        margins = signs * (features @ params["w"] + params["b"])
        return jax.nn.softplus(-margins).mean() + 1e-4 * jnp.sum(params["w"] ** 2)

    return Problem(lambda key: {"w": 0.01 * jax.random.normal(key, (size,)), "b": jnp.zeros(())}, loss)


def spirals(width: int = 32, batch: int = 64) -> Problem:
    """Two intertwined spirals told apart by a net of two hidden layers, in batches: cross-entropy on 512 points."""

    def points(key: Array, count: int) -> tuple[Array, Array]:
        along, noise, side = jax.random.split(key, 3)
        label = jax.random.bernoulli(side, shape=(count,))
        angle = 3 * math.pi * jnp.sqrt(jax.random.uniform(along, (count,), minval=0.02))
        place = angle[:, None] / (3 * math.pi) * jnp.stack([jnp.cos(angle), jnp.sin(angle)], 1)
        return jnp.where(label[:, None], place, -place) + 0.02 * jax.random.normal(noise, (count, 2)), label

    def loss(params: Any, drawn: tuple[Array, Array]) -> Array:
        x, label = drawn
        for layer in ("hidden1", "hidden2"):
            x = jnp.tanh(x @ params[layer]["kernel"] + params[layer]["bias"])
        logit = (x @ params["output"]["kernel"] + params["output"]["bias"])[:, 0]
        return jax.nn.softplus(jnp.where(label, -logit, logit)).mean()

    def init(key: Array) -> Params:
        sizes = {"hidden1": (2, width, 3.0), "hidden2": (width, width, 1.0), "output": (width, 1, 1.0)}
        keys = jax.random.split(key, len(sizes))
        return {
            name: {"kernel": gain * jax.random.normal(k, (n, m)) / math.sqrt(n), "bias": jnp.zeros(m)}
            for k, (name, (n, m, gain)) in zip(keys, sizes.items(), strict=True)
        }

    def measure(params: Params) -> Array:
        return loss(params, points(jax.random.key(7), 512))

    return Problem(init, loss, lambda key: points(key, batch), measure)


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "rosenbrock": rosenbrock,
    "quadratic": quadratic,
    "noisy_quadratic": lambda: quadratic(noise=0.1),
    "deep_linear": deep_linear,
    "logistic": logistic,
    "spirals": spirals,
}
