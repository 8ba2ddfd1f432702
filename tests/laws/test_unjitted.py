"""An update outside of `jit` gives what the compiled one gives."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat import torch
from tests.catalogue import Entry, entries, moved, tree
from tests.events import traced_and_compiled


def assert_near(actual: Any, expected: Any, p: Any) -> None:
    """To 2 ulp of the largest term."""

    def check(a: Any, e: Any, p: Any) -> None:
        assert a.dtype == e.dtype
        if e.size == 0:
            return
        a, e = np.asarray(a), np.asarray(e)
        wide = np.complex128 if np.iscomplexobj(e) else np.float64
        scale = max(float(np.abs(e.astype(wide)).max()), 0.0 if p is None else float(np.abs(np.asarray(p, wide)).max()))
        eps = 0.0 if e.dtype.kind in "biu" else float(np.finfo(e.dtype if e.dtype.kind in "fc" else np.float32).eps)
        np.testing.assert_allclose(a.astype(wide), e.astype(wide), rtol=0, atol=2 * eps * scale)

    jax.tree.map(check, actual, expected, jax.tree.map(lambda _: None, expected) if p is None else p)


@entries(lambda e: e.axis is None)
def test_unjitted_equals_jitted_and_compiles_once_for_equal_transformations(entry: Entry):
    g, state, p = moved(entry.name)
    expected, after = entry.run(g, state, p)
    updates, unjitted_after = entry.make().update(g, state, p, **entry.extra)
    assert_near(updates, expected, p)
    assert_near(unjitted_after, after, None)
    with traced_and_compiled() as found:
        entry.make().update(g, state, p, **entry.extra)
    assert found == []


SWEEPS = {
    "sgd": gx.sgd,
    "adam": gx.adam,
    "adamw": lambda x: gx.adamw(x, weight_decay=0.1),
    "decay": lambda x: gx.adamw(0.1, weight_decay=x),
    "tunable": lambda x: gx.adam(gx.tunable(x)),
    "schedule": lambda x: gx.adam(gx.cosine_decay_schedule(x, 10)),
    "function": lambda x: gx.adam(lambda count: x / (1 + count)),
    "table": lambda x: gx.adam([x, 0.5 * x]),
    "guarded": lambda x: gx.guard(gx.chain(gx.clip_by_global_norm(1.0), gx.adam(x))),
    "averaged": gx.schedule_free_sgd,
    "renewed": lambda x: gx.lookahead(gx.sgd(x), 2, 0.5, reset_state=True),
    "groups": lambda x: gx.groups([("kernel", gx.sgd(x))], default=gx.adam(0.5 * x)),
    "packed": lambda x: gx.packed(gx.adam(x)),
    "torch": lambda x: torch.adamw(x),
}


@pytest.mark.parametrize("make", SWEEPS.values(), ids=SWEEPS)
def test_ten_rates_compile_once(make: Any):
    """A loop that makes a new transformation for each rate, without `jit`: each gives what it would as a constant."""
    p, g = tree(0), tree(1)

    def train(rate: float, update: Any = lambda tx: tx.update) -> Any:
        tx = make(rate)
        state = tx.init(p)
        for _ in range(2):
            updates, state = update(tx)(g, state, p)
        return updates

    train(0.5)
    with traced_and_compiled() as found:
        updates = [train(0.5 - 0.05 * i) for i in range(10)]
    assert found.count("backend_compile_duration") == 0
    assert_near(updates[7], train(0.5 - 0.05 * 7, lambda tx: jax.jit(tx.update)), p)
    assert not np.array_equal(updates[0]["scale"], updates[7]["scale"])
