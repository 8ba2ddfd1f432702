from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx
from gradxform.core.state import find_states

P = {"a": jnp.ones((2, 3)), "b": [jnp.ones(4), None]}


def test_the_shape_of_the_state():
    state = gx.adam(0.1).init(P)
    assert isinstance(state, gx.State)
    assert state._fields == ("count", "leaves", "tree", "hyper")
    assert state.tree == {}
    assert state.hyper == {}
    assert state.leaves["b"][1] is None
    memory = state.leaves["a"]["adam"]
    assert type(memory)._fields == ("mu", "nu")
    assert memory.mu.shape == (2, 3)


def test_a_tree_of_parameters_is_a_prefix_of_the_leaves():
    state = gx.chain(gx.adam(0.1), gx.trace(0.9)).init(P)
    shapes = jax.tree.map(lambda p, memory: {x.shape for x in jax.tree.leaves(memory)} == {p.shape}, P, state.leaves)
    assert jax.tree.leaves(shapes) == [True, True]


def test_view_is_a_tree_like_the_parameters():
    tx = gx.adam(0.1)
    g = jax.tree.map(lambda p: 2.0 * p, P)
    _, state = tx.update(g, tx.init(P), P)
    mu = gx.view(state, "mu")
    assert jax.tree.structure(mu) == jax.tree.structure(P)
    jax.tree.map(lambda m, x: np.testing.assert_allclose(m, 0.1 * x, rtol=1e-6), mu, g)
    jax.tree.map(np.testing.assert_array_equal, gx.view(state, "adam/nu"), gx.view(state, "nu"))


def test_view_holds_none_where_nothing_is_kept():
    tx = gx.chain(gx.freeze("^b"), gx.adam(0.1))
    assert gx.view(tx.init(P), "mu")["b"] == [None, None]


def test_view_refuses_what_is_not_there_or_ambiguous():
    state = gx.chain(gx.trace(0.9), gx.trace(0.5)).init(P)
    with pytest.raises(ValueError, match="no parameter keeps a statistic 'mu'"):
        gx.view(state, "mu")
    with pytest.raises(ValueError, match="'trace' is ambiguous: trace/trace, trace_2/trace"):
        gx.view(state, "trace")
    assert gx.view(state, "trace_2/trace")["a"].shape == (2, 3)


def test_view_looks_inside_wrappers():
    tx = optax.chain(optax.clip(1.0), gx.adam(0.1))
    state = {"opt": (tx.init(P), 3), "other": jnp.ones(1)}
    assert gx.view(state, "nu")["a"].shape == (2, 3)
    assert len(find_states(state)) == 1
    with pytest.raises(ValueError, match="no state of a gradxform transformation inside dict"):
        gx.view({"a": 1}, "mu")


def test_parameters_may_be_one_array():
    state = gx.adam(0.1).init(jnp.ones(3))
    assert gx.view(state, "mu").shape == (3,)


def test_parameters_named_like_stages_are_no_memories():
    p = {"adam": jnp.ones(2), "mu": {"nu": jnp.ones(3)}}
    tx = gx.adam(0.1)
    _, state = tx.update(p, tx.init(p), p)
    assert jax.tree.map(jnp.shape, gx.view(state, "mu")) == {"adam": (2,), "mu": {"nu": (3,)}}


def test_parameters_with_namedtuple_nodes_are_no_memories():
    """A dict of NamedTuples of arrays looks like a memory; the parameters' own structure must win."""
    from typing import NamedTuple

    class Dense(NamedTuple):
        kernel: Any
        bias: Any

    p = {"layer": Dense(jnp.ones((2, 2)), jnp.ones(2))}
    tx = gx.adam(0.1)
    _, state = tx.update(p, tx.init(p), p)
    mu = gx.view(state, "mu")
    assert jax.tree.structure(mu) == jax.tree.structure(p)
    assert mu["layer"].kernel.shape == (2, 2)


def test_nothing_in_the_state_is_a_parameter_or_stands_twice():
    tx = gx.chain(gx.scale_by_amsgrad(), gx.trace(0.9), gx.scale_by_adadelta())
    leaves = jax.tree.leaves(tx.init(P))
    assert len({id(x) for x in leaves}) == len(leaves)
    assert not {id(x) for x in leaves} & {id(x) for x in jax.tree.leaves(P)}
    pointers = [x.unsafe_buffer_pointer() for x in leaves]
    assert len(set(pointers)) == len(pointers)


def test_a_statistic_inside_another_is_found_by_its_name_or_its_way():
    class Mine(NamedTuple):
        outer: Any

    class Nested(NamedTuple):
        inner: Any
        other: Any

    class Keeps(gx.Rule):
        def init(self, p):
            return Mine(Nested(p, -p))

        def update(self, g, s, p, k):
            return g, s

    tx, p = gx.lift(Keeps()), {"a": jnp.ones(2)}
    state = tx.init(p)
    for field in ("inner", "outer/inner", "keeps/outer/inner"):
        np.testing.assert_array_equal(gx.view(state, field)["a"], p["a"])
