from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.core.codec import stored_in
from gradxform.core.lens import remembers_tree
from gradxform.optimizers.adam import ScaleByAdam
from gradxform.transforms.scale import Scale
from tests.trajectories import as_written


class PolyakMemory(NamedTuple):
    best: Any


class ScaleByPolyak(gx.Rule):
    """A rule that needs the value of the loss, as Polyak's step size does."""

    floor: gx.Hyper = 0.0
    facts = gx.Facts(needs=("value",))

    def init(self, p):
        return PolyakMemory(jnp.full((), jnp.inf, jnp.float32))

    def scalars(self, t, *, value):
        return jnp.asarray(value, jnp.float32) - self.floor

    def update(self, g, s, p, k):
        return g * k, PolyakMemory(jnp.minimum(s.best, k))


P = {"a": jnp.ones(2), "b": jnp.ones(3)}


def test_a_rule_that_needs_the_value_gets_it():
    tx = gx.chain(gx.clip(1.0), gx.lift(ScaleByPolyak(0.5)), gx.scale_by_learning_rate(0.1))
    updates, state = tx.update(P, tx.init(P), P, value=3.0)
    np.testing.assert_allclose(updates["a"], -0.25)
    np.testing.assert_allclose(state.leaves["b"]["polyak"].best, 2.5)
    updates, state = tx.update(P, state, P, value=jnp.float32(1.5), grad=P, value_fn=lambda p: 0.0, obj_fn=None)
    np.testing.assert_allclose(updates["b"], -0.1)
    np.testing.assert_allclose(state.leaves["a"]["polyak"].best, 1.0)


def test_a_missing_value_is_refused_by_stage_and_argument():
    tx = gx.chain(gx.clip(1.0), gx.lift(ScaleByPolyak()))
    with pytest.raises(ValueError, match=r"polyak needs 'value': call update\(updates, state, params, value=\.\.\.\)"):
        tx.update(P, tx.init(P), P)
    named = gx.named_chain(("mine", gx.lift(ScaleByPolyak())))
    with pytest.raises(ValueError, match="mine needs 'value'"):
        named.update(P, named.init(P), P, loss=1.0)


@pytest.mark.parametrize("wrap", [
    lambda tx: gx.masked(tx, "a|b"),
    lambda tx: gx.groups([("a", tx)], default=tx),
    lambda tx: gx.chain(gx.identity(), gx.chain(tx)),
])  # fmt: skip
def test_the_value_reaches_rules_inside(wrap):
    tx = wrap(gx.lift(ScaleByPolyak()))
    updates, _ = tx.update(P, tx.init(P), P, value=3.0)
    np.testing.assert_allclose(updates["b"], 3.0)


@pytest.mark.parametrize("tx", [gx.sgd(0.1), gx.adamw(0.1), gx.chain(), gx.freeze()], ids=as_written)
def test_unknown_extras_are_ignored(tx):
    updates, _ = tx.update(P, tx.init(P), P, value=1.0, anything="at all", value_fn=lambda p: 0.0)
    plain, _ = tx.update(P, tx.init(P), P)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-7), updates, plain)


def test_make_step_forwards_extras():
    tx = gx.chain(gx.lift(ScaleByPolyak()), gx.scale(-1.0))
    p, _ = gx.make_step(tx)(jax.tree.map(jnp.copy, P), tx.init(P), P, value=0.25)
    np.testing.assert_allclose(p["a"], 0.75)


class SquareRoot(gx.Rule):
    def update(self, g, s, p, k):
        return jnp.sign(g) * jnp.sqrt(jnp.abs(g)), s


def test_a_rule_of_four_lines_is_a_transformation():
    tx = gx.chain(gx.lift(SquareRoot(), gx.named("a")), gx.sgd(1.0))
    updates, state = tx.update({"a": jnp.array([4.0, -9.0]), "b": jnp.ones(3)}, tx.init(P))
    np.testing.assert_allclose(updates["a"], [-2.0, 3.0])
    np.testing.assert_allclose(updates["b"], -1.0)
    assert repr(tx).startswith("chain(square_root(mask=named('a'))")
    assert state.leaves == {"a": {}, "b": {}}


class Named(gx.Rule):
    name = "given"

    def update(self, g, s, p, k):
        return g, s


def test_names_come_from_the_class_unless_given():
    assert SquareRoot().name == "square_root"
    assert ScaleByPolyak().name == "polyak"
    assert Named().name == "given"


def test_only_rules_can_be_lifted():
    with pytest.raises(TypeError, match="lift takes a Rule, got"):
        gx.lift(gx.adam(0.1))


def test_reach_of_a_chain_is_its_farthest():
    assert gx.adam(0.1).reach == gx.Reach.ELEMENT
    assert gx.chain(gx.centralize(), gx.sgd(0.1)).reach == gx.Reach.ROW
    assert gx.lamb(0.1).reach == gx.Reach.ARRAY
    assert gx.chain(gx.clip_by_global_norm(1.0), gx.lamb(0.1)).reach == gx.Reach.TREE
    assert gx.chain().reach == gx.Reach.ELEMENT


def test_which_rules_correct_for_the_steps_taken():
    assert ScaleByAdam().corrects
    assert stored_in(ScaleByAdam(), mu=jnp.bfloat16).corrects
    assert not gx.trace(0.9).stages[0].rule.corrects
    assert not gx.clip(1.0).stages[0].rule.corrects


def test_which_rules_remember_the_whole_tree():
    assert remembers_tree(gx.clip_by_percentile(40.0, 4).stages[0].rule)
    assert not remembers_tree(gx.clip_by_global_norm(1.0).stages[0].rule)
    assert not remembers_tree(ScaleByAdam())


def test_the_update_of_a_factor_is_the_product():
    u, s = Scale(0.5).update(jnp.array([1.0, -3.0]), None, None, None)
    np.testing.assert_array_equal(u, [0.5, -1.5])
    assert s is None


def test_half_of_halves_is_refused():
    with pytest.raises(TypeError, match="remember"):

        class Emits(gx.Halves):
            def emit(self, g, s, p, k):
                return g

    with pytest.raises(TypeError, match="emit"):

        class Remembers(gx.Halves):
            def remember(self, g, s, p, k):
                return s
