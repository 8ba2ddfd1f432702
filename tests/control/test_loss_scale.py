from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests.compiler import FAST

P = {"w": jnp.asarray([1.0, -2.0, 0.5]), "low": jnp.asarray([[0.25]], jnp.bfloat16)}
G = {"w": jnp.asarray([0.5, 0.1, -3.0]), "low": jnp.asarray([[0.75]], jnp.bfloat16)}


def times(factor, grads=G):
    return jax.tree.map(lambda g: (factor * g).astype(g.dtype), grads)


def assert_same_bits(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert (x.dtype, np.asarray(x).tobytes()) == (y.dtype, np.asarray(y).tobytes())


def test_gradients_are_unscaled_before_the_inner_transformation():
    inner = gx.chain(gx.clip_by_global_norm(1.0), gx.adamw(0.1))
    tx = gx.static_loss_scale(inner, 1024.0)
    updates, state = tx.update(times(1024.0), tx.init(P), P)
    expected, inner_state = inner.update(times(1.0), inner.init(P), P)
    jax.tree.map(np.testing.assert_array_equal, (updates, state.inner), (expected, inner_state))


def test_it_begins_as_documented():
    """2¹⁵, doubled after 2000 finite steps, halved down to 1."""
    tx = gx.dynamic_loss_scale(gx.sgd(0.1))
    assert float(tx.init(P).scale) == 2.0**15
    assert repr(tx).endswith("init=32768, factor=2, window=2000, min=1)")


def test_small_gradients_of_float16_are_divided_in_float32():
    tx, tiny = gx.static_loss_scale(gx.sgd(1.0), 2.0**15), jnp.asarray([2.0**-10], jnp.float16)
    updates, _ = tx.update(tiny, tx.init(tiny), tiny)
    assert updates.dtype == jnp.float32
    assert float(updates[0]) == -(2.0**-25)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_an_overflowing_step_is_skipped_whole(bad):
    tx = gx.dynamic_loss_scale(gx.adamw(gx.linear_schedule(0.1, 0.0, 10), weight_decay=0.1), init=8.0)
    step = gx.make_step(tx)
    p, state = step(jax.tree.map(jnp.copy, P), tx.init(P), G)
    before = jax.tree.map(np.asarray, (p, state.inner))
    p, state = step(p, state, {**G, "w": G["w"].at[1].set(bad)})
    assert_same_bits((p, state.inner), before)
    assert (float(state.scale), int(state.good), int(state.skipped)) == (4.0, 0, 1)


def test_a_skipped_step_leaves_negative_zero_as_it_is():
    tx, p = gx.dynamic_loss_scale(gx.sgd(0.1)), jnp.asarray([-0.0, 0.0])
    q, _ = gx.make_step(tx)(jnp.copy(p), tx.init(p), jnp.asarray([np.nan, 1.0]))
    assert_same_bits(q, p)


def test_the_scale_grows_and_backs_off_as_written():
    """The rule in plain Python beside ours, over a drawn sequence of overflows."""
    tx = gx.dynamic_loss_scale(gx.sgd(0.1), init=64.0, factor=4.0, window=3, min=2.0)
    state, update = tx.init(P), jax.jit(tx.update)
    scale, good = 64.0, 0
    for overflow in np.random.default_rng(0).random(60) < 0.25:
        _, state = update(times(np.inf if overflow else 1.0), state, P)
        good = 0 if overflow else good + 1
        if overflow:
            scale = max(scale / 4.0, 2.0)
        elif good == 3:
            scale, good = scale * 4.0, 0
        assert (float(state.scale), int(state.good)) == (scale, good)


def test_the_scale_stays_finite():
    tx = gx.dynamic_loss_scale(gx.sgd(0.1), init=2.0**126, window=1)
    _, state = tx.update(G, tx.init(P), P)
    assert float(state.scale) == 2.0**126


def test_a_norm_whose_square_overflows_counts_as_overflow():
    tx, p = gx.static_loss_scale(gx.sgd(0.1), 1.0), jnp.ones(3)
    for size, skipped in ((1.8e19, 0), (1.9e19, 1)):
        updates, state = tx.update(jnp.asarray([size, 0.0, 1.0]), tx.init(p), p)
        assert int(state.skipped) == skipped
        assert bool(updates[0] == 0) == bool(skipped)


def test_the_scaled_loss_from_any_state():
    scaled = gx.dynamic_loss_scale(gx.sgd(0.1), init=2.0**20)
    chained = gx.chain(gx.centralize(), gx.lookahead(scaled, 2, 0.5))
    for state in (scaled.init(P), chained.init(P), {"opt": (scaled.init(P), 3)}):
        loss = jax.jit(gx.scale_loss)(state, jnp.asarray(3.0, jnp.float16))
        assert loss.dtype == jnp.float32
        assert float(loss) == 3.0 * 2.0**20
    with pytest.raises(ValueError, match="one loss scale, it holds 2"):
        gx.scale_loss((scaled.init(P), scaled.init(P)), 1.0)


def test_none_and_rows():
    tx = gx.static_loss_scale(gx.sgd(1.0), 4.0)
    p = {"table": jnp.zeros((4, 2)), "w": jnp.ones(2), "step": jnp.asarray(1)}
    rows = gx.Rows(jnp.asarray([2, 2, -1]), jnp.asarray([[4.0, 8.0], [4.0, 0.0], [np.nan, 0.0]]), (4, 2))
    updates, state = tx.update({"table": rows, "w": None, "step": None}, tx.init(p), p)
    assert int(state.skipped) == 0
    assert updates["w"] is None
    np.testing.assert_array_equal(gx.apply_updates(p, updates)["table"][2], [-2.0, -2.0])
    assert repr(tx) == "static_loss_scale(scale_by_learning_rate(learning_rate=1.0, flip_sign=True), 4)"


def test_one_reduction_serves_clipping_metrics_guard_and_loss_scale():
    inner = gx.chain(gx.clip_by_global_norm(1.0), gx.sgd(0.1))
    tx = gx.dynamic_loss_scale(gx.guard(gx.measure(inner, grad_norm=True), spike=6.0))
    p = {"w": jnp.ones(50_000)}
    text = jax.jit(tx.update).lower(p, tx.init(p), p).compile(FAST).as_text()
    alone = jax.jit(inner.update).lower(p, inner.init(p), p).compile(FAST).as_text()
    count = [len(re.findall(r" reduce\(", x)) for x in (text, alone)]
    assert count[0] == count[1] > 0


def test_a_gradient_that_is_a_plain_number_is_divided_too():
    tx = gx.static_loss_scale(gx.sgd(0.5), 1024.0)
    state = tx.init({"a": 1.0})
    updates, _ = jax.jit(lambda state: tx.update({"a": 512.0}, state))(state)
    assert float(updates["a"]) == -0.25


def test_what_scales_the_loss_goes_outside():
    for scaled in (gx.static_loss_scale(gx.sgd(0.1), 8.0), gx.dynamic_loss_scale(gx.sgd(0.1))):
        with pytest.raises(ValueError, match="loss scale goes outside"):
            gx.accumulate(scaled, 2)
