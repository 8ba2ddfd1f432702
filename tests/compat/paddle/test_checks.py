"""What the real framework does with bad arguments, row by row, and what happens here.

Rows where this library decides otherwise stand at the end, each with its reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat import paddle
from gradxform.compat.paddle.schedules import StepDecay
from tests.compat.one_step import GRADS, PARAMS, stepped

REFUSED: list[tuple[str, str, Any, type[Exception]]] = [
    ("momentum", "learning_rate", 1, TypeError),
    ("momentum", "learning_rate", jnp.asarray(0.1), TypeError),
    ("momentum", "learning_rate", None, ValueError),
    ("momentum", "learning_rate", "a", TypeError),
    ("momentum", "learning_rate", np.float32(0.1), TypeError),
    ("momentum", "learning_rate", [0.1], TypeError),
    ("momentum", "learning_rate", True, TypeError),
    ("momentum", "momentum", None, ValueError),
    ("momentum", "momentum", "a", TypeError),
    ("momentum", "weight_decay", jnp.ones(1), TypeError),
    ("momentum", "weight_decay", "a", TypeError),
    ("momentum", "weight_decay", np.float32(0.1), TypeError),
    ("momentum", "grad_clip", 1.0, TypeError),
    ("momentum", "grad_clip", object, TypeError),
    ("momentum", "foo", 1, TypeError),
    ("adam", "beta1", 1.0, ValueError),
    ("adam", "beta1", -0.1, ValueError),
    ("adam", "beta2", 1.0, ValueError),
    ("adam", "epsilon", -1.0, ValueError),
    ("adam", "beta1", None, ValueError),
    ("adamw", "weight_decay", paddle.L2Decay(0.1), TypeError),
    ("adamw", "weight_decay", None, TypeError),
    ("adamw", "lr_ratio", 0.5, NotImplementedError),
    ("adamw", "learning_rate", 1, TypeError),
    ("rmsprop", "learning_rate", None, ValueError),
    ("rmsprop", "rho", -0.1, ValueError),
    ("rmsprop", "epsilon", -1.0, ValueError),
    ("rmsprop", "momentum", -0.1, ValueError),
]

ACCEPTED: list[tuple[str, str, Any, float | None]] = [
    ("momentum", "learning_rate", -0.1, 1.1),
    ("momentum", "learning_rate", np.float64(0.1), 0.9),
    ("momentum", "momentum", -0.1, 0.9),
    ("momentum", "momentum", 1, 0.9),
    ("momentum", "weight_decay", -0.1, 0.91),
    ("momentum", "weight_decay", 1, 0.8),
    ("momentum", "weight_decay", np.float64(0.1), 0.89),
    ("momentum", "weight_decay", True, 0.8),
    ("momentum", "weight_decay", None, 0.9),
    ("momentum", "weight_decay", paddle.L2Decay(-1), 1.0),
    ("momentum", "use_nesterov", 1, 0.81),
    ("momentum", "grad_clip", paddle.ClipGradByGlobalNorm(0), 1.0),
    ("momentum", "grad_clip", paddle.ClipGradByGlobalNorm(-1), 1.0 + 0.1 / np.sqrt(18.0)),
    ("adam", "epsilon", 0, None),
    ("adam", "beta1", 0, None),
    ("adam", "beta1", np.array([0.5], np.float32), None),
    ("adam", "beta2", jnp.array(0.5), None),
    ("adamw", "weight_decay", 1, None),
    ("adamw", "weight_decay", -1.0, None),
]
"""The last entry: where a parameter of 1 is after a step with gradients of 1 and the rate 0.1."""

REFUSED_GROUPS: list[tuple[str, Any, type[Exception], str]] = [
    ("a tensor", jnp.ones(3), TypeError, "groups"),
    ("a dict", {"params": ["a"]}, TypeError, "groups"),
    ("an empty list", [], ValueError, "groups"),
    ("an element that is no dict", [1.0], TypeError, "groups.*1.0"),
    ("a group without params", [{"learning_rate": 0.1}], ValueError, "params"),
    ("the same parameter in two groups", [{"params": ["a"]}, {"params": ["b", "a"]}], ValueError, "'a'"),
    ("the same in two groups, by patterns", [{"params": "a|b"}, {"params": "a"}], ValueError, "'a'"),
    ("a set first", [{"params": {"a", "b"}}], TypeError, "set.*'a', 'b'"),
    ("a set later", [{"params": ["a"]}, {"params": {"b"}}], TypeError, "set.*'b'"),
    ("a number", [{"params": 3}], TypeError, "params.*3"),
    ("a parameter that is not there", [{"params": ["a", "c"]}], ValueError, "'c'"),
    ("a decay that is none", [{"params": ["a"], "weight_decay": "a"}], TypeError, "weight_decay.*'a'"),
    ("a clip that is none", [{"params": ["a"], "grad_clip": 1.0}], TypeError, r"grad_clip.*1\.0"),
    ("a momentum that is none", [{"params": ["a"], "momentum": None}], ValueError, "momentum.*None"),
]

ACCEPTED_GROUPS: dict[str, Callable[[], Any]] = {
    "unknown key": lambda: [{"params": ["a", "b"], "foo": 1}],
    "a tuple of dicts": lambda: ({"params": ["a"]}, {"params": ["b"]}),
    "the same parameter twice in a list": lambda: [{"params": ["a", "a", "b"]}],
    "a generator": lambda: ({"params": [name]} for name in ("a", "b")),
}

REFUSED_PARTS: list[tuple[str, Callable[[], Any], type[Exception], str]] = [
    ("param_attr, a list", lambda: paddle.momentum(param_attr=[1]), TypeError, r"param_attr.*\[1\]"),
    ("param_attr of numbers", lambda: paddle.momentum(param_attr={"a": 1}), TypeError, "param_attr.*1.*'a'"),
    ("frozen, a number", lambda: paddle.momentum(frozen=3), TypeError, "3"),
]


def make(optimizer: str, **kwargs: Any) -> gx.GradientTransformation:
    return getattr(paddle, optimizer)(**{"learning_rate": 0.1, **kwargs})


def shown(x: Any) -> str:
    return f"{x!r:.30}"


@pytest.mark.parametrize(("optimizer", "name", "x", "error"), REFUSED, ids=shown)
def test_refused(optimizer: str, name: str, x: Any, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        make(optimizer, **{name: x})
    assert caught.type is error
    assert name in str(caught.value)
    assert name == "foo" or any(value in str(caught.value) for value in (repr(x), str(x)))


@pytest.mark.parametrize(("optimizer", "name", "x", "after"), ACCEPTED, ids=shown)
def test_accepted(optimizer: str, name: str, x: Any, after: float | None) -> None:
    found = stepped(make(optimizer, **{name: x}))
    assert np.isfinite(found["b"]).all()
    if after is not None:
        np.testing.assert_allclose(found["b"], after, rtol=1e-6)


@pytest.mark.parametrize("optimizer", ["momentum", "rmsprop"])
@pytest.mark.parametrize(
    ("groups", "error", "words"), [r[1:] for r in REFUSED_GROUPS], ids=[r[0] for r in REFUSED_GROUPS]
)
def test_refused_groups(optimizer: str, groups: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        make(optimizer, groups=groups).init(PARAMS)
    assert caught.type is error


@pytest.mark.parametrize("groups", ACCEPTED_GROUPS)
def test_accepted_groups(groups: str) -> None:
    found = stepped(make("momentum", groups=ACCEPTED_GROUPS[groups]()))
    jax.tree.map(lambda w: np.testing.assert_allclose(w, 0.9, rtol=1e-6), found)


@pytest.mark.parametrize(("build", "error", "words"), [r[1:] for r in REFUSED_PARTS], ids=[r[0] for r in REFUSED_PARTS])
def test_refused_parts(build: Callable[[], Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        build()
    assert caught.type is error


def test_defaults() -> None:
    assert paddle.momentum() == paddle.momentum(0.001, 0.9, False, None, None, None)
    assert paddle.momentum() != paddle.momentum(weight_decay=0.01)


def test_a_step_without_gradients() -> None:
    found = stepped(make("momentum", weight_decay=0.1), {"a": None, "b": None})
    jax.tree.map(np.testing.assert_array_equal, found, PARAMS)


# What follows is decided otherwise here than the framework does.


def test_trees_of_parameters() -> None:
    """AttributeError for None, TypeError for one tensor, there; here parameters arrive at `init`, as any tree."""
    tx = make("momentum")
    assert not jax.tree.leaves(tx.init(None).leaves)
    np.testing.assert_allclose(stepped(tx, jnp.ones(3), jnp.ones(3)), 0.9, rtol=1e-6)


def test_the_rate_of_an_object_is_not_here() -> None:
    """`set_lr` raises RuntimeError beside a scheduler, TypeError for a string; so here, of a tunable rate."""
    tx = make("momentum")
    assert not hasattr(tx, "set_lr")
    assert not hasattr(tx, "set_lr_scheduler")
    state = tx.init(PARAMS)
    for fixed in (tx, make("momentum", learning_rate=StepDecay(0.1, 3))):
        with pytest.raises(ValueError, match="learning_rate"):
            gx.with_hyperparams(fixed.init(PARAMS), learning_rate=0.2)
    tunable = make("momentum", learning_rate=gx.tunable(0.1))
    state = gx.with_hyperparams(tunable.init(PARAMS), learning_rate=1)
    updates, _ = tunable.update(GRADS, state, PARAMS)
    np.testing.assert_allclose(updates["b"], -1.0)
    with pytest.raises(TypeError, match=r"learning_rate.*'x'"):
        gx.with_hyperparams(state, learning_rate="x")
