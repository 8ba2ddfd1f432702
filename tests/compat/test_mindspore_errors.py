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
from gradxform.compat import mindspore
from gradxform.compat.mindspore_schedules import LearningRateSchedule

PARAMS = {"a": jnp.ones((3, 5)), "b": jnp.ones(3)}
GRADS = jax.tree.map(lambda p: 0.1 * p, PARAMS)


class Halving(LearningRateSchedule):
    def construct(self, global_step: Any) -> Any:
        return 0.5


def momentum(learning_rate: Any = 0.1, momentum: Any = 0.9, **kwargs: Any) -> gx.GradientTransformation:
    return mindspore.momentum(learning_rate, momentum, **kwargs)


THREE = {"momentum": momentum, "adam": mindspore.adam, "proximal_adagrad": mindspore.proximal_adagrad}

REFUSED: list[tuple[str, Any, type[Exception]]] = [
    ("learning_rate", None, TypeError),
    ("learning_rate", "a", ValueError),
    ("learning_rate", {"a": 0.1}, ValueError),
    ("learning_rate", lambda step: 0.1, TypeError),
    ("learning_rate", np.float32(0.1), TypeError),
    ("learning_rate", object(), TypeError),
    ("learning_rate", 0.1 + 0j, TypeError),
    ("learning_rate", -0.1, ValueError),
    ("learning_rate", -1, ValueError),
    ("learning_rate", np.full((2, 2), 0.1, np.float32), ValueError),
    ("learning_rate", jnp.ones((2, 2)), ValueError),
    ("learning_rate", float("nan"), ValueError),
    ("learning_rate", float("inf"), ValueError),
    ("learning_rate", ["a", "b"], ValueError),
    ("loss_scale", "a", TypeError),
    ("loss_scale", None, TypeError),
    ("loss_scale", jnp.ones(()), TypeError),
    ("loss_scale", 0.0, ValueError),
    ("loss_scale", 0, ValueError),
    ("loss_scale", -1.0, ValueError),
    ("weight_decay", "a", TypeError),
    ("weight_decay", None, TypeError),
    ("weight_decay", [0.1], TypeError),
    ("weight_decay", jnp.ones(()), TypeError),
    ("weight_decay", np.float32(0.1), TypeError),
    ("weight_decay", -0.1, ValueError),
    ("weight_decay", -1, ValueError),
]

ACCEPTED: list[tuple[str, Any]] = [
    ("learning_rate", 0),
    ("learning_rate", True),
    ("learning_rate", jnp.ones(1)),
    ("learning_rate", [0.1, -0.1]),
    ("learning_rate", jnp.asarray(-0.1)),
    ("learning_rate", np.float64(0.1)),
    ("loss_scale", 2),
    ("loss_scale", True),
    ("weight_decay", True),
    ("weight_decay", np.float64(0.1)),
    ("weight_decay", Halving()),
    ("learning_rate", Halving()),
]

REFUSED_BY_ONE: list[tuple[str, str, Any, type[Exception]]] = [
    *[("momentum", "momentum", x, TypeError) for x in ("a", 1, None, True, jnp.ones(()))],
    ("momentum", "momentum", -0.1, ValueError),
    *[("momentum", "use_nesterov", x, TypeError) for x in (1, "a", None)],
    *[("adam", name, x, TypeError) for name in ("beta1", "beta2", "eps") for x in (1, "a", None)],
    *[("adam", name, x, ValueError) for name in ("beta1", "beta2") for x in (0.0, 1.0, -0.1, 1.5)],
    *[("adam", "eps", x, ValueError) for x in (0.0, -0.1)],
    *[
        ("adam", name, x, TypeError)
        for name in ("use_locking", "use_nesterov", "use_amsgrad", "use_lazy", "use_offload")
        for x in (1, "a", None)
    ],
    ("adam", "foo", 1, KeyError),
    *[("proximal_adagrad", name, x, TypeError) for name in ("accum", "l1", "l2") for x in (1, "a", None)],
    *[("proximal_adagrad", name, -0.1, ValueError) for name in ("accum", "l1", "l2")],
    *[("proximal_adagrad", "use_locking", x, TypeError) for x in (1, "a", None)],
]

ACCEPTED_BY_ONE: list[tuple[str, str, Any]] = [
    ("momentum", "momentum", 1.5),
    ("momentum", "momentum", 0.0),
    ("adam", "eps", 1.0),
    ("adam", "eps", 1.5),
    *[("proximal_adagrad", name, 0.0) for name in ("accum", "l1", "l2")],
]

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
    ("params a single parameter", [{"params": PARAMS["a"]}], TypeError, "params"),
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
    ("a parameter in no group", [{"params": ["a"]}], ValueError, "b"),
]

ACCEPTED_GROUPS: list[tuple[str, Any]] = [
    ("tuple", ({"params": ["a", "b"]},)),
    ("generator", (group for group in [{"params": ["a", "b"]}])),
    ("order_params empty", [{"params": ["a", "b"]}, {"order_params": []}]),
    ("params a generator", [{"params": (name for name in ("a", "b"))}]),
]


def shown(x: Any) -> str:
    return f"{x!r:.20}"


@pytest.mark.parametrize("optimizer", THREE)
@pytest.mark.parametrize(("name", "x", "error"), REFUSED, ids=lambda x: shown(x))
def test_refused_by_all(optimizer: str, name: str, x: Any, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        THREE[optimizer](**{name: x})
    assert caught.type is error
    names_it(caught.value, name, x)


@pytest.mark.parametrize("optimizer", THREE)
@pytest.mark.parametrize(("name", "x"), ACCEPTED, ids=shown)
def test_accepted_by_all(optimizer: str, name: str, x: Any) -> None:
    runs(THREE[optimizer](**{name: x}))


@pytest.mark.parametrize(("optimizer", "name", "x", "error"), REFUSED_BY_ONE, ids=shown)
def test_refused_by_one(optimizer: str, name: str, x: Any, error: type[Exception]) -> None:
    with pytest.raises(error) as caught:
        THREE[optimizer](**{name: x})
    assert caught.type is error
    names_it(caught.value, name, "" if name == "foo" else x)


@pytest.mark.parametrize(("optimizer", "name", "x"), ACCEPTED_BY_ONE, ids=shown)
def test_accepted_by_one(optimizer: str, name: str, x: Any) -> None:
    runs(THREE[optimizer](**{name: x}))


@pytest.mark.parametrize("optimizer", THREE)
@pytest.mark.parametrize(("groups", "error", "words"), [r[1:] for r in REFUSED_GROUPS], ids=[r[0] for r in REFUSED_GROUPS])
def test_refused_groups(optimizer: str, groups: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        THREE[optimizer](groups=groups).init(PARAMS)
    assert caught.type is error


@pytest.mark.parametrize("optimizer", THREE)
def test_accepted_groups(optimizer: str) -> None:
    for _, groups in ACCEPTED_GROUPS:
        runs(THREE[optimizer](groups=list(groups) if optimizer != "adam" else tuple(groups)))
