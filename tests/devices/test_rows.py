"""Sparse rows from every device: gathered, and as good as the average of the dense gradients that they stand for."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests.devices.layout import P, assert_same, line, walk

AXIS = "devices"
SHAPE = (10, 3)
STEPS = 3


def rows() -> tuple[Any, Any]:
    """Five rows a device and step: some twice, some on several devices, some padding."""
    rng = np.random.default_rng(0)
    indices = rng.integers(-2, SHAPE[0] + 2, (8, STEPS, 5))
    return indices, rng.normal(size=(8, STEPS, 5, 3)).astype(np.float32)


def average() -> Any:
    """What the rows of all devices stand for, on the average."""
    indices, values = rows()
    dense = np.zeros((STEPS, *SHAPE))
    for device in range(8):
        for step in range(STEPS):
            for i, v in zip(indices[device, step], values[device, step], strict=True):
                if 0 <= i < SHAPE[0]:
                    dense[step, i] += v / 8
    return dense.astype(np.float32)


def shared(tx: Any, table: Any, indices: Any, values: Any) -> Any:
    """One device's walk."""
    grads = jax.vmap(lambda i, v: gx.Rows(i, v, SHAPE))(indices, values)
    tx = gx.chain(gx.mean_across(AXIS), tx)
    return walk(tx, table, tx.init(table), grads)[0]


def with_shard_map(tx: Any, table: Any) -> Any:
    def device(table: Any, indices: Any, values: Any) -> Any:
        return shared(tx, table, indices[0], values[0])

    return jax.jit(jax.shard_map(device, mesh=line(), in_specs=(P(), P(AXIS), P(AXIS)), out_specs=P()))(table, *rows())


def with_pmap(tx: Any, table: Any) -> Any:
    run = jax.pmap(lambda i, v: shared(tx, table, i, v), axis_name=AXIS)
    tables = np.asarray(run(*rows()))
    np.testing.assert_array_equal(tables, np.broadcast_to(tables[:1], tables.shape))
    return tables[0]


def with_vmap(tx: Any, table: Any) -> Any:
    return jax.jit(jax.vmap(lambda i, v: shared(tx, table, i, v), axis_name=AXIS))(*rows())[3]


@pytest.mark.parametrize("run", [with_shard_map, with_pmap, with_vmap])
@pytest.mark.parametrize(
    "tx", [gx.sgd(0.1), gx.chain(gx.clip_by_global_norm(0.5), gx.adam(0.1)), gx.lamb(0.1)], ids=["sgd", "adam", "lamb"]
)
def test_as_the_dense_average_on_one_device(tx: Any, run: Any) -> None:
    table = jnp.asarray(np.random.default_rng(1).normal(size=SHAPE), jnp.float32)
    expected, _ = jax.jit(lambda p, g: walk(tx, p, tx.init(p), g))(table, average())
    assert_same(run(tx, table), expected)


def test_rows_that_were_not_gathered_are_refused() -> None:
    """Where a rule looks at more than an element, one device's rows would give another step on every device."""

    def device(indices: Any, values: Any) -> Any:
        tx, table = gx.clip_by_norm(1.0), jnp.ones(SHAPE)
        return tx.update({"table": gx.Rows(indices[0, 0], values[0, 0], SHAPE)}, tx.init({"table": table}))

    with pytest.raises(ValueError, match=r"more than one element of 'table', .* varies over devices.*mean_across"):
        jax.eval_shape(jax.shard_map(device, mesh=line(), in_specs=P(AXIS), out_specs=P(AXIS)), *rows())
