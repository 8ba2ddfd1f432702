from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests.trajectories import as_written, follows
from tests.transcripts import iterates


def stable(theta, gs, alpha, beta1=0.9, beta2=0.99, eps=1e-6, lam=0.2, d=1.0):
    """Wortsman et al. 2023, algorithm 2, as StableAdamWUnfused of the first author's code has it."""

    def step(theta, s, g, alpha, t):
        v, u = (0.0, 0.0) if s is None else s
        b1, b2 = (b * (1 - b ** (t - 1)) / (1 - b**t) for b in (beta1, beta2))
        v, u = b1 * v + (1 - b1) * g, b2 * u + (1 - b2) * g**2
        rms = np.sqrt(np.mean(g**2 / np.maximum(u, eps**2)))
        rate = alpha / max(1.0, rms / d)
        return (1 - rate * lam) * theta - rate * v / (np.sqrt(u) + eps), (v, u)

    return iterates(step, theta, gs, alpha)


@pytest.mark.reference("gist d42e22a of Wortsman et al. 2023, version 2", "stable_adamw")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.stable_adamw(0.02), {}),
        (
            gx.stable_adamw(0.02, 0.7, 0.8, 1e-2, weight_decay=0.5, clip_threshold=0.3),
            {"beta1": 0.7, "beta2": 0.8, "eps": 1e-2, "lam": 0.5, "d": 0.3},
        ),
    ],
    ids=as_written,
)
def test_stable_adamw_follows_the_authors(tx, letters):
    follows(tx, stable, 0.02, **letters)


def test_it_decays_where_the_mask_says():
    tx = gx.stable_adamw(0.02, weight_decay=0.5, mask=gx.weights_only)
    follows(tx, stable, 0.02, lam=0.0, per_leaf={"kernel": {"lam": 0.5}})
    with pytest.raises(ValueError, match="gain"):
        gx.stable_adamw(0.1, mask="gain").init({"kernel": jnp.ones(2)})
