"""Rules in optax's arithmetic, where its stages and ours part: beside optax."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax as theirs

import gradxform.compat.optax as optax
from tests.compat.optax.test_stages import assert_same, trajectory, tree


def test_a_plateau_is_counted_as_optax_does_where_losses_are_negative_and_averaged() -> None:
    values = [-1.0, -0.95, -1.2, -1.1, -1.1, -1.1, -1.0, -1.3, -1.2, -1.2, -1.2, -1.2, -1.2, -1.2]

    def states(lib: Any) -> Any:
        tx = lib.contrib.reduce_on_plateau(0.5, patience=2, rtol=0.1, cooldown=1, accumulation_size=2, min_scale=0.3)
        step = jax.jit(lambda u, s, value: tx.update(u, s, value=value))
        state, seen = tx.init(tree(0)), []
        for value in values * 2:
            u, state = step(tree(1), state, jnp.float32(value))
            seen.append((u, state))
        return seen

    assert_same(states(optax), states(theirs), 1e-6)


def test_nans_are_found_in_the_array_that_has_them() -> None:
    tx = optax.chain(optax.zero_nans(), optax.adam(0.1))
    bad = tree(1) | {"w": tree(1)["w"].at[2, 3].set(jnp.nan)}
    u, state = tx.update(bad, tx.init(tree(0)), tree(0))
    assert bool(state[0].found_nan["w"])
    assert not any(state[0].found_nan["b"])
    assert isinstance(state[0], theirs.transforms._constraining.ZeroNansState)
    assert float(u["w"][2, 3]) == 0.0


def test_signs_that_turn_rest_a_step() -> None:
    gs = [{"w": jnp.asarray(x)} for x in ([1.0, -2.0, 0.0], [1.0, 2.0, 3.0], [-1.0, 2.0, -3.0], [1.0, 2.0, -3.0])]

    def updates(lib: Any) -> Any:
        tx = lib.rprop(0.1, 0.5, 1.2, 0.04, 0.13)
        state, us = tx.init(gs[0]), []
        for g in gs:
            u, state = tx.update(g, state)
            us.append(u)
        return us, state

    assert_same(updates(optax), updates(theirs), 1e-6)


def test_a_change_weighs_as_in_optax() -> None:
    ours, expected = (trajectory(lib.adan(0.1, b2=0.5, weight_decay=0.1)) for lib in (optax, theirs))
    assert_same(ours, expected, 1e-4)


def test_sums_of_an_array_of_three_axes_are_vectors() -> None:
    def array(seed: int, dtype: Any) -> Any:
        return {"w": jnp.asarray(np.random.default_rng(seed).standard_normal((2, 3, 4)), dtype)}

    ours, expected = (trajectory(lib.sm3(0.1), 2, tree=array) for lib in (optax, theirs))
    assert_same(ours, expected, 1e-5)
    assert [x.shape for x in ours[1][0].mu["w"]] == [(2,), (3,), (4,)]


def test_a_number_that_optax_makes_a_vector_of_is_one() -> None:
    for lib in (optax, theirs):
        tx = lib.scale_by_distance_over_gradients()
        p = jnp.float32(2.0)
        assert tx.update(p, tx.init(p), p)[0].shape == (1,)
