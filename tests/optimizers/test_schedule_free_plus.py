"""Schedule-free+, against a transcript of the authors' code."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests.trajectories import double, follows_whole
from tests.transcripts import iterates

LOSSES = 3.0 * np.exp(-np.arange(50) / 9) + 0.7 + 0.5 * np.random.default_rng(0).normal(size=50)
RATES = [*np.minimum(np.linspace(0.0, 1.2, 50), 0.6)]


def transcript(
    y, gs, value, lr=1.0, b1=0.9, b2=0.95, eps=1e-8, decay=0.0, sf=0.9, top=0.965, anneal=0, pb=0.0, power=2.0, r=0.0,
    warm=0,
):  # fmt: skip
    """adamc_schedulefree_plus_paper.py: x, y, z apart; b between them goes to top on a line of logarithms."""

    def step(y, state, g, rate, t):
        x, z, m, v, l1, total, largest = state or (y, y, 0 * g, 0 * g, 0.0, 0.0, eps)
        done = min((t - 1) / anneal, 1.0) if anneal else 0.0
        b = 1 - np.exp(np.log(1 - sf) * (1 - done) + np.log(1 - top) * done)
        l1 = pb * l1 + (1 - pb) * np.abs(g).sum() * np.sqrt(np.pi / 2)
        eta = max(rate, eps) * max(0.0, value[t - 1] + b * np.dot(g, z - x)) / (l1 / (1 - pb**t))
        largest, c = max(largest, eta), 1.0
        if t > warm:
            total += t**r * largest**power
            c = t**r * largest**power / total
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        z = z - eta**2 * decay * y - eta * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
        x = (1 - c) * x + c * z
        return b * x + (1 - b) * z, (x, z, m, v, l1, total, largest)

    return iterates(step, y, gs, lr)


@pytest.mark.reference("facebookresearch/schedule_free at 70785b5", "schedule_free_plus")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.schedule_free_plus(), {}),
        (
            gx.schedule_free_plus(
                RATES, 0.8, 0.9, 1e-3, 20.0, sf_beta1=0.8, sf_beta1_anneal_steps=30, polyak_beta=0.7,
                weight_lr_power=1.0, r=2.0, c_warmup=5,
            ),
            {
                "lr": RATES, "b1": 0.8, "b2": 0.9, "eps": 1e-3, "decay": 20.0, "sf": 0.8, "anneal": 30, "pb": 0.7,
                "power": 1.0, "r": 2.0, "warm": 5,
            },
        ),
    ],
    ids=["defaults", "others"],
)  # fmt: skip
def test_follows_the_authors(tx, letters):
    follows_whole(tx, transcript, value=LOSSES, **letters)


def test_the_average_is_the_mean_of_the_iterates_weighed_by_their_rates():
    tx = gx.schedule_free_plus(0.1, weight_lr_power=1.0)

    def step(carry, _):
        w, state = carry
        u, new = tx.update(2 * w, state, w, value=jnp.sum(w**2))
        weight = new.tree["schedule_free_plus"].weight_sum - state.tree["schedule_free_plus"].weight_sum
        return (w + u, new), (weight, gx.view(new, "z"), gx.eval_params(tx, new, w + u))

    with double():
        w = jnp.asarray([1.0, -2.0])
        found = jax.jit(lambda: jax.lax.scan(step, (w, tx.init(w)), length=20)[1])()
    weights, zs, xs = map(np.asarray, found)
    mean = np.cumsum(weights[:, None] * zs, 0) / np.cumsum(weights)[:, None]
    np.testing.assert_allclose(xs, mean, rtol=1e-9)
    assert np.abs(xs[-1]).max() < 1.5


def test_without_a_loss_and_without_gradients():
    tx, w = gx.schedule_free_plus(), jnp.ones(2)
    with pytest.raises(ValueError, match="schedule_free_plus needs 'value'"):
        tx.update(w, tx.init(w), w)
    updates, state = tx.update(jnp.zeros(2), tx.init(w), w, value=1.0)
    np.testing.assert_array_equal(updates, 0.0)
    updates, _ = tx.update(jnp.ones(2), state, w, value=1.0)
    assert (updates < 0).all()
