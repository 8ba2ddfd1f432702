"""What controls share: a norm, a number times gradients, an update that is taken or not."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx
from gradxform.control.hold import (
    Asked,
    axis_or_none,
    inner_of,
    map_gradients,
    multiplied,
    times,
    tree_norm,
    update_if,
)

P = {"w": jnp.array([3.0, -4.0]), "b": jnp.array([12.0])}
ROWS = gx.Rows(jnp.array([1, 1]), jnp.array([[3.0], [4.0]]), (4, 1))


def test_the_norm_counts_floating_leaves_alone() -> None:
    tree = {**P, "n": jnp.arange(5), "none": None, "empty": jnp.zeros(0), "number": 84.0}
    np.testing.assert_allclose(tree_norm(tree, None, "guard"), 85.0, rtol=1e-6)
    np.testing.assert_allclose(tree_norm(tree, None, "guard", jnp.float32(0.5)), 42.5, rtol=1e-6)
    np.testing.assert_allclose(tree_norm(ROWS, None, "guard"), 7.0, rtol=1e-6)


def test_gradients_are_mapped_and_the_rest_stays() -> None:
    tree = {"w": P["w"], "rows": ROWS, "none": None, "n": jnp.arange(3), "number": 2.0}
    found = map_gradients(lambda x: x + 1, tree)
    np.testing.assert_array_equal(found["w"], [4.0, -3.0])
    np.testing.assert_array_equal(found["rows"].values, [[4.0], [5.0]])
    np.testing.assert_array_equal(found["rows"].indices, [1, 1])
    assert found["none"] is None
    assert found["n"] is tree["n"]
    assert found["number"] == 3.0


def test_products_are_made_in_float32_or_wider() -> None:
    half = times(jnp.full(2, 2.0**-14, jnp.float16), jnp.float32(2.0**-14))
    assert half.dtype == jnp.float32
    np.testing.assert_array_equal(half, 2.0**-28)


@pytest.mark.parametrize("inner", [gx.sgd(1.0), inner_of(tx=optax.sgd(1.0))], ids=["a chain", "another pair"])
def test_a_chain_multiplies_itself(inner) -> None:
    tx, grads, by = multiplied(inner, P, jnp.float32(0.5))
    updates, _ = tx.update(grads, inner.init(P))
    jax.tree.map(lambda u, p: np.testing.assert_array_equal(u, -0.5 * p), updates, P)
    assert by is not None


def test_a_wrapper_gets_the_product() -> None:
    inner = gx.guard(gx.sgd(1.0))
    tx, grads, by = multiplied(inner, P, jnp.float32(0.5))
    assert tx is inner
    assert by is None
    np.testing.assert_array_equal(grads["w"], [1.5, -2.0])


@pytest.mark.parametrize("ok", [True, False])
def test_an_update_is_taken_or_everything_stands_still(ok: bool) -> None:
    tx = gx.adam(0.1)
    state = tx.init(P)
    updates, after = update_if(Asked(jnp.asarray(ok)), tx, P, state, P, {})
    expected, moved = tx.update(P, state, P)
    if ok:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), (updates, after), (expected, moved))
        return
    jax.tree.map(np.testing.assert_array_equal, after, state)
    for u in jax.tree.leaves(updates):
        np.testing.assert_array_equal(u, 0.0)
        assert np.signbit(u).all()


def test_two_decisions() -> None:
    yes, no = jnp.asarray(True), jnp.asarray(False)
    assert Asked(None, land=True).where(yes) == Asked(yes, land=True)
    assert not Asked(yes).where(no).ok
    assert not Asked(no).where(yes).ok
    assert Asked(yes).where(yes).ok


def test_arguments_of_controls() -> None:
    assert axis_or_none(None) is None
    assert axis_or_none(("x", "y")) == ("x", "y")
    with pytest.raises(TypeError, match="axis_name must be the name of an axis"):
        axis_or_none(3)
    with pytest.raises(TypeError, match="inner must be a gradient transformation"):
        inner_of(inner=3)
