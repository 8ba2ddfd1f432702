from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx
from tests import transcripts
from tests.trajectories import agrees, as_written, follows

KERNEL = {"kernel": True, "bias": False, "scale": False}


@pytest.mark.reference("Zeiler 2012, algorithm 1", "adadelta")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.adadelta(), {}),
        (gx.adadelta(2.0, 0.8, 1e-3, 0.3), {"eta": 2.0, "rho": 0.8, "eps": 1e-3, "lam": 0.3}),
    ],
    ids=as_written,
)
def test_adadelta_follows_its_paper(tx, letters):
    follows(tx, transcripts.adadelta, **letters)


@pytest.mark.reference("optax")
@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("adadelta", (optax.linear_schedule(2.0, 0.1, 30), 0.8, 1e-3, 0.3, KERNEL)),
        ("scale_by_adadelta", (0.8, 1e-3)),
    ],
)
def test_equals_optax(name, args):
    agrees(name, *args)


def test_equals_optax_in_single():
    agrees("adadelta", 1.0, dtype=np.float32, rtol=2e-6)


def test_without_a_rate_it_descends():
    """The paper's step is -u; optax leaves the sign unturned where no rate is given, and climbs."""
    p = jnp.ones(3)
    updates, _ = (tx := gx.adadelta()).update(p, tx.init(p), p)
    assert np.all(np.asarray(updates) < 0)


def test_decay_may_be_a_table():
    tx = gx.adadelta(1.0, weight_decay=[0.5, 0.0])
    p = jnp.ones(2)
    updates, state = tx.update(jnp.zeros(2), tx.init(p), p)
    assert np.all(np.asarray(updates) < 0)
    np.testing.assert_array_equal(tx.update(jnp.zeros(2), state, p)[0], np.zeros(2))
