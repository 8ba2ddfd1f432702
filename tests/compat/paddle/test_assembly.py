"""What paddle's optimizers share around a rule: clip, decay, learning rate, groups, attributes of single parameters."""

from __future__ import annotations

import functools
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


def decayed(make: Any, group: dict[str, Any], decay: Any, attribute: Any = None) -> float:
    """Where 2 is after one step with the gradient 0.5 and the rate 0.1, in a group."""
    params = {"w": jnp.full(1, 2.0)}
    own = None if attribute is None else {"w": paddle.ParamAttr(regularizer=attribute)}
    tx = make(0.1, weight_decay=decay, groups=[{"params": ["w"], **group}], param_attr=own)
    return float(stepped(tx, {"w": jnp.full(1, 0.5)}, params)["w"][0])


L1, L2 = paddle.L1Decay(0.5), paddle.L2Decay(0.3)


@pytest.mark.parametrize(
    ("group", "decay", "attribute", "after"),
    [
        ({"weight_decay": 0.1}, None, L2, 1.93),
        ({"weight_decay": 0.1}, L1, None, 1.88),
        ({"weight_decay": 0.0}, L1, None, 1.90),
        ({"weight_decay": None}, L1, L2, 1.90),
        ({"weight_decay": paddle.L1Decay(0.25)}, L1, None, 1.925),
        ({}, L1, L2, 1.90),
        ({"weight_decay": None}, 0.5, None, 1.95),
        ({"weight_decay": 0.0}, 0.5, None, 1.95),
        ({}, 0.5, L1, 1.85),
        ({}, 1, None, 1.75),
    ],
    ids=str,
)
def test_decay_in_a_group_of_momentum(group: Any, decay: Any, attribute: Any, after: float) -> None:
    """The first three are of live 3.3.1. In a group attributes lose their decay; the optimizer's L1 stays beside L2."""
    assert decayed(paddle.momentum, group, decay, attribute) == pytest.approx(after, rel=1e-6)


OTHERS = {
    "sgd": paddle.sgd,
    "adam": functools.partial(paddle.adam, epsilon=1.0),
    "adamax": functools.partial(paddle.adamax, epsilon=4.0),
    "nadam": functools.partial(paddle.nadam, epsilon=1.0),
    "radam": paddle.radam,
    "adagrad": functools.partial(paddle.adagrad, epsilon=1.0),
    "adadelta": functools.partial(paddle.adadelta, epsilon=1.0),
    "rmsprop": functools.partial(paddle.rmsprop, epsilon=1.0),
}


@pytest.mark.parametrize("name", OTHERS)
def test_decay_in_a_group_of_the_others(name: str) -> None:
    """None falls back to the optimizer's decay; all else, 0.0 too, takes its place, and an attribute loses its own."""
    make = OTHERS[name]

    def alone(decay: Any) -> float:
        tx, params = make(0.1, weight_decay=decay), {"w": jnp.full(1, 2.0)}
        return float(stepped(tx, {"w": jnp.full(1, 0.5)}, params)["w"][0])

    assert len({alone(x) for x in (None, 0.1, 0.5, L1, L2)}) == 5
    for group, decay, acts in [
        ({"weight_decay": None}, 0.5, 0.5),
        ({"weight_decay": None}, L1, L1),
        ({"weight_decay": 0.1}, L1, 0.1),
        ({"weight_decay": 0.0}, L1, None),
        ({"weight_decay": L1}, 0.5, L1),
        ({}, 0.5, 0.5),
        ({}, None, None),
    ]:
        assert decayed(make, group, decay, L2) == alone(acts), (group, decay)


def test_adam_in_a_group_falls_back_as_there() -> None:
    """Live 3.3.1."""
    adam = functools.partial(paddle.adam, epsilon=1.0)
    assert decayed(adam, {"weight_decay": None}, 0.5) == pytest.approx(1.94, rel=1e-6)


def test_the_kin_without_an_l2_decay_of_their_own() -> None:
    """AdamW has an `_add_param_group` of its own, which leaves regularizers alone; Lamb takes a group's decay as L2."""
    params, grads = {"w": jnp.full(1, 2.0)}, {"w": jnp.full(1, 0.5)}

    def moved(make: Any, attribute: Any, **group: Any) -> float:
        tx = make(0.1, epsilon=1.0, groups=[{"params": ["w"], **group}], param_attr={"w": attribute})
        return float(stepped(tx, grads, params)["w"][0])

    lost, plain = paddle.ParamAttr(regularizer=L2), paddle.ParamAttr()
    adamw = 2.0 * (1 - 0.1 * 0.25) - 0.1 * 1.1 / (1.1 + 1.0)
    assert moved(paddle.adamw, lost, weight_decay=0.25) == pytest.approx(adamw, rel=1e-6)
    assert moved(paddle.lamb, lost) == moved(paddle.lamb, plain)


@pytest.mark.parametrize("x", [0, 1, True])
def test_an_int_is_no_decay_of_a_group(x: Any) -> None:
    """It is called as a regularizer there, at the first step; the constructor takes it, and so does AdamW's group."""
    with pytest.raises(TypeError, match=rf"weight_decay of a group .*got {x}.*write {float(x)}"):
        paddle.momentum(0.1, groups=[{"params": ["w"], "weight_decay": x}])
    with pytest.raises(TypeError, match="weight_decay of a group"):
        paddle.adam(0.1, groups=[{"params": ["w"], "weight_decay": x}])
    paddle.adamw(0.1, groups=[{"params": ["w"], "weight_decay": x}])


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
