"""What the real torch does with bad arguments, row by row, and what happens here.

Rows where this library decides otherwise stand at the end, each with its reason.
"""

from __future__ import annotations

import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat import torch as compat
from gradxform.compat import torch_schedules
from tests.compat.one_step import GRADS, PARAMS, stepped
from tests.trajectories import double

ROWS = gx.Rows(jnp.array([0]), jnp.ones((1, 5)), (3, 5))

REFUSED: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("sgd", {"lr": -0.1}, ValueError, r"lr.*-0\.1"),
    ("sgd", {"lr": None}, TypeError, "lr.*None"),
    ("sgd", {"lr": "a"}, TypeError, "lr.*'a'"),
    ("sgd", {"lr": np.ones(2)}, ValueError, r"lr.*\(2,\)"),
    ("sgd", {"lr": [0.1]}, TypeError, r"lr.*\[0\.1\]"),
    ("sgd", {"momentum": -0.1}, ValueError, r"momentum.*-0\.1"),
    ("sgd", {"momentum": "a"}, TypeError, "momentum.*'a'"),
    ("sgd", {"weight_decay": -0.1}, ValueError, r"weight_decay.*-0\.1"),
    ("sgd", {"nesterov": True}, ValueError, "nesterov.*momentum=0 and dampening=0"),
    (
        "sgd",
        {"nesterov": True, "momentum": 0.9, "dampening": 0.1},
        ValueError,
        r"nesterov.*momentum=0\.9 and dampening=0\.1",
    ),
    ("sgd", {"foo": 1}, TypeError, "foo"),
    ("adam", {"lr": -1}, ValueError, "lr.*-1"),
    ("adam", {"eps": -1}, ValueError, "eps.*-1"),
    ("adam", {"betas": (1.0, 0.999)}, ValueError, r"betas\[0\].*1\.0"),
    ("adam", {"betas": (-0.1, 0.999)}, ValueError, r"betas\[0\].*-0\.1"),
    ("adam", {"betas": (0.9, 1.0)}, ValueError, r"betas\[1\].*1\.0"),
    ("adam", {"weight_decay": -1}, ValueError, "weight_decay.*-1"),
    ("lbfgs", {"groups": [{"params": ["a"]}, {"params": ["b"]}]}, ValueError, "groups.*2"),
]

ACCEPTED: list[tuple[str, dict[str, Any], float]] = [
    ("sgd", {"lr": 0}, 1.0),
    ("sgd", {"lr": 1}, 0.0),
    ("sgd", {"lr": np.nan}, np.nan),
    ("sgd", {"lr": jnp.asarray(0.1)}, 0.9),
    ("sgd", {"lr": jnp.asarray([0.1])}, 0.9),
    ("sgd", {"momentum": 1.5}, 0.9),
    ("sgd", {"momentum": 0.9, "dampening": -0.1}, 0.9),
    ("sgd", {"momentum": 0.9, "dampening": 1.5}, 0.9),
    ("sgd", {"momentum": 0.9, "nesterov": 1}, 0.81),
    ("adam", {"betas": (0, 0.999)}, 0.9),
    ("adam", {"eps": 0}, 0.9),
    ("adam", {"amsgrad": 1}, 0.9),
]
"""The last entry: where a parameter of 1 is after a step with gradients of 1 and the rate 0.1."""

REFUSED_GROUPS: list[tuple[str, Any, type[Exception], str]] = [
    ("a tensor", jnp.ones(3), TypeError, "groups.*Array"),
    ("an empty list", [], ValueError, r"groups.*\[\]"),
    ("a number", 3, TypeError, "groups.*3"),
    ("an element that is no dict", [1.0], TypeError, r"groups.*1\.0"),
    ("params of numbers", [{"params": [1.0]}], TypeError, r"params.*1\.0"),
    ("params, a number", [{"params": 3}], TypeError, "params.*3"),
    ("the same parameter in two groups", [{"params": ["a"]}, {"params": ["b", "a"]}], ValueError, "'a'"),
    ("the same in two groups, by patterns", [{"params": "a|b"}, {"params": "a"}], ValueError, "'a'"),
    ("a set", [{"params": {"a", "b"}}], TypeError, "params.*set.*'a', 'b'"),
    ("a group without params", [{"lr": 0.1}], KeyError, r"params.*'lr': 0\.1"),
    ("a rate that is none", [{"params": ["a"], "lr": None}], TypeError, "lr.*None"),
]

ACCEPTED_GROUPS: dict[str, tuple[Any, float]] = {
    "nesterov in a group, momentum 0": ([{"params": ["a", "b"], "nesterov": True}], 0.9),
    "the same parameter twice in a list": ([{"params": ["a", "a", "b"]}], 0.9),
    "unknown key": ([{"params": ["a", "b"], "foo": 1}], 0.9),
    "a negative rate": ([{"params": ["a", "b"], "lr": -0.1}], 1.1),
    "an empty group": ([{"params": ["a", "b"]}, {"params": []}], 0.9),
}


def make(optimizer: str, **kwargs: Any) -> gx.GradientTransformation:
    return getattr(compat, optimizer)(**{"lr": 0.1, **kwargs})


def shown(x: Any) -> str:
    return f"{x!r:.60}"


@pytest.mark.parametrize(("optimizer", "kwargs", "error", "words"), REFUSED, ids=shown)
def test_refused(optimizer: str, kwargs: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        make(optimizer, **kwargs)
    assert caught.type is error


@pytest.mark.parametrize(("optimizer", "kwargs", "after"), ACCEPTED, ids=shown)
def test_accepted(optimizer: str, kwargs: dict[str, Any], after: float) -> None:
    np.testing.assert_allclose(stepped(make(optimizer, **kwargs))["b"], after, rtol=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize(
    ("groups", "error", "words"), [r[1:] for r in REFUSED_GROUPS], ids=[r[0] for r in REFUSED_GROUPS]
)
def test_refused_groups(optimizer: str, groups: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        make(optimizer, groups=groups).init(PARAMS)
    assert caught.type is error


@pytest.mark.parametrize("name", ACCEPTED_GROUPS)
def test_accepted_groups(name: str) -> None:
    groups, after = ACCEPTED_GROUPS[name]
    found = stepped(make("sgd", groups=groups))
    jax.tree.map(lambda w: np.testing.assert_allclose(w, after, rtol=1e-6), found)


def test_maximize_goes_by_name_only() -> None:
    with pytest.raises(TypeError, match="positional"):
        compat.sgd(0.1, 0, 0, 0, False, True)  # type: ignore[misc]


def test_the_default_rate() -> None:
    np.testing.assert_allclose(stepped(compat.sgd())["b"], 0.999, rtol=1e-6)


def test_a_step_without_gradients() -> None:
    found = stepped(make("sgd", momentum=0.9, weight_decay=0.1), {"a": None, "b": None})
    jax.tree.map(np.testing.assert_array_equal, found, PARAMS)


def test_parameters_without_gradients_pass() -> None:
    """Integers, and those with requires_grad=False: here, without a gradient or frozen."""
    params = {"n": jnp.arange(3), "fixed": jnp.ones(3), "w": jnp.ones(3)}
    grads = {"n": None, "fixed": None, "w": jnp.ones(3)}
    found = stepped(make("sgd", momentum=0.9, weight_decay=0.1), grads, params)
    np.testing.assert_array_equal(found["n"], np.arange(3))
    assert found["n"].dtype == jnp.int32
    np.testing.assert_array_equal(found["fixed"], np.ones(3))
    np.testing.assert_allclose(found["w"], 1 - 0.1 * 1.1, rtol=1e-6)


@pytest.mark.parametrize(
    ("optimizer", "grads", "words"),
    [
        ("sparse_adam", GRADS["a"], r"sparse_adam takes sparse gradients.*\(3, 5\)"),
        ("adam", ROWS, r"adam takes dense gradients.*\(3, 5\)"),
    ],
    ids=["dense", "sparse"],
)
def test_gradients_of_the_wrong_kind(optimizer: str, grads: Any, words: str) -> None:
    with pytest.raises(RuntimeError, match=words):
        stepped(make(optimizer), {"a": grads}, {"a": PARAMS["a"]})


def test_a_closure_is_needed() -> None:
    with pytest.raises(TypeError, match=r"lbfgs.*closure.*value_fn"):
        stepped(make("lbfgs"))


ALL = [name for name in compat.__all__ if "lr" in inspect.signature(getattr(compat, name)).parameters]
WRITTEN: list[tuple[str, Any]] = [
    ("a tree of parameters", lambda make: make(PARAMS)),
    ("what runs through one", lambda make: make(iter(PARAMS.values()))),
    ("with the rate by name", lambda make: make(list(PARAMS.values()), lr=0.1)),
    ("one array", lambda make: make(PARAMS["a"], lr=0.1)),
    ("groups", lambda make: make([{"params": PARAMS["a"], "lr": 0.1}, {"params": PARAMS["b"]}])),
    ("by name", lambda make: make(params=PARAMS, lr=0.1)),
    ("a module", lambda make: make(type("Module", (), {"parameters": lambda self: []})(), lr=0.1)),
]


@pytest.mark.parametrize("written", [w for _, w in WRITTEN], ids=[name for name, _ in WRITTEN])
def test_torchs_calls_as_they_are_written_there(written: Any) -> None:
    for name in ALL:
        with pytest.raises(TypeError, match=rf"params: {name} takes the parameters at init.*{name}\(lr=\.\.\., groups"):
            written(getattr(compat, name))


def test_flags_of_kernels_change_nothing() -> None:
    """RuntimeError for `fused` with one of the others there, which is about kernels; here all of them pass."""
    every = {"foreach": None, "fused": True, "differentiable": False, "capturable": np.True_}
    for name in ALL:
        assert make(name, **every) == make(name)
    assert make("sgd", **every, maximize=True) == make("sgd", maximize=True)
    with pytest.raises(TypeError, match="foreach must be True or False, got 'no'"):
        make("adam", foreach="no")


CYCLE = torch_schedules.OneCycleLR(0.3, total_steps=30)
FIXED: list[tuple[str, dict[str, Any], str]] = [
    ("sgd", {}, r"^momentum must be .*write momentum=lr\.momentum, or .*got momentum=0\.0"),
    ("sgd", {"momentum": 0.9}, r"^momentum must be .*got momentum=0\.9"),
    ("rmsprop", {"momentum": 0.9}, r"^momentum must be .*got momentum=0\.9"),
    *(
        (name, {}, r"^betas\[0\] must be .*write betas=\(lr\.momentum, betas\[1\]\), or .*got betas\[0\]=0\.9")
        for name in ("adam", "adamw", "adamax", "nadam", "radam", "sparse_adam")
    ),
]


@pytest.mark.parametrize(("name", "kwargs", "words"), FIXED, ids=shown)
def test_a_fixed_momentum_beside_a_scheduler_that_cycles_it(name: str, kwargs: dict[str, Any], words: str) -> None:
    """torch overwrites it with the scheduler's; here it would silently stay."""
    for rate in (CYCLE, torch_schedules.ChainedScheduler([CYCLE]), gx.tunable(CYCLE)):
        with pytest.raises(ValueError, match=words):
            make(name, lr=rate, **kwargs)
    with pytest.raises(ValueError, match=words):
        make(name, groups=[{"params": ["a"], "lr": CYCLE}, {"params": ["b"]}], **kwargs)
    cycled = {"betas": (CYCLE.momentum, 0.99)} if "betas" in words else {"momentum": CYCLE.momentum}
    make(name, lr=CYCLE, **{**kwargs, **cycled})
    make(name, lr=torch_schedules.OneCycleLR(0.3, total_steps=30, cycle_momentum=False), **kwargs)


# What follows is decided otherwise here than torch does.


def test_trees_of_parameters() -> None:
    """TypeError for None, one tensor or a number, ValueError for an empty list, there; here any tree goes to `init`."""
    tx = make("sgd")
    for empty in (None, []):
        assert not jax.tree.leaves(tx.init(empty).leaves)
    np.testing.assert_allclose(stepped(tx, jnp.ones(3), jnp.ones(3)), 0.9, rtol=1e-6)
    np.testing.assert_allclose(stepped(tx, [1.0], [1.0])[0], 0.9, rtol=1e-6)
    with pytest.raises(TypeError, match=r"parameter '0' must be an array.*str"):
        tx.init(["a"])


def test_computed_parameters() -> None:
    """A tensor that is no leaf of autograd is a ValueError there; an array keeps no history, so any may be trained."""

    def after(x: Any) -> Any:
        return stepped(make("sgd"), jnp.ones(3), 2 * x)

    np.testing.assert_allclose(jax.jit(after)(jnp.ones(3)), 1.9, rtol=1e-6)


def test_gradients_of_another_shape() -> None:
    """RuntimeError by autograd, when a gradient is assigned, there; here the transformation sees it: ValueError."""
    with pytest.raises(ValueError, match=r"'b' has shape \(2,\), its parameter \(3,\)"):
        stepped(make("sgd"), {**GRADS, "b": jnp.ones(2)})


def test_gradients_of_another_dtype() -> None:
    """RuntimeError by autograd there; here gradients may have any real dtype, and parameters keep theirs."""
    with double():
        params = {"w": jnp.ones(3, jnp.float32)}
        for dtype in (jnp.float64, jnp.bfloat16):
            found = stepped(make("sgd", momentum=0.9), {"w": jnp.ones(3, dtype)}, params)
            assert found["w"].dtype == jnp.float32
            np.testing.assert_allclose(found["w"], 0.9, rtol=1e-6)
