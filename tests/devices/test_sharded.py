"""Under `jit` with sharded parameters every transformation gives what one device gives, and its state is sharded too."""

from __future__ import annotations

from typing import Any

import jax
import pytest
from jax.sharding import AxisType

from tests.catalogue import Entry, entries, own
from tests.devices.layout import (
    SPECS,
    P,
    alone,
    assert_same,
    gradients,
    mesh,
    parameters,
    shardings,
    walk,
)

KINDS = pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=["auto", "explicit"])


@KINDS
@entries(lambda e: e.axis is None)
def test_every_transformation_as_on_one_device(entry: Entry, kind: AxisType):
    specs = jax.tree.map(lambda s: P(None, *s), SPECS, is_leaf=lambda x: isinstance(x, P))
    with jax.set_mesh(mesh(kind)):
        params = jax.device_put(parameters(), shardings(kind=kind))
        grads = jax.device_put(gradients(), shardings(specs, kind))
        state = entry.tx.init(params)
        for p, memory in zip(jax.tree.leaves(params), memories(params, state), strict=True):
            for x in jax.tree.leaves(memory):
                if x.shape == p.shape:
                    assert x.sharding.is_equivalent_to(p.sharding, p.ndim), (x.shape, x.sharding)
        out = jax.jit(lambda p, s, g: walk(entry, p, s, g))(params, state, grads)
    assert_same(out, alone(entry.name), entry.narrow)


def memories(params: Any, state: Any) -> list[Any]:
    return jax.tree.structure(params).flatten_up_to(own(state).leaves)
