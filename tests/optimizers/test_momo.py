from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx
from tests.trajectories import as_written, double, down_a_bowl, follows_whole, near
from tests.transcripts import iterates

LOSSES = 4.0 * np.exp(-np.arange(50) / 9) + 1.5 + np.random.default_rng(0).normal(size=50)


def stepped(loss, m, g, w, state, b, rho, lr, lam, low, fstar, metric):
    """What momo.py and momo_adam.py of the authors' code have in common."""
    loss_avg, dot_avg, lb = state
    loss_avg, dot_avg = b * loss_avg + (1 - b) * loss, b * dot_avg + (1 - b) * np.dot(g, w)
    dot, norm = np.dot(m, w), np.dot(m, m / metric)
    if fstar:
        cap = (1 + lr * lam) * loss_avg + dot - (1 + lr * lam) * dot_avg
        if cap < (1 + lr * lam) * rho * lb:
            lb = max(cap / (2 * (1 + lr * lam) * rho), low)
    tau = min(lr / rho, max((1 + lr * lam) * (loss_avg - rho * lb - dot_avg) + dot, 0.0) / norm)
    if fstar:
        lb = max((loss_avg + dot - dot_avg - tau * norm / 2) / rho, low)
    return (w - tau * m / metric) / (1 + lr * lam), (loss_avg, dot_avg, lb)


def momo(w, gs, value, lr=1.0, b=0.9, low=0.0, lam=0.0, fstar=False, debiased=False):
    def step(w, state, g, rate, t):
        start = (0.0, 0.0, low) if debiased else (value[0], np.dot(g, w), low)
        m, rest = state or (0.0 * g if debiased else g, start)
        m = b * m + (1 - b) * g
        w, rest = stepped(value[t - 1], m, g, w, rest, b, 1 - b**t if debiased else 1.0, rate, lam, low, fstar, 1.0)
        return w, (m, rest)

    return iterates(step, w, gs, lr)


def momo_adam(w, gs, value, lr=1e-2, b1=0.9, b2=0.999, eps=1e-8, low=0.0, lam=0.0, fstar=False):
    def step(w, state, g, rate, t):
        m, v, rest = state or (0.0, 0.0, (0.0, 0.0, low))
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        metric = np.sqrt(v / (1 - b2**t)) + eps
        w, rest = stepped(value[t - 1], m, g, w, rest, b1, 1 - b1**t, rate, lam, low, fstar, metric)
        return w, (m, v, rest)

    return iterates(step, w, gs, lr)


RATES = [*np.linspace(0.5, 0.1, 50)]


@pytest.mark.reference("fabian-sp/MoMo at 7be52f2", "momo")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.momo(), {}),
        (gx.momo(RATES, 0.8, 1.0, 0.1, True), {"lr": RATES, "b": 0.8, "low": 1.0, "lam": 0.1, "fstar": True}),
        (gx.momo(0.2, bias_correction=True), {"lr": 0.2, "debiased": True}),
    ],
    ids=as_written,
)
def test_momo_follows_the_authors(tx, letters):
    follows_whole(tx, momo, value=LOSSES, **letters)


@pytest.mark.reference("fabian-sp/MoMo at 7be52f2", "momo_adam")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.momo_adam(), {}),
        (
            gx.momo_adam(RATES, 0.8, 0.9, 1e-3, 1.0, 0.1, True),
            {"lr": RATES, "b1": 0.8, "b2": 0.9, "eps": 1e-3, "low": 1.0, "lam": 0.1, "fstar": True},
        ),
    ],
    ids=as_written,
)
def test_momo_adam_follows_the_authors(tx, letters):
    follows_whole(tx, momo_adam, value=LOSSES, **letters)


@pytest.mark.reference("optax")
@pytest.mark.parametrize("adapt", [False, True])
@pytest.mark.parametrize("name", ["momo", "momo_adam"])
def test_equals_optax_without_decay(name, adapt):
    with double():
        ours, theirs = (down_a_bowl(getattr(x, name)(0.5, adapt_lower_bound=adapt)) for x in (gx, optax.contrib))
    near({"w": ours}, {"w": theirs}, 1e-9)


@pytest.mark.parametrize("name", ["momo", "momo_adam"])
def test_the_loss_is_asked_for(name):
    tx, w = getattr(gx, name)(), jnp.ones(2)
    with pytest.raises(ValueError, match=f"{name} needs 'value'"):
        tx.update(w, tx.init(w), w)
