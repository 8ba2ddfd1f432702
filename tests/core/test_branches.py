"""Groups as a stage: which leaves each branch sees, and the names under which it keeps what it remembers."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.core.branches import Split
from gradxform.core.stage import Names
from gradxform.params.groups import LabelTree

P = {"a": jnp.array([3.0, 4.0]), "b": jnp.array([12.0])}
LABELS = LabelTree((("a", "first"), ("b", "second")))


def split(first: gx.GradientTransformation, second: gx.GradientTransformation) -> Split:
    return Split(LABELS, {"first": gx.chain(first), "second": gx.chain(second)})


def test_each_branch_sees_its_own_leaves_alone():
    tx = gx.chain(gx.identity()).with_fields(stages=(split(gx.clip_by_global_norm(1.0), gx.scale(2.0)),))
    updates, _ = tx.update(P, tx.init(P), P)
    np.testing.assert_allclose(updates["a"], [0.6, 0.8], rtol=1e-6)
    np.testing.assert_array_equal(updates["b"], [24.0])


def test_names_stand_apart_from_those_before():
    stage = split(gx.trace(0.9), gx.trace(0.5))
    assert stage.inner_names() == {"trace"}
    assert stage.after(Names(("trace",))).inner_names() == {"trace_2"}
    assert [name for name, _ in stage.through("groups", "b", P["b"])] == ["second/trace"]


def test_reach_is_the_farthest_and_rules_are_exchanged_in_every_branch():
    stage = split(gx.clip_by_norm(1.0), gx.sgd(0.1))
    assert stage.facts.reach is gx.Reach.ARRAY
    seen: list[str] = []
    assert stage.map_rules(lambda rule: seen.append(rule.name) or rule, "test") == stage
    assert seen == ["clip_by_norm", "learning_rate"]
    assert hash(stage) == hash(split(gx.clip_by_norm(1.0), gx.sgd(0.1)))


def test_a_leaf_without_label_is_refused():
    tx = gx.chain().with_fields(stages=(Split(LabelTree((("a", "first"),)), {"first": gx.chain(gx.sgd(0.1))}),))
    with pytest.raises(ValueError, match="no label for 'b'"):
        tx.init(P)


def test_a_parameter_that_is_none_passes_groups_inside_groups():
    inside = gx.groups([(gx.ndim_at_least(1), gx.trace(0.9))], default=gx.sgd(0.1))
    tx = gx.groups([(gx.ndim_at_least(1), inside)], default=gx.sgd(0.1))
    params = {"a": None, "b": jnp.ones(2)}
    updates, state = tx.update({"a": None, "b": jnp.ones(2)}, tx.init(params), params)
    assert updates["a"] is None
    np.testing.assert_array_equal(updates["b"], [1.0, 1.0])
    assert state.leaves["a"] is None


def test_a_label_that_a_function_gives_must_have_a_transformation():
    tx = gx.partition({"first": gx.sgd(0.1)}, lambda params: dict.fromkeys(params, "second"))
    with pytest.raises(ValueError, match=r"the label 'second' of 'a' has no transformation; there are \['first'\]"):
        tx.init(P)
