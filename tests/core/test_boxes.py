from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.core.tree import memory_structure, open_tree
from tests.trajectories import as_written


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Box:
    value: object
    names: tuple = dataclasses.field(default=(), metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Attention:
    query: object
    key: object
    value: object


ONE = jnp.ones(2)


@pytest.mark.parametrize(
    ("tree", "paths"),
    [
        ({"a": Box(ONE), "b": ONE}, ["a", "b"]),
        ({"a": {"bias": Box(ONE), "kernel": Box(None)}, "b": [ONE, Box(ONE)]}, ["a/bias", "a/kernel", "b/0", "b/1"]),
        (Box(ONE), [""]),
        (Box(Box(ONE, ("x",))), [""]),
        ({"a": Box(gx.Rows(jnp.array([0]), jnp.ones((1, 2)), (3, 2))), "b": 1.0}, ["a", "b"]),
        ({"a": {"value": ONE}, "b": Box(ONE)}, ["a/value", "b"]),
        ({"a": Box({"w": ONE}), "b": Box([ONE])}, ["a/value/w", "b/value/0"]),
        ({"a": Attention(ONE, ONE, ONE), "b": Box(ONE)}, ["a/query", "a/key", "a/value", "b"]),
        (Attention(None, None, ONE), ["query", "key", "value"]),
        (Attention({}, {}, ONE), ["value"]),
        (Attention(Box(ONE), Box(ONE), Box(ONE)), ["query", "key", "value"]),
        (Box(Attention({}, {}, ONE)), ["value/value"]),
    ],
    ids=as_written,
)
def test_a_box_gives_its_leaf_no_name(tree, paths):
    """A box holds one leaf, as its attribute `value`, and nothing else: in a part of the tree as in all of it."""
    assert open_tree(tree)[0] == paths
    places = memory_structure(tree)
    assert open_tree(places.unflatten(range(places.num_leaves)))[0] == paths


def test_two_leaves_with_one_path_are_refused_where_one_is_in_a_box():
    with pytest.raises(ValueError, match="two leaves have the path 'a/b'"):
        gx.sgd(0.1).init({"a": {"b": Box(ONE)}, "a/b": ONE})


MIXED = {"a": {"bias": Box(ONE), "kernel": Box(jnp.ones((2, 2)))}, "b": {"bias": ONE}}


def plain(tree):
    return jax.tree.map(lambda x: x.value if isinstance(x, Box) else x, tree, is_leaf=lambda x: isinstance(x, Box))


@pytest.mark.parametrize("given", [lambda x: x, plain], ids=["in boxes", "plain at update"])
@pytest.mark.parametrize(
    ("tx", "moved"),
    [
        (gx.add_decayed_weights(1.0, gx.weights_only), {"a/kernel"}),
        (gx.add_decayed_weights(1.0, gx.named("bias")), {"a/bias", "b/bias"}),
        (gx.add_decayed_weights(1.0, gx.matching("^a/bias$|^b")), {"a/bias", "b/bias"}),
        (gx.add_decayed_weights(1.0, gx.under("a/bias") | gx.under("b")), {"a/bias", "b/bias"}),
        (gx.chain(gx.freeze(gx.named("bias")), gx.add_decayed_weights(1.0)), {"a/kernel"}),
    ],
    ids=as_written,
)
def test_selectors_in_a_tree_with_boxes_in_a_part(tx, moved, given):
    p = given(MIXED)
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, p), tx.init(MIXED), p)
    assert {path for path, u in zip(*open_tree(updates)[:2], strict=True) if u.any()} == moved


def test_a_box_that_says_nothing_is_left_out_of_the_state():
    tx = gx.adam(0.1)
    state = tx.init({"a": Box(ONE), "b": Box(ONE, ("x",))})
    assert isinstance(state.leaves["a"]["adam"].mu, jax.Array)
    assert state.leaves["b"]["adam"].mu.names == ("x",)
    assert gx.view(state, "nu")["b"].names == ("x",)


class Value(NamedTuple):
    value: object


class Keeps(gx.Rule):
    """A rule whose memory looks like a box."""

    def init(self, p):
        return Value(jnp.zeros_like(p))

    def update(self, g, s, p, k):
        return g, s._replace(value=s.value + g)


def test_a_rules_own_memory_is_no_box():
    tx, p = gx.lift(Keeps()), {"a": Box(ONE, ("x",)), "b": Value(ONE)}
    _, state = tx.update(p, tx.init(p), p)
    assert state.leaves["a"]["keeps"].value.names == ("x",)
    np.testing.assert_array_equal(state.leaves["b"]["keeps"].value, ONE)
