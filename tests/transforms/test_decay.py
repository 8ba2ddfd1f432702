from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx
from tests import transcripts
from tests.trajectories import STEPS, agrees, as_written, follows

PARAMS = {
    "encoder": {"kernel": jnp.full((2, 2), 2.0), "bias": jnp.full(2, 3.0)},
    "norm": {"gamma": jnp.full(2, 5.0), "beta": jnp.full(2, 7.0)},
}
ZEROS = jax.tree.map(jnp.zeros_like, PARAMS)


def decayed(tx, params=PARAMS):
    """The paths whose update, with a zero gradient, is not zero."""
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    keyed = jax.tree_util.tree_leaves_with_path(updates)
    return {"/".join(k.key for k in path) for path, u in keyed if np.any(np.asarray(u))}


ALL = {"encoder/kernel", "encoder/bias", "norm/gamma", "norm/beta"}
KERNEL = {"encoder/kernel"}


def test_it_adds_the_parameters():
    tx = gx.add_decayed_weights(0.1)
    p, g = jnp.array([1.0, -2.0]), jnp.array([0.5, 0.25])
    updates, state = tx.update(g, tx.init(p), p)
    np.testing.assert_allclose(updates, np.asarray(g) + 0.1 * np.asarray(p), rtol=1e-7)
    assert jax.tree.leaves(state) == [state.count]


def test_before_the_direction_it_is_l2_and_behind_it_decoupled():
    decay, rate, moving = gx.add_decayed_weights(0.3), gx.scale_by_learning_rate(0.1), gx.trace(0.8)
    follows(gx.chain(decay, moving, rate), transcripts.heavy_ball, 0.1, 0.8, l2=0.3)
    follows(gx.chain(moving, decay, rate), transcripts.heavy_ball, 0.1, 0.8, lam=0.3)


def test_after_the_rate_it_is_added_to_the_step():
    p, g = jnp.array([2.0]), jnp.array([1.0])
    tx = gx.chain(gx.scale_by_learning_rate(0.5), gx.add_decayed_weights(0.1))
    np.testing.assert_allclose(tx.update(g, tx.init(p), p)[0], [-0.5 + 0.2], rtol=1e-6)


@pytest.mark.parametrize(
    "decay",
    [lambda count: 0.5 / (1 + count), [0.5 / (1 + i) for i in range(STEPS)], (0.5 / (1 + i) for i in range(STEPS))],
    ids=["function", "table", "generator"],
)
def test_decay_over_time(decay):
    known = 0.5 / (1 + np.arange(STEPS))
    tx = gx.chain(gx.add_decayed_weights(decay), gx.scale_by_learning_rate(0.1))

    def transcript(x, gs):
        return transcripts.iterates(lambda x, _, g, lam, t: (x - 0.1 * (g + lam * x), None), x, gs, known)

    follows(tx, transcript)


def matrices(params):
    return jax.tree.map(lambda p: p.ndim > 1, params)


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (None, ALL),
        (gx.named("kernel"), KERNEL),
        (~gx.named("gamma", "beta"), {"encoder/kernel", "encoder/bias"}),
        (gx.weights_only, KERNEL),
        (gx.mindspore_decayed, {"encoder/kernel", "encoder/bias"}),
        (gx.ndim_at_least(2), KERNEL),
        (gx.under("norm") | gx.named("kernel"), {"norm/gamma", "norm/beta", "encoder/kernel"}),
        ("^encoder/", {"encoder/kernel", "encoder/bias"}),
        ("kernel|gamma", {"encoder/kernel", "norm/gamma"}),
        (True, ALL),
        (False, set()),
        ({"encoder": {"kernel": True, "bias": False}, "norm": {"gamma": False, "beta": True}},
         {"encoder/kernel", "norm/beta"}),
        ({"encoder": True, "norm": False}, {"encoder/kernel", "encoder/bias"}),
        ({"encoder": {"kernel": np.bool_(True), "bias": np.array(False)}, "norm": jnp.array(True)},
         ALL - {"encoder/bias"}),
        (matrices, KERNEL),
        (lambda params: {"encoder": True, "norm": False}, {"encoder/kernel", "encoder/bias"}),
    ],
    ids=as_written,
)  # fmt: skip
def test_mask_of_every_kind(mask, expected):
    assert decayed(gx.add_decayed_weights(0.1, mask)) == expected
    assert decayed(gx.adamw(0.1, weight_decay=0.1, mask=mask)) == expected
    assert decayed(gx.add_l1(0.1, mask)) == expected


@pytest.mark.parametrize("mask", [gx.named("moment"), "moment", gx.under("decoder"), ~gx.named("kernel", "moment")])
def test_a_mask_that_matches_nothing_lists_the_paths(mask):
    with pytest.raises(ValueError, match=r"encoder/bias.*norm/gamma"):
        gx.add_decayed_weights(0.1, mask).init(PARAMS)


@pytest.mark.parametrize("mask", [{"encoder": 1}, {"encoder": "yes"}, 3])
def test_a_mask_tree_holds_booleans(mask):
    with pytest.raises(TypeError, match="a mask holds booleans"):
        gx.add_decayed_weights(0.1, mask)


def test_a_mask_function_meets_the_parameters_as_they_are():
    seen = []

    def mask(params):
        seen.append(jax.tree.structure(params))
        return jax.tree.map(lambda p: True, params)

    decayed(gx.add_decayed_weights(0.1, mask))
    assert set(seen) == {jax.tree.structure(PARAMS)}


@pytest.mark.parametrize(("tx", "name"), [(gx.add_decayed_weights(0.1), "weight_decay"), (gx.add_l1(0.1), "add_l1")])
def test_missing_parameters_are_refused_by_name(tx, name):
    with pytest.raises(ValueError, match=rf"{name} needs the parameters"):
        tx.update(ZEROS, tx.init(PARAMS))


def test_l1_adds_the_sign():
    p, g = jnp.array([2.0, -3.0, 0.0]), jnp.array([1.0, 1.0, 1.0])
    tx = gx.add_l1(0.25)
    np.testing.assert_array_equal(tx.update(g, tx.init(p), p)[0], [1.25, 0.75, 1.0])


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((0.1,), {}),
        ((), {}),
        ((optax.linear_schedule(0.5, 0.0, 30),), {}),
        ((0.1, {"kernel": True, "bias": False, "scale": True}), {}),
        ((0.1, matrices), {}),
    ],
)
def test_equals_optax(args, kwargs):
    agrees("add_decayed_weights", *args, **kwargs)


def test_a_largest_rate_that_nothing_can_be_divided_by():
    words = "max_learning_rate must be at least 1.18e-38, the smallest number that float32 divides by, got 1e-50"
    with pytest.raises(ValueError, match=words):
        gx.add_corrected_decay(0.1, 0.1, 1e-50)
