"""The state never changes its structure, shapes, dtypes and weak types, and shares no memory."""

from __future__ import annotations

from collections import Counter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.testing.laws import kinds
from tests.catalogue import Entry, entries, memories, moved, own, tree, with_own

F16, BF16, F32 = jnp.float16, jnp.bfloat16, jnp.float32
MIXES = {
    "float32": (F32, F32),
    "bfloat16": (BF16, BF16),
    "bfloat16-float32": (BF16, F32),
    "float32-bfloat16": (F32, BF16),
    "mixed": ((BF16, F32, F16), (F16, BF16, F32)),
}
"""Dtypes of parameters and of gradients: one, or one for each leaf."""


def structs(dtypes: Any, weak: bool = False) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, weak_type=weak), tree(0, dtypes))


@entries(always=True)
def test_state_is_a_fixed_point(entry: Entry):
    for mix, dtypes in MIXES.items():
        p, g = map(structs, dtypes)
        state = jax.eval_shape(entry.tx.init, p)
        _, after = jax.eval_shape(entry.update, g, state, p)
        assert kinds(after) == kinds(state), mix


@entries()
def test_state_is_a_fixed_point_for_weakly_typed_leaves(entry: Entry):
    p, g = structs(F32, weak=True), structs(F32, weak=True)
    state = jax.eval_shape(entry.tx.init, p)
    assert kinds(state) == kinds(jax.eval_shape(entry.tx.init, structs(F32)))
    assert kinds(jax.eval_shape(entry.update, g, state, p)[1]) == kinds(state)


@entries(lambda e: not e.needing_params)
def test_state_is_a_fixed_point_without_parameters(entry: Entry):
    g = structs(MIXES["mixed"][1])
    state = jax.eval_shape(entry.tx.init, structs(MIXES["mixed"][0]))
    assert kinds(jax.eval_shape(entry.update, g, state)[1]) == kinds(state)


@entries()
def test_concrete_state_is_as_traced(entry: Entry):
    _, state, p = moved(entry.name)
    traced = kinds(jax.eval_shape(entry.tx.init, p))
    assert kinds(entry.tx.init(p)) == traced
    assert kinds(state) == traced


@entries()
def test_compiled_init_gives_the_same_state(entry: Entry):
    p = tree(0)
    jax.tree.map(np.testing.assert_array_equal, jax.jit(entry.tx.init)(p), entry.tx.init(p))


@entries(lambda e: not e.narrow)
def test_statistics_are_kept_in_float32(entry: Entry):
    state = jax.eval_shape(entry.tx.init, structs((BF16, F16, BF16)))
    floats = {x.dtype for x in jax.tree.leaves(own(state).leaves) if jnp.issubdtype(x.dtype, jnp.inexact)}
    assert floats <= {jnp.dtype(F32)}


@entries(lambda e: e.narrow)
def test_statistics_asked_for_in_another_dtype_are_kept_in_it(entry: Entry):
    state = jax.eval_shape(entry.tx.init, structs(F32))
    assert {x.dtype for x in jax.tree.leaves(own(state).leaves)} & {jnp.dtype(BF16), jnp.dtype(F16)}


@entries()
def test_updates_of_leaves_that_rules_move_are_float32(entry: Entry):
    p, g = map(structs, MIXES["mixed"])
    updates, _ = jax.eval_shape(entry.update, g, jax.eval_shape(entry.tx.init, p), p)
    for (path, u), leaf in zip(jax.tree.leaves_with_path(updates), jax.tree.leaves(p), strict=True):
        through = getattr(entry.tx, "through", lambda *leaf: [entry.tx])
        assert u.dtype == F32 or not [*through("/".join(key.key for key in path), leaf)]


@entries()
def test_no_array_is_twice_in_the_state_and_none_is_a_parameter(entry: Entry):
    p = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), tree(0))
    state = entry.tx.init(p)
    places = Counter(x.unsafe_buffer_pointer() for x in jax.tree.leaves((p, state)))
    assert set(places.values()) == {1}


@entries()
def test_state_has_the_structure_of_the_parameters(entry: Entry):
    state = entry.tx.init(tree(0))
    for memory in memories(state):
        assert isinstance(memory, dict)
        assert all(isinstance(s, tuple) and hasattr(s, "_fields") for s in memory.values())


@entries()
def test_no_array_in_the_state_is_empty(entry: Entry):
    p = tree(0) | {"scale": jnp.zeros((0, 3))}
    state = entry.tx.init(p)
    assert all(x.size for x in jax.tree.leaves(state))
    assert own(state).leaves["scale"] == {}
    updates, _ = jax.eval_shape(entry.update, p, state, p)
    assert updates["scale"].shape == (0, 3)


@entries()
def test_counters_saturate(entry: Entry):
    g, state, p = moved(entry.name)
    last = jnp.asarray(jnp.iinfo(jnp.int32).max, jnp.int32)
    updates, after = entry.run(g, with_own(state, count=last), p)
    assert own(after).count == last
    assert all(np.isfinite(u).all() for u in jax.tree.leaves(updates))


@entries()
def test_the_counter_counts_updates(entry: Entry):
    assert own(moved(entry.name, 3)[1]).count == 3
