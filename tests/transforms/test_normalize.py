from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests.trajectories import agrees

P = {"a": jnp.asarray([[1.0, 2.0], [-2.0, 4.0]]), "b": jnp.asarray([3.0, 4.0]), "c": jnp.asarray(2.0)}
G = {"a": jnp.asarray([[2.0, 0.0], [1.0, -2.0]]), "b": jnp.asarray([1.0, -2.0]), "c": jnp.asarray(-5.0)}


def apply(tx, g=G, p=P):
    return tx.update(g, tx.init(p), p)[0]


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("normalize_by_update_norm", ()),
        ("normalize_by_update_norm", (-2.5, 0.1)),
        ("scale_by_param_block_norm", ()),
        ("scale_by_param_block_norm", (2.0,)),
        ("scale_by_param_block_rms", ()),
        ("scale_by_param_block_rms", (1.0,)),
    ],
)
def test_equals_optax(name, args):
    agrees(name, *args)


def test_the_update_has_the_length_asked_for():
    u = apply(gx.normalize_by_update_norm(0.5, 0.0))
    np.testing.assert_allclose(gx.global_norm(u), 0.5, rtol=1e-6)
    np.testing.assert_allclose(u["a"], 0.5 / np.sqrt(9 + 5 + 25) * G["a"], rtol=1e-6)


def test_the_length_counts_all_devices():
    g = jnp.arange(1.0, 9.0).reshape(4, 2)
    tx = gx.normalize_by_update_norm(axis_name="d")
    u = jax.vmap(lambda x: apply(tx, x, x), axis_name="d")(g)
    np.testing.assert_allclose(u, g / np.linalg.norm(g), rtol=1e-6)


def test_the_scale_is_the_parameters():
    u = apply(gx.scale_by_param_block_norm())
    np.testing.assert_allclose(u["a"], 5 * G["a"], rtol=1e-6)
    u = apply(gx.scale_by_param_block_rms())
    np.testing.assert_allclose(u["a"], 2.5 * G["a"], rtol=1e-6)
    zeros = jax.tree.map(jnp.zeros_like, P)
    np.testing.assert_allclose(apply(gx.scale_by_param_block_norm(0.25), G, zeros)["b"], 0.25 * G["b"])


def test_the_part_along_the_parameter_is_taken_away():
    """Prieto et al. 2025, ⊥Grad: for a, p·g = -8 and p·p = 25; for b, -5 and 25."""
    u = apply(gx.orthogonalize_gradient())
    np.testing.assert_allclose(u["a"], G["a"] + 8 / 25 * P["a"], rtol=1e-6)
    np.testing.assert_allclose(u["b"], G["b"] + 5 / 25 * P["b"], rtol=1e-6)
    np.testing.assert_allclose(np.vdot(u["b"], P["b"]), 0.0, atol=1e-6)
    assert u["c"] == G["c"]
    zeros = jax.tree.map(jnp.zeros_like, P)
    jax.tree.map(np.testing.assert_array_equal, apply(gx.orthogonalize_gradient(), G, zeros), G)
    turned = apply(gx.orthogonalize_gradient(), {"b": G["b"] * 1j}, {"b": P["b"] * 1j})
    np.testing.assert_allclose(turned["b"], 1j * u["b"], rtol=1e-6)
