from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx
from tests import transcripts
from tests.trajectories import agrees, as_written, follows


@pytest.mark.reference("Duchi et al. 2011, equation 1", "adagrad")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.adagrad(0.2), {}),
        (gx.adagrad(0.2, 0.0, 1e-3), {"a0": 0.0, "eps": 1e-3}),
        (gx.adagrad(0.2, 2.0), {"a0": 2.0}),
    ],
    ids=as_written,
)
def test_adagrad_follows_its_paper(tx, letters):
    follows(tx, transcripts.adagrad, 0.2, **letters)


@pytest.mark.reference("optax")
@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("adagrad", (optax.exponential_decay(0.2, 10, 0.5), 0.5, 1e-3)),
        ("scale_by_rss", ()),
        ("scale_by_rss", (0.0, 1e-3)),
    ],
)
def test_equals_optax(name, args):
    agrees(name, *args)


def test_equals_optax_in_single():
    agrees("adagrad", 0.2, dtype=np.float32, rtol=1e-6)


def test_no_gradient_yet_is_no_step():
    tx, p = gx.scale_by_rss(0.0, eps=0.0), jnp.zeros(2)
    updates, state = tx.update(jnp.array([0.0, 3.0]), tx.init(p), p)
    np.testing.assert_array_equal(updates, [0.0, 1.0])
    np.testing.assert_array_equal(gx.view(state, "sum_of_squares"), [0.0, 9.0])
