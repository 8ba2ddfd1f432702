"""Updates outside of any trace: schedules see the counter itself, numbers enter compiled code as data."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx

P = {"a": jnp.ones((2, 3)), "b": jnp.ones(4)}


G = jax.tree.map(lambda p: 0.5 * p, P)


VALUES = {0: 0.5, 1: 0.25, 2: 0.125}


def by_steps(count):
    return 0.5 if count < 1 else 0.25 if count < 2 else 0.125


SCHEDULES = {
    "python": by_steps,
    "numpy": lambda count: np.interp(count, [0, 1, 2], [0.5, 0.25, 0.125]),
    "dict": lambda count: VALUES[int(count)],
    "math": lambda count: math.exp2(-1.0 - count),
    "half": lambda count: np.float16(by_steps(count)),
}


AROUND = {
    "alone": lambda tx: tx,
    "guard": gx.guard,
    "accumulate": lambda tx: gx.accumulate(tx, 1),
    "loss scale": lambda tx: gx.static_loss_scale(tx, 1.0),
    "measure": lambda tx: gx.measure(tx, grad_norm=True),
    "master weights": gx.master_weights,
    "guard in a chain": lambda tx: gx.chain(gx.scale(1.0), gx.guard(gx.guard(tx))),
    "groups": lambda tx: gx.groups([("a", tx), ("b", gx.guard(tx))]),
    "packed": gx.packed,
    "restarted": lambda tx: gx.lookahead(tx, 5, 0.5, reset_state=True),
}


def run_unjitted(tx: Any, steps: int = 3) -> list[Any]:
    state, found = tx.init(P), []
    for _ in range(steps):
        updates, state = tx.update(G, state, P)
        found.append(updates)
    return found


def assert_equal(actual: Any, expected: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
def test_a_python_schedule_works_without_jit(around):
    """They branch on the counter, as under optax: `u = -η(t)·g`."""
    found = run_unjitted(around(gx.sgd(by_steps)))
    assert_equal(found, [jax.tree.map(lambda g, t=t: -VALUES[t] * g, G) for t in range(3)])


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("make", [gx.adam, lambda x: gx.guard(gx.adamw(0.1, b1=x)), lambda x: gx.sgd(gx.tunable(x))])
def test_schedules_that_need_a_number_give_what_a_table_gives(schedule, make):
    assert_equal(run_unjitted(make(schedule)), run_unjitted(make([0.5, 0.25, 0.125])))


def test_a_schedule_is_given_the_counter_itself():
    """Once for each update, an array that nothing has waited for."""
    seen = []

    def rate(count):
        seen.append(count)
        return 0.1

    state = gx.sgd(rate).init(P)
    seen.clear()
    for _ in range(3):
        _, state = gx.sgd(rate).update(G, state)
    assert [int(count) for count in seen] == [0, 1, 2]
    assert all(isinstance(count, jax.Array) and count.dtype == jnp.int32 for count in seen)


def test_what_needs_a_number_inside_runs_op_by_op():
    """optax's own schedule in our chain, and a window that a Python function tells."""
    found = run_unjitted(gx.chain(gx.scale(1.0), optax.sgd(by_steps)))
    assert_equal(found, [jax.tree.map(lambda g, t=t: -VALUES[t] * g, G) for t in range(3)])
    found = run_unjitted(gx.accumulate(gx.sgd(1.0), lambda step: 1 if step < 1 else 2))
    assert_equal(found, [jax.tree.map(lambda g, u=u: u * g, G) for u in (-1.0, 0.0, -1.0)])


def test_a_decay_of_0_is_left_out_without_jit():
    """0 · inf would be nan; decays other than 0 share their compiled code, and 0 does not."""
    p = {"a": jnp.array([jnp.inf, 1.0])}
    for decay, second in ((0.5, 2.5), (0.0, 2.0), (0.25, 2.25)):
        tx = gx.add_decayed_weights(decay)
        u, _ = tx.update({"a": jnp.full(2, 2.0)}, tx.init(p), p)
        np.testing.assert_array_equal(u["a"], [2.0 if decay == 0.0 else np.inf, second])


def test_twins_share_a_number_and_others_do_not():
    """Two stages of one rate, and of two rates, without `jit`: the numbers do not change places."""
    for a, b in ((0.5, 0.5), (0.5, 0.25), (0.25, 0.5)):
        tx = gx.chain(gx.scale(a), gx.scale(b), gx.sgd(a))
        u, _ = tx.update(G, tx.init(P))
        assert_equal(u, jax.tree.map(lambda g, a=a, b=b: -a * b * a * g, G))


def test_the_pair_can_be_copied_and_pickled_after_use():
    tx = gx.adam(0.1)
    run_unjitted(tx)
    for same in (copy.deepcopy(tx.update), pickle.loads(pickle.dumps(tx.update))):
        assert same == tx.update
        assert_equal(same(G, tx.init(P), P), tx.update(G, tx.init(P), P))


def test_a_state_of_another_transformation_is_refused_without_jit():
    with pytest.raises(TypeError, match="state must be what init returns"):
        gx.sgd(by_steps).update(G, ())


def test_a_callable_extra_runs_op_by_op():
    tx = gx.adam(0.1)
    a, _ = tx.update(G, tx.init(P), P, value_fn=lambda p: 0.0)
    b, _ = tx.update(G, tx.init(P), P)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), a, b)


def test_it_runs_without_jit():
    tx = gx.chain(gx.clip_by_global_norm(1.0), gx.adamw([0.1, 0.2]))
    a, _ = tx.update(G, tx.init(P), P)
    with jax.disable_jit():
        b, _ = tx.update(G, tx.init(P), P)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), a, b)


def test_under_a_trace_it_adds_no_nested_jit():
    tx = gx.chain(gx.clip_by_global_norm(1.0), gx.adamw(0.1))
    programs = {"jit", "pjit", "closed_call", "core_call"}
    state = tx.init(P)
    found = jax.make_jaxpr(lambda g, s, p: tx.update(g, s, p))(G, state, P)
    # From JAX 0.11 on a jit that inlines stays an equation until it is lowered; `jnp.where` is one of JAX's own.
    ours = [eqn for eqn in found.eqns if not (eqn.params.get("inline") or eqn.params.get("name") == "_where")]
    assert not programs & {eqn.primitive.name for eqn in ours}
    nested = jax.make_jaxpr(jax.jit(lambda g, s, p: tx.update(g, s, p)))(G, state, P)
    assert programs & {eqn.primitive.name for eqn in nested.eqns}
