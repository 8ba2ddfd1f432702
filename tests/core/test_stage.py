"""The plan knows which rule stands at which leaf; whoever asks, gets one answer."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import pytest

import gradxform as gx
from gradxform.core.stage import Plan, Step
from gradxform.core.tree import Leaf, open_tree
from tests.catalogue import Entry, entries, tree

PATHS = ("dense/bias", "dense/kernel", "scale")


def planned(tx: Any, params: Any = None) -> Plan:
    params = tree(0) if params is None else params
    leaves = [Leaf(path, None, p, {}) for path, p in zip(*open_tree(params)[:2], strict=True)]
    return tx.planned(leaves, Step(0, None, {}, {}, {}, params)).plan


def test_stages_in_order_with_masks_groups_and_frozen_leaves() -> None:
    groups = gx.groups([("bias", gx.sgd(0.1), "slow")], default=gx.adamw(0.1, mask="kernel"))
    tx = gx.chain(gx.freeze("scale"), gx.clip_by_norm(1.0), groups)
    plan = planned(tx)
    assert [key for key, _ in plan.through("dense/kernel")] == [
        "clip_by_norm", "default/adam", "default/weight_decay", "default/learning_rate",
    ]  # fmt: skip
    assert [key for key, _ in plan.through("dense/bias")] == ["clip_by_norm", "slow/learning_rate"]
    assert plan.frozen == {"freeze": {"scale"}}
    assert plan.groups == {"groups": {"dense/bias": "slow", "dense/kernel": "default", "scale": "default"}}


def test_leaves_with_equal_rules_share_one_object() -> None:
    plan = planned(gx.stored_as("int8", gx.adam(0.1), min_size=20))
    kernel, bias, scale = (dict(plan.through(path))["adam"] for path in ("dense/kernel", "dense/bias", "scale"))
    assert bias is scale
    assert bias is not kernel
    assert bias.exact
    assert not kernel.exact


def test_packs_are_leaves_with_one_dtype_and_the_same_rules() -> None:
    plan = planned(gx.packed(gx.adamw(0.1, mask="kernel")))
    assert plan.packs == {"packed": [["dense/bias", "scale"]]}


@entries(lambda e: e.reach is not None)
def test_one_leaf_alone_is_told_the_same(entry: Entry) -> None:
    """`Chain.through`, which knows no other leaf, and the plan agree on every entry."""
    plan = planned(entry.tx)
    for path, p in zip(PATHS, (jnp.ones(5), jnp.ones((6, 5)), jnp.ones(())), strict=True):
        frozen = any(path in paths for key, paths in plan.frozen.items() if "/" not in key)
        alone = [key for key, _ in entry.tx.through(path, p)]
        assert frozen or alone == [key for key, _ in plan.through(path)]


def test_groups_that_remember_need_their_state():
    tx, g = gx.groups([("a", gx.trace(0.9), "first")], default=gx.sgd(0.1)), {"a": jnp.ones(2), "b": jnp.ones(2)}
    for state in (None, ()):
        with pytest.raises((TypeError, ValueError), match="state"):
            tx.update(g, state)
