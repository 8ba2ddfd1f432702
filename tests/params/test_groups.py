from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx
from tests import transcripts
from tests.trajectories import as_written, double, follows, gradients, near, parameters, walk

P = {"enc": {"w": jnp.ones((2, 2)), "b": jnp.ones(2)}, "head": {"w": jnp.ones(3)}}
G = jax.tree.map(lambda p: 2.0 * p, P)


def first(tx, g=G, p=P):
    keyed = jax.tree_util.tree_leaves_with_path(tx.update(g, tx.init(p), p)[0])
    return {"/".join(k.key for k in path): float(u.reshape(-1)[0]) for path, u in keyed}


def test_each_group_goes_its_own_way():
    tx = gx.groups([("kernel", gx.adam(0.02)), (gx.named("bias"), gx.momentum(0.1))], default=gx.sgd(0.3))
    params, grads = parameters(), gradients()
    expected = {
        "kernel": transcripts.adam(params["kernel"], grads["kernel"], 0.02),
        "bias": transcripts.heavy_ball(params["bias"], grads["bias"], 0.1),
        "scale": transcripts.sgd(params["scale"], grads["scale"], 0.3),
    }
    near(walk(tx, params, grads, jnp.float32)[0], expected, 2e-6)
    state = tx.init(params)
    assert {k: set(v) for k, v in state.leaves.items()} == {"kernel": {"adam"}, "bias": {"trace"}, "scale": set()}


def test_the_first_entry_wins():
    tx = gx.groups([("^enc/b", gx.scale(10.0)), (gx.under("enc"), gx.scale(100.0))], default=gx.scale(1.0))
    assert first(tx) == {"enc/b": 20.0, "enc/w": 200.0, "head/w": 2.0}


def test_functions_choose_by_path_and_leaf():
    tx = gx.groups([(lambda path, leaf: leaf.ndim == 2, gx.scale(0.0), "matrices")], default=gx.scale(1.0))
    assert first(tx) == {"enc/b": 2.0, "enc/w": 0.0, "head/w": 2.0}


def test_a_dict_changes_the_defaults_hyperparameters():
    tx = gx.groups(
        [("^enc", {"learning_rate": 0.01}), (gx.named("w") & gx.under("head"), {"weight_decay": 0.5, "b1": 0.0})],
        default=gx.adamw(0.1, weight_decay=0.0),
    )
    assert first(tx) == pytest.approx({"enc/b": -0.01, "enc/w": -0.01, "head/w": -0.15}, rel=1e-5)


def test_overrides_by_stage_and_static_fields():
    default = gx.chain(gx.trace(0.9), gx.ema(0.5), gx.scale(1.0))
    tx = gx.groups([("head", {"ema/decay": 0.0, "ema/debias": False, "nesterov": True})], default=default)
    assert first(tx)["head/w"] == pytest.approx(2.0 + 0.9 * 2.0)


@pytest.mark.parametrize(
    ("member", "words"),
    [
        ({"rate": 1.0}, r"no stage has a hyperparameter 'rate'; there are: .*trace/decay.*ema/decay"),
        ({"decay": 0.5}, r"'decay' is ambiguous: trace/decay, ema/decay"),
        ({"trace/decay": -1.0}, r"decay must be at least 0 and finite, got -1.0"),
        ({"ema/decay": 1.0}, r"decay must be in \[0, 1\), got 1.0"),
    ],
)
def test_bad_overrides_are_refused(member, words):
    with pytest.raises(ValueError, match=words):
        gx.groups([("head", member)], default=gx.chain(gx.trace(0.9), gx.ema(0.5)))


def test_overrides_do_not_reach_into_a_wrapper():
    with pytest.raises(ValueError, match="there are: none; guard must stand around groups, not inside the default"):
        gx.groups([("head", {"learning_rate": 0.1})], default=gx.guard(gx.sgd(0.2)))


def test_tree_wide_members_see_their_group_alone():
    tx = gx.groups([("^enc", gx.clip_by_global_norm(1.0))], default=gx.clip_by_global_norm(1.0))
    updates, _ = tx.update(G, tx.init(P), P)
    for part in updates.values():
        np.testing.assert_allclose(gx.global_norm(part), 1.0, rtol=1e-6)


def test_groups_inside_a_chain_share_its_stages():
    tx = gx.chain(
        gx.clip_by_global_norm(1.0), gx.groups([("^enc", gx.scale(2.0))], default=gx.scale(1.0)), gx.scale(-1.0)
    )
    norm = np.sqrt(9 * 4)
    assert first(tx) == pytest.approx({"enc/b": -4 / norm, "enc/w": -4 / norm, "head/w": -2 / norm})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: gx.groups([("^enc", gx.sgd(0.1))]), r"no group matches head/w; give a default"),
        (lambda: gx.groups([("decoder", gx.sgd(0.1))], default=gx.chain()), r"'decoder'\) matches no parameter"),
        (lambda: gx.groups([("enc", gx.sgd(0.1)), ("enc/b", gx.adam(0.1))], default=gx.sgd(0.1)),
         r"the group 'enc/b' gets no parameter"),
        (lambda: gx.partition({"a": gx.sgd(0.1)}, {"enc": "a", "head": None}), "has no label for 'head/w'"),
    ],
)  # fmt: skip
def test_bad_groups_are_refused_at_init(make, words):
    with pytest.raises(ValueError, match=words):
        make().init(P)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: gx.groups([("a", gx.sgd(0.1)), ("a", gx.adam(0.1))]), ValueError, "two groups named 'a'"),
        (lambda: gx.groups([("a", {"learning_rate": 0.1})]), ValueError, "there is no default"),
        (lambda: gx.groups([["a", gx.sgd(0.1)]]), TypeError, r"entries \(where, member\)"),
        (lambda: gx.groups([("a", gx.sgd(0.1), 1)]), TypeError, "the name of a group must be a string, got 1"),
        (lambda: gx.groups([("a", 3)]), TypeError, "the member of group 'a' must be a gradient transformation"),
        (lambda: gx.partition({"a": gx.sgd(0.1)}, {"enc": "a", "head": "b"}), ValueError, "label 'b' of 'head' has no"),
    ],
)
def test_bad_groups_are_refused_at_construction(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_groups_print_as_written_and_compare_by_value():
    def make():
        return gx.groups([("^enc", gx.sgd(0.1), "body"), (gx.named("w"), {"learning_rate": 0.5})], default=gx.sgd(0.2))

    assert make() == make()
    assert hash(make()) == hash(make())
    shown = repr(make())
    assert shown.startswith("groups([(matching('^enc'), scale_by_learning_rate(learning_rate=0.1")
    assert "'body')" in shown
    assert "default=scale_by_learning_rate(learning_rate=0.2" in shown


LABELS = {"kernel": "a", "bias": "b", "scale": "b"}


def label(params):
    return {k: "a" if k == "kernel" else "b" for k in params}


@pytest.mark.parametrize("labels", [LABELS, label], ids=["tree", "function"])
def test_partition_equals_optax(labels):
    params, grads = parameters(), gradients()
    ours = gx.partition({"a": gx.adamw(0.02), "b": gx.sgd(0.1, 0.9)}, labels)
    theirs = optax.partition({"a": optax.adamw(0.02), "b": optax.sgd(0.1, 0.9)}, labels)
    with double():
        a, b = (walk(tx, params, grads, jnp.float64)[0] for tx in (ours, theirs))
    near(a, b, 1e-12)


def test_partition_takes_prefixes_and_any_label():
    tx = gx.partition({0: gx.scale(1.0), 1: gx.scale(0.0)}, {"enc": 0, "head": {"w": 1}})
    assert first(tx) == {"enc/b": 2.0, "enc/w": 2.0, "head/w": 0.0}


@pytest.mark.parametrize(
    "mask", ["kernel", gx.named("kernel"), {"kernel": True, "bias": False, "scale": False}], ids=as_written
)
def test_masked_passes_the_others_through(mask):
    def passed(x, gs):
        return transcripts.iterates(lambda x, _, g, r, t: (x + g, None), x, gs, 0.0)

    tx = gx.masked(gx.momentum(0.1), mask)
    params, grads = parameters(), gradients()
    expected = {k: passed(params[k], grads[k]) for k in params}
    expected["kernel"] = transcripts.heavy_ball(params["kernel"], grads["kernel"], 0.1)
    near(walk(tx, params, grads, jnp.float32)[0], expected, 2e-6)
    assert tx.init(params).leaves["bias"] == {}


def test_masked_equals_optax():
    def make(library):
        inner = library.chain(library.clip_by_global_norm(1.0), library.adam(0.1))
        return library.masked(inner, {"kernel": True, "bias": False, "scale": True})

    params, grads = parameters(), gradients()
    with double():
        a, b = (walk(make(library), params, grads, jnp.float64)[1] for library in (gx, optax))
    near(a, b, 1e-12)


def test_masked_without_a_mask_is_the_inner():
    follows(gx.masked(gx.adam(0.02), None), transcripts.adam, 0.02)


def test_stage_names_inside_groups_stay_apart_from_the_chains():
    tx = gx.chain(gx.trace(0.9), gx.groups([("^enc", gx.trace(0.5))], default=gx.identity()))
    state = tx.init(P)
    assert set(state.leaves["enc"]["w"]) == {"trace", "trace_2"}
    assert set(state.leaves["head"]["w"]) == {"trace"}


def test_stages_behind_groups_keep_their_own_memory():
    """0.9-momentum in the group, then 0.5-momentum for all: 1, 1.9, 2.71 summed with factor 0.5."""
    tx = gx.chain(gx.groups([("^enc", gx.trace(0.9))], default=gx.identity()), gx.trace(0.5))
    state = tx.init(P)
    assert set(state.leaves["enc"]["w"]) == {"trace", "trace_2"}
    ones = jax.tree.map(jnp.ones_like, P)
    for _ in range(3):
        updates, state = tx.update(ones, state, P)
    np.testing.assert_allclose(updates["enc"]["w"], np.full((2, 2), 2.71 + 0.5 * (1.9 + 0.5)), rtol=1e-6)
    np.testing.assert_allclose(updates["head"]["w"], np.full(3, 1.75), rtol=1e-6)


def test_tunables_and_metrics_of_two_groups_stay_apart():
    tx = gx.chain(
        gx.masked(gx.scale(gx.tunable(0.9)), "^enc"),
        gx.masked(gx.measure(gx.scale(gx.tunable(0.5)), grad_norm=True), "^enc"),
        gx.groups(
            [("^enc", gx.groups([("w", gx.scale(gx.tunable(2.0)))], default=gx.identity()), "nested")], gx.chain()
        ),
        gx.masked(gx.measure(gx.identity(), grad_norm=True), "^enc"),
    )
    state = tx.init(P)
    assert sorted(state.hyper) == ["masked/scale/step_size", "nested/w/scale_2/step_size"]
    assert sorted(state.tree) == ["masked/measure", "masked/measure_2"]
    updates, _ = tx.update(G, state, P)
    np.testing.assert_allclose(updates["enc"]["w"], np.full((2, 2), 0.9 * 0.5 * 2.0 * 2.0), rtol=1e-6)


def test_frozen_parameters_need_no_group():
    """What the error for a parameter without group suggests."""
    with pytest.raises(ValueError, match="no group matches enc/b; give a default, or freeze them"):
        gx.groups([("w", gx.sgd(0.1))]).init(P)
    tx = gx.chain(gx.freeze("b"), gx.groups([("w", gx.sgd(0.1))]))
    assert first(tx) == {"enc/b": 0.0, "enc/w": pytest.approx(-0.2), "head/w": pytest.approx(-0.2)}
