"""MindSpore's loss scaling under its own names, after its documented rule; recorded runs are in `test_replay.py`."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat import mindspore

TX = mindspore.momentum(0.5, 0.0)
FINITE, OVERFLOW = 1.0, jnp.inf


def scales(tx: Any, steps: list[float]) -> list[float]:
    params, found = {"w": jnp.ones(2)}, []
    state = tx.init(params)
    for g in steps:
        updates, state = tx.update({"w": jnp.full(2, g) * state.scale}, state, params)
        np.testing.assert_allclose(updates["w"], -0.5 if np.isfinite(g) else 0.0)
        found.append(float(state.scale))
    return found


def test_a_fixed_scale_stays() -> None:
    assert scales(mindspore.fixed_loss_scale_update_cell(TX, 128.0), [FINITE, OVERFLOW, FINITE]) == [128.0] * 3


@pytest.mark.parametrize("make", [mindspore.dynamic_loss_scale_update_cell, mindspore.dynamic_loss_scaler])
def test_a_dynamic_scale_grows_after_a_window_and_stays_above_1(make: Any) -> None:
    """Twice after two finite steps in a row, half on overflow."""
    tx = make(TX, 4.0, 2, 2)
    steps = [FINITE, FINITE, FINITE, OVERFLOW, FINITE, OVERFLOW, OVERFLOW, OVERFLOW]
    assert scales(tx, steps) == [4.0, 8.0, 8.0, 4.0, 4.0, 2.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: mindspore.fixed_loss_scale_update_cell(TX, 0.0), ValueError, "must be positive"),
        (lambda: mindspore.dynamic_loss_scale_update_cell(TX, -1.0, 2, 3), ValueError, "must be positive"),
        (lambda: mindspore.dynamic_loss_scaler(TX, 4.0, 0, 3), ValueError, "must be"),
        (lambda: mindspore.dynamic_loss_scaler(TX, 4.0, 2, 1.5), TypeError, "scale_window must be an integer"),
        (lambda: mindspore.dynamic_loss_scaler(gx, 4.0, 2, 3), TypeError, "module"),
    ],
    ids=["fixed", "scale", "factor", "window", "no optimizer"],
)
def test_refused(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()
