from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx
from tests import transcripts
from tests.trajectories import agrees, as_written, follows

KERNEL = {"kernel": True, "bias": False, "scale": False}


@pytest.mark.reference("You et al. 2019, algorithm 2", "lamb")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.lamb(0.01), {}),
        (gx.lamb(0.01, 0.8, 0.95, 1e-3, 1e-4, 0.3),
         {"beta1": 0.8, "beta2": 0.95, "eps": 1e-3, "eps_root": 1e-4, "lam": 0.3}),
    ],
    ids=as_written,
)  # fmt: skip
def test_lamb_follows_its_paper(tx, letters):
    follows(tx, transcripts.lamb, 0.01, **letters)


@pytest.mark.reference("You et al. 2017, algorithm 1", "lars")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.lars(1.0), {}),
        (gx.lars(1.0, 0.3, trust_coefficient=0.02, eps=0.1, momentum=0.7),
         {"beta": 0.3, "eta": 0.02, "eps": 0.1, "m": 0.7}),
        (gx.lars(1.0, trust_coefficient=0.02, nesterov=True), {"eta": 0.02, "nesterov": True}),
    ],
    ids=as_written,
)  # fmt: skip
def test_lars_follows_its_paper(tx, letters):
    follows(tx, transcripts.lars, 1.0, **letters)


@pytest.mark.parametrize("mask", [KERNEL, gx.weights_only, "kernel"], ids=as_written)
def test_lars_decays_and_trusts_where_the_masks_say(mask):
    tx = gx.lars(0.02, 0.3, mask, 0.02, trust_ratio_mask=mask)
    per_leaf = {"kernel": {"beta": 0.3}, "bias": {"trusted": False}, "scale": {"trusted": False}}
    follows(tx, transcripts.lars, 0.02, eta=0.02, per_leaf=per_leaf)


@pytest.mark.parametrize("name", ["lamb", "lars"])
def test_equals_optax_in_single(name):
    """In float32 optax's bias correction is off by 2e-5 at the first steps."""
    agrees(name, 0.02, dtype=np.float32, rtol=2e-5)


@pytest.mark.reference("optax")
@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("lamb", (0.02, 0.8, 0.95, 1e-3, 1e-4, 0.3, KERNEL)),
        ("lamb", (optax.cosine_decay_schedule(0.1, 40),)),
        ("lars", (0.5, 0.3, KERNEL, 0.02, 0.1, {"kernel": True, "bias": False, "scale": True}, 0.7, True)),
        ("lars", (optax.cosine_decay_schedule(0.5, 40), 0.3, True, 0.02, 0.0, False)),
    ],
)
def test_equals_optax(name, args):
    agrees(name, *args)


@pytest.mark.parametrize("tx", [gx.lamb(0.1), gx.lars(0.1)], ids=["lamb", "lars"])
def test_zero_parameters_take_the_plain_direction(tx):
    """Where the parameter's norm is 0 the ratio is 1, so that an array of zeros can leave its place."""
    p, g = jnp.zeros(3), jnp.array([1.0, -2.0, 0.5])
    updates, _ = tx.update(g, tx.init(p), p)
    expected = -0.1 * (np.sign(g) if "adam" in repr(tx) else np.asarray(g))
    np.testing.assert_allclose(updates, expected, rtol=3e-6)
