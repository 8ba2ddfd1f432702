"""MindSpore's other optimizers: what they refuse, and what their documentation promises where a kernel departs from it.

Their recorded runs are in `test_mindspore`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat import mindspore
from gradxform.compat.mindspore.schedules import WarmUpLR
from tests.trajectories import double

PARAMS = {"a": jnp.linspace(-1.0, 1.0, 6).reshape(2, 3), "b": jnp.ones(3)}
EXTRAS = {
    "sgd": mindspore.sgd,
    "sgd momentum": lambda **kwargs: mindspore.sgd(momentum=0.9, **kwargs),
    "adam_weight_decay": mindspore.adam_weight_decay,
    "adam_offload": mindspore.adam_offload,
    "lazy_adam": mindspore.lazy_adam,
    "adamax": mindspore.adamax,
    "adadelta": mindspore.adadelta,
    "adagrad": mindspore.adagrad,
    "rmsprop": mindspore.rmsprop,
    "ftrl": mindspore.ftrl,
}
CELL = WarmUpLR(0.1, 3)

REFUSED: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("sgd", {"nesterov": True}, ValueError, "nesterov.*momentum=0.0"),
    ("sgd", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, ValueError, "nesterov.*dampening=0.1"),
    ("sgd", {"momentum": -0.1}, ValueError, "momentum.*-0.1"),
    ("sgd", {"dampening": -0.1}, ValueError, "dampening.*-0.1"),
    ("sgd", {"momentum": "a"}, TypeError, "momentum.*'a'"),
    ("sgd", {"weight_decay": CELL}, TypeError, "weight_decay.*WarmUpLR"),
    ("sgd", {"groups": [{"params": ["a", "b"], "weight_decay": CELL}]}, TypeError, "weight_decay.*WarmUpLR"),
    ("ftrl", {"learning_rate": [0.1, 0.2]}, ValueError, "learning_rate"),
    ("ftrl", {"groups": [{"params": ["a", "b"], "lr": 0.1}]}, ValueError, "learning_rate"),
    ("ftrl", {"lr_power": 0.5}, ValueError, "lr_power.*0.5"),
    ("ftrl", {"initial_accum": -1.0}, ValueError, "initial_accum.*-1.0"),
    ("ftrl", {"learning_rate": 0.0}, ValueError, "learning_rate.*0.0"),
    ("ftrl", {"l1": 1}, TypeError, "l1.*1"),
    ("adamax", {"beta1": 1.0}, ValueError, "beta1.*1.0"),
    ("adam_weight_decay", {"eps": 1}, TypeError, "eps.*1"),
    ("adadelta", {"rho": -0.5}, ValueError, "rho.*-0.5"),
    ("adagrad", {"update_slots": 1}, TypeError, "update_slots.*1"),
    ("rmsprop", {"momentum": -1.0}, ValueError, "momentum.*-1.0"),
    ("lazy_adam", {"use_locking": 1}, TypeError, "use_locking.*1"),
]


@pytest.mark.parametrize(("name", "kwargs", "error", "words"), REFUSED, ids=str)
def test_refused(name: str, kwargs: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        EXTRAS[name](**kwargs)
    assert caught.type is error


def test_momentum_of_sgd_may_be_an_int() -> None:
    assert mindspore.sgd(momentum=1) == mindspore.sgd(momentum=1.0)


@pytest.mark.parametrize("name", EXTRAS)
def test_they_share_the_arguments_of_all(name: str) -> None:
    """Rates and decay by group, a schedule as rate (not for ftrl), one state that keeps its form."""
    groups = [{"params": ["a"], "weight_decay": 0.1}, {"params": ["b"]}]
    tx = EXTRAS[name](groups=groups, **({} if name == "ftrl" else {"learning_rate": CELL}))
    state = tx.init(PARAMS)
    for _ in range(2):
        updates, after = tx.update(PARAMS, state, PARAMS)
        assert jax.tree.structure(after) == jax.tree.structure(state)
        state = after
    assert any(np.any(u) for u in jax.tree.leaves(updates))


WIDE = {"adam_weight_decay", "adagrad"}


@pytest.mark.parametrize("name", EXTRAS)
def test_float64_parameters(name: str) -> None:
    with double():
        params = {"a": jnp.ones(3, jnp.float64)}
        if name in WIDE:
            assert {x.dtype for x in jax.tree.leaves(EXTRAS[name]().init(params).leaves)} == {np.dtype(np.float64)}
            return
        with pytest.raises(TypeError, match="float64"):
            EXTRAS[name]().init(params)


def test_adagrad_without_updating_its_slots() -> None:
    """As documented; the kernel ignores the flag."""
    tx = mindspore.adagrad(accum=0.25, learning_rate=0.5, update_slots=False)
    state = tx.init(PARAMS)
    updates, after = tx.update(PARAMS, state, PARAMS)
    np.testing.assert_allclose(updates["a"], -PARAMS["a"], rtol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, after.leaves, state.leaves)


def test_ftrl_with_the_sign_of_its_documentation() -> None:
    """Against McMahan et al. 2013, algorithm 1, by hand; the kernel takes +l1 for negative z."""
    lr, l1, l2, w = 0.5, 0.3, 0.2, np.asarray(PARAMS["a"], np.float64)
    n, z = np.full_like(w, 0.1), np.zeros_like(w)
    tx = mindspore.ftrl(0.1, lr, l1=l1, l2=l2)
    p, state = {"a": PARAMS["a"]}, tx.init({"a": PARAMS["a"]})
    rng = np.random.default_rng(0)
    for _ in range(4):
        g = rng.normal(size=w.shape).astype(np.float32)
        sigma = (np.sqrt(n + g.astype(np.float64) ** 2) - np.sqrt(n)) / lr
        z, n = z + g - sigma * w, n + g.astype(np.float64) ** 2
        w = np.where(np.abs(z) <= l1, 0.0, (np.sign(z) * l1 - z) / (np.sqrt(n) / lr + 2 * l2))
        updates, state = tx.update({"a": g}, state, p)
        p = gx.apply_updates(p, updates)
        np.testing.assert_allclose(p["a"], w, rtol=0, atol=2e-6)
    assert (z < -l1).any()
    assert (w == 0).any()
