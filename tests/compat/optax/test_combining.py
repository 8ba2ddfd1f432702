"""Chains of optax's shape, whose neighbouring stages are one chain of ours."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax as theirs
import pytest

import gradxform as gx
import gradxform.compat.optax as optax
from gradxform.compat.optax.combining import Chained
from tests.compat.optax.test_stages import assert_same, trajectory, tree


def runs(tx: Any) -> list[Any]:
    """How many stages run together, in turn."""
    return [len(steps) for steps, _ in tx.update._runs(tx.init(tree(0)), tree(0))]


def test_neighbours_run_together_as_far_as_one_counter_goes() -> None:
    assert runs(optax.chain(optax.clip(1.0), optax.adamw(0.1))) == [4]
    assert runs(optax.chain(optax.clip(1.0), optax.adamw(lambda t: 0.1))) == [3, 1]
    own = theirs.GradientTransformation(lambda p: (), lambda u, s, p=None: (u, s))
    assert runs(optax.chain(optax.trace(0.9), optax.scale(2.0), own, optax.sgd(0.1))) == [2, 1, 2]


def test_counters_that_differ_go_their_own_ways() -> None:
    """A schedule begun anew under moments that go on, as in the second half of a training."""
    ours, expected = (lib.adamw(lib.linear_schedule(1.0, 0.0, 8)) for lib in (optax, theirs))
    _, state = trajectory(expected, 3)
    state = (*state[:2], state[2]._replace(count=jnp.int32(0)))
    assert_same(ours.update(tree(9), state, tree(0)), expected.update(tree(9), state, tree(0)), 1e-4)


def test_names_are_the_keys_of_an_ordered_state() -> None:
    def make(lib: Any) -> Any:
        return lib.named_chain(
            ("z", lib.clip_by_global_norm(1.0)), ("a", lib.chain(lib.scale_by_adam(), lib.scale(-1.0)))
        )

    (ours, state), expected = trajectory(make(optax)), trajectory(make(theirs))
    assert_same((ours, state), expected, 1e-4)
    assert isinstance(state, OrderedDict)
    assert list(state) == ["z", "a"]
    with pytest.raises(ValueError, match="unique names"):
        optax.named_chain(("a", optax.scale(1.0)), ("a", optax.scale(2.0)))


def test_what_ours_refuse_together_runs_one_by_one() -> None:
    """Two optimizers in a row turn the sign twice: here an error natively, and optax's numbers behind the import."""
    with pytest.raises(ValueError, match="turn"):
        gx.chain(gx.sgd(0.1), gx.sgd(0.1))
    assert_same(*(trajectory(lib.chain(lib.sgd(0.1), lib.sgd(0.1, 0.9))) for lib in (optax, theirs)), 1e-6)


def test_memory_of_one_kind_stays_where_it_was() -> None:
    """Two means in a row, whose names would sort the other way, jitted and not."""
    ours, expected = (lib.chain(lib.trace(0.9), lib.trace(0.5), lib.ema(0.8)) for lib in (optax, theirs))
    assert_same(trajectory(ours), trajectory(expected), 1e-6)
    state = ours.init(tree(0))
    for i in range(3):
        u, state = ours.update(tree(i + 1), state, tree(0))
    assert_same(u, trajectory(expected, 3)[0][2], 1e-6)


def test_a_state_of_another_length_is_refused() -> None:
    tx = optax.chain(optax.clip(1.0), optax.scale(1.0))
    with pytest.raises(ValueError, match="a chain of 2 got a state of 1"):
        tx.update(tree(0), (theirs.EmptyState(),))


def test_extra_arguments_reach_those_that_take_them() -> None:
    seen: dict[str, Any] = {}

    def update(u: Any, s: Any, p: Any = None, **extra: Any) -> Any:
        seen.update(extra)
        return u, s

    takes = theirs.GradientTransformationExtraArgs(lambda p: (), update)
    tx = optax.chain(optax.scale(1.0), gx.sgd(0.5), takes)
    u, _ = tx.update(tree(0), tx.init(tree(0)), value=3.0)
    assert seen == {"value": 3.0}
    np.testing.assert_array_equal(u["w"], -0.5 * tree(0)["w"])


def test_a_state_whose_tuples_became_lists_is_taken() -> None:
    tx = optax.chain(optax.clip(1.0), optax.scale_by_adam())
    state = tx.init(tree(0))
    a, b = (tx.update(tree(1), s, tree(0)) for s in (state, [*state]))
    assert jax.tree.structure(a) == jax.tree.structure(b)


def test_the_trees_of_a_whole_recipe_are_opened_once() -> None:
    tx = optax.adamw(0.1)
    assert isinstance(tx.update, Chained)
    p = [jnp.ones(3) for _ in range(40)]
    traced = [jax.make_jaxpr(lib.update)(p, lib.init(p), p) for lib in (tx, gx.adamw(0.1))]
    ours, native = (len(x.jaxpr.eqns) for x in traced)
    assert ours <= 1.1 * native
