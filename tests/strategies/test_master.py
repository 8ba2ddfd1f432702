from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx

RNG = np.random.default_rng(0)
PARAMS = {
    "w": jnp.asarray(RNG.normal(size=(8, 32)), jnp.bfloat16),
    "h": jnp.asarray(RNG.normal(size=(32,)), jnp.float16),
    "b": jnp.ones(32),
}
GRADS = [jax.tree.map(lambda x: jnp.asarray(RNG.normal(size=x.shape) + 0.5, x.dtype), PARAMS) for _ in range(50)]
TRANSFORMATIONS = {
    "adamw": gx.adamw(1e-4, weight_decay=0.1),
    "clipped": gx.chain(gx.clip_by_global_norm(1.0), gx.sgd(1e-3, 0.9)),
    "stored": gx.stored_as("int8", gx.adam(1e-4), min_size=0),
    "lasso": gx.chain(gx.sgd(1e-2), gx.proximal_l1(2.0, 1e-2)),
    "groups": gx.groups([("b", gx.sgd(1e-3))], default=gx.lion(1e-4)),
    "foreign": optax.adamw(1e-4),
}


def wide(tree: Any) -> Any:
    return jax.tree.map(lambda x: x.astype(jnp.float32), tree)


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_it_is_training_in_float32_rounded_once(name: str) -> None:
    """The same gradients in float32, beside it; masters are equal, parameters their roundings."""
    kept, inner = gx.master_weights(TRANSFORMATIONS[name]), gx.chain(TRANSFORMATIONS[name])
    p, master = jax.tree.map(jnp.copy, PARAMS), wide(PARAMS)
    state, expected = kept.init(p), inner.init(master)
    for g in map(wide, GRADS):
        updates, state = kept.update(g, state, p)
        p = gx.apply_updates(p, updates)
        updates, expected = inner.update(g, expected, master)
        master = gx.apply_updates(master, updates)
    # Fused multiply-add: an ulp a step at most. Codes of 8 bits turn an ulp into a step of the code, now and then.
    atol = 1e-4 if name == "stored" else 1e-6
    for k in ("w", "h"):
        np.testing.assert_allclose(state.master[k], master[k], rtol=1e-6, atol=atol)
        np.testing.assert_array_equal(p[k], state.master[k].astype(p[k].dtype))
    np.testing.assert_allclose(p["b"], master["b"], rtol=1e-6, atol=atol)


def test_small_steps_are_not_lost() -> None:
    p = jnp.ones(4, jnp.bfloat16)
    found, lost = p, p
    tx, plain = gx.master_weights(gx.sgd(1e-4)), gx.sgd(1e-4)
    state = tx.init(p)
    for _ in range(200):
        updates, state = tx.update(jnp.ones(4), state, found)
        found = gx.apply_updates(found, updates)
        lost = gx.apply_updates(lost, plain.update(jnp.ones(4), plain.init(lost), lost)[0])
    np.testing.assert_allclose(state.master, 0.98, rtol=1e-5)
    np.testing.assert_array_equal(found, jnp.asarray(0.98, jnp.bfloat16))
    np.testing.assert_array_equal(lost, 1.0)


def test_only_parameters_in_fewer_bits_have_a_master() -> None:
    params = PARAMS | {"n": jnp.arange(3)}
    state = gx.master_weights(gx.adam(0.1)).init(params)
    assert state.master["b"] == {}
    assert state.master["n"] == {}
    assert {state.master[k].dtype for k in ("w", "h")} == {jnp.dtype(jnp.float32)}
    structs = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), params)
    shapes = gx.master_weights(gx.adam(0.1)).init(structs)
    assert jax.tree.structure(shapes) == jax.tree.structure(state)
    assert [x.dtype for x in jax.tree.leaves(shapes)] == [x.dtype for x in jax.tree.leaves(state)]


def test_none_and_rows() -> None:
    tx = gx.master_weights(gx.sgd(0.5))
    p = {"a": jnp.ones((6, 2), jnp.bfloat16), "b": jnp.ones(3, jnp.bfloat16)}
    g = {"a": gx.Rows(np.array([1, 4]), np.ones((2, 2), np.float32), (6, 2)), "b": None}
    updates, state = tx.update(g, tx.init(p), p)
    assert updates["b"] is None
    after = gx.apply_updates(p, updates)
    expected = np.ones((6, 2))
    expected[[1, 4]] = 0.5
    np.testing.assert_array_equal(after["a"], expected)
    np.testing.assert_array_equal(state.master["a"], expected)
    np.testing.assert_array_equal(state.master["b"], 1.0)


def test_averages_are_of_the_master() -> None:
    tx = gx.master_weights(gx.chain(gx.sgd(1e-3), gx.ema_of_params(0.5)))
    p = {"w": jnp.ones(4, jnp.bfloat16)}
    _, state = tx.update({"w": jnp.ones(4)}, tx.init(p), p)
    found = gx.eval_params(tx, state, p)
    assert found["w"].dtype == jnp.bfloat16
    np.testing.assert_allclose(gx.view(state, "average")["w"], 0.999, rtol=1e-6)


def test_it_is_a_value_and_refuses_what_is_none() -> None:
    assert gx.master_weights(gx.adam(0.1)) == gx.master_weights(gx.adam(0.1))
    assert repr(gx.master_weights(gx.sgd(0.1))).startswith("master_weights(")
    with pytest.raises(ValueError, match="master_weights needs the parameters"):
        gx.master_weights(gx.sgd(0.1)).update(PARAMS, gx.master_weights(gx.sgd(0.1)).init(PARAMS))
    with pytest.raises(TypeError):
        gx.master_weights(3)
    with pytest.raises(TypeError, match="stored_as works on transformations made of rules; put it inside"):
        gx.stored_as("int8", gx.master_weights(gx.adam(0.1)))
