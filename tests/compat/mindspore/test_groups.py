"""MindSpore's parameter groups: who is in them, what they say, and in which order the parameters are walked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat import mindspore
from tests.compat.mindspore.three import THREE, Halving
from tests.compat.one_step import PARAMS as TWO
from tests.compat.one_step import stepped

PARAMS = {"conv": {"kernel": jnp.full((3, 16), 2.0), "bias": jnp.ones(3)}, "norm": {"gamma": jnp.ones(4)}}
GRADS = jax.tree.map(jnp.ones_like, PARAMS)
KERNEL = ["conv/kernel", "norm/gamma"]


def kernels(path: str, leaf: Any) -> bool:
    return path in KERNEL


def ways() -> dict[str, Any]:
    return {
        "paths": KERNEL,
        "a generator of paths": (path for path in KERNEL),
        "a regular expression": "kernel|gamma",
        "a predicate": kernels,
        "a selector": ~gx.named("bias"),
        "a part of the tree": {"conv": {"kernel": PARAMS["conv"]["kernel"]}, "norm": PARAMS["norm"]},
    }


def moved(tx: gx.GradientTransformation) -> Any:
    updates, _ = tx.update(GRADS, tx.init(PARAMS), PARAMS)
    return jax.tree.map(lambda u: float(np.unique(u).item()), updates)


@pytest.mark.parametrize("way", ways())
def test_parameters_are_chosen(way: str) -> None:
    tx = mindspore.momentum(0.5, 0.9, groups=[{"params": ways()[way], "lr": 0.25}, {"params": "bias"}])
    assert moved(tx) == {"conv": {"kernel": -0.25, "bias": -0.5}, "norm": {"gamma": -0.25}}


def test_a_group_says_what_is_different() -> None:
    """Rate, decay (gamma too, with groups) and centralisation, which turns equal elements of a row into 0."""
    groups = [
        {"params": ["conv/kernel"], "grad_centralization": True, "weight_decay": 0.5},
        {"params": ["norm/gamma"], "weight_decay": 2},
        {"params": ["conv/bias"], "lr": 1.0, "weight_decay": 0.0},
    ]
    tx = mindspore.momentum(0.5, 0.0, weight_decay=0.25, groups=groups)
    assert moved(tx) == {"conv": {"kernel": 0.0, "bias": -1.0}, "norm": {"gamma": -1.5}}


def test_without_groups_beta_and_gamma_are_not_decayed() -> None:
    tx = mindspore.momentum(0.5, 0.0, weight_decay=0.5)
    assert moved(tx) == {"conv": {"kernel": -1.0, "bias": -0.75}, "norm": {"gamma": -0.5}}


def test_one_state_for_all_groups() -> None:
    plain, grouped = (
        mindspore.adam(groups=g) for g in (None, [{"params": "kernel", "lr": 0.1}, {"params": "bias|gamma"}])
    )
    assert jax.tree.structure(plain.init(PARAMS)) == jax.tree.structure(grouped.init(PARAMS))
    assert grouped == mindspore.adam(groups=[{"params": "kernel", "lr": 0.1}, {"params": "bias|gamma"}])
    names = set(gx.hyperparams(grouped, grouped.init(PARAMS)))
    assert names >= {"group0/learning_rate", "group1/learning_rate"}


def test_a_fixed_rate_beside_a_vector_loses_digits() -> None:
    """The framework adds 1 to it in float32, and takes 1 away again."""
    groups = [{"params": KERNEL, "lr": [0.5, 0.25]}, {"params": ["conv/bias"], "lr": 1e-5}]
    tx = mindspore.momentum(0.5, 0.0, groups=groups)
    expected = -float(np.float32(1 + 1e-5) - np.float32(1))
    assert moved(tx)["conv"]["bias"] == expected != -1e-5


@pytest.mark.parametrize(
    "order", [["norm/gamma", "conv/kernel", "conv/bias"], ["conv/bias", "norm/gamma", "conv/kernel"]]
)
def test_the_order_in_which_parameters_are_walked(order: list[str]) -> None:
    """Read off the program: the products with the momentum stand in that order, told apart by their shapes."""
    groups = [{"params": "kernel|gamma"}, {"params": ["conv/bias"]}, {"order_params": order}]
    tx = mindspore.momentum(0.5, 0.9, groups=groups)
    program = jax.make_jaxpr(tx.update)(GRADS, tx.init(PARAMS), PARAMS)
    shapes = [eqn.outvars[0].aval.shape for eqn in program.eqns if str(eqn.primitive) == "mul"]
    assert list(dict.fromkeys(shapes)) == [{"kernel": (3, 16), "bias": (3,), "gamma": (4,)}[p[5:]] for p in order]


def test_what_is_in_no_group_is_not_optimized() -> None:
    tx = mindspore.adam(0.5, weight_decay=0.1, groups=[{"params": KERNEL}, {"order_params": KERNEL[::-1]}])
    assert moved(tx)["conv"]["bias"] == 0.0
    assert not tx.init(PARAMS).leaves["conv"]["bias"]


REFUSED_GROUPS: list[tuple[str, Any, type[Exception], str]] = [
    ("element is a tensor", [jnp.ones(3)], TypeError, "groups"),
    ("element is an int", [1], TypeError, "groups"),
    ("parameter and dict mixed", [{"params": ["a"]}, "b"], TypeError, "groups"),
    ("empty list", [], ValueError, "groups"),
    ("a single parameter", jnp.ones(3), TypeError, "groups"),
    ("an int", 3, TypeError, "groups"),
    ("unknown key", [{"params": ["a", "b"], "foo": 1}], KeyError, "foo"),
    ("no params key", [{"lr": 0.1}], KeyError, "params"),
    ("params empty", [{"params": []}], ValueError, "params"),
    ("params None", [{"params": None}], ValueError, "params"),
    ("params a single parameter", [{"params": TWO["a"]}], TypeError, "params"),
    ("params element not a parameter", [{"params": [1.0]}], TypeError, "params"),
    ("same parameter in two groups", [{"params": ["a"]}, {"params": ["b", "a"]}], RuntimeError, "'a'"),
    ("same parameter in two groups, by patterns", [{"params": "a|b"}, {"params": "a"}], RuntimeError, "'a'"),
    ("same parameter twice in one group", [{"params": ["a", "a", "b"]}], RuntimeError, "'a'"),
    ("grad_centralization not bool", [{"params": ["a", "b"], "grad_centralization": 1}], TypeError, "grad_central"),
    ("weight_decay -0.1", [{"params": ["a", "b"], "weight_decay": -0.1}], ValueError, "weight_decay.*-0.1"),
    ("weight_decay str", [{"params": ["a", "b"], "weight_decay": "a"}], TypeError, "weight_decay.*'a'"),
    ("lr -0.1", [{"params": ["a", "b"], "lr": -0.1}], ValueError, "learning_rate.*-0.1"),
    ("lr None", [{"params": ["a", "b"], "lr": None}], TypeError, "learning_rate.*None"),
    ("order with another key", [{"params": ["a", "b"]}, {"order_params": ["a", "b"], "lr": 1}], ValueError, "alone"),
    ("order not iterable", [{"params": ["a", "b"]}, {"order_params": 3}], TypeError, "order_params.*3"),
    ("order shorter", [{"params": ["a", "b"]}, {"order_params": ["a"]}], ValueError, "order_params"),
    ("order shorter, by patterns", [{"params": "a|b"}, {"order_params": ["a"]}], ValueError, "order_params"),
    ("order with a foreign one", [{"params": ["a", "b"]}, {"order_params": ["c", "b"]}], ValueError, "'a'"),
    ("order with a repeated one", [{"params": ["a", "b"]}, {"order_params": ["a", "a"]}], ValueError, "'b'"),
    ("only order_params", [{"order_params": ["a"]}], ValueError, "order_params"),
    ("vectors of 3 and 2", [{"params": ["a"], "lr": [1, 2, 3]}, {"params": ["b"], "lr": [1, 2]}], ValueError, "lr"),
    ("a parameter that is not there", [{"params": ["a", "b", "c"]}], ValueError, "'c'"),
]

ACCEPTED_GROUPS: dict[str, Callable[[], Any]] = {
    "tuple": lambda: ({"params": ["a", "b"]},),
    "generator": lambda: ({"params": [name]} for name in ("a", "b")),
    "order_params empty": lambda: [{"params": ["a", "b"]}, {"order_params": []}],
    "group lr list, learning_rate schedule": lambda: [
        {"params": ["a"], "lr": [1, 2, 3]},
        {"params": ["b"], "lr": Halving()},
    ],
    "params a generator": lambda: [{"params": (name for name in ("a", "b"))}],
}


@pytest.mark.parametrize("optimizer", THREE)
@pytest.mark.parametrize(
    ("groups", "error", "words"), [r[1:] for r in REFUSED_GROUPS], ids=[r[0] for r in REFUSED_GROUPS]
)
def test_refused_groups(optimizer: str, groups: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        THREE[optimizer](groups=groups).init(TWO)
    assert caught.type is error


@pytest.mark.parametrize("optimizer", THREE)
@pytest.mark.parametrize("groups", ACCEPTED_GROUPS)
def test_accepted_groups(optimizer: str, groups: str) -> None:
    stepped(THREE[optimizer](groups=ACCEPTED_GROUPS[groups]()))


@pytest.mark.parametrize("optimizer", THREE)
def test_vectors_of_different_lengths(optimizer: str) -> None:
    with pytest.raises(ValueError, match=r"lr and learning_rate .* lengths"):
        THREE[optimizer](learning_rate=[0.1, 0.2], groups=[{"params": ["a", "b"], "lr": [0.1, 0.2, 0.3]}])
