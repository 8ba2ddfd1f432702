"""The other libraries' optimizers, and their checkpoints, beside parameters that are None."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests.catalogue import tree
from tests.compat.test_unjitted import MAKES


def beside(tree: Any) -> Any:
    return tree | {"absent": None, "dense": tree["dense"] | {"absent": None}}


@pytest.mark.parametrize("name", MAKES)
def test_they_are_left_alone_and_a_checkpoint_has_nothing_of_them(name: str) -> None:
    module, make = import_module(f"gradxform.compat.{name.split('-')[0]}"), MAKES[name]
    given = {"momentum": 0.9, "weight_decay": 0.1, "learning_rate": 0.1, "lr": 0.1}
    tx = make(**{key: x for key, x in given.items() if key in inspect.signature(make).parameters})
    params = beside(tree(0))
    updates, state = tx.update(beside(tree(1)), tx.init(params), params)
    assert updates["absent"] is None is updates["dense"]["absent"]
    expected, _ = tx.update(tree(1), tx.init(tree(0)), tree(0))
    jax.tree.map(np.testing.assert_array_equal, jax.tree.leaves(updates), jax.tree.leaves(expected))
    assert jax.tree.structure(tx.init(params)) == jax.tree.structure(state)
    gx.explain(tx, params)
    knows_tx = "tx" in inspect.signature(module.save_state).parameters
    saved = module.save_state(state, params, **({"tx": tx} if knows_tx else {}))
    assert "absent" not in str(saved)
    again = module.load_state({**saved, **({} if knows_tx else {"param_groups": None})}, params, tx=tx)
    assert jax.tree.structure(again) == jax.tree.structure(state)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), again.leaves, state.leaves)


def test_a_parameter_that_is_none_has_no_memory_after_loading() -> None:
    paddle = import_module("gradxform.compat.paddle")
    params = {"w": jnp.ones(2), "absent": None}
    tx = paddle.adam(0.1)
    state = paddle.load_state(paddle.save_state(tx.init(params), params, tx=tx), params, tx=tx)
    assert state.leaves["absent"] is None
