"""MindSpore's FTRL: what its documentation promises, and what it refuses."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat import mindspore

PARAMS = {"a": jnp.linspace(-1.0, 1.0, 6).reshape(2, 3), "b": jnp.ones(3)}

REFUSED: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("ftrl", {"learning_rate": [0.1, 0.2]}, ValueError, "learning_rate"),
    ("ftrl", {"groups": [{"params": ["a", "b"], "lr": 0.1}]}, ValueError, "learning_rate"),
    ("ftrl", {"lr_power": 0.5}, ValueError, "lr_power.*0.5"),
    ("ftrl", {"initial_accum": -1.0}, ValueError, "initial_accum.*-1.0"),
    ("ftrl", {"learning_rate": 0.0}, ValueError, "learning_rate.*0.0"),
    ("ftrl", {"l1": 1}, TypeError, "l1.*1"),
]


@pytest.mark.parametrize(("name", "kwargs", "error", "words"), REFUSED, ids=str)
def test_refused(name: str, kwargs: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        getattr(mindspore, name)(**kwargs)
    assert caught.type is error


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
