"""What the real framework does with bad arguments, row by row, and what happens here.

Rows where this library decides otherwise stand at the end, each with its reason.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat import mindspore
from tests.compat.mindspore.three import THREE, Halving, momentum
from tests.trajectories import double

PARAMS = {"a": jnp.ones((3, 5)), "b": jnp.ones(3)}
GRADS = jax.tree.map(lambda p: 0.1 * p, PARAMS)

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


def names_it(error: Exception, name: str, x: Any) -> None:
    """The message names the argument and the value."""
    message = str(error)
    values = [repr(x), str(x), *([repr(float(x))] if isinstance(x, int) else []), str(getattr(x, "shape", x))]
    assert name in message
    assert any(value in message for value in values), message


def runs(tx: gx.GradientTransformation) -> Any:
    """The parameters after one step."""
    updates, _ = tx.update(GRADS, tx.init(PARAMS), PARAMS)
    return gx.apply_updates(PARAMS, updates)


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


def test_missing_arguments() -> None:
    with pytest.raises(TypeError, match="momentum"):
        mindspore.momentum(0.1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="learning_rate"):
        mindspore.momentum(momentum=0.9)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "kwargs",
    [
        {"use_lazy": True, "use_offload": True},
        {"use_amsgrad": True, "use_lazy": True},
        {"use_amsgrad": True, "use_offload": True},
    ],
    ids=str,
)
def test_options_of_adam_that_exclude_each_other(kwargs: Any) -> None:
    with pytest.raises(ValueError, match=next(iter(kwargs))):
        mindspore.adam(**kwargs)


@pytest.mark.parametrize("optimizer", THREE)
def test_an_empty_vector_of_rates_has_no_first_step(optimizer: str) -> None:
    tx = THREE[optimizer](learning_rate=[])
    with pytest.raises(RuntimeError, match="learning_rate must have a value"):
        runs(tx)


def test_two_parameters_of_one_name() -> None:
    with pytest.raises(ValueError, match="'a/b'"):
        momentum().init({"a": {"b": jnp.ones(2)}, "a/b": jnp.ones(2)})


@pytest.mark.parametrize("optimizer", THREE)
def test_a_gradient_of_the_wrong_shape(optimizer: str) -> None:
    tx = THREE[optimizer]()
    with pytest.raises(ValueError, match=r"'a' has shape \(2, 2\)"):
        tx.update({**GRADS, "a": jnp.ones((2, 2))}, tx.init(PARAMS), PARAMS)


@pytest.mark.parametrize("optimizer", ["adam", "proximal_adagrad"])
def test_float64_parameters(optimizer: str) -> None:
    with double(), pytest.raises(TypeError, match=f"{optimizer} takes .*float64"):
        THREE[optimizer]().init({"a": jnp.ones(3, jnp.float64)})


SPARSE: list[tuple[str, dict[str, Any], type[Exception] | None]] = [
    ("momentum", {}, TypeError),
    ("adam", {"use_amsgrad": True}, ValueError),
    ("adam", {"use_offload": True}, ValueError),
    ("adam", {"use_lazy": True}, None),
    ("adam", {}, None),
    ("proximal_adagrad", {}, None),
]


@pytest.mark.parametrize(("optimizer", "kwargs", "error"), SPARSE, ids=str)
def test_sparse_gradients(optimizer: str, kwargs: Any, error: type[Exception] | None) -> None:
    tx = THREE[optimizer](**kwargs)
    grads = {**GRADS, "a": gx.Rows(jnp.array([0, 2]), jnp.ones((2, 5)), (3, 5))}
    state = tx.init(PARAMS)
    if error is None:
        tx.update(grads, state, PARAMS)
        return
    with pytest.raises(error, match=f"{optimizer} .*dense gradients, got Rows") as caught:
        tx.update(grads, state, PARAMS)
    assert caught.type is error


# What follows is decided otherwise here than the framework does.


@pytest.mark.parametrize("optimizer", THREE)
def test_past_the_end_of_a_vector_the_last_rate_stays(optimizer: str) -> None:
    """RuntimeError there; here nothing raises at run time."""
    short, long = (THREE[optimizer](learning_rate=rates) for rates in ([0.3, 0.2], [0.3, 0.2, 0.2, 0.2]))
    ends = []
    for tx in (short, long):
        params, state = PARAMS, tx.init(PARAMS)
        for _ in range(4):
            updates, state = tx.update(GRADS, state, params)
            params = gx.apply_updates(params, updates)
        ends.append(params)
    jax.tree.map(np.testing.assert_array_equal, *ends)


@pytest.mark.parametrize("optimizer", THREE)
def test_a_schedule_may_return_a_number(optimizer: str) -> None:
    """AttributeError there, because a Python float has no shape."""
    constant = runs(THREE[optimizer](learning_rate=0.5))
    jax.tree.map(np.testing.assert_array_equal, runs(THREE[optimizer](learning_rate=Halving())), constant)


@pytest.mark.parametrize("optimizer", THREE)
def test_trees_of_parameters(optimizer: str) -> None:
    """Parameters arrive at `init`, as any tree: None and no leaves at all, one array, a tuple, a scalar parameter."""
    tx = THREE[optimizer]()
    assert not jax.tree.leaves(tx.init(None).leaves)
    assert not jax.tree.leaves(tx.init({}).leaves)
    for params in (jnp.ones(3), (jnp.ones(3), jnp.ones(())), [jnp.ones(2)]):
        updates, _ = tx.update(params, tx.init(params), params)
        assert jax.tree.structure(updates) == jax.tree.structure(params)


@pytest.mark.parametrize("optimizer", THREE)
def test_centralisation_acts(optimizer: str) -> None:
    """RuntimeError there on the CPU, which lacks the kernel; here equal elements of a row become 0 and rest."""
    params = {"a": jnp.ones((3, 16))}
    tx = THREE[optimizer](groups=[{"params": ["a"], "grad_centralization": True}])
    updates, _ = tx.update(params, tx.init(params), params)
    np.testing.assert_array_equal(updates["a"], jnp.zeros((3, 16)))


def test_accum_0_and_a_gradient_of_0() -> None:
    """NaN there (0/√0); here the element rests."""
    tx = mindspore.proximal_adagrad(accum=0.0, learning_rate=0.1)
    params = {"a": jnp.array([1.0, 2.0])}
    updates, _ = tx.update({"a": jnp.array([0.0, 1.0])}, tx.init(params), params)
    np.testing.assert_allclose(updates["a"], [0.0, -0.1], rtol=1e-6)


@pytest.mark.parametrize("optimizer", THREE)
def test_gradients_of_other_kinds(optimizer: str) -> None:
    """TypeError, RuntimeError, none, TypeError there. Here trees are matched by path, and None means "no part": refused
    where the memory is corrected by the steps of all leaves, unless the leaf counts its own.
    """
    tx = THREE[optimizer]()
    state = tx.init(PARAMS)
    for grads in (jnp.ones(3), {**GRADS, "c": jnp.ones(3)}, {}, {**GRADS, "b": jnp.ones(3, jnp.int32)}):
        with pytest.raises(ValueError, match=r"leaf|differ|dtype int32"):
            tx.update(grads, state, PARAMS)
    if optimizer == "adam":
        with pytest.raises(ValueError, match=r"gradient of 'b' is None, and adam corrects .* gx\.own_clock"):
            tx.update({**GRADS, "b": None}, state, PARAMS)
        tx = gx.own_clock(tx)
        state = tx.init(PARAMS)
    updates, after = tx.update({**GRADS, "b": None}, state, PARAMS)
    assert updates["b"] is None
    jax.tree.map(np.testing.assert_array_equal, after.leaves["b"], state.leaves["b"])


def test_targets_and_getters_are_not_here() -> None:
    """`target`, `unique` and `get_lr_parameter` are attributes of an object; here a transformation is a value."""
    tx = momentum(learning_rate=0.25)
    with pytest.raises(AttributeError, match="value"):
        tx.target = "CPU"  # type: ignore[attr-defined]
    assert gx.hyperparams(tx, tx.init(PARAMS))["learning_rate"] == 0.25
