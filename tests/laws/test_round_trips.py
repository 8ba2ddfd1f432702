"""A state may be taken apart, go through NumPy, and be given away together with the parameters."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gradxform as gx
from tests.catalogue import Entry, entries, moved, own, tree


def assert_equal(actual: Any, expected: Any) -> None:
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


@entries()
def test_flatten_and_unflatten_change_nothing(entry: Entry):
    _, state, _ = moved(entry.name)
    leaves, structure = jax.tree.flatten(state)
    assert_equal(structure.unflatten(leaves), state)
    keyed, structure = jax.tree_util.tree_flatten_with_path(state)
    assert_equal(structure.unflatten([x for _, x in keyed]), state)
    assert len({jax.tree_util.keystr(path) for path, _ in keyed}) == len(keyed)


@entries()
def test_a_trip_through_numpy_changes_nothing(entry: Entry):
    g, state, p = moved(entry.name)
    there = jax.tree.map(np.array, state)
    assert_equal(entry.run(g, there, p), entry.run(g, state, p))
    assert_equal(entry.run(*jax.tree.map(np.array, (g, state, p))), entry.run(g, state, p))


@entries()
def test_a_state_as_plain_containers_holds_everything(entry: Entry):
    """Dicts, tuples and NamedTuples are all that the library adds to the containers of the parameters."""
    _, state, _ = moved(entry.name)

    def check(x: Any) -> None:
        assert isinstance(x, dict | tuple | jax.Array)
        children = x.values() if isinstance(x, dict) else x if isinstance(x, tuple) else ()
        for child in children:
            check(child)

    check(state)


@entries(lambda e: e.axis is None)
def test_parameters_and_fresh_state_can_be_donated_together(entry: Entry):
    p, g = tree(0, jnp.float16), tree(1, jnp.float16)
    state = entry.tx.init(p)
    given = jax.tree.leaves((p, own(state)))
    p, state = gx.make_step(entry.tx)(p, state, g, **entry.extra)
    assert [x for x in given if not x.is_deleted()] == []
    p, state = gx.make_step(entry.tx)(p, state, g, **entry.extra)
    assert own(state).count == 2
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(p))
