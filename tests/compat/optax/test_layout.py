"""optax's states as ours, and back."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx
from gradxform.compat.optax.layout import UnlikeError, counts, joined, ours_of, parted, shapes_of, theirs_of
from tests.compat.optax.test_stages import tree

GIVEN = [jnp.ones((6, 5)), jnp.ones(5)]


def test_stages_join_to_the_state_of_their_chain_and_part_again() -> None:
    txs, theirs = [gx.trace(0.9), gx.clip(1.0), gx.scale_by_adam()], [optax.trace(0.9), optax.clip(1.0)]
    states = [*(tx.init(GIVEN) for tx in theirs), optax.scale_by_adam().init(GIVEN)._replace(count=jnp.int32(7))]
    old = [ours_of(shapes_of(tx, GIVEN), state) for tx, state in zip(txs, states, strict=True)]
    fresh = shapes_of(gx.chain(*txs), GIVEN)
    whole = joined(fresh, old)
    assert int(whole.count) == 7
    assert jax.tree.structure(whole) == jax.tree.structure(gx.chain(*txs).init(GIVEN))
    sorted_by_name = jax.tree.map(jnp.asarray, whole)
    back = [theirs_of(new, state) for new, state in zip(parted(sorted_by_name, fresh, old), states, strict=True)]
    assert jax.tree.structure(back) == jax.tree.structure(states)
    jax.tree.map(np.testing.assert_array_equal, back, states)


def test_which_states_count() -> None:
    p = tree(0)
    for tx in (optax.scale_by_adam(), optax.scale_by_schedule(lambda t: 1.0), optax.scale_by_optimistic_gradient()):
        assert counts(tx.init(p))
    assert not any(
        counts(tx.init(p)) for tx in (optax.trace(0.9), optax.scale(2.0), optax.masked(optax.adam(1.0), True))
    )


def test_what_has_no_place_is_told() -> None:
    with pytest.raises(KeyError):
        ours_of(shapes_of(gx.scale_by_adam(), GIVEN), optax.trace(0.9).init(GIVEN))
    with pytest.raises(UnlikeError):
        ours_of(shapes_of(gx.trace(0.9), GIVEN), optax.trace(0.9).init([jnp.ones(2), jnp.ones(5)]))
