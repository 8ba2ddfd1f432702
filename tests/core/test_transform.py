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


def test_it_is_the_pair():
    init, update = gx.adam(0.1)
    tx = gx.adam(0.1)
    assert init is tx.init
    assert update is tx.update
    assert gx.adam(0.1).update is tx.update
    assert jax.tree.structure(init(P)) == jax.tree.structure(tx.init(P))
    assert repr(update) == f"{tx!r}.update"


def test_equal_transformations_have_equal_pairs():
    assert gx.adam(0.1).init == gx.adam(0.1).init
    assert hash(gx.adam(0.1).init) == hash(gx.adam(0.1).init)
    assert gx.adam(0.1).init != gx.adam(0.2).init
    assert gx.adam(0.1).init != gx.adam(0.1).update


def test_the_third_argument_is_named_params():
    tx = gx.adamw(0.1)
    a, _ = tx.update(G, tx.init(P), P)
    b, _ = tx.update(updates=G, state=tx.init(P), params=P)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_params_may_be_left_out_where_no_stage_needs_them():
    tx = gx.chain(gx.clip_by_global_norm(1.0), gx.adam(0.1))
    a, _ = tx.update(G, tx.init(P))
    b, _ = tx.update(G, tx.init(P), P)
    jax.tree.map(np.testing.assert_array_equal, a, b)
    with pytest.raises(ValueError, match="weight_decay needs the parameters"):
        gx.adamw(0.1).update(G, gx.adamw(0.1).init(P))


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
    # From JAX 0.11 on a jit that inlines stays an equation until it is lowered.
    assert not programs & {eqn.primitive.name for eqn in found.eqns if not eqn.params.get("inline")}
    nested = jax.make_jaxpr(jax.jit(lambda g, s, p: tx.update(g, s, p)))(G, state, P)
    assert programs & {eqn.primitive.name for eqn in nested.eqns}


def test_apply_updates_adds():
    new = gx.apply_updates(P, {"a": jnp.full((2, 3), 0.25), "b": None})
    np.testing.assert_array_equal(new["a"], np.full((2, 3), 1.25))
    assert new["b"] is P["b"]


def test_apply_updates_rounds_once():
    """1 + 2^-8 + 2^-16 rounds up to 1 + 2^-7 in bfloat16; the update alone, rounded first, would be a tie to 1."""
    p, u = jnp.ones(1, jnp.bfloat16), jnp.array([2.0**-8 + 2.0**-16], jnp.float32)
    new = gx.apply_updates(p, u)
    assert new.dtype == jnp.bfloat16
    np.testing.assert_array_equal(new.astype(jnp.float32), [1 + 2.0**-7])
    np.testing.assert_array_equal((p + u.astype(jnp.bfloat16)).astype(jnp.float32), [1.0])


@pytest.mark.parametrize(
    ("updates", "words"),
    [
        ({"a": jnp.ones(3), "b": None}, r"update .*shape \(3,\), its parameter \(2, 3\)"),
        ({"a": jnp.ones(()), "b": None}, r"update .*shape \(\), its parameter \(2, 3\)"),
        ({"a": jnp.ones((2, 3))}, None),
        ({"a": jnp.ones((2, 3)), "b": None, "c": jnp.ones(1)}, None),
    ],
)
def test_apply_updates_refuses_what_does_not_fit(updates, words):
    with pytest.raises(ValueError, match=words):
        gx.apply_updates(P, updates)


def test_apply_updates_keeps_complex_and_wide_dtypes():
    p = jnp.array([1 + 1j], jnp.complex64)
    np.testing.assert_array_equal(gx.apply_updates(p, jnp.array([1j], jnp.complex64)), [1 + 2j])
    assert gx.apply_updates(jnp.ones(1, jnp.float16), jnp.ones(1)).dtype == jnp.float16


def test_make_step_is_update_and_apply():
    tx = gx.chain(gx.clip_by_global_norm(1.0), gx.adamw(0.1))
    updates, state = tx.update(G, tx.init(P), P)
    expected = gx.apply_updates(P, updates)
    p, after = gx.make_step(tx)(jax.tree.map(jnp.copy, P), tx.init(P), G)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), (p, after), (expected, state))


def test_make_step_donates_parameters_and_state():
    tx = gx.adam(0.1)
    p = jax.tree.map(jnp.copy, P)
    state = tx.init(p)
    new, after = gx.make_step(tx)(p, state, G)
    assert all(x.is_deleted() for x in jax.tree.leaves((p, state)))
    assert not any(x.is_deleted() for x in jax.tree.leaves((new, after, G)))


def test_equal_transformations_share_one_step():
    assert gx.make_step(gx.adam(0.1)) is gx.make_step(gx.adam(0.1))
    assert gx.make_step(gx.adam(0.1)) is not gx.make_step(gx.adam(0.2))


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_a_zero_half_gradient_gives_no_nan(dtype):
    p = jnp.ones(3, dtype)
    for tx in (gx.adam(0.1), gx.rmsprop(0.1), gx.adagrad(0.1, 0.0), gx.lamb(0.1), gx.clip_by_global_norm(1.0)):
        updates, _ = tx.update(jnp.zeros(3, dtype), tx.init(p), p)
        assert np.all(np.isfinite(np.asarray(updates, np.float32)))


@pytest.mark.parametrize(
    "tx",
    [
        gx.adam(0.1),
        gx.guard(gx.chain(gx.clip_by_global_norm(1.0), gx.adam(0.1), gx.ema_of_params(0.9))),
        gx.groups([("a", gx.schedule_free_sgd(0.1))], default=gx.sgd(0.1)),
        gx.lookahead(gx.sgd(0.1), 2, 0.5, reset_state=True),
        gx.sam(gx.sgd(0.1), gx.sgd(0.1)),
        gx.packed(gx.adam(0.1)),
    ],
    ids=repr,
)
def test_eval_params_of_a_tree_with_none(tx):
    p = {"a": jnp.ones(2), "none": None, "empty": jnp.zeros((0, 3)), "ints": jnp.arange(2)}
    _, state = tx.update({**p, "ints": None}, tx.init(p), p)
    found = gx.eval_params(tx, state, p)
    assert jax.tree.structure(found) == jax.tree.structure(p)
    np.testing.assert_array_equal(found["ints"], [0, 1])
