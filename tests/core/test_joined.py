from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests.core.test_stacks import FUSED, STACKED, WHITEN, arrays, run

PARAMS = arrays(a=(4, 5), b=(4, 5), c=(3, 4, 5), other=(5, 4), qkv=(4, 12), part=(4, 6))
SPECS = {"^c$": STACKED, "qkv": FUSED}
CHAIN = gx.chain(gx.trace(0.9), WHITEN, gx.sgd(0.1))


def shapes_of_products(tx: Any, params: Any) -> set[tuple[int, ...]]:
    """The shapes of what products of matrices make."""
    text = jax.jit(tx.update).lower(params, tx.init(params), params).as_text()
    made = re.findall(r"dot_general.*-> tensor<([\dx]+)xf32>", text)
    return {tuple(map(int, shape.split("x"))) for shape in made}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tx: tx,
        lambda tx: gx.stored_as("int8", tx, min_size=0),
        lambda tx: gx.own_clock(tx),
        lambda tx: gx.offloaded(tx),
        lambda tx: gx.groups([("^[abc]$", tx)], default=tx),
        lambda tx: gx.chain(gx.freeze("part"), gx.masked(gx.clip(0.5), "^a$"), tx),
    ],
    ids=["plain", "int8", "own_clock", "offloaded", "groups", "freeze"],
)
def test_joined_is_one_by_one(wrap: Any) -> None:
    alone, joint = (wrap(gx.matrices(CHAIN, SPECS, together=n)) for n in (0, 75))
    (ours, state), (theirs, kept) = run(joint, PARAMS), run(alone, PARAMS)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5), ours, theirs)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == jax.tree.map(lambda x: (x.shape, x.dtype), kept)


def test_matrices_of_one_shape_are_one_stack_up_to_a_bound() -> None:
    lefts = {n: shapes_of_products(gx.matrices(CHAIN, SPECS, together=n), PARAMS) for n in (0, 60, 10**6)}
    sizes = {n: {count for count, *matrix in lefts[n] if matrix == [4, 4]} for n in lefts}
    assert sizes == {0: {1, 3}, 60: {2, 3}, 10**6: {2, 5}}


def test_other_dtypes_and_other_numbers_are_not_joined() -> None:
    params = PARAMS | {"b": PARAMS["b"].astype(jnp.bfloat16)}
    found = shapes_of_products(gx.matrices(CHAIN, SPECS, together=10**6), params)
    assert {(4, 4, 4)} == found & {(4, 4, 4), (5, 4, 4)}
    apart = gx.groups([("^a$", CHAIN), ("^b$", CHAIN)], default=CHAIN)
    assert (5, 4, 4) not in shapes_of_products(gx.matrices(apart, SPECS, together=10**6), PARAMS)


def test_a_step_that_is_not_taken_leaves_the_memory() -> None:
    tx = gx.guard(gx.matrices(CHAIN, SPECS, together=10**6))
    state = tx.init(PARAMS)
    _, state = tx.update(PARAMS, state, PARAMS)
    bad = PARAMS | {"a": PARAMS["a"] * jnp.nan}
    updates, after = tx.update(bad, state, PARAMS)
    assert not any(x.any() for x in jax.tree.leaves(updates))
    for before, now in zip(*(jax.tree.leaves(s.inner.leaves) for s in (state, after)), strict=True):
        np.testing.assert_array_equal(before, now)


def test_leaves_without_a_gradient_rest() -> None:
    tx = gx.matrices(CHAIN, SPECS, together=10**6)
    state = tx.init(PARAMS)
    updates, after = tx.update(PARAMS | {"b": None}, state, PARAMS)
    assert updates["b"] is None
    assert jax.tree.all(jax.tree.map(jnp.array_equal, state.leaves["b"], after.leaves["b"]))
