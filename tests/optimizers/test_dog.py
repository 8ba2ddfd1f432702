from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests.trajectories import agrees, as_written, follows_whole
from tests.transcripts import iterates


def dog(w, gs, rate=1.0, a=1e-6, eps=1e-8, lam=0.0, eta=None):
    """Ivgi et al. 2023, as its authors' code has it."""
    first = np.asarray(w, np.float64)

    def step(w, state, g, rate, t):
        g = g + lam * w
        far, summed = state or (0.0 if eta else a * (1 + np.linalg.norm(first)), eps)
        far, summed = max(far, np.linalg.norm(w - first)), summed + np.dot(g, g)
        now = eta if eta and t == 1 else far / np.sqrt(summed)
        return w - rate * now * g, (far, summed)

    return iterates(step, w, gs, rate)


def dowg(w, gs, rate=1.0, start=1e-4, eps=1e-4, lam=0.0):
    """Khaled et al. 2023, as its authors' code has it; rate, start and lam are optax's."""
    first = np.asarray(w, np.float64)

    def step(w, state, g, rate, t):
        g = g + lam * w
        far, summed = state or (start, 0.0)
        far = max(far, np.dot(w - first, w - first))
        summed += far * np.dot(g, g)
        return w - rate * far * g / (np.sqrt(summed) + eps), (far, summed)

    return iterates(step, w, gs, rate)


@pytest.mark.reference("formll/dog at 8d45cf5", "dog")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.dog(), {}),
        (gx.dog(0.5, ("heuristic", 0.1), 1e-2, 0.1), {"rate": 0.5, "a": 0.1, "eps": 1e-2, "lam": 0.1}),
        (gx.dog(init_step=("learning_rate", 0.1)), {"eta": 0.1}),
    ],
    ids=as_written,
)
def test_dog_follows_the_authors(tx, letters):
    follows_whole(tx, dog, 1e-2, **letters)  # distances of 1e-5 from where float32 is 1e-7 apart


@pytest.mark.reference("rka97/dowg at e4dbe02", "dowg")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [(gx.dowg(), {}), (gx.dowg(0.5, 0.1, 1e-2, 0.1), {"rate": 0.5, "start": 0.1, "eps": 1e-2, "lam": 0.1})],
    ids=as_written,
)
def test_dowg_follows_the_authors(tx, letters):
    follows_whole(tx, dowg, **letters)


@pytest.mark.reference("optax", "dog", "dowg")
@pytest.mark.parametrize("init_step", [("distance", 0.1), ("learning_rate", 0.1), ("heuristic", 1e-3)])
def test_equal_optax(init_step):
    agrees("dog", 0.5, init_step, 1e-3, 0.1)
    agrees("dowg", 0.5, 0.1, 1e-3, 0.1)
    agrees("dowg", eps=1e-3)


def test_a_first_step_of_given_length_is_taken_behind_a_gradient_of_zero():
    """Of which the authors' code divides 0 by √eps, and stays where it is for ever."""
    tx, w = gx.dog(init_step=("learning_rate", 0.1)), jnp.ones(2)
    state = tx.init(w)
    for g, expected in ((0.0, 0.0), (1.0, -0.1)):
        u, state = tx.update(jnp.full(2, g), state, w)
        np.testing.assert_allclose(u, expected)


def test_the_first_step_is_a_word_and_a_number():
    with pytest.raises(ValueError, match="init_step must be a word and a number, got"):
        gx.dog(init_step=("distance",))
