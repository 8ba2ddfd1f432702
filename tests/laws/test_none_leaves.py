"""Leaves that are None, integers or empty, as filtered models have them, stand beside the others and change nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

import gradxform as gx
from gradxform.core.chain import Chain
from tests.catalogue import Entry, entries, own, tree
from tests.compiler import FAST
from tests.strategies.meshes import line

IDLE = {"none": None, "ints": jnp.arange(4), "empty": jnp.zeros((0, 3))}


def beside(tree: Any, **given: Any) -> Any:
    """The tree with leaves that take no part."""
    return tree | {"dense": tree["dense"] | {"absent": None} | IDLE | given}


def rid(tree: Any) -> Any:
    """And without them again."""
    return tree | {"dense": {k: x for k, x in tree["dense"].items() if k not in (*IDLE, "absent")}}


def kinds(tree: Any) -> Any:
    leaves, structure = jax.tree.flatten(tree)
    return structure, [(x.shape, x.dtype, x.weak_type) for x in leaves]


def assert_idle_leaves_change_nothing(tx: Any, update: Callable[..., Any], plain: Any) -> None:
    alone, g, p = plain, beside(tree(1), ints=None), beside(plain)
    state = tx.init(p)
    updates, after = update(g, state, p)
    assert kinds(after) == kinds(state)
    assert kinds(jax.eval_shape(tx.init, p)) == kinds(state)
    assert kinds(jax.eval_shape(update, g, state, p)[1]) == kinds(state)
    assert updates["dense"]["none"] is None is updates["dense"]["ints"]
    expected, _ = update(tree(1), tx.init(alone), alone)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), rid(updates), expected)
    moved = gx.apply_updates(p, updates)
    assert moved["dense"]["none"] is None
    np.testing.assert_array_equal(moved["dense"]["ints"], np.arange(4))
    assert jax.tree.structure(gx.eval_params(tx, state, p)) == jax.tree.structure(p)
    assert [row.path for row in gx.explain(tx, p).rows if "none" in row.path or "absent" in row.path] == []
    gx.hyperparams(tx, state)
    laid = gx.state_shardings(tx, p, jax.tree.map(lambda x: PartitionSpec(), p), line(AxisType.Auto))
    assert jax.tree.structure(laid) == jax.tree.structure(state)
    if isinstance(tx, Chain):
        unpacked = gx.unpack(tx, state, p)
        assert unpacked.leaves["dense"]["none"] is None
        assert jax.tree.structure(unpacked) == jax.tree.structure(state) or any("packed/" in key for key in state.tree)
    for stage, memory in own(state).leaves["dense"]["kernel"].items():
        for field in memory._fields:
            assert gx.view(state, f"{stage}/{field}")["dense"]["none"] is None


@entries(lambda e: e.function != "masked")
def test_every_entry(entry: Entry) -> None:
    assert_idle_leaves_change_nothing(entry.tx, entry.update, tree(0))


INNER = {
    "adam": gx.adam(0.1),
    "lamb": gx.lamb(0.1),
    "clipped": gx.chain(gx.clip_by_global_norm(0.5), gx.adamw(0.1)),
}
AROUND: dict[str, Callable[[Any], Any]] = {
    "stored": lambda tx: gx.stored_as("int8", tx, "kernel", min_size=0),
    "stored by chance": lambda tx: gx.stored_as("bfloat16", tx, gx.ndim_at_least(1), min_size=0, stochastic=True),
    "offloaded": lambda tx: gx.offloaded(tx, "kernel"),
    "offloaded by function": lambda tx: gx.offloaded(tx, lambda path, x: x.ndim > 0),
    "sharded": lambda tx: gx.sharded(tx, line(AxisType.Auto)),
    "packed": lambda tx: gx.packed(tx, max_size=1),
    "guard": gx.guard,
    "accumulate": lambda tx: gx.accumulate(tx, 1),
    "loss scale": lambda tx: gx.static_loss_scale(tx, 4.0),
    "master": gx.master_weights,
    "master in a group": lambda tx: gx.groups([("kernel", gx.master_weights(tx))], default=tx),
    "guard in a group": lambda tx: gx.groups([("kernel", gx.guard(tx))], default=tx),
    "accumulate in a group": lambda tx: gx.groups([("kernel", gx.accumulate(tx, 1))], default=tx),
    "master behind freeze": lambda tx: gx.chain(gx.freeze("bias"), gx.master_weights(tx)),
    "guard behind freeze": lambda tx: gx.chain(gx.freeze("bias"), gx.guard(tx)),
    "masked": lambda tx: gx.masked(tx, gx.ndim_at_least(1)),
    "lookahead": lambda tx: gx.lookahead(tx, 2, 0.5),
    "measure": lambda tx: gx.measure(tx, grad_norm=True),
    "averaged": lambda tx: gx.chain(tx, gx.ema_of_params(0.9)),
    **{
        f"round {mode}": lambda tx, mode=mode: gx.chain(tx, gx.round_updates(mode))
        for mode in ("stochastic", "kahan", "split16")
    },
}


@pytest.mark.parametrize("inner", INNER.values(), ids=INNER)
@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
def test_around_an_optimizer(around: Callable[[Any], Any], inner: Any) -> None:
    params = tree(0)
    params["dense"]["kernel"] = params["dense"]["kernel"].astype(jnp.bfloat16)
    tx = around(inner)
    assert_idle_leaves_change_nothing(tx, jax.jit(tx.update, compiler_options=FAST), params)


def test_leaves_that_share_a_buffer() -> None:
    tx, p = gx.packed(gx.adam(0.1)), beside(tree(0))
    _, state = tx.update(beside(tree(1), ints=None), tx.init(p), p)
    _, plain = gx.adam(0.1).update(beside(tree(1), ints=None), gx.adam(0.1).init(p), p)
    unpacked = gx.unpack(tx, state, p)
    assert jax.tree.structure(unpacked.leaves) == jax.tree.structure(plain.leaves)
    jax.tree.map(np.testing.assert_array_equal, unpacked.leaves, plain.leaves)


@pytest.mark.parametrize(
    "tx", [gx.adam(0.1), gx.guard(gx.adam(0.1)), gx.packed(gx.lion(0.1)), gx.master_weights(gx.sgd(0.1))]
)
@pytest.mark.parametrize("params", [{"a": None}, [None, None], {"a": jnp.arange(3)}, {}])
def test_nothing_but_such_leaves(tx: Any, params: Any) -> None:
    g = jax.tree.map(lambda x: None, params)
    state = tx.init(params)
    updates, after = tx.update(g, state, params)
    assert kinds(after) == kinds(state)
    assert jax.tree.leaves(updates) == []
    assert jax.tree.structure(gx.eval_params(tx, state, params)) == jax.tree.structure(params)
    gx.explain(tx, params)
