"""Parameters on every device, a part of the gradient on each: `mean_across` makes it the walk of one device."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

import gradxform as gx
from gradxform.core.chain import Chain
from tests.catalogue import Entry, entries
from tests.compiler import FAST
from tests.devices.layout import P, alone, assert_same, gradients, line, numbers, parameters, parts, walk

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

    mapped = jax.shard_map(device, mesh=line(), in_specs=(P(), P(AXIS)), out_specs=P())
    run = jax.jit(mapped, compiler_options=FAST)
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


def test_members_of_an_ensemble() -> None:
    """`vmap` inside: two members on every device, with rules that look at an array and at the tree."""
    tx = gx.chain(gx.mean_across(AXIS), gx.clip_by_global_norm(0.7), gx.lamb(0.1))
    plain = gx.chain(gx.clip_by_global_norm(0.7), gx.lamb(0.1))
    params, grads = numbers(0, 2), numbers(1, 2, 3)

    def member(params: Any, grads: Any) -> Any:
        return walk(tx, params, tx.init(params), grads)[0]

    def device(params: Any, grads: Any) -> Any:
        return jax.vmap(member)(params, jax.tree.map(lambda g: g[0], grads))

    run = jax.jit(jax.shard_map(device, mesh=line(), in_specs=(P(), P(AXIS)), out_specs=P()))
    found = run(params, parts(grads))
    one = jax.jit(lambda p, g: walk(plain, p, plain.init(p), g)[0])
    for i in range(2):
        mine, theirs, expected = (jax.tree.map(lambda x, i=i: x[i], tree) for tree in (params, grads, found))
        assert_same(expected, one(mine, theirs))
