from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx

P = {"a": jnp.ones((2, 3)), "b": jnp.ones(4)}
G = {"a": jnp.full((2, 3), 2.0), "b": jnp.full(4, -1.0)}

ADAMS = [
    gx.adam(0.1),
    gx.chain(gx.clip_by_global_norm(1e6), gx.adam(0.1)),
    gx.accumulate(gx.adam(0.1), 1),
    gx.guard(gx.adam(0.1)),
    gx.static_loss_scale(gx.adam(0.1), 1.0),
    gx.groups([("a", gx.adam(0.1))], default=gx.adam(0.2)),
    gx.lookahead(gx.adam(0.1), 2, 0.5),
    gx.master_weights(gx.adam(0.1)),
    optax.chain(optax.clip(1e6), gx.adam(0.1)),
    gx.chain(optax.clip(1e6), gx.scale_by_adam()),
    optax.adam(0.1),
]


@pytest.mark.parametrize("tx", ADAMS, ids=range(len(ADAMS)))
def test_the_counter_and_a_statistic_are_one_thing(tx):
    """Adam's mu is (1 - b1) g after one step."""
    _, state = tx.update(G, tx.init(P), P)
    assert int(gx.tree_get(state, "count")) == 1
    jax.tree.map(lambda m, g: np.testing.assert_allclose(m, 0.1 * g, rtol=1e-5), gx.tree_get(state, "mu"), G)
    assert gx.tree_get(state, "trace") is None
    assert gx.tree_get(state, "trace", 3) == 3


def test_more_names():
    tx = gx.dynamic_loss_scale(gx.sgd(gx.tunable(0.5), momentum=gx.tunable(0.9)), 4.0)
    state = tx.init(P)
    assert gx.tree_get(state, "scale") == 4.0
    assert gx.tree_get(state, "learning_rate") == 0.5
    assert gx.tree_get(gx.with_hyperparams(state, learning_rate=0.25), "learning_rate") == 0.25
    assert gx.tree_get(gx.adam(0.1, b1=gx.tunable(0.5)).init(P), "b1") == 0.5
    jax.tree.map(lambda x, p: np.testing.assert_array_equal(x, 0 * p), gx.tree_get(state, "trace"), P)
    assert int(jax.jit(lambda s: gx.tree_get(s, "count") + 1)(state)) == 1
    assert int(gx.tree_get(gx.sam(gx.adam(0.1), gx.adam(0.1)).init(P), "count")) == 0
    theirs = optax.chain(optax.trace(0.9), gx.scale(1.0)).init(P)
    assert jax.tree.structure(gx.tree_get(theirs, "trace")) == jax.tree.structure(P)
    assert isinstance(gx.tree_get(theirs, "TraceState"), optax.TraceState)


def test_it_agrees_with_optaxs_where_that_finds_one():
    for key in ("count", "mu", "nu", "ScaleByAdamState", "other"):
        state = optax.adam(0.1).init(P)
        theirs = optax.tree_utils.tree_get(state, key)
        jax.tree.map(np.testing.assert_array_equal, gx.tree_get(state, key), theirs)
    assert optax.tree_utils.tree_get(gx.adam(0.1).init(P), "count") == 0


def test_several_are_refused_or_told_apart():
    state = gx.chain(gx.trace(0.9), gx.trace(0.5)).init(P)
    with pytest.raises(ValueError, match="'trace' is ambiguous: trace/trace, trace_2/trace"):
        gx.tree_get(state, "trace")
    assert gx.tree_get(state, "trace_2/trace")["a"].shape == (2, 3)
    both = {"generator": gx.adam(0.1).init(P), "critic": gx.adam(0.1).init(P)._replace(count=7)}
    with pytest.raises(ValueError, match=r"'count' is found 2 times, say which by filtering: \['critic'\]\.count, "):
        gx.tree_get(both, "count")
    assert gx.tree_get(both, "count", filtering=lambda path, x: path[0].key == "critic") == 7


def test_what_follows_a_schedule_is_not_in_the_state():
    tx = gx.sgd(gx.tunable(gx.linear_schedule(1.0, 0.0, 10)))
    with pytest.raises(ValueError, match=r"learning_rate follows its schedule.* gx.hyperparams\(tx, state\)"):
        gx.tree_get(tx.init(P), "learning_rate")


@pytest.mark.parametrize(("key", "filtering"), [(3, None), (None, None), ("mu", 3)])
def test_arguments_of_another_kind_are_refused(key, filtering):
    with pytest.raises(TypeError, match=r"key must be a name|filtering must be a function"):
        gx.tree_get(gx.adam(0.1).init(P), key, filtering=filtering)
