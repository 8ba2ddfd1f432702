"""What paddle's optimizers share around a rule: clip, decay, learning rate, groups, attributes of single parameters."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradxform.compat import paddle
from gradxform.compat.paddle.assembly import assembled
from tests.compat.one_step import stepped

PARAMS = {"a": jnp.full(2, 4.0), "b": jnp.full(2, 4.0)}
GRADS = {"a": jnp.full(2, 3.0), "b": jnp.full(2, -1.0)}


def moved(
    learning_rate: Any = 0.5,
    weight_decay: Any = None,
    grad_clip: Any = None,
    groups: Any = None,
    param_attr: Any = None,
    frozen: Any = None,
    **rest: Any,
) -> dict[str, float]:
    """The update of plain descent, one number a leaf, all of whose elements are equal."""
    tx = assembled(lambda scaled: scaled, learning_rate, weight_decay, grad_clip, groups, param_attr, frozen, **rest)
    updates, _ = tx.update(GRADS, tx.init(PARAMS), PARAMS)
    return jax.tree.map(lambda u: float(np.unique(u).item()), updates)


def test_the_clip_never_sees_the_decay() -> None:
    clip = paddle.ClipGradByValue(2.0)
    assert moved(grad_clip=clip) == {"a": -1.0, "b": 0.5}
    assert moved(weight_decay=0.5, grad_clip=clip) == {"a": -2.0, "b": -0.5}
    assert moved(weight_decay=paddle.L1Decay(0.5), grad_clip=clip) == {"a": -1.25, "b": 0.25}


def test_a_group_has_a_factor_on_the_rate_and_options_of_its_own() -> None:
    groups = [{"params": ["a"], "learning_rate": 0.5, "weight_decay": 0.25}, {"params": ["b"]}]
    assert moved(groups=groups) == {"a": -1.0, "b": 0.5}
    assert moved(groups=groups[:1]) == {"a": -1.0, "b": 0.0}


def test_the_first_attribute_that_matches_is_the_parameters() -> None:
    attributes = {
        "a": paddle.ParamAttr(learning_rate=2.0, regularizer=paddle.L2Decay(0.25)),
        "a|b": paddle.ParamAttr(learning_rate=4.0, need_clip=False),
    }
    clip = paddle.ClipGradByValue(0.5)
    assert moved(param_attr=attributes, grad_clip=clip, weight_decay=0.5) == {"a": -1.5, "b": -2.0}


def test_a_groups_factor_takes_the_place_of_an_attributes() -> None:
    attributes = {"a": paddle.ParamAttr(learning_rate=2.0)}
    assert moved(param_attr=attributes)["a"] == -3.0
    assert moved(param_attr=attributes, groups=[{"params": ["a", "b"], "learning_rate": 0.5}])["a"] == -0.75


def test_frozen_and_untrainable_parameters_stay() -> None:
    assert moved(frozen={"b"}, weight_decay=0.5) == {"a": -2.5, "b": 0.0}
    assert moved(param_attr={"a": paddle.ParamAttr(trainable=False)}) == {"a": 0.0, "b": 0.5}


def test_a_coefficient_becomes_what_the_framework_makes_of_it() -> None:
    """That of L1 decay stays."""
    assert moved(weight_decay=0.5, coefficient=lambda x: 2 * x)["a"] == -3.5
    assert moved(weight_decay=paddle.L1Decay(0.5), coefficient=lambda x: 2 * x)["a"] == -1.75


def test_beside_groups_an_attribute_that_matches_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="nobody"):
        moved(groups=[{"params": ["a", "b"]}], param_attr={"nobody": paddle.ParamAttr()})


@pytest.mark.parametrize(
    ("clip", "g", "after"),
    [
        (paddle.ClipGradByNorm(1.0), [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]),
        (paddle.ClipGradByGlobalNorm(1.0), [np.nan, 1.0, 1.0], [np.nan, np.nan, np.nan]),
        (paddle.ClipGradByGlobalNorm(1.0), [np.inf, 1.0, 1.0], [np.nan, 1.0, 1.0]),
    ],
    ids=["zero", "nan", "inf"],
)
def test_clips_of_gradients_that_are_no_numbers(clip: Any, g: Any, after: Any) -> None:
    found = stepped(paddle.momentum(0.1, grad_clip=clip), {"w": jnp.array(g)}, {"w": jnp.ones(3)})
    np.testing.assert_array_equal(found["w"], np.array(after, np.float32))
