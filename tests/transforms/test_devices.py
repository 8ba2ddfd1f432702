"""Means over a named axis; on several devices they are in tests/devices."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx


def test_mean_across_a_device_axis():
    tx = gx.mean_across("d")
    g = jnp.arange(6.0).reshape(3, 2)
    found = jax.vmap(lambda x: tx.update(x, tx.init(x))[0], axis_name="d")(g)
    np.testing.assert_array_equal(found, np.tile(np.mean(g, axis=0), (3, 1)))


def test_mean_across_gathers_sparse_rows():
    tx = gx.mean_across("d")
    indices = jnp.array([[0, 2], [2, 9], [2, 2]])
    values = jnp.arange(12.0).reshape(3, 2, 2)

    def device(i, v):
        rows = gx.Rows(i, v, (4, 2))
        updates = tx.update(rows, tx.init(jnp.zeros((4, 2))))[0]
        assert isinstance(updates, gx.Rows)
        return updates.dense(), rows.dense()

    found, dense = jax.vmap(device, axis_name="d")(indices, values)
    for one in found:
        np.testing.assert_allclose(one, np.mean(dense, axis=0), rtol=1e-6)


def test_a_name_that_is_none_is_refused():
    with pytest.raises(TypeError, match="axis_name must be the name of an axis or a tuple of names, got 3"):
        gx.mean_across(3)
