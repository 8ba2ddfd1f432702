"""MindSpore's Lamb, which has no kernel for a CPU there, beside its documented steps."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat import mindspore, mindspore_schedules
from tests.trajectories import near

SHAPES = {"dense/kernel": (3, 16), "bn/gamma": (4,), "dense/bias": (5,)}
STEPS = 5


def transcript(w: Any, gs: Any, lr: Any, b1: float, b2: float, eps: float, decay: float, centralized: bool) -> Any:
    m = v = np.zeros_like(w)
    for t, g in enumerate(gs, start=1):
        g = g - g.mean(axis=1, keepdims=True) if centralized else g
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
        r = m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps) + decay * w
        w = w - lr(t - 1) * np.linalg.norm(w) / np.linalg.norm(r) * r
    return w


@pytest.mark.parametrize("grouped", [False, True])
def test_beside_its_steps(grouped: bool) -> None:
    """Without groups gamma does not decay; in groups it does, with rates and centralisation of their own."""
    rng = np.random.default_rng(3)
    params = {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    grads = [{name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()} for _ in range(STEPS)]
    rate = mindspore_schedules.PolynomialDecayLR(0.1, 0.01, 4, 1.0)
    groups = [
        {"params": ["dense/kernel"], "grad_centralization": True},
        {"params": ["bn/gamma", "dense/bias"], "weight_decay": 0.3},
    ]
    tx = mindspore.lamb(rate, 0.8, 0.95, 0.01, weight_decay=0.1, groups=groups if grouped else None)

    @jax.jit
    def run(params: Any, grads: Any) -> Any:
        state = tx.init(params)
        for g in grads:
            updates, state = tx.update(g, state, params)
            params = gx.apply_updates(params, updates)
        return params, state

    found, state = run(params, grads)
    decays = {name: 0.3 if grouped and name != "dense/kernel" else 0.1 for name in SHAPES}
    decays |= {} if grouped else {"bn/gamma": 0.0}
    expected = {}
    for name, decay in decays.items():
        gs = [g[name].astype(np.float64) for g in grads]
        falls = lambda k: 0.09 * (1 - min(k, 4) / 4) + 0.01  # noqa: E731
        centralized = grouped and name == "dense/kernel"
        expected[name] = transcript(params[name].astype(np.float64), gs, falls, 0.8, 0.95, 0.01, decay, centralized)
    near(found, expected, 2e-6)
    saved = mindspore.save_state(state, found, tx=tx)
    assert {key.split(".")[0] for key in saved} == {"lamb_m", "lamb_v", "global_step", *SHAPES}
    jax.tree.map(np.testing.assert_array_equal, mindspore.load_state(saved, found, tx=tx), state)


def test_where_a_norm_is_0_the_ratio_is_1() -> None:
    params = {"w": jnp.zeros(3), "still": jnp.ones(2)}
    tx = mindspore.lamb(0.1)
    updates, _ = tx.update({"w": jnp.ones(3), "still": jnp.zeros(2)}, tx.init(params), params)
    np.testing.assert_allclose(updates["w"], -0.1, rtol=1e-5)
    np.testing.assert_array_equal(updates["still"], 0.0)


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"beta1": 1.0}, ValueError, r"beta1 must be in \(0, 1\)"),
        ({"beta2": 1}, TypeError, "beta2 must be a float"),
        ({"eps": 0.0}, ValueError, "eps must be positive"),
        ({"learning_rate": -0.1}, ValueError, "learning_rate must be"),
        ({"weight_decay": -0.1}, ValueError, "weight_decay must be"),
    ],
)
def test_bad_arguments(wrong: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        mindspore.lamb(**{"learning_rate": 0.1, **wrong})
