from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests import transcripts
from tests.trajectories import as_written, follows


@pytest.mark.reference("Igel, Huesken 2003, iRprop-", "rprop")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.rprop(0.02), {}),
        (gx.rprop(0.02, 0.3, 1.7, 0.01, 0.05), {"eta_minus": 0.3, "eta_plus": 1.7, "least": 0.01, "most": 0.05}),
    ],
    ids=as_written,
)
def test_rprop_follows_its_paper(tx, letters):
    follows(tx, transcripts.rprop, 0.02, **letters)


def test_products_of_tiny_gradients_keep_their_sign():
    """1e-30 · 1e-30 is 0 in float32; the signs are compared instead."""
    tx = gx.scale_by_rprop(0.1)
    g = jnp.full(2, 1e-30)
    _, state = tx.update(g, tx.init(g))
    u, _ = tx.update(g * jnp.array([1.0, -1.0]), state)
    np.testing.assert_allclose(u, [0.12, 0.0], rtol=1e-6)
