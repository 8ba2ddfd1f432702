from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx


@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 4), (3, 3, 2, 5), (1, 7), (6, 1)])
def test_every_row_has_mean_zero(shape):
    g = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    updates, _ = (tx := gx.centralize()).update(jnp.asarray(g), tx.init(g))
    wide = g.astype(np.float64)
    expected = wide - wide.reshape(shape[0], -1).mean(1).reshape(-1, *[1] * (len(shape) - 1))
    np.testing.assert_allclose(updates, expected, atol=3e-7)
    theirs = optax.centralize()
    np.testing.assert_allclose(updates, theirs.update(jnp.asarray(g), theirs.init(g))[0], atol=3e-7)


@pytest.mark.parametrize("shape", [(), (5,)])
def test_vectors_and_scalars_pass(shape):
    g = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
    np.testing.assert_array_equal((tx := gx.centralize()).update(g, tx.init(g))[0], g)


def test_sparse_rows_give_what_the_dense_gradient_gives():
    rows = gx.Rows(jnp.array([2, 0, 2]), jnp.arange(9.0).reshape(3, 3), (4, 3))
    tx, p = gx.centralize(), jnp.zeros((4, 3))
    updates = tx.update(rows, tx.init(p), p)[0]
    dense = updates.dense() if isinstance(updates, gx.Rows) else updates
    np.testing.assert_array_equal(dense, tx.update(rows.dense(), tx.init(p), p)[0])
