"""Lenses stand between the halves: the rule sees what `read` shows, and its update comes from what is really kept."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.core.lens import Lens, layers
from gradxform.core.rule import new_memory
from gradxform.core.walk import kept


class Sum(NamedTuple):
    total: Any


class Adds(gx.Halves):
    """u is the sum of all gradients."""

    def init(self, p: Any) -> Sum:
        return Sum(jnp.zeros_like(p))

    def remember(self, g: Any, s: Sum, p: Any, k: Any) -> Sum:
        return Sum(s.total + g)

    def emit(self, g: Any, s: Sum, p: Any, k: Any) -> Any:
        return s.total


class Whole(Lens):
    """Keeps whole numbers, twice as large."""

    def init(self, p: Any) -> Sum:
        return Sum(2 * self.rule.init(p).total)

    def read(self, s: Sum, g: Any) -> Sum:
        return Sum(s.total / 2)

    def write(self, new: Sum, s: Sum, k: Any) -> Sum:
        return Sum(2 * jnp.round(new.total))


G, P = jnp.array([0.4, 1.4]), jnp.zeros(2)


def test_the_update_comes_from_what_is_kept() -> None:
    u, s = Whole(Adds()).advance(G, [], Sum(jnp.array([2.0, 2.0])), P, None, new_memory)
    np.testing.assert_array_equal(s.total, [2.0, 4.0])
    np.testing.assert_array_equal(u, [1.0, 2.0])


def test_factors_multiply_the_gradient_inside() -> None:
    u, _ = Whole(Adds()).advance(G, [2.0, 3.0], Sum(jnp.zeros(2)), P, None, new_memory)
    np.testing.assert_array_equal(u, [2.0, 8.0])


@pytest.mark.parametrize("rule", [Adds(), Whole(Adds()), Whole(Whole(Adds()))], ids=["bare", "one", "two"])
def test_a_step_that_is_held_back_keeps_the_old_memory_and_its_update_is_made_of_it(rule: Any) -> None:
    old = Sum(jnp.array([4.0, 8.0]))

    def step(ok: Any) -> Any:
        return rule.advance(G, [], old, P, None, lambda new, before: kept(ok, new, before))

    u, s = jax.jit(step)(False)
    assert jnp.array_equal(s.total, old.total)
    assert jnp.array_equal(u, rule.emit(G, old, P, None) if isinstance(rule, Adds) else u)
    taken, plain = jax.jit(step)(True), rule.advance(G, [], old, P, None, new_memory)
    jax.tree.map(np.testing.assert_array_equal, taken, plain)


def test_evaluation_reads_too() -> None:
    class Averages(gx.Halves):
        def remember(self, g: Any, s: Sum, p: Any, k: Any) -> Sum:
            return s

        def emit(self, g: Any, s: Sum, p: Any, k: Any) -> Any:
            return g

        def evaluate(self, p: Any, s: Sum, t: Any) -> Any:
            return s.total

    assert jnp.array_equal(Whole(Averages()).evaluate(P, Sum(jnp.array([6.0, 8.0])), 1), jnp.array([3.0, 4.0]))


def test_guards_hold_every_kind_of_memory_bit_for_bit() -> None:
    """A held step leaves the state as it was, under each lens of the library; the next one goes on from there."""
    params = {"w": jax.random.normal(jax.random.key(0), (8, 512)), "b": jnp.zeros(512)}
    grads = jax.tree.map(jnp.ones_like, params)
    bad = jax.tree.map(lambda g: g.at[0].set(jnp.nan), grads)
    inside = {
        "codes": gx.stored_as("int8", gx.adamw(0.1)),
        "chance": gx.stored_as("int8", gx.adamw(0.1), stochastic=True),
        "cast": gx.adamw(0.1, mu_dtype=jnp.bfloat16),
        "host": gx.offloaded(gx.adamw(0.1)),
        "dates": gx.lazy(gx.adamw(0.1), mode="catch_up"),
        "clock": gx.compat.torch.adamw(0.1),
        "codes on the host": gx.offloaded(gx.stored_as("int8", gx.adamw(0.1))),
        "packed": gx.packed(gx.adamw(0.1)),
    }
    for name, tx in inside.items():
        guarded = gx.guard(tx)
        update = jax.jit(guarded.update)
        _, one = update(grads, guarded.init(params), params)
        zero, held = update(bad, one, params)
        jax.tree.map(np.testing.assert_array_equal, one.inner, held.inner)
        assert all(not u.any() for u in jax.tree.leaves(zero)), name
        plain = jax.jit(tx.update)(grads, one.inner, params)
        after, two = update(grads, held, params)
        jax.tree.map(np.testing.assert_array_equal, (after, two.inner), plain)


def test_the_layers_of_a_rule_begin_with_the_outermost() -> None:
    rule = Whole(Whole(Adds()))
    assert layers(rule) == [rule, Whole(Adds()), Adds()]
    assert layers(Adds()) == [Adds()]


def test_what_stands_around_a_rule_has_its_name() -> None:
    assert Whole(Whole(Adds())).name == "adds"
