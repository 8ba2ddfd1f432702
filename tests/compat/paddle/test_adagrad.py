"""paddle's Adagrad against its documented formula, in float64 NumPy."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradxform.compat import paddle
from tests import transcripts
from tests.compat.transcribed import walks

EPS, START = 2.0**-6, 0.25


def adagrad(w: Any, gs: Any, lr: float) -> Any:
    """Epsilon is added to the root."""

    def step(w: Any, a: Any, g: Any, lr: float, t: int) -> tuple[Any, Any]:
        a = (START if a is None else a) + g**2
        return w - lr * g / (np.sqrt(a) + EPS), a

    return transcripts.iterates(step, w, gs, lr)


def test_adagrad() -> None:
    walks(paddle.adagrad(0.1, EPS, initial_accumulator_value=START), adagrad, 0.1)


def test_the_rate_has_no_default() -> None:
    with pytest.raises(ValueError, match="learning_rate must be set, got None"):
        paddle.adagrad(None)


def test_a_parameter_without_a_gradient_rests() -> None:
    """Nothing in it goes by the steps of all."""
    tx, params = paddle.adagrad(0.1), {"a": jnp.ones(2), "b": jnp.ones(2)}
    state = tx.init(params)
    updates, after = tx.update({"a": jnp.ones(2), "b": None}, state, params)
    assert updates["b"] is None
    jax.tree.map(np.testing.assert_array_equal, after.leaves["b"], state.leaves["b"])
