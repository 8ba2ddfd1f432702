"""Differentiating a loss over looked-up rows: the tables' gradients come as `Rows`, equal to the dense ones."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests.compiler import FAST

RNG = np.random.default_rng(0)
TABLE = jnp.asarray(RNG.normal(size=(7, 3)), jnp.float32)
OTHER = jnp.asarray(RNG.normal(size=(5, 3)), jnp.float32)
INDICES = jnp.array([[1, 4], [4, -1], [9, 0]])
WEIGHTS = {"w": jnp.asarray(RNG.normal(size=3), jnp.float32)}


def looked_up(table: Any, indices: Any) -> Any:
    """The plain lookup, with zeros for padding."""
    inside = (indices >= 0) & (indices < table.shape[0])
    return jnp.where(inside[..., None], table[jnp.where(inside, indices, 0)], 0.0)


def loss(params: Any, rows: Any, scale: float = 1.0) -> Any:
    return scale * jnp.sum(jnp.tanh(rows @ params["w"]) ** 2)


def test_as_the_dense_gradient() -> None:
    value, (grads, rows) = gx.value_and_grad_rows(loss)(WEIGHTS, TABLE, INDICES, 2.0)
    dense = jax.value_and_grad(lambda p, t: loss(p, looked_up(t, INDICES), 2.0), (0, 1))
    expected, (grads_expected, table_expected) = dense(WEIGHTS, TABLE)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_allclose(grads["w"], grads_expected["w"], rtol=1e-6)
    assert isinstance(rows, gx.Rows)
    assert rows.values.shape == (6, 3)
    np.testing.assert_allclose(rows.dense(), table_expected, rtol=1e-6, atol=1e-7)


def test_several_tables_and_several_lookups_of_one() -> None:
    tables, indices = {"a": TABLE, "b": OTHER}, {"a": (INDICES, jnp.array([4, 4])), "b": jnp.array([3])}

    def contrast(params: Any, rows: Any) -> Any:
        first, second = rows["a"]
        return jnp.sum(first[:2] * second) + jnp.sum(rows["b"] ** 2) * params["w"].sum()

    _, (grads, found) = jax.jit(gx.value_and_grad_rows(contrast))(WEIGHTS, tables, indices)
    expected = jax.grad(
        lambda t: contrast(
            WEIGHTS,
            {"a": tuple(looked_up(t["a"], i) for i in indices["a"]), "b": looked_up(t["b"], indices["b"])},
        )
    )(tables)
    np.testing.assert_allclose(grads["w"], jnp.full(3, (OTHER[3] ** 2).sum()), rtol=1e-6)
    for name in tables:
        assert isinstance(found[name], gx.Rows)
        np.testing.assert_allclose(found[name].dense(), expected[name], rtol=1e-6, atol=1e-6)


def test_auxiliary_values() -> None:
    def with_rows(params: Any, rows: Any) -> Any:
        return loss(params, rows), rows

    (value, rows), _ = gx.value_and_grad_rows(with_rows, has_aux=True)(WEIGHTS, TABLE, INDICES)
    np.testing.assert_array_equal(rows, looked_up(TABLE, INDICES))
    np.testing.assert_allclose(value, loss(WEIGHTS, rows), rtol=1e-6)


def test_the_dense_gradient_is_never_made() -> None:
    shape = (1_000_000, 64)
    table = jax.ShapeDtypeStruct(shape, jnp.float32)
    indices = jax.ShapeDtypeStruct((1024,), jnp.int32)
    weights = {"w": jax.ShapeDtypeStruct((64,), jnp.float32)}
    memory = jax.jit(gx.value_and_grad_rows(loss)).lower(weights, table, indices).compile(FAST).memory_analysis()
    assert memory.temp_size_in_bytes + memory.output_size_in_bytes <= 0.01 * 4 * shape[0] * shape[1]


def test_narrow_tables_and_indices() -> None:
    table = TABLE.astype(jnp.bfloat16)
    _, (_, rows) = gx.value_and_grad_rows(loss)(WEIGHTS, table, np.array([1, 255], np.uint8))
    assert rows.dtype == jnp.bfloat16
    np.testing.assert_array_equal(np.flatnonzero(rows.dense().any(axis=1)), [1])


def test_bad_lookups_are_refused() -> None:
    with pytest.raises(TypeError, match="indices of Rows must be integers, got float32"):
        gx.value_and_grad_rows(loss)(WEIGHTS, TABLE, jnp.ones(3))
    with pytest.raises(ValueError, match="b"):
        gx.value_and_grad_rows(loss)(WEIGHTS, {"a": TABLE, "b": OTHER}, {"a": INDICES})
