"""Where a framework's numbers overflow, so do ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat import mindspore, paddle
from gradxform.compat import torch as ours

torch = pytest.importorskip("torch")

TORCH: dict[str, dict[str, Any]] = {
    "SGD": {"momentum": 0.9, "nesterov": True},
    "Adam": {},
    "AdamW": {"amsgrad": True},
    "Adamax": {},
    "NAdam": {},
    "RAdam": {},
    "RMSprop": {"momentum": 0.9},
    "Adagrad": {},
}
GRADIENTS = np.float32([[0.5, -2.0, 1.0], [1e30, -3.4e38, 1.0], [-1.0, 2.0, 0.5], [0.25, 1.0, -3.0]])


@pytest.mark.parametrize("name", TORCH)
def test_torch(name: str) -> None:
    w = torch.nn.Parameter(torch.zeros(3))
    theirs = getattr(torch.optim, name)([w], lr=1e-3, **TORCH[name])
    tx = getattr(ours, name.lower())(lr=1e-3, **TORCH[name])
    p = {"w": jnp.zeros(3)}
    state = tx.init(p)
    for g in GRADIENTS:
        w.grad = torch.from_numpy(g.copy())
        theirs.step()
        updates, state = tx.update({"w": jnp.asarray(g)}, state, p)
        p = gx.apply_updates(p, updates)
        np.testing.assert_allclose(p["w"], w.detach().numpy(), rtol=2e-5)


NU: dict[str, tuple[Callable[[], Any], str]] = {
    "paddle adam": (paddle.adam, "nu"),
    "paddle rmsprop": (lambda: paddle.rmsprop(0.1), "nu"),
    "paddle adagrad": (lambda: paddle.adagrad(0.1), "sum_of_squares"),
    "paddle adadelta": (paddle.adadelta, "e_g"),
    "mindspore adam": (mindspore.adam, "nu"),
    "mindspore rmsprop": (mindspore.rmsprop, "nu"),
    "mindspore adagrad": (mindspore.adagrad, "sum_of_squares"),
    "mindspore adadelta": (mindspore.adadelta, "e_g"),
}


@pytest.mark.parametrize("name", NU)
def test_squares_are_infinite(name: str) -> None:
    make, field = NU[name]
    p = {"w": jnp.ones((2, 2))}
    _, state = make().update({"w": jnp.full((2, 2), 3e19)}, make().init(p), p)
    found = gx.view(state, field)
    np.testing.assert_array_equal(found["w"], np.inf)
