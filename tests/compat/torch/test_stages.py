"""What torch's optimizers do with a gradient first, and with the learning rate last."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat.torch.stages import assembled, decayed, stepped, turned

G, W = jnp.array([1.0, -2.0]), jnp.array([4.0, 8.0])
DOUBLED = gx.scale(2.0)


def step(tx: Any, g: Any = G) -> Any:
    return tx.update(g, tx.init(W), W)[0]


@pytest.mark.parametrize(
    ("tx", "expected"),
    [
        (turned(False), [1.0, -2.0]),
        (turned(True), [-1.0, 2.0]),
        (turned("yes"), [-1.0, 2.0]),
        (decayed(0), [1.0, -2.0]),
        (decayed(0.5), [3.0, 2.0]),
        (decayed(-0.5), [-1.0, -6.0]),
        (stepped(0.5), [-0.5, 1.0]),
        (stepped(-0.5), [0.5, -1.0]),
    ],
    ids=str,
)
def test_one_stage(tx: Any, expected: list[float]) -> None:
    """Truth for `maximize`, and numbers of any sign: they were checked where the optimizer was made."""
    np.testing.assert_array_equal(step(tx), expected)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [2.0, -4.0]),
        ({"lr": 0.5}, [-1.0, 2.0]),
        ({"lr": 0.5, "weight_decay": 0.5}, [-3.0, -2.0]),
        ({"lr": 0.5, "weight_decay": 0.5, "decoupled": True}, [-2.0, 0.0]),
        ({"lr": 0.5, "weight_decay": 0.5, "maximize": True}, [-1.0, -6.0]),
        ({"lr": 0.5, "weight_decay": 0.5, "maximize": True, "decoupled": True}, [0.0, -4.0]),
    ],
    ids=str,
)
def test_stages_in_order_around_a_direction(options: dict[str, Any], expected: list[float]) -> None:
    """The direction is twice what it is given: turned, then decayed; decoupled, decay is not doubled."""
    np.testing.assert_array_equal(step(assembled("this", DOUBLED, **options)), expected)


def test_rows_are_refused_by_the_optimizers_name() -> None:
    with pytest.raises(RuntimeError, match="this takes dense gradients"):
        step(assembled("this", DOUBLED, lr=0.5), gx.Rows(jnp.array([0]), jnp.ones(1), (2,)))
