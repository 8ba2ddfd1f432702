"""Constructor calls as they are written in the frameworks; a sentence says where the parameters go."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat import mindspore
from gradxform.compat.common.constructors import constructor, holds_parameters

ARRAYS = [jnp.ones((2, 3)), np.ones(3)]
NET = type("Net", (), {"parameters": lambda self: ARRAYS})()
MINDSPORE = [n for n in mindspore.__all__ if n not in ("lars", "load_state", "save_state") and "loss_scale" not in n]


@pytest.mark.parametrize(
    "x", [ARRAYS, tuple(ARRAYS), {"w": ARRAYS[0]}, [{"params": ARRAYS}], NET], ids=lambda x: type(x).__name__
)
def test_what_holds_parameters(x: Any) -> None:
    assert holds_parameters(x)
    with pytest.raises(TypeError, match=r"parameters: made takes the parameters at init: tx = made\(\.\.\.\), state"):
        paddle_like(0.1, x)


@constructor("parameters", frozenset({"quick"}))
def made(learning_rate: float, other: Any = None) -> Any:
    return learning_rate, other


paddle_like: Any = made


@pytest.mark.parametrize(
    "x",
    [
        0.1,
        {"a": 0.1},
        [0.1, 0.2],
        (np.float32(0.1), jnp.float32(0.2)),
        jnp.ones(3),
        None,
        "sgd",
        gx.cosine_decay_schedule(0.1, 5),
    ],
)
def test_what_holds_none(x: Any) -> None:
    assert not holds_parameters(x)
    assert paddle_like(0.1, x, quick=True)[0] == 0.1
    with pytest.raises(TypeError, match="quick must be True or False, got 'yes'"):
        paddle_like(0.1, x, quick="yes")


@pytest.mark.parametrize("name", MINDSPORE)
def test_calls_of_mindspore(name: str) -> None:
    make = getattr(mindspore, name)
    for call in (lambda: make(ARRAYS, 0.1), lambda: make(params=[{"params": ARRAYS}], learning_rate=0.1)):
        with pytest.raises(TypeError, match=rf"params: {name} takes the parameters at init"):
            call()
