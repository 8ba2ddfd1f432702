"""Schedules give optax's numbers in optax's types, and our rules take them as they are."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax as theirs
import pytest

import gradxform as gx
import gradxform.compat.optax as optax
from gradxform.compat.optax.rates import Typed, untyped, weakly_typed

GIVEN: dict[str, tuple[Any, ...]] = {
    "constant_schedule": (0.5,),
    "cosine_decay_schedule": (0.5, 7),
    "exponential_decay": (0.5, 3, 0.9),
    "linear_schedule": (0.5, 0.1, 5),
    "piecewise_constant_schedule": (0.5, {3: 0.5, 6: 0.1}),
    "join_schedules": ([theirs.linear_schedule(1.0, 0.0, 4), theirs.constant_schedule(2.0)], [5]),
}


@pytest.mark.parametrize("name", GIVEN)
def test_values_have_optaxs_types(name: str) -> None:
    ours, expected = (getattr(lib, name)(*GIVEN[name]) for lib in (optax, theirs))
    for count in (2, 2.0, jnp.int32(2), np.int64(2), jnp.arange(8)):
        a, b = ours(count), expected(count)
        assert (type(a), jnp.shape(a)) == (type(b), jnp.shape(b))
        np.testing.assert_allclose(a, b, rtol=2e-6)
        half = jnp.bfloat16(3.0)  # a rate times a gradient keeps its dtype where optax's does
        assert (a * half).dtype == (b * half).dtype
    assert (jax.jit(ours)(2) * half).dtype == (jax.jit(expected)(2) * half).dtype


def test_a_function_that_asks_for_numbers_is_asked_with_them() -> None:
    given = [lambda count: 1.0 if count < 2 else 0.5, theirs.constant_schedule(0.1)], [4]
    ours, expected = (lib.join_schedules(*given) for lib in (optax, theirs))
    assert [float(ours(i)) for i in range(6)] == [float(expected(i)) for i in range(6)]
    with pytest.raises(TypeError):
        optax.linear_schedule(0.5, 0.1, 5)([1, 2])


def test_equal_schedules_are_equal_and_reach_our_rules() -> None:
    one, two = (optax.cosine_decay_schedule(0.5, 7) for _ in range(2))
    assert one == two
    assert hash(one) == hash(two)
    assert one != optax.cosine_decay_schedule(0.5, 8)
    assert repr(one) == repr(gx.cosine_decay_schedule(0.5, 7))
    assert isinstance(one, Typed)
    assert untyped([one, 0.1, (two,)]) == [gx.cosine_decay_schedule(0.5, 7), 0.1, (gx.cosine_decay_schedule(0.5, 7),)]


def test_rates_that_are_held_have_the_parameters_dtype() -> None:
    p = {"w": jnp.ones(3, jnp.bfloat16)}
    for lib in (optax, theirs):
        tx = lib.inject_hyperparams(lib.sgd)(learning_rate=lib.cosine_decay_schedule(0.5, 7))
        state = tx.init(p)
        assert state.hyperparams["learning_rate"].dtype == jnp.bfloat16
        assert tx.update(p, state, p)[0]["w"].dtype == jnp.bfloat16


def test_numbers_give_way_to_what_they_meet() -> None:
    x = weakly_typed(jnp.arange(3, dtype=jnp.float32))
    np.testing.assert_array_equal(x, [0, 1, 2])
    assert (x * jnp.bfloat16(1.0)).dtype == jnp.bfloat16
