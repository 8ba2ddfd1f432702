"""Stages that take one kind of gradient, and name the optimizer where they meet the other."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat.common.gradients import TakesDense, TakesRows

TABLE = jnp.zeros((3, 2))
DENSE = jnp.ones((3, 2))
ROWS = gx.Rows(jnp.array([2]), jnp.ones((1, 2)), (3, 2))


@pytest.mark.parametrize(("rule", "g"), [(TakesDense("this"), DENSE), (TakesRows("this"), ROWS)], ids=["dense", "rows"])
def test_its_own_kind_passes_untouched(rule: Any, g: Any) -> None:
    tx = gx.lift(rule)
    updates, _ = tx.update(g, tx.init(TABLE), TABLE)
    jax.tree.map(np.testing.assert_array_equal, updates, g)


@pytest.mark.parametrize(
    ("rule", "g", "words"),
    [
        (TakesDense("this", TypeError), ROWS, r"this takes dense gradients, got Rows of shape \(3, 2\)"),
        (TakesRows("that"), DENSE, r"that takes sparse gradients, Rows, got a dense one of shape \(3, 2\)"),
    ],
    ids=["rows", "dense"],
)
def test_the_other_is_refused(rule: Any, g: Any, words: str) -> None:
    tx = gx.lift(rule)
    with pytest.raises(getattr(rule, "refusal", RuntimeError), match=words):
        tx.update(g, tx.init(TABLE), TABLE)
