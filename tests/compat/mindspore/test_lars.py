"""MindSpore's LARS, which has no kernel for a CPU there, beside its documented steps."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat import mindspore, mindspore_schedules
from tests.trajectories import near

SHAPES = {"dense/kernel": (3, 16), "bn/gamma": (4,), "dense/bias": (5,), "LayerNorm_0/scale": (3,)}
STEPS, SCALE, EPS, ETA = 4, 8.0, 0.1, 0.3


def rate(k: int) -> float:
    return 0.2 + (0.1 - 0.2) * min(k, 4) / 4


def transcript(w: Any, gs: Any, acts: bool, decay: float, clips: bool, centralized: bool) -> Any:
    """LARS before momentum 0.9."""
    v = np.zeros_like(w)
    for k, g in enumerate(gs):
        if acts:
            norm = np.linalg.norm(w)
            ratio = ETA * norm / (np.linalg.norm(g) + decay * norm + EPS)
            ratio = min(ratio / rate(k), 1.0) if clips else ratio
            g = ratio * (g + decay * w)
        g = g - g.mean(axis=1, keepdims=True) if centralized else g
        v = 0.9 * v + g
        w = w - rate(k) * v
    return w


@pytest.mark.parametrize("grouped", [False, True])
def test_beside_its_steps(grouped: bool) -> None:
    """Without groups gamma does not decay; what the filter leaves out is neither scaled nor decayed."""
    rng = np.random.default_rng(3)
    params = {name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}
    grads = [{name: rng.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()} for _ in range(STEPS)]
    falls = mindspore_schedules.PolynomialDecayLR(0.2, 0.1, 4, 1.0)
    groups = [{"params": "kernel", "grad_centralization": True}, {"params": "gamma|bias|scale", "weight_decay": 0.3}]
    opt = mindspore.momentum(falls, 0.9, 0.1, SCALE, groups=groups if grouped else None)
    tx = mindspore.lars(opt, EPS, ETA, use_clip=not grouped)

    @jax.jit
    def run(params: Any, grads: Any) -> Any:
        state = tx.init(params)
        for g in grads:
            updates, state = tx.update(jax.tree.map(lambda x: SCALE * x, g), state, params)
            params = gx.apply_updates(params, updates)
        return params, state

    found, state = run(params, grads)
    decays = {"dense/kernel": 0.1, "bn/gamma": 0.3 if grouped else 0.0}
    expected = {}
    for name in SHAPES:
        gs, centralized = [g[name].astype(np.float64) for g in grads], grouped and name == "dense/kernel"
        options = (name in decays, decays.get(name, 0.0), not grouped, centralized)
        expected[name] = transcript(params[name].astype(np.float64), gs, *options)
    near(found, expected, 2e-6)
    saved = mindspore.save_state(state, found, tx=tx)
    assert {key.split(".")[0] for key in saved} == {"moments", "global_step", *SHAPES}
    jax.tree.map(np.testing.assert_array_equal, mindspore.load_state(saved, found, tx=opt), state)


def test_decoupled_decay_is_its_own_too() -> None:
    """The optimizer that is wrapped adds none, whatever way it has; a parameter of zeros stays where it is."""
    params = {"w": jnp.array([3.0, 4.0]), "zero": jnp.zeros(2)}
    grads = {"w": jnp.array([0.6, -0.8]), "zero": jnp.ones(2)}
    plain, decayed = (mindspore.adam_weight_decay(0.1, weight_decay=x) for x in (0.0, 0.5))
    both = mindspore.lars(decayed, 0.5, 0.2), mindspore.lars(plain, 0.5, 0.2)
    (first, state), (_, other) = (tx.update(grads, tx.init(params), params) for tx in both)
    ratio = 0.2 * 5.0 / (1.0 + 0.5 * 5.0 + 0.5)
    np.testing.assert_allclose(gx.view(state, "mu")["w"], 0.1 * ratio * (grads["w"] + 0.5 * params["w"]), rtol=2e-6)
    np.testing.assert_allclose(gx.view(other, "mu")["w"], 0.1 * 0.2 * 5.0 / 1.5 * grads["w"], rtol=2e-6)
    np.testing.assert_array_equal(first["zero"], 0.0)


@pytest.mark.parametrize("name", ["adam", "proximal_adagrad", "ftrl"])
def test_clipped_by_the_rate_wherever_it_stands(name: str) -> None:
    """A ratio above the rate is 1: what the optimizer gets is the gradient."""
    make, params, grads = getattr(mindspore, name), {"w": jnp.array([3.0, 4.0])}, {"w": jnp.array([0.6, -0.8])}
    plain = make(learning_rate=0.25)
    clipped, halved = (mindspore.lars(plain, 0.0, x, use_clip=True) for x in (0.1, 0.025))
    expected = [plain.update({"w": by * grads["w"]}, plain.init(params), params)[0]["w"] for by in (1.0, 0.5)]
    for tx, then in zip((clipped, halved), expected, strict=True):
        np.testing.assert_allclose(tx.update(grads, tx.init(params), params)[0]["w"], then, rtol=2e-6)


def test_where_it_acts() -> None:
    params = {"w": jnp.ones(2), "v": jnp.ones((2, 2))}
    tx = mindspore.lars(mindspore.sgd(1.0), 0.0, 0.5, lars_filter=lambda p: p.name == "w" and p.shape == (2,))
    updates, _ = tx.update(params, tx.init(params), params)
    np.testing.assert_allclose(updates["w"], -0.5)
    np.testing.assert_allclose(updates["v"], -1.0)
    with pytest.raises(TypeError, match="lars takes dense gradients"):
        tx.update({"w": params["w"], "v": gx.Rows(jnp.array([0]), jnp.ones((1, 2)), (2, 2))}, tx.init(params), params)


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({"optimizer": gx.sgd(0.1)}, TypeError, "optimizer must be one of compat.mindspore"),
        ({"epsilon": 1}, TypeError, "epsilon must be a float"),
        ({"coefficient": 1}, TypeError, "coefficient must be a float"),
        ({"use_clip": 1}, TypeError, "use_clip must be"),
        ({"lars_filter": "bias"}, TypeError, "lars_filter must be a function of a parameter, got 'bias'"),
    ],
)
def test_bad_arguments(wrong: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        mindspore.lars(**{"optimizer": mindspore.sgd(0.1), **wrong})


def test_rates_that_differ_and_change() -> None:
    groups = [{"params": "w", "lr": [0.1, 0.2]}, {"params": "v", "lr": 0.3}]
    opt = mindspore.momentum(0.1, 0.9, groups=groups)
    assert mindspore.lars(opt) == mindspore.lars(opt)
    with pytest.raises(ValueError, match="use_clip takes rates of groups, or one that changes"):
        mindspore.lars(opt, use_clip=True)
