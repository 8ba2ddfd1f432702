"""What does nothing does nothing: `chain()` beside any transformation, and any transformation on frozen leaves."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests.catalogue import Entry, entries, memories, tree

FROZEN = {
    "before": lambda tx: gx.chain(gx.freeze("kernel"), tx),
    "behind": lambda tx: gx.chain(tx, gx.freeze("kernel")),
}


@entries(lambda e: e.reach is not None)
def test_the_empty_chain_is_neutral(entry: Entry):
    assert gx.chain(gx.chain(), entry.tx) == entry.tx
    assert gx.chain(entry.tx, gx.chain()) == entry.tx
    assert gx.chain(entry.tx) == entry.tx
    assert hash(gx.chain(entry.tx, gx.chain())) == hash(entry.tx)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32, jnp.complex64], ids=str)
def test_the_empty_chain_is_the_identity(dtype: Any):
    g = tree(1, dtype)
    state = gx.chain().init(g)
    updates, after = gx.chain().update(g, state, g)
    for u, x in zip(jax.tree.leaves(updates), jax.tree.leaves(g), strict=True):
        assert u.dtype == x.dtype
        np.testing.assert_array_equal(u, x)
    assert memories(after) == memories(state) == [{}, {}, {}]
    assert (after.count, after.tree, after.hyper) == (1, {}, {})


@entries(lambda e: e.reach is not None)
def test_chains_inside_chains_flatten(entry: Entry):
    nested = gx.chain(gx.chain(gx.identity(), gx.chain(entry.tx)), gx.chain(gx.identity()))
    assert nested == gx.chain(gx.identity(), entry.tx, gx.identity())


@pytest.mark.parametrize("place", FROZEN.values(), ids=FROZEN)
@entries(lambda e: e.axis is None)
def test_frozen_leaves_keep_no_state_and_stay_where_they_are(entry: Entry, place: Any):
    tx, p, g = place(entry.tx), tree(0), tree(1)
    state = tx.init(p)
    assert memories(state)[1] == {}
    updates, after = jax.eval_shape(lambda *args: tx.update(*args, **entry.extra), g, state, p)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    with jax.disable_jit():
        updates, _ = tx.update(g, state, p, **entry.extra)
    np.testing.assert_array_equal(updates["dense"]["kernel"], np.zeros((6, 5)))
    assert updates["dense"]["kernel"].dtype == jnp.float32


@entries(lambda e: e.reach is not None)
def test_a_stage_without_memory_moves_no_key(entry: Entry):
    p = tree(0)
    front = gx.scale(1.0) if any(rule.facts.unscales for _, rule in entry.rules) else gx.clip_by_global_norm(1.0)
    extended = gx.chain(front, entry.tx, gx.scale_by_schedule(gx.constant_schedule(1.0)))
    if "clip_by_global_norm" in {name for name, _ in entry.rules}:
        extended = gx.chain(gx.clip(1.0), entry.tx)
    assert jax.tree.structure(extended.init(p)) == jax.tree.structure(entry.tx.init(p))
