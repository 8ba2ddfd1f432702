from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx
from tests.compiler import FAST, sums_in_place
from tests.trajectories import double

P = {"w": jnp.asarray([[1.0, -2.0, 0.5], [0.1, 0.2, 0.3]]), "b": jnp.asarray([0.25, 4.0])}
INNER = {
    "clipped adamw": gx.chain(gx.clip_by_global_norm(1.0), gx.adamw(gx.linear_schedule(0.1, 0.0, 50))),
    "lamb": gx.lamb(0.05),
}
EVERY = {"2": 2, "5": 5, "schedule": lambda step: jnp.where(step < 2, 2, 5)}
SIZES = {"2": [2] * 4, "5": [5] * 4, "schedule": [2, 2, 5, 5]}


def draw(seed, dtype=jnp.float32):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), dtype), P)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("inner", INNER.values(), ids=INNER)
@pytest.mark.parametrize("every", EVERY)
def test_it_equals_the_large_batch(every, inner, dtype):
    """Means taken in float64 go to the inner transformation alone; between, parameters and inner state stand still."""
    p = q = jax.tree.map(lambda x: x.astype(dtype), P)
    tx = gx.accumulate(inner, EVERY[every])
    state, inner_state, seeds = tx.init(p), inner.init(p), itertools.count()
    for size in SIZES[every]:
        grads = [draw(next(seeds), dtype) for _ in range(size)]
        for g in grads[:-1]:
            updates, after = jax.jit(tx.update)(g, state, p)
            assert all(not u.any() for u in jax.tree.leaves(updates))
            jax.tree.map(np.testing.assert_array_equal, after.inner, state.inner)
            state = after
        updates, state = jax.jit(tx.update)(grads[-1], state, p)
        p = gx.apply_updates(p, updates)
        mean = jax.tree.map(lambda *xs: jnp.asarray(np.mean([np.asarray(x, np.float64) for x in xs], 0)), *grads)
        expected, inner_state = jax.jit(inner.update)(
            jax.tree.map(lambda x: x.astype(jnp.float32), mean), inner_state, q
        )
        q = gx.apply_updates(q, expected)
        # The sum is rounded `size` times; Adam's first steps pass a relative error on as it is.
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), updates, expected)
    assert int(state.steps) == int(state.inner.count) == 4


def test_weights_by_token_count():
    """Two micro-batches of 3 and 9 tokens count as the mean over 12."""
    tx, (a, b) = gx.accumulate(gx.sgd(1.0), 2), (draw(0), draw(1))
    _, state = tx.update(a, tx.init(P), P, weight=3)
    updates, state = tx.update(b, state, P, weight=9)
    expected = jax.tree.map(lambda x, y: -(3.0 * np.asarray(x, np.float64) + 9.0 * y) / 12.0, a, b)
    jax.tree.map(lambda u, e: np.testing.assert_allclose(u, e, rtol=1e-6), updates, expected)
    assert float(state.weight) == 12.0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_micro_batch_is_left_out_and_counted(bad):
    tx, g = gx.accumulate(gx.sgd(1.0), 3), {"w": jnp.full((2, 3), 2.0), "b": jnp.ones(2)}
    state = tx.init(P)
    for grads in (g, {**g, "b": jnp.asarray([bad, 1.0])}, jax.tree.map(lambda x: 3 * x, g)):
        updates, state = tx.update(grads, state, P)
    np.testing.assert_array_equal(updates["w"], np.full((2, 3), -4.0))
    assert [int(state.left_out), int(state.steps), int(state.seen)] == [1, 1, 0]
    for _ in range(3):
        updates, state = tx.update(jax.tree.map(lambda x: bad * x, g), state, P)
        assert all(not u.any() for u in jax.tree.leaves(updates))
    assert [int(state.left_out), int(state.steps), int(state.inner.count)] == [4, 1, 1]
    for _ in range(3):
        updates, state = tx.update(g, state, P)
    np.testing.assert_array_equal(updates["w"], np.full((2, 3), -2.0))


def test_a_loss_that_is_given_is_averaged_for_the_inner_guard():
    tx = gx.accumulate(gx.guard(gx.sgd(1.0), spike=6.0), 2)
    _, state = tx.update(draw(0), tx.init(P), P, value=1.0, weight=1)
    _, state = tx.update(draw(1), state, P, value=5.0, weight=3)
    assert float(state.inner.statistics["value"].mean) == 4.0


def test_sums_are_float32_and_one_tree():
    p = {"w": jnp.ones((3, 2), jnp.bfloat16), "step": jnp.asarray(3), "z": jnp.ones(2, jnp.complex64)}
    state = gx.accumulate(gx.sgd(0.1), 4).init(p)
    assert jax.tree.map(lambda x: x.dtype.name, state.total) == {"w": "float32", "step": None, "z": "complex64"}
    with double():
        assert gx.accumulate(gx.sgd(0.1), 4).init({"w": jnp.ones(2, jnp.float64)}).total["w"].dtype == jnp.float64


def test_small_bfloat16_gradients_are_not_lost():
    """In bfloat16 the sum of 1 and 256 times 2**-9 stays 1."""
    tx, p = gx.accumulate(gx.sgd(1.0), 257), jnp.zeros(1, jnp.bfloat16)
    grads = jnp.full((257, 1), 2.0**-9, jnp.bfloat16).at[0].set(1.0)
    _, updates = jax.lax.scan(lambda s, g: tx.update(g, s, p)[::-1], tx.init(p), grads)
    np.testing.assert_allclose(updates[-1], [-1.5 / 257], rtol=1e-6)


def test_rows_and_none():
    tx, p = gx.accumulate(gx.sgd(1.0), 2), {"t": jnp.zeros((4, 2)), "b": jnp.ones(2)}
    state = tx.init(p)
    for i in (1, 3):
        rows = gx.Rows(jnp.asarray([i, i]), jnp.ones((2, 2)), (4, 2))
        updates, state = tx.update({"t": rows, "b": None}, state, p)
    np.testing.assert_array_equal(updates["t"][:, 0], [0.0, -1.0, 0.0, -1.0])
    assert updates["b"] is None


@sums_in_place
def test_temporaries_beside_optax():
    """One more tree in the state, and none beside it."""
    p = {"w": jnp.ones(100_000), "v": jnp.ones(100_001)}
    tree = 4 * 200_001

    def analysis(tx, apply):
        def step(p, s, g):
            updates, s = tx.update(g, s, p)
            return apply(p, updates), s

        lowered = jax.jit(step, donate_argnums=(0, 1)).lower(p, tx.init(p), p)
        return lowered.compile(FAST).memory_analysis()

    ours = analysis(gx.accumulate(gx.adamw(1e-3), 4), gx.apply_updates)
    alone = analysis(gx.adamw(1e-3), gx.apply_updates)
    theirs = analysis(optax.MultiSteps(optax.adamw(1e-3), 4), optax.apply_updates)
    assert ours.temp_size_in_bytes < 1000 < 1.9 * tree < theirs.temp_size_in_bytes
    assert tree <= ours.output_size_in_bytes - alone.output_size_in_bytes < tree + 100


BATCH = {"x": np.random.default_rng(2).normal(size=(30, 3)), "y": np.random.default_rng(3).normal(size=30)}


def loss(p, batch):
    out = jnp.tanh(batch["x"] @ p["w"].T) @ p["b"]
    return jnp.mean((out - batch["y"]) ** 2)


@pytest.mark.parametrize("n", [1, 2, 5, 30])
def test_accumulate_gradients_is_value_and_grad(n):
    with double():
        p, batch = jax.tree.map(jnp.asarray, (jax.tree.map(np.asarray, P), BATCH))
        found = jax.jit(lambda p, b: gx.accumulate_gradients(loss, p, b, n))(p, batch)
        expected = jax.value_and_grad(loss)(p, batch)
        assert jax.tree.structure(found) == jax.tree.structure(expected)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), found, expected)


def test_accumulate_gradients_with_auxiliaries_and_weights():
    """A mean over tokens, of which every example has another number."""
    tokens = jnp.arange(30) % 7 + 1.0

    def by_token(p, batch):
        each = (jnp.tanh(batch["x"] @ p["w"].T) @ p["b"] - batch["y"]) ** 2
        return jnp.sum(each * batch["n"]) / jnp.sum(batch["n"]), {"largest": each.max()}

    batch = {**jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), BATCH), "n": tokens}
    (value, aux), grads = gx.accumulate_gradients(
        by_token, P, batch, 3, has_aux=True, weight=lambda part: part["n"].sum()
    )
    (expected, largest), expected_grads = jax.value_and_grad(by_token, has_aux=True)(P, batch)
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), grads, expected_grads)
    assert aux["largest"].shape == (3,)
    np.testing.assert_allclose(aux["largest"].max(), largest["largest"], rtol=1e-6)


def test_accumulate_gradients_compiles_the_loss_once_and_returns_float32():
    traced = []

    def counted(p, batch):
        traced.append(batch["x"].shape)
        return loss(p, batch)

    low = jax.tree.map(lambda x: x.astype(jnp.bfloat16), P)
    text = jax.jit(lambda p: gx.accumulate_gradients(counted, p, BATCH, 5)[1]).lower(low).as_text()
    assert set(traced) == {(6, 3)}
    assert text.count("stablehlo.tanh") == 1
    grads = gx.accumulate_gradients(loss, low, BATCH, 5)[1]
    assert {x.dtype.name for x in jax.tree.leaves(grads)} == {"float32"}


def test_devices_leave_a_micro_batch_out_together():
    """A loss that is not finite on one device alone; one that decided by itself would step on another sum."""
    tx = gx.accumulate(gx.chain(gx.mean_across("d"), gx.sgd(1.0), gx.reduce_on_plateau()), 2, axis_name="d")
    p = jnp.zeros(3)

    def window(grads, values):
        state = tx.init(p)
        for g, value in zip(grads, values, strict=True):
            u, state = tx.update(g, state, p, value=value)
        return u, state.left_out

    grads = jnp.asarray([[1.0, 3.0], [5.0, 7.0]])[:, :, None] * jnp.ones(3)  # by device, by micro-batch
    u, left_out = jax.vmap(window, axis_name="d")(grads, jnp.asarray([[1.0, 1.0], [jnp.nan, 1.0]]))
    assert left_out.tolist() == [1, 1]
    np.testing.assert_array_equal(u, np.full((2, 3), -5.0, np.float32))
