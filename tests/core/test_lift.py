"""Rules lifted to trees: which leaves they act on, what they refuse, and leaves that take no part."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.core.lift import Lifted
from gradxform.core.stage import Step
from gradxform.core.state import find_state
from gradxform.transforms.scale import ScaleByLearningRate, ScaleByTrustRatio

P = {"a": jnp.ones(2), "b": jnp.ones(3)}
G = {"a": jnp.full(2, 2.0), "b": jnp.full(3, -1.0)}


def test_it_acts_on_the_chosen_leaves_alone() -> None:
    tx = gx.lift(ScaleByLearningRate(0.5), gx.named("a"))
    updates, _ = tx.update(G, tx.init(P))
    np.testing.assert_array_equal(updates["a"], [-1.0, -1.0])
    np.testing.assert_array_equal(updates["b"], G["b"])
    assert repr(tx) == "scale_by_learning_rate(learning_rate=0.5, flip_sign=True, mask=named('a'))"


def test_names_of_hyperparameters_are_those_of_the_stage() -> None:
    """`learning_rate` is the chain's where the stage takes the chain's rate, and the stage's otherwise."""
    stage = Lifted(ScaleByLearningRate(0.5))
    step = Step(0, None, {}, {}, {}, P, prefix="slow/")
    assert stage.names("mine", step._replace(rate=0.5)) == {"learning_rate": "slow/learning_rate"}
    assert stage.names("mine", step._replace(rate=0.1)) == {"learning_rate": "slow/mine/learning_rate"}


def test_memory_is_our_own_and_strongly_typed() -> None:
    class First(gx.Rule):
        """Keeps the parameter itself, and a Python number."""

        def init(self, p):
            return gx.State(p, 1.0, {}, {})

        def update(self, g, s, p, k):
            return g, s

    p = jnp.ones(2)
    memory = gx.lift(First()).init(p).leaves["first"]
    assert memory.count is not p
    assert memory.count.unsafe_buffer_pointer() != p.unsafe_buffer_pointer()
    assert not memory.leaves.weak_type


def test_a_leaf_that_looked_otherwise_at_init_is_refused() -> None:
    tx = gx.lift(gx.scale_by_adam().stages[0].rule, gx.ndim_at_least(2))
    state = tx.init({"w": jnp.ones((2, 2))})
    with pytest.raises(ValueError, match=r"adam at 'w': the state holds Moments.*, wanted is nothing; gx.migrate"):
        tx.update({"w": jnp.ones(4)}, state)


def test_missing_parameters_are_refused_by_stage() -> None:
    tx = gx.lift(ScaleByTrustRatio())
    with pytest.raises(ValueError, match=r"trust_ratio needs the parameters: call update\(updates, state, params\)"):
        tx.update(G, tx.init(P))


def test_a_rule_that_compares_refuses_complex_leaves_by_path() -> None:
    tx = gx.scale_by_sign()
    with pytest.raises(ValueError, match=r"sign compares numbers and 'z' is complex \(complex64\); split it into two"):
        tx.init({"z": jnp.ones(2, jnp.complex64)})


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_a_frozen_leaf_gets_zeros_and_no_stage_sees_it(dtype) -> None:
    tx = gx.chain(gx.freeze("a"), gx.clip_by_global_norm(1.0), gx.trace(0.9))
    params = {"a": jnp.ones(2, dtype), "b": jnp.ones(4)}
    state = tx.init(params)
    assert state.leaves["a"] == {}
    grads = {"a": jnp.full(2, jnp.nan, dtype), "b": jnp.ones(4)}
    updates, _ = tx.update(grads, state, params)
    assert updates["a"].dtype == jnp.float32
    np.testing.assert_array_equal(updates["a"], [0.0, 0.0])
    np.testing.assert_allclose(updates["b"], 0.5)


class First(NamedTuple):
    first: jax.Array


class Far(gx.TreeRule):
    """The sum of |g|, and how far the parameters are from where they were."""

    facts = gx.Facts(reach=gx.Reach.TREE, needs_params=True, measures_memory=True)

    def init(self, p: Any) -> First:
        return First(p)

    def init_tree(self, ps: Any) -> First:
        return First(jnp.zeros(()))

    def measure(self, gs: Any, s: Any, t: Any, ps: Any = (), ms: Any = ()) -> Any:
        assert all(x.dtype == jnp.float32 for x in (*gs, *ps, *jax.tree.leaves(ms)))
        far = sum(jnp.sum(jnp.abs(p - m.first)) for p, m in zip(ps, ms, strict=True))
        return (far, sum(jnp.sum(jnp.abs(g)) for g in gs)), First(far)

    def update(self, g: Any, s: Any, p: Any, k: Any) -> Any:
        return 0 * g + k[0] + 100 * k[1], s


@pytest.mark.parametrize("strategy", [gx.chain, lambda tx: gx.stored_as("bfloat16", tx, min_size=0)])
def test_a_measure_sees_parameters_and_memories_in_float32(strategy: Any) -> None:
    tx = strategy(gx.lift(Far()))
    p = {"a": jnp.ones(3, jnp.bfloat16), "b": jnp.zeros((4, 2), jnp.bfloat16), "still": jnp.ones(2, jnp.bfloat16)}
    g = {"a": jnp.ones(3, jnp.bfloat16), "b": gx.Rows(jnp.array([1, 1]), jnp.ones((2, 2)), (4, 2)), "still": None}
    state = tx.init(p)
    u, _ = jax.jit(tx.update)(g, state, jax.tree.map(lambda x: x + 1, p))
    np.testing.assert_array_equal(u["a"], jnp.full(3, 3 + 8 + 100 * (3 + 4.0)))


def test_what_a_guard_holds_back_is_not_measured() -> None:
    tx, p = gx.guard(gx.lift(Far())), {"a": jnp.ones(3)}
    _, state = tx.update({"a": jnp.array([jnp.nan, 1.0, 1.0])}, tx.init(p), {"a": jnp.zeros(3)})
    np.testing.assert_array_equal([x.first for x in find_state(state).tree.values()], [0.0])


def test_an_empty_tree_needs_no_parameters() -> None:
    tx = gx.chain(gx.scale_by_adam(), gx.add_decayed_weights(0.1))
    assert tx.update({}, tx.init({}))[0] == {}


def test_a_field_has_a_short_name_where_it_is_named_as_its_stage_alone() -> None:
    tx = gx.chain(gx.scale_by_adam(), gx.add_decayed_weights(0.1))
    found = {*gx.hyperparams(tx, tx.init(P))}
    assert found == {"adam/b1", "adam/b2", "adam/eps", "adam/eps_root", "weight_decay"}
