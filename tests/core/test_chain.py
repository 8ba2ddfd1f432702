from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx
from gradxform.core.stage import Step
from tests import transcripts
from tests.trajectories import follows

P = {"a": jnp.ones(2), "b": jnp.ones(3)}
G = {"a": jnp.full(2, 2.0), "b": jnp.full(3, -1.0)}


def first(tx, g=G, p=P):
    return tx.update(g, tx.init(p), p)


def test_stages_run_in_order():
    updates, _ = first(gx.chain(gx.clip(1.5), gx.scale(2.0), gx.clip(2.5), gx.scale(-1.0)))
    np.testing.assert_array_equal(updates["a"], [-2.5, -2.5])
    np.testing.assert_array_equal(updates["b"], [2.0, 2.0, 2.0])


def test_the_empty_chain_is_the_identity():
    updates, state = first(gx.chain())
    assert updates["a"] is G["a"] or np.array_equal(updates["a"], G["a"])
    assert state.leaves == {"a": {}, "b": {}}
    assert gx.chain(gx.chain(), gx.sgd(0.1), gx.chain()) == gx.sgd(0.1)


def test_nested_chains_flatten():
    a, b, c = gx.clip(1.0), gx.trace(0.9), gx.scale(0.1)
    assert gx.chain(gx.chain(a, b), c) == gx.chain(a, gx.chain(b, c)) == gx.chain(a, b, c)
    assert repr(gx.chain(a, gx.chain(c))) == "chain(clip(max_delta=1.0), scale(step_size=0.1))"
    assert repr(gx.chain(a)) == "clip(max_delta=1.0)"


def test_tree_wide_stages_stand_between_runs():
    tx = gx.chain(
        gx.scale(3.0), gx.clip_by_global_norm(1.0), gx.scale(2.0), gx.clip_by_global_norm(0.5), gx.scale(-1.0)
    )
    updates, _ = first(tx)
    norm = np.sqrt(2 * 36 + 3 * 9)
    np.testing.assert_allclose(updates["a"], -6.0 / norm * 0.5, rtol=1e-6)
    np.testing.assert_allclose(gx.global_norm(updates), 0.5, rtol=1e-6)


@pytest.mark.parametrize(
    "stages",
    [
        [gx.scale_by_adam()],
        [gx.clip(1.0), gx.scale_by_adam(), gx.scale(0.1)],
        [
            gx.clip_by_global_norm(1.0),
            gx.scale_by_adam(),
            gx.clip_by_global_norm(1.0),
            gx.scale_by_learning_rate([1.0, 2.0]),
        ],
        [gx.chain(gx.identity(), gx.chain(gx.centralize(), gx.scale_by_adam()))],
        [gx.add_decayed_weights(0.1, "a"), gx.scale_by_adam(), gx.proximal_l1(0.1)],
    ],
)
def test_stages_without_memory_leave_no_key(stages):
    plain, found = gx.scale_by_adam().init(P), gx.chain(*stages).init(P)
    assert jax.tree.structure(found) == jax.tree.structure(plain)
    assert [p for p, _ in jax.tree_util.tree_leaves_with_path(found)] == [
        p for p, _ in jax.tree_util.tree_leaves_with_path(plain)
    ]


def test_one_counter_for_all():
    tx = gx.chain(gx.scale_by_adam(), gx.clip_by_global_norm(1.0), gx.scale_by_schedule(lambda c: 1.0), gx.ema(0.9))
    _, state = first(tx)
    assert state.count == 1
    assert state.count.dtype == jnp.int32
    assert sum(x.dtype == jnp.int32 for x in jax.tree.leaves(state)) == 1


def test_the_counter_saturates():
    tx = gx.adam(lambda count: jnp.where(count < 0, jnp.nan, 0.1))
    state = tx.init(P)._replace(count=jnp.array(2**31 - 2, jnp.int32))
    for _ in range(3):
        updates, state = tx.update(G, state, P)
        assert state.count == 2**31 - 1
        assert np.all(np.isfinite(updates["a"]))


def test_equal_names_get_a_suffix():
    tx = gx.chain(gx.trace(0.9), gx.trace(0.5), gx.ema(0.9), gx.trace(0.1))
    state = tx.init(P)
    assert list(state.leaves["a"]) == ["trace", "trace_2", "ema", "trace_3"]
    updates, _ = first(gx.chain(gx.trace(0.9), gx.trace(0.5)))
    np.testing.assert_array_equal(updates["a"], G["a"])


def test_each_of_two_equal_stages_has_its_own_memory():
    tx = gx.chain(gx.trace(0.5), gx.trace(0.5))
    state = tx.init(P)
    for expected in (1.0, 2.0, 2.75):
        updates, state = tx.update(P, state)
        np.testing.assert_allclose(updates["a"], expected)
    np.testing.assert_allclose(gx.view(state, "trace/trace")["a"], 1.75)
    np.testing.assert_allclose(gx.view(state, "trace_2/trace")["a"], 2.75)


def test_named_chain_names_the_memory():
    tx = gx.named_chain(("slow", gx.trace(0.9)), ("fast", gx.trace(0.5)), ("step", gx.adam(0.1)))
    state = tx.init(P)
    assert list(state.leaves["a"]) == ["slow", "fast", "step/adam"]
    _, state = tx.update(G, state)
    np.testing.assert_array_equal(gx.view(state, "slow/trace")["a"], G["a"])
    assert gx.view(state, "mu")["a"].shape == (2,)
    np.testing.assert_array_equal(gx.view(state, "step/adam/mu")["a"], gx.view(state, "adam/mu")["a"])


def test_named_chain_computes_what_chain_does():
    stages = {"clip": gx.clip_by_global_norm(1.0), "dir": gx.adam(0.1), "again": gx.trace(0.5)}
    a, _ = first(gx.named_chain(*stages.items()))
    b, _ = first(gx.chain(*stages.values()))
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (
            lambda: gx.named_chain(("a", gx.sgd(0.1)), ("a", gx.adam(0.1))),
            ValueError,
            r"different names, got \['a', 'a'\]",
        ),
        (lambda: gx.named_chain(("a", 3)), TypeError, r"'a' in named_chain must be a gradient transformation"),
        (lambda: gx.named_chain(gx.sgd(0.1)), TypeError, "named_chain"),
        (lambda: gx.named_chain((3, gx.sgd(0.1))), TypeError, "named_chain"),
        (lambda: gx.chain(gx.sgd(0.1), 3), TypeError, r"argument 2 of chain must be a gradient transformation.*got 3"),
        (lambda: gx.chain(gx.sgd), TypeError, r"argument 1 of chain"),
        (lambda: gx.chain([gx.sgd(0.1)]), TypeError, r"argument 1 of chain"),
    ],
)
def test_bad_members_are_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_ours_is_a_member_of_theirs():
    tx = optax.chain(gx.scale_by_adam(), optax.scale(-0.02))
    follows(tx, transcripts.adam, 0.02)


def test_rules_of_a_leaf():
    tx = gx.chain(gx.freeze("^c"), gx.adamw(0.1, mask="a"))
    names = {path: [name for name, _ in tx.through(path, P["a"])] for path in ("a", "b", "c")}
    assert names == {
        "a": ["adam", "weight_decay", "learning_rate"],
        "b": ["adam", "learning_rate"],
        "c": [],
    }
    groups = gx.groups([("a", gx.sgd(0.1))], default=gx.adam(0.1))
    assert [name for name, _ in groups.through("b", P["b"])] == ["default/adam", "default/learning_rate"]


def test_none_leaves_that_leaf_untouched_through_every_kind_of_stage():
    tx = gx.chain(
        gx.clip_by_global_norm(1.0), gx.centralize(), gx.own_clock(gx.scale_by_adam()),
        gx.add_decayed_weights(0.1), gx.trace(0.9),
        gx.scale_by_trust_ratio(), gx.scale_by_learning_rate(0.1), gx.proximal_l1(0.1),
    )  # fmt: skip
    _, state = first(tx)
    updates, after = tx.update({"a": None, "b": G["b"]}, state, P)
    assert updates["a"] is None
    jax.tree.map(np.testing.assert_array_equal, after.leaves["a"], state.leaves["a"])
    assert after.count == 2
    alone = tx.update({"b": G["b"]}, state._replace(leaves={"b": state.leaves["b"]}), {"b": P["b"]})[0]
    np.testing.assert_allclose(updates["b"], alone["b"], rtol=1e-6)


def test_what_takes_examples_comes_first():
    private = gx.differentially_private_aggregate(1.0, 0.0, 0)
    gx.chain(private, gx.sgd(0.1))
    with pytest.raises(ValueError, match="must be the first stage"):
        gx.chain(gx.sgd(0.1), private)


def test_each_stage_in_its_step():
    tx = gx.chain(gx.groups([("a", gx.trace(0.9), "first")], default=gx.sgd(0.1)), gx.scale(2.0))
    step = Step(0, None, {}, {}, {}, {"a": 1.0})
    found = [(step.prefix, name) for name, _, step in tx.each(step)]
    assert found == [("first/", "trace"), ("default/", "learning_rate"), ("", "scale")]


def test_a_plain_pair_of_functions_is_a_stage_and_nothing_else_is():
    halves = (lambda params: (), lambda updates, state, params=None: (jax.tree.map(lambda u: u / 2, updates), state))
    updates, _ = gx.chain(halves).update(jnp.ones(2), gx.chain(halves).init(jnp.ones(2)))
    np.testing.assert_array_equal(updates, [0.5, 0.5])
    for other in ((halves[0], 3), (*halves, halves[0]), [*halves]):
        with pytest.raises(TypeError, match=r"a pair \(init, update\)"):
            gx.chain(other)
