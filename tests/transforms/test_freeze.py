from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests.trajectories import as_written

P = {"enc": {"w": jnp.ones((2, 2)), "b": jnp.ones(2)}, "head": jnp.ones(3)}
G = jax.tree.map(lambda p: 2.0 * p, P)


def run(tx, g=G, p=P):
    return tx.update(g, tx.init(p), p)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_frozen_leaves_have_no_state_and_no_update(place):
    stages = [gx.scale_by_adam(), gx.scale_by_learning_rate(0.1)]
    stages.insert(place, gx.freeze(gx.under("enc")))
    tx = gx.chain(*stages)
    state = tx.init(P)
    assert state.leaves["enc"] == {"w": {}, "b": {}}
    assert set(state.leaves["head"]) == {"adam"}
    updates, after = run(tx)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert not np.any(np.asarray(updates["enc"]["w"]))
    np.testing.assert_allclose(updates["head"], -0.1, rtol=1e-6)


def test_frozen_gradients_do_not_count_in_the_norm():
    for stages in ([gx.freeze("^enc"), gx.clip_by_global_norm(1.0)], [gx.clip_by_global_norm(1.0), gx.freeze("^enc")]):
        updates, _ = run(gx.chain(*stages))
        np.testing.assert_allclose(np.linalg.norm(updates["head"]), 1.0, rtol=1e-6)


def test_decay_does_not_touch_frozen_leaves():
    tx = gx.chain(gx.freeze("^enc"), gx.adamw(0.1, weight_decay=0.5))
    p = run(tx)[0]
    assert not np.any(np.asarray(p["enc"]["b"]))


@pytest.mark.parametrize(
    ("mask", "frozen"),
    [
        (None, {"w", "b", "head"}),
        (True, {"w", "b", "head"}),
        (False, set()),
        (gx.named("b"), {"b"}),
        ({"enc": True, "head": False}, {"w", "b"}),
        (lambda params: jax.tree.map(lambda p: p.ndim == 1, params), {"b", "head"}),
    ],
    ids=as_written,
)
def test_mask_of_every_kind(mask, frozen):
    updates, _ = run(gx.chain(gx.freeze(mask), gx.scale(1.0)))
    found = {"w": updates["enc"]["w"], "b": updates["enc"]["b"], "head": updates["head"]}
    assert {k for k, u in found.items() if not np.any(np.asarray(u))} == frozen


def test_no_gradient_stays_no_gradient():
    g = {"enc": {"w": None, "b": G["enc"]["b"]}, "head": G["head"]}
    updates, _ = run(gx.chain(gx.freeze("^enc"), gx.sgd(0.1)), g)
    assert updates["enc"]["w"] is None
    np.testing.assert_array_equal(updates["enc"]["b"], np.zeros(2))


def test_an_integer_parameter_may_be_frozen_with_its_gradient_left_out():
    p = {"w": jnp.ones(2), "steps": jnp.array(3)}
    g = {"w": jnp.ones(2), "steps": np.zeros((), jax.dtypes.float0)}
    updates, state = run(gx.adam(0.1), g, p)
    assert updates["steps"] is None
    assert state.leaves["steps"] == {}
    assert gx.apply_updates(p, updates)["steps"] == 3


def test_a_frozen_group():
    tx = gx.groups([("^enc", gx.freeze())], default=gx.momentum(0.1))
    updates, state = run(tx)
    assert state.leaves["enc"] == {"w": {}, "b": {}}
    assert not np.any(np.asarray(updates["enc"]["w"]))
    np.testing.assert_allclose(updates["head"], -0.2, rtol=1e-6)


def test_stages_before_a_frozen_group_see_its_gradients():
    tx = gx.chain(gx.clip_by_global_norm(1.0), gx.groups([("^enc", gx.freeze())], default=gx.scale(1.0)))
    updates, _ = run(tx)
    np.testing.assert_allclose(np.linalg.norm(updates["head"]), np.sqrt(12) / np.sqrt(36), rtol=1e-6)


def test_zero_updates_are_float32_or_wider_like_the_others():
    p = {"a": jnp.ones(2, jnp.bfloat16), "b": jnp.ones(2)}
    updates, _ = run(gx.freeze("a"), p, p)
    assert updates["a"].dtype == jnp.float32


def test_rows_of_a_frozen_table():
    rows = gx.Rows(jnp.array([0]), jnp.ones((1, 2)), (3, 2))
    p = jnp.ones((3, 2))
    updates, _ = run(gx.chain(gx.freeze(), gx.adam(0.1)), rows, p)
    np.testing.assert_array_equal(gx.apply_updates(p, updates), p)
