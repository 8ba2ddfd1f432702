"""`to_optax`: our transformations where optax's own type is asked for."""

from __future__ import annotations

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx
from gradxform.compat.optax import to_optax


class Seen(gx.Rule):
    """Scales by the extra argument `value`."""

    facts = gx.Facts(needs=("value",))

    def scalars(self, t: Any, *, value: Any) -> Any:  # type: ignore[override]
        return value

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        return g * k, s


def params() -> Any:
    return {"w": jnp.array([1.0, -2.0], jnp.bfloat16), "b": jnp.array(0.5), "n": jnp.array([7, 2**30 + 1])}


def grads() -> Any:
    return {"w": jnp.array([0.5, 0.25], jnp.bfloat16), "b": None, "n": np.zeros(2, jax.dtypes.float0)}


def test_the_type_and_the_names_of_the_arguments() -> None:
    tx = to_optax(gx.adam(0.1))
    assert isinstance(tx, optax.GradientTransformationExtraArgs)
    p = {"w": jnp.ones(2)}
    updates, state = tx.update(updates=p, state=tx.init(p), params=p, value=1.0, grad=p, value_fn=lambda p: 0.0)
    expected, expected_state = gx.adam(0.1).update(p, gx.adam(0.1).init(p), p)
    chex.assert_trees_all_equal((updates, state), (expected, expected_state))


@pytest.mark.parametrize(
    "tx",
    [gx.own_clock(gx.adam(0.1)), gx.sgd(0.1), gx.chain(), gx.freeze("w"), gx.chain(gx.freeze(), gx.lion(0.1))],
    ids=repr,
)
@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit])
def test_none_becomes_zeros_that_optax_can_add(tx: Any, wrap: Any) -> None:
    converted = to_optax(tx)
    updates, _ = wrap(converted.update)(grads(), converted.init(params()), params())
    chex.assert_trees_all_equal_shapes(updates, params())
    new = optax.apply_updates(params(), updates)
    chex.assert_trees_all_equal_dtypes(new, params())
    np.testing.assert_array_equal(new["b"], params()["b"])
    np.testing.assert_array_equal(new["n"], params()["n"])
    ours, _ = tx.update(grads(), tx.init(params()), params())
    np.testing.assert_array_equal(new["w"], gx.apply_updates(params(), ours)["w"])


def test_none_stays_where_there_is_no_parameter_or_none_is_known() -> None:
    tx = to_optax(gx.sgd(0.5))
    p = {"w": jnp.ones(2), "hole": None}
    updates, _ = tx.update({"w": None, "hole": None}, tx.init(p), p)
    np.testing.assert_array_equal(updates["w"], np.zeros(2))
    assert updates["hole"] is None
    updates, _ = tx.update({"w": None, "hole": None}, tx.init(p))
    assert updates == {"w": None, "hole": None}


def test_extra_arguments_pass_through_optax_wrappers() -> None:
    """optax drops them for what is not of its type, and hands them to what is."""
    ours, p = gx.lift(Seen()), {"w": jnp.ones(2)}
    bare = optax.chain(ours, optax.scale(1.0))
    with pytest.raises(ValueError, match="seen needs 'value'"):
        bare.update(p, bare.init(p), p, value=3.0)
    for wrapped in (
        optax.chain(to_optax(ours), optax.scale(1.0)),
        optax.masked(to_optax(ours), {"w": True}),
        optax.apply_if_finite(to_optax(ours), 3),
        optax.MultiSteps(to_optax(ours), 1),
    ):
        updates, _ = wrapped.update(p, wrapped.init(p), p, value=3.0)
        np.testing.assert_array_equal(updates["w"], 3 * np.ones(2))


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "lion", "rmsprop", "signum", "adafactor"])
def test_updates_have_optaxs_dtypes(name: str) -> None:
    p, half = {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}, jnp.bfloat16
    for params, grads in (p, to(half, p)), (to(half, p), p), (to(half, p), to(half, p)):
        ours, theirs = to_optax(getattr(gx, name)(0.1)), getattr(optax, name)(0.1)
        expected, _ = jax.eval_shape(lambda g, p, tx=theirs: tx.update(g, tx.init(p), p), grads, params)
        updates, _ = jax.eval_shape(lambda g, p, tx=ours: tx.update(g, tx.init(p), p), grads, params)
        assert jax.tree.map(lambda x: x.dtype, updates) == jax.tree.map(lambda x: x.dtype, expected)


def test_memory_that_is_packed_is_remembered_too() -> None:
    tx, p = to_optax(gx.packed(gx.adam(0.1))), {"w": jnp.ones(2)}
    updates, _ = jax.eval_shape(lambda g: tx.update(g, tx.init(p), p), to(jnp.bfloat16, p))
    assert updates["w"].dtype == jnp.float32


def to(dtype: Any, tree: Any) -> Any:
    return jax.tree.map(lambda x: x.astype(dtype), tree)


def test_a_step_is_left_out_in_a_conditional() -> None:
    tx, p = to_optax(gx.groups([("w", gx.sgd(0.5))], default=gx.adam(0.5))), {"w": jnp.ones(2), "b": jnp.ones(2)}

    @jax.jit
    def step(g: Any, state: Any, taken: Any) -> Any:
        none = {"w": jnp.zeros(2, jnp.bfloat16), "b": jnp.zeros(2)}
        return jax.lax.cond(taken, lambda: tx.update(g, state, p), lambda: (none, state))

    for taken, moved in (True, -0.5), (False, 0.0):
        u, _ = step(to(jnp.bfloat16, p), tx.init(p), taken)
        np.testing.assert_allclose(u["w"].astype(float), moved)
        np.testing.assert_allclose(u["b"], moved, rtol=1e-5)


def test_equal_transformations_give_equal_pairs_that_trace_once() -> None:
    assert to_optax(gx.adamw(0.1)) == to_optax(gx.adamw(0.1))
    assert to_optax(gx.adamw(0.1)) != to_optax(gx.adamw(0.2))
    assert hash(to_optax(gx.adamw(0.1))) == hash(to_optax(gx.adamw(0.1)))


def test_inside_jit_as_an_argument() -> None:
    p = {"w": jnp.ones(2), "b": jnp.ones(())}

    @jax.jit
    def first_step(tx: Any, g: Any) -> Any:
        converted = to_optax(tx)
        return optax.apply_updates(p, converted.update(g, converted.init(p), p)[0])

    new = first_step(gx.sgd(0.5), {"w": jnp.ones(2), "b": None})
    chex.assert_trees_all_equal(new, {"w": jnp.full(2, 0.5), "b": jnp.ones(())})


def test_sparse_rows_reach_apply_updates() -> None:
    table, tx = {"t": jnp.ones((4, 2)), "b": jnp.ones(())}, to_optax(gx.sgd(0.5))
    rows = gx.Rows(jnp.array([2]), jnp.ones((1, 2)), (4, 2))
    updates, _ = tx.update({"t": rows, "b": None}, tx.init(table), table)
    new = optax.apply_updates(table, updates)
    np.testing.assert_array_equal(new["t"], [[1, 1], [1, 1], [0.5, 0.5], [1, 1]])
    np.testing.assert_array_equal(new["b"], 1.0)


@pytest.mark.parametrize("bad", [optax.adam(0.1), None, 3.0, lambda p: p])
def test_anything_else_is_refused(bad: Any) -> None:
    with pytest.raises(TypeError, match="to_optax takes a gradxform transformation, got"):
        to_optax(bad)
