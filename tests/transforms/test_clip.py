from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx
from tests.trajectories import agrees, as_written


def apply(tx, g, p=None):
    return tx.update(g, tx.init(g if p is None else p), p)[0]


def norm(tree):
    return np.sqrt(sum(np.sum(np.abs(np.asarray(x, np.complex128)) ** 2) for x in jax.tree.leaves(tree)))


@pytest.fixture
def grads():
    rng = np.random.default_rng(0)
    return {"a": jnp.asarray(rng.normal(size=(3, 4)), jnp.float32), "b": jnp.asarray(rng.normal(size=5), jnp.float32)}


def test_clip_bounds_every_element(grads):
    updates = apply(gx.clip(0.5), grads)
    for k, g in grads.items():
        np.testing.assert_array_equal(updates[k], np.clip(np.asarray(g), -0.5, 0.5))
    np.testing.assert_array_equal(apply(gx.clip(0.0), grads["a"]), np.zeros((3, 4)))


def test_clip_by_norm_bounds_each_array_alone(grads):
    updates = apply(gx.clip_by_norm(2.5), grads)
    norms = {k: norm(g) for k, g in grads.items()}
    assert norms["b"] > 2.5 > norms["a"]
    np.testing.assert_allclose(updates["b"], np.asarray(grads["b"]) * 2.5 / norms["b"], rtol=3e-7)
    np.testing.assert_array_equal(updates["a"], grads["a"])


def test_clip_by_block_rms_bounds_the_root_mean_square(grads):
    updates = apply(gx.clip_by_block_rms(0.1), grads)
    for k, g in grads.items():
        np.testing.assert_allclose(updates[k], np.asarray(g) * 0.1 / (norm(g) / np.sqrt(g.size)), rtol=3e-7)


def test_clip_by_global_norm_scales_all_arrays_by_one_factor(grads):
    updates = apply(gx.clip_by_global_norm(1.0), grads)
    factor = 1.0 / norm(grads)
    for k, g in grads.items():
        np.testing.assert_allclose(updates[k], np.asarray(g) * factor, rtol=3e-7)
    np.testing.assert_allclose(norm(updates), 1.0, rtol=3e-7)


def test_within_the_bound_nothing_changes(grads):
    for tx in (gx.clip(100.0), gx.clip_by_norm(100.0), gx.clip_by_block_rms(100.0), gx.clip_by_global_norm(100.0)):
        jax.tree.map(np.testing.assert_array_equal, apply(tx, grads), grads)


@pytest.mark.parametrize(
    "tx", [gx.clip(1.0), gx.clip_by_norm(1.0), gx.clip_by_block_rms(1.0), gx.clip_by_global_norm(1.0)], ids=as_written
)
def test_a_zero_gradient_stays_zero(tx):
    np.testing.assert_array_equal(apply(tx, jnp.zeros(3)), np.zeros(3))


def test_bfloat16_norms_are_summed_in_float32():
    """10 000 times 0.1 has norm 10; summed in bfloat16 the squares stop growing at 32, which gives 5.66."""
    grads = {"a": jnp.full((5000,), 0.1, jnp.bfloat16), "b": jnp.full((50, 100), 0.1, jnp.bfloat16)}
    as_rounded = norm({k: np.asarray(g, np.float32) for k, g in grads.items()})
    np.testing.assert_allclose(as_rounded, 10.0, rtol=2**-9)
    np.testing.assert_allclose(gx.global_norm(grads), as_rounded, rtol=1e-6)
    updates = apply(gx.clip_by_global_norm(1.0), grads)
    np.testing.assert_allclose(norm(updates), 1.0, rtol=1e-6)
    assert all(u.dtype == jnp.float32 for u in updates.values())
    np.testing.assert_allclose(norm(apply(gx.clip_by_norm(1.0), grads["a"])), 1.0, rtol=1e-6)
    rms = norm(apply(gx.clip_by_block_rms(0.01), grads["a"])) / np.sqrt(5000)
    np.testing.assert_allclose(rms, 0.01, rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16, jnp.complex64])
def test_many_small_arrays_count_like_one(dtype):
    """More than sixteen small leaves are summed together."""
    rng = np.random.default_rng(1)
    leaves = [jnp.asarray(rng.normal(size=(i % 4 + 1, 3)), dtype) for i in range(30)] + [jnp.ones(20_000, dtype)]
    np.testing.assert_allclose(gx.global_norm(leaves), norm(leaves), rtol=1e-6)


def test_norm_of_mixed_leaves():
    rows = gx.Rows(jnp.array([1, 1, 9]), jnp.array([[3.0], [-1.0], [7.0]]), (4, 1))
    tree = {"half": jnp.array([2.0], jnp.float16), "none": None, "rows": rows, "complex": jnp.array(3.0 + 4.0j)}
    tree["empty"] = jnp.zeros((0, 3))
    np.testing.assert_allclose(gx.global_norm(tree), np.sqrt(4 + 4 + 25), rtol=1e-7)
    assert gx.global_norm({}) == 0.0
    assert gx.global_norm({"none": None}) == 0.0


def test_global_norm_over_a_device_axis():
    g = jnp.arange(8.0).reshape(4, 2)
    tx = gx.clip_by_global_norm(1.0, axis_name="d")
    found = jax.vmap(lambda x: apply(tx, x), axis_name="d")(g)
    np.testing.assert_allclose(found, np.asarray(g) / norm(g), rtol=3e-7)
    alone = jax.vmap(lambda x: apply(gx.clip_by_global_norm(1.0), x), axis_name="d")(g)
    np.testing.assert_allclose(np.linalg.norm(alone, axis=1), 1.0, rtol=3e-7)


def test_the_bound_may_change_over_time(grads):
    tx = gx.clip_by_global_norm([1.0, 0.25])
    state = tx.init(grads)
    for bound in (1.0, 0.25, 0.25):
        updates, state = tx.update(grads, state)
        np.testing.assert_allclose(norm(updates), bound, rtol=3e-7)


def test_absent_gradients_do_not_count():
    tx = gx.clip_by_global_norm(1.0)
    p = {"a": jnp.zeros(2), "b": jnp.zeros(2)}
    updates, _ = tx.update({"a": jnp.array([3.0, 4.0]), "b": None}, tx.init(p), p)
    np.testing.assert_allclose(updates["a"], [0.6, 0.8], rtol=1e-7)
    assert updates["b"] is None


@pytest.mark.parametrize(
    ("name", "args"), [("clip", (0.5,)), ("clip_by_global_norm", (1.0,)), ("clip_by_block_rms", (0.5,))]
)
def test_equals_optax(name, args):
    agrees(name, *args)


def unit_norms(x, axis):
    return np.sqrt(np.sum(np.asarray(x, np.float64) ** 2, axis, keepdims=True))


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((), None), ((5,), None), ((1, 5), None), ((6, 5), 0), ((2, 6, 5), 0), ((3, 2, 6, 5), (0, 1, 2))],
)
def test_adaptive_clipping_bounds_every_unit_by_its_parameter(shape, axis):
    """Brock et al. 2021, equation 3, with the units of their code."""
    rng = np.random.default_rng(0)
    p, g = (jnp.asarray(rng.normal(size=shape), jnp.float32) for _ in range(2))
    p = p * (jnp.arange(p.size).reshape(shape) % 5 != 1)
    g_norm, p_norm = unit_norms(g, axis), unit_norms(p, axis)
    bound = 0.8 * np.maximum(p_norm, 1e-3)
    expected = np.where(g_norm > bound, np.asarray(g, np.float64) * bound / g_norm, g)
    np.testing.assert_allclose(apply(gx.adaptive_grad_clip(0.8), g, p), expected, rtol=5e-7)


@pytest.mark.parametrize("axis", [-1, (0, 2), 1])
def test_adaptive_clipping_over_axes_of_ones_own(axis):
    rng = np.random.default_rng(1)
    p, g = (jnp.asarray(rng.normal(size=(2, 3, 4)), jnp.float32) for _ in range(2))
    theirs = optax.adaptive_grad_clip(0.5, axis=axis)
    expected, _ = theirs.update(g, theirs.init(p), p)
    np.testing.assert_allclose(apply(gx.adaptive_grad_clip(0.5, axis=axis), g, p), expected, rtol=5e-7)


def history(tx, grads):
    """The norm after clipping at each step."""
    state, found = tx.init(grads[0]), []
    for g in grads:
        u, state = tx.update(g, state)
        found.append(norm(u))
    return found, state


@pytest.mark.parametrize("percentile", [0.0, 10.0, 50.0, 77.5, 100.0])
@pytest.mark.parametrize("window", [1, 4, 100])
def test_clip_by_percentile_keeps_below_the_percentile_of_the_latest_norms(percentile, window):
    """Seetharaman et al. 2020, with numpy's percentile, as in the authors' code."""
    rng = np.random.default_rng(2)
    grads = [{"a": jnp.asarray(s * rng.normal(size=7), jnp.float32)} for s in rng.uniform(0.1, 3, size=9)]
    norms = [norm(g) for g in grads]
    bounds = [np.percentile(norms[max(0, i - window + 1) : i + 1], percentile) for i in range(9)]
    found, state = history(gx.clip_by_percentile(percentile, window), grads)
    np.testing.assert_allclose(found, np.minimum(norms, bounds), rtol=1e-6)
    assert state.tree["clip_by_percentile"].seen == 9


def test_norms_that_are_not_finite_leave_no_trace():
    grads = [{"a": jnp.full(4, x)} for x in (1.0, jnp.inf, 2.0, jnp.nan, 3.0)]
    tx = gx.clip_by_percentile(50.0, 10)
    found, state = history(tx, grads)
    clean, expected = history(tx, [g for g in grads if np.isfinite(g["a"]).all()])
    np.testing.assert_array_equal([x for x in found if np.isfinite(x)][-3:], clean)
    jax.tree.map(np.testing.assert_array_equal, state.tree, expected.tree)


def test_the_history_counts_all_devices():
    g = jnp.arange(1.0, 9.0).reshape(4, 2)
    tx = gx.clip_by_percentile(100.0, 3, axis_name="d")
    state = tx.init(g[0])
    for scale in (1.0, 0.5):
        u, after = jax.vmap(lambda x, s=state, c=scale: tx.update(c * x, s), axis_name="d", out_axes=(0, None))(g)
        state = after
        np.testing.assert_allclose(u, scale * np.asarray(g), rtol=1e-6)
    np.testing.assert_allclose(state.tree["clip_by_percentile"].norms[:2], [norm(g), 0.5 * norm(g)], rtol=1e-6)


def test_zero_nans_leaves_infinities():
    g = jnp.array([1.0, jnp.nan, -jnp.inf, 0.0])
    np.testing.assert_array_equal(apply(gx.zero_nans(), g), [1.0, 0.0, -np.inf, 0.0])
    agrees("zero_nans")


def test_decay_of_the_l2_kind_stands_behind_the_newer_stages():
    stages = [gx.adaptive_grad_clip(0.1), gx.clip_by_percentile(), gx.zero_nans(), gx.normalize_by_update_norm()]
    tx = gx.with_weight_decay(gx.chain(*stages, gx.orthogonalize_gradient(), gx.adam(0.1)), 0.1, "l2")
    assert [stage.name for stage in tx.stages].index("weight_decay") == 5
