"""Packing joins small leaves and changes no result."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx

SHAPES = {f"layer{i}": {"kernel": (8, 4), "bias": (4,)} for i in range(5)}


def params(dtype: Any = jnp.float32) -> Any:
    rng = np.random.default_rng(0)
    small = {k: {n: jnp.asarray(rng.standard_normal(s), dtype) for n, s in v.items()} for k, v in SHAPES.items()}
    return {**small, "large": jnp.asarray(rng.standard_normal((300, 4)), dtype), "steps": jnp.arange(3)}


def grads(p: Any, step: int) -> Any:
    rng = np.random.default_rng(step + 1)
    return jax.tree.map(
        lambda x: jnp.asarray(rng.standard_normal(x.shape), x.dtype) if jnp.issubdtype(x.dtype, jnp.inexact) else None,
        p,
    )


def run(tx: Any, steps: int = 4, dtype: Any = jnp.float32) -> tuple[Any, Any]:
    p = params(dtype)
    state, update = tx.init(p), jax.jit(tx.update)
    for i in range(steps):
        before = jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), state)
        u, state = update(grads(p, i), state, p)
        assert jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), state) == before
        p = gx.apply_updates(p, u)
    return p, state


ELEMENTWISE = {
    "adamw": gx.adamw(1e-2, mask=gx.ndim_at_least(2)),
    "momentum": gx.momentum(gx.tunable(0.1), nesterov=True),
    "frozen": gx.chain(gx.adam(0.1), gx.freeze("layer1/")),
    "groups": gx.groups([("bias$", gx.sgd(0.1), "biases"), ("layer1/", {"learning_rate": 0.5}, "first")], gx.adam(0.1)),
    "landing": gx.chain(gx.sgd(0.1), gx.proximal_l1(0.1, 0.3), gx.ema_of_params(0.9)),
    "schedule": gx.lion(gx.cosine_decay_schedule(0.1, 10)),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_elementwise_results_are_bit_for_bit_the_same(name: str, dtype: Any):
    tx = ELEMENTWISE[name]
    packed = gx.packed(tx, max_size=100)
    (p, state), (q, packed_state) = run(tx, dtype=dtype), run(packed, dtype=dtype)
    jax.tree.map(np.testing.assert_array_equal, q, p)
    averages = gx.eval_params(tx, state, p), gx.eval_params(packed, packed_state, q)
    jax.tree.map(np.testing.assert_array_equal, *averages)
    unpacked = gx.unpack(packed, packed_state, q)
    assert jax.tree.structure(unpacked) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, unpacked, state)


def test_a_global_norm_sees_all_leaves():
    tx = gx.chain(gx.clip_by_global_norm(1.0), gx.sgd(0.1))
    # The squares are added in another order: an ulp of the updates, whose size is 0.1 at most.
    jax.tree.map(
        lambda q, p: np.testing.assert_allclose(q, p, rtol=1e-6, atol=1e-8), run(gx.packed(tx, 100))[0], run(tx)[0]
    )
    outside = gx.chain(gx.clip_by_global_norm(1.0), gx.packed(gx.sgd(0.1), 100))
    jax.tree.map(np.testing.assert_array_equal, run(outside)[0], run(tx)[0])


OUTSIDE = {
    "factors": [gx.scale(0.5), gx.clip_by_global_norm(1.0)],
    "some leaves": [gx.chain(gx.clip_by_global_norm(1.0), gx.groups([("bias$", gx.scale(0.5))], default=gx.chain()))],
    "by array": [gx.clip_by_global_norm(1.0), gx.clip_by_norm(0.5)],
    "by element": [gx.clip_by_global_norm(1.0), gx.clip(0.1)],
    "memory": [gx.trace(0.9), gx.scale(0.5)],
}


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_what_stands_before_it_changes_no_result(name: str, dtype: Any):
    inner = gx.adamw(1e-2, mask=gx.ndim_at_least(2))
    packed = run(gx.chain(*OUTSIDE[name], gx.packed(inner, max_size=100)), dtype=dtype)[0]
    jax.tree.map(np.testing.assert_array_equal, packed, run(gx.chain(*OUTSIDE[name], inner), dtype=dtype)[0])


def test_factors_before_it_multiply_the_buffer():
    tx, p = gx.chain(gx.scale(0.5), gx.packed(gx.adam(0.1), max_size=100)), params()
    program = jax.jit(tx.update).lower(grads(p, 0), tx.init(p), p).as_text()
    multiplied = set(re.findall(r"stablehlo\.multiply .*tensor<(\w+)xf32>", program))
    assert "180" in multiplied
    assert not multiplied & {"8x4", "4"}


def test_rows_are_scaled_before_they_become_a_part_of_a_buffer():
    tx, p = gx.chain(gx.scale(0.5), gx.packed(gx.adam(0.1), max_size=100)), params()
    g, state = grads(p, 0), tx.init(p)
    g["layer0"]["kernel"] = rows = gx.Rows(jnp.array([1, 1]), jnp.full((2, 4), 0.3), (8, 4))
    dense = {**g, "layer0": {**g["layer0"], "kernel": rows.dense()}}
    jax.tree.map(np.testing.assert_array_equal, *[jax.jit(tx.update)(x, state, p)[0] for x in (g, dense)])


def test_memory_lives_in_one_buffer_for_each_combination_of_rules():
    state = gx.packed(gx.adamw(0.1, mask=gx.ndim_at_least(2)), max_size=100).init(params())
    assert {k: v["adam"].mu.shape for k, v in state.tree.items()} == {
        "packed/layer0/bias": (20,),
        "packed/layer0/kernel": (160,),
    }
    assert state.leaves["layer2"]["kernel"] == {}
    assert state.leaves["large"]["adam"].mu.shape == (300, 4)
    together = gx.packed(gx.adam(0.1), max_size=100).init(params())
    assert {k: v["adam"].mu.shape for k, v in together.tree.items()} == {"packed/layer0/bias": (180,)}


def test_structs_in_give_structs_out():
    tx, p = gx.packed(gx.adam(0.1), max_size=100), params()
    structs = tx.init(jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), p))
    given = jax.tree.map(lambda x: (x.shape, x.dtype), tx.init(p))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), structs) == given


def test_hyperparameters_keep_their_names():
    tx = gx.adamw(gx.tunable(0.1))
    packed = gx.packed(tx, max_size=100)
    p = params()
    state = packed.init(p)
    assert gx.hyperparams(packed, state) == gx.hyperparams(tx, tx.init(p))
    faster = gx.with_hyperparams(state, learning_rate=0.2)
    assert float(gx.hyperparams(packed, faster)["learning_rate"]) == pytest.approx(0.2)


def test_rules_that_see_arrays_are_refused_by_path():
    for tx in (gx.lamb(0.1), gx.chain(gx.centralize(), gx.sgd(0.1)), gx.chain(gx.clip_by_norm(1.0), gx.sgd(0.1))):
        with pytest.raises(ValueError, match=r"cannot join 'layer0/bias' with others: .* leave that stage outside"):
            gx.packed(tx, max_size=100).init(params())
    run(gx.chain(gx.clip_by_norm(1.0), gx.packed(gx.sgd(0.1), max_size=100)))


def test_gradients_of_a_buffer_are_all_there_or_all_missing():
    tx, p = gx.packed(gx.momentum(0.1), max_size=100), params()
    state, g = tx.init(p), grads(p, 0)
    resting = {**jax.tree.map(lambda x: None, p), "large": g["large"]}
    u, after = tx.update(resting, state, p)
    assert u["layer0"] == {"kernel": None, "bias": None}
    jax.tree.map(np.testing.assert_array_equal, after.tree, state.tree)
    g["layer3"]["bias"] = None
    with pytest.raises(ValueError, match=r"'layer3/bias' has none"):
        tx.update(g, state, p)


def test_it_prints_and_compares_by_value():
    assert repr(gx.packed(gx.sgd(0.1), max_size=9)).endswith("flip_sign=True), max_size=9)")
    assert gx.packed(gx.adam(0.1)) == gx.packed(gx.adam(0.1)) != gx.packed(gx.adam(0.1), max_size=9)
    assert hash(gx.packed(gx.adam(0.1))) == hash(gx.packed(gx.adam(0.1)))


def test_foreign_transformations_are_refused():
    pair = (lambda p: (), lambda u, s, p=None: (u, s))
    with pytest.raises(TypeError, match="made of rules"):
        gx.packed(pair).init(params())


def test_offloaded_packs():
    tx = gx.offloaded(gx.packed(gx.adam(0.1), max_size=100))
    jax.tree.map(np.testing.assert_array_equal, run(tx)[0], run(gx.adam(0.1))[0])


def test_one_kernel_for_all_leaves_of_a_shape():
    tx = gx.packed(gx.adam(0.1))
    p = {f"layer{i}": jnp.zeros((8, 4)) for i in range(100)}
    state = tx.init(p)
    step = jax.jit(lambda g, s, p: tx.update(g, s, p)).lower(p, state, p)
    assert "dynamic_slice" in step.as_text()
    assert len(jax.tree.leaves(state)) == 3


@pytest.mark.parametrize("codec", ["bfloat16", "int8"])
def test_leaves_too_small_for_codes_stay_exact_in_their_buffer(codec: str):
    """Together they have more elements than `min_size`, and codes in blocks keep their leaf to themselves."""
    tx = gx.stored_as(codec, gx.adamw(0.1), min_size=64)
    assert gx.packed(tx, 2000) == gx.stored_as(codec, gx.packed(gx.adamw(0.1), 2000), min_size=64)
    (p, state), (q, packed_state) = run(tx), run(gx.packed(tx, 2000))
    jax.tree.map(np.testing.assert_array_equal, q, p)
    assert {k: (v["adam"].mu.shape, str(v["adam"].mu.dtype)) for k, v in packed_state.tree.items()} == {
        "packed/layer0/bias": ((180,), "float32")
    }
    jax.tree.map(np.testing.assert_array_equal, packed_state.leaves["large"], state.leaves["large"])
    assert any(x.dtype in (jnp.bfloat16, jnp.int8) for x in jax.tree.leaves(packed_state.leaves["large"]))


def test_rows_of_a_table_in_a_buffer_are_refused():
    """The rows that `lazy` lets rest would move there."""
    tx, p = gx.packed(gx.lazy(gx.adam(0.1)), max_size=100), {"table": jnp.ones((8, 4)), "b": jnp.ones(4)}
    rows = gx.Rows(jnp.array([3]), jnp.ones((1, 4)), (8, 4))
    with pytest.raises(ValueError, match=r"cannot join 'table' with others: lazy .* a max_size below its 32 elements"):
        tx.update({"table": rows, "b": jnp.ones(4)}, tx.init(p), p)


def test_a_buffer_holds_one_element_at_least():
    gx.packed(gx.sgd(0.1), max_size=1)
    with pytest.raises(ValueError, match="max_size must be at least 1"):
        gx.packed(gx.sgd(0.1), max_size=0)


def test_leaves_with_codes_in_blocks_stay_alone():
    stored = gx.stored_as("int8", gx.scale_by_adam(), min_size=0)
    params = {"a": jnp.ones((16, 16)), "b": jnp.full((16, 16), 2.0)}
    state = gx.packed(stored).init(params)
    assert state.tree == {}
    assert jax.tree.structure(state.leaves) == jax.tree.structure(stored.init(params).leaves)
