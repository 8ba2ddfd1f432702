"""What all of MindSpore's optimizers share: arguments, groups, one form of state."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat import mindspore
from gradxform.compat.mindspore.schedules import WarmUpLR
from tests.trajectories import double

PARAMS = {"a": jnp.linspace(-1.0, 1.0, 6).reshape(2, 3), "b": jnp.ones(3)}

OPTIMIZERS = {
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


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_they_share_the_arguments_of_all(name: str) -> None:
    """Rates and decay by group, a schedule as rate (not for ftrl), one state that keeps its form."""
    groups = [{"params": ["a"], "weight_decay": 0.1}, {"params": ["b"]}]
    tx = OPTIMIZERS[name](groups=groups, **({} if name == "ftrl" else {"learning_rate": CELL}))
    state = tx.init(PARAMS)
    for _ in range(2):
        updates, after = tx.update(PARAMS, state, PARAMS)
        assert jax.tree.structure(after) == jax.tree.structure(state)
        state = after
    assert any(np.any(u) for u in jax.tree.leaves(updates))


WIDE = {"adam_weight_decay", "adagrad"}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_float64_parameters(name: str) -> None:
    with double():
        params = {"a": jnp.ones(3, jnp.float64)}
        if name in WIDE:
            assert {x.dtype for x in jax.tree.leaves(OPTIMIZERS[name]().init(params).leaves)} == {np.dtype(np.float64)}
            return
        with pytest.raises(TypeError, match="float64"):
            OPTIMIZERS[name]().init(params)


@pytest.mark.parametrize("width", [15, 16])
def test_nothing_sparse_is_centralised(width: int) -> None:
    """A TypeError there too, whatever the second axis is; with use_offload nothing is centralised."""
    params = {"a": jnp.ones((3, width)), "b": jnp.ones((2, 16))}
    groups = [{"params": ["a"], "grad_centralization": True}, {"params": ["b"]}]
    rows = gx.Rows(jnp.array([1]), jnp.ones((1, width)), (3, width))
    tx = mindspore.adam(groups=groups)
    with pytest.raises(TypeError, match="grad_centralization takes dense gradients, got Rows"):
        tx.update({**params, "a": rows}, tx.init(params), params)
    rows = gx.Rows(jnp.array([1]), jnp.ones((1, 16)), (2, 16))
    tx.update({**params, "b": rows}, tx.init(params), params)
