from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests.trajectories import as_written, follows
from tests.transcripts import iterates


def adam_mini(theta, gs, eta, beta1=0.9, beta2=0.999, eps=1e-8, lam=0.0, axes=None):
    """Zhang et al. 2024, as its authors' code has it: axes None for "other blocks", else those of a head."""

    def step(theta, s, g, eta, t):
        m, v = (0.0, 0.0) if s is None else s
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * np.mean(g**2, axes, keepdims=True)
        u = m / (1 - beta1**t) / (np.sqrt(v) / np.sqrt(1 - beta2**t) + eps)
        return (1 - eta * lam) * theta - eta * u, (m, v)

    return iterates(step, theta, gs, eta)


@pytest.mark.reference("zyushun/Adam-mini at 11ee305", "adam_mini")
@pytest.mark.parametrize(
    ("tx", "letters", "kernel"),
    [
        (gx.adam_mini(0.02), {}, {}),
        (gx.adam_mini(0.02, 0.7, 0.8, 0.1, weight_decay=0.1), {"beta1": 0.7, "beta2": 0.8, "eps": 0.1, "lam": 0.1}, {}),
        (gx.adam_mini(0.02, block_axes=1), {}, {"axes": (0,)}),
        (gx.adam_mini(0.02, block_axes=(0, 1)), {"axes": ()}, {}),
    ],
    ids=as_written,
)
def test_adam_mini_follows_the_authors(tx, letters, kernel):
    axes = {"bias": {"axes": ()}} if "axes=(0, 1)" in repr(tx) else {}
    follows(tx, adam_mini, 0.02, per_leaf={"kernel": kernel, **axes}, **letters)


def test_one_number_is_kept_for_a_block():
    state = gx.adam_mini(0.1, block_axes=1).init({"query": jnp.ones((8, 4, 16)), "norm": jnp.ones(8)})
    nu = gx.view(state, "nu")
    assert (nu["query"].shape, nu["norm"].shape) == ((1, 4, 1), (1,))


def test_the_recipe_of_the_authors():
    rest = gx.adam_mini(0.1)
    tx = gx.groups([("embed|head", gx.adamw(0.1)), ("query|key", gx.adam_mini(0.1, block_axes=1))], rest)
    params = {"embed": jnp.ones((5, 8)), "query": jnp.ones((8, 4, 16)), "up": jnp.ones((8, 32))}
    assert {k: x.size for k, x in gx.view(tx.init(params), "nu").items()} == {"embed": 40, "query": 4, "up": 1}
