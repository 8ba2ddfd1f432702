from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx
from tests import transcripts
from tests.trajectories import agrees, as_written, follows, walk


@pytest.mark.reference("Tieleman, Hinton 2012; Graves 2013", "rmsprop")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.rmsprop(0.02), {}),
        (gx.rmsprop(0.02, 0.8, 1e-3, 0.5), {"decay": 0.8, "eps": 1e-3, "n0": 0.5}),
        (gx.rmsprop(0.02, 0.8, 1e-3, eps_in_sqrt=False), {"decay": 0.8, "eps": 1e-3, "eps_in_sqrt": False}),
        (gx.rmsprop(0.02, momentum=0.7), {"mu": 0.7}),
        (gx.rmsprop(0.02, momentum=0.7, nesterov=True, bias_correction=True),
         {"mu": 0.7, "nesterov": True, "correct": True}),
        (gx.rmsprop(0.02, centered=True), {"centered": True}),
        (gx.rmsprop(0.02, 0.95, 1e-4, 0.0, True, True, 0.9), {"decay": 0.95, "eps": 1e-4, "centered": True, "mu": 0.9}),
        (gx.rmsprop(0.02, 0.8, 1e-2, 0.1, False, True, 0.7, True, False),
         {"decay": 0.8, "eps": 1e-2, "n0": 0.1, "eps_in_sqrt": False, "centered": True, "mu": 0.7, "nesterov": True}),
    ],
    ids=as_written,
)  # fmt: skip
def test_rmsprop_follows_its_papers(tx, letters):
    follows(tx, transcripts.rmsprop, 0.02, **letters)


@pytest.mark.reference("optax")
@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("rmsprop", (optax.cosine_decay_schedule(0.1, 40), 0.8, 1e-3, 0.5, False, False, 0.7, True)),
        ("rmsprop", (0.02, 0.8, 1e-3, 0.5, True, True, 0.7, False, True)),
        ("scale_by_rms", (0.8, 1e-3, 0.5, False, True)),
        ("scale_by_stddev", (0.8, 1e-3, 0.5, True, False)),
        ("scale_by_stddev", (0.8, 1e-3, 0.5, False, False)),
    ],
)
def test_equals_optax(name, args):
    agrees(name, *args)


def test_equals_optax_in_single():
    agrees("rmsprop", 0.02, dtype=np.float32, rtol=1e-6)


def test_a_variance_rounded_below_zero_counts_as_zero():
    """A constant gradient has variance 0; in float32 n - m^2 comes out on both sides of it."""
    grads = {"x": np.full((40, 200), np.linspace(0.1, 3.0, 200))}
    params = {"x": np.zeros(200)}
    updates = walk(gx.scale_by_stddev(0.5, eps=1e-12, bias_correction=True), params, grads, jnp.float32)[1]["x"]
    assert np.all(np.isfinite(updates))
    theirs = walk(optax.scale_by_stddev(0.5, eps=1e-12, bias_correction=True), params, grads, jnp.float32)[1]["x"]
    assert not np.all(np.isfinite(theirs))
