"""Parameters on every device, a part of the gradient on each: `mean_across` makes it the walk of one device."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

import gradxform as gx
from gradxform.core.chain import Chain
from tests.catalogue import Entry, entries
from tests.devices.layout import P, alone, assert_same, gradients, line, parameters, parts, walk

AXIS = "devices"


def averaged(entry: Entry) -> Any:
    return gx.chain(gx.mean_across(AXIS), entry.tx)


def share(entry: Entry, params: Any, grads: Any) -> Any:
    """One device's walk, with its own gradients."""
    tx = averaged(entry)
    return walk(tx, params, tx.init(params), grads, **entry.extra)


@entries(lambda e: e.axis is None)
def test_shard_map(entry: Entry) -> None:
    """The compiler's own check passes too: what `mean_across` gives is known to be the same on every device."""

    def device(params: Any, grads: Any) -> Any:
        return share(entry, params, jax.tree.map(lambda g: g[0], grads))

    run = jax.jit(jax.shard_map(device, mesh=line(), in_specs=(P(), P(AXIS)), out_specs=P()))
    params, state = run(parameters(), parts(gradients()))
    expected, held = alone(entry.name)
    assert_same(params, expected, entry.narrow)
    if isinstance(entry.tx, Chain):
        assert_same(state, held, entry.narrow)


@entries(lambda e: e.axis is None)
def test_pmap(entry: Entry) -> None:
    run = jax.pmap(lambda p, g: share(entry, p, g)[0], axis_name=AXIS, in_axes=(None, 0))
    params = jax.tree.map(np.asarray, run(parameters(), parts(gradients())))
    first = jax.tree.map(lambda x: x[0], params)
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x, np.broadcast_to(y, x.shape)), params, first)
    assert_same(first, alone(entry.name)[0], entry.narrow)
