"""paddle's Adam and its kin against their documented formulas, in float64 NumPy; the numbers are float32 numbers."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.linalg import norm

import gradxform as gx
from gradxform.compat import paddle
from tests import transcripts
from tests.compat.transcribed import walks
from tests.trajectories import double

LR = 0.1
B1, B2, EPS, DECAY = 0.875, 0.96875, 2.0**-8, 0.25
BETAS = {"beta1": B1, "beta2": B2, "epsilon": EPS}
ADAM = {"beta1": B1, "beta2": B2, "eps": EPS}


def step(direction: Any) -> Any:
    """A transcript from `direction(w, m, v, g, t)`, with Adam's moments."""

    def one(w: Any, s: Any, g: Any, lr: float, t: int) -> tuple[Any, Any]:
        m, v = (0.0, 0.0) if s is None else s
        m, v = B1 * m + (1 - B1) * g, B2 * v + (1 - B2) * g**2
        return w - lr * direction(w, m, v, g, t), (m, v)

    return lambda w, gs, lr: transcripts.iterates(one, w, gs, lr)


def adamax(w: Any, gs: Any, lr: float) -> Any:
    """Epsilon is added to the old maximum."""

    def one(w: Any, s: Any, g: Any, lr: float, t: int) -> tuple[Any, Any]:
        m, u = (0.0, 0.0) if s is None else s
        m, u = B1 * m + (1 - B1) * g, np.maximum(np.abs(g), B2 * u + EPS)
        return w - lr / (1 - B1**t) * m / u, (m, u)

    return transcripts.iterates(one, w, gs, lr)


def nadam(w: Any, m: Any, v: Any, g: Any, t: int) -> Any:
    mus = [B1 * (1 - 0.5 * 0.96 ** (s * 0.5)) for s in range(1, t + 2)]
    product = np.prod(mus[:-1])
    ahead = mus[-1] * m / (1 - product * mus[-1]) + (1 - mus[-2]) * g / (1 - product)
    return ahead / (np.sqrt(v / (1 - B2**t)) + EPS)


def radam(w: Any, m: Any, v: Any, g: Any, t: int) -> Any:
    longest = 2 / (1 - B2) - 1
    length = longest - 2 * t * B2**t / (1 - B2**t)
    if length <= 5:
        return m / (1 - B1**t)
    r = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    return np.sqrt(r) * m / (1 - B1**t) * np.sqrt(1 - B2**t) / (np.sqrt(v) + EPS)


def lamb(w: Any, m: Any, v: Any, g: Any, t: int) -> Any:
    r = m / (1 - B1**t) / (np.sqrt(v / (1 - B2**t)) + EPS) + DECAY * w
    return norm(w) / norm(r) * r


def test_adam() -> None:
    walks(paddle.adam(LR, 0.9, 0.99, 1e-3), transcripts.adam, LR, beta1=0.9, beta2=0.99, eps=1e-3)


def test_adamw() -> None:
    tx = paddle.adamw(LR, **BETAS, weight_decay=DECAY)
    walks(tx, transcripts.adam, LR, **ADAM, lam=DECAY)


KIN = {
    "adamax": (paddle.adamax(LR, **BETAS), adamax),
    "nadam": (paddle.nadam(LR, **BETAS, momentum_decay=0.5), step(nadam)),
    "radam": (paddle.radam(LR, **BETAS), step(radam)),
    "lamb": (paddle.lamb(LR, DECAY, **BETAS), step(lamb)),
}


@pytest.mark.parametrize("name", KIN)
def test_kin(name: str) -> None:
    tx, transcript = KIN[name]
    walks(tx, transcript, LR)


def test_a_layer_that_does_not_decay_is_not_adapted_by_lamb() -> None:
    """The ratio of norms is 1 there, unless `always_adapt`: the first step is then as long as the parameter is."""
    params = {"w": jnp.full(4, 3.0), "bias": jnp.full(4, 3.0)}
    grads = {name: jnp.ones(4) for name in params}

    def moved(**kwargs: Any) -> dict[str, float]:
        tx = paddle.lamb(0.5, 1.0, epsilon=0.0, exclude_from_weight_decay_fn=lambda p: p.name == "bias", **kwargs)
        return {name: float(u[0]) for name, u in tx.update(grads, tx.init(params), params)[0].items()}

    assert moved() == pytest.approx({"w": -1.5, "bias": -0.5}, rel=1e-6)
    assert moved(always_adapt=True) == pytest.approx({"w": -1.5, "bias": -1.5}, rel=1e-6)
    assert moved(groups=[{"params": "w|bias", "always_adapt": True}]) == moved()


FLOAT64 = {
    "lamb": (
        paddle.lamb(0.1, 0.0, 0.0, 0.999, 1e-3),
        [0.700597627320041, 2.272728246597713, 2.702969140607656, 3.7749993390301584],
    ),
    "adamax": (
        paddle.adamax(0.1, 0.7345, 0.9, 1e-3),
        [0.6999999912688386, 2.3000000087311614, 2.6999999912688386, 3.749634845291309],
    ),
}
"""Paddle 3.3.1's parameters after three steps with one gradient."""


@pytest.mark.parametrize("name", FLOAT64)
def test_a_float64_parameter_has_first_powers_of_its_own_width(name: str) -> None:
    """The kernel's betas are float32: `1 - b2` and `1 - b2_power` are 1e-5 apart from the first step."""
    tx, after = FLOAT64[name]
    with double():
        p, g = jnp.arange(1.0, 5.0), jnp.array([0.5, -0.01, 0.1, 0.003])
        state = tx.init(p)
        for _ in range(3):
            u, state = tx.update(g, state, p)
            p = gx.apply_updates(p, u)
    np.testing.assert_allclose(p, after, rtol=1e-14)


def test_lazy_mode_lets_rows_rest() -> None:
    params = jnp.zeros((3, 1))
    rows = gx.Rows(jnp.array([1]), jnp.ones((1, 1)), (3, 1))
    for lazy_mode, moves in ((True, [0, 1, 0]), (False, [1, 1, 0])):
        tx = paddle.adam(LR, lazy_mode=lazy_mode)
        _, state = tx.update(gx.Rows(jnp.array([0]), jnp.ones((1, 1)), (3, 1)), tx.init(params), params)
        updates, _ = tx.update(rows, state, params)
        found = gx.apply_updates(params, updates)
        np.testing.assert_array_equal(np.asarray(found != 0).ravel(), moves)


@pytest.mark.parametrize(
    ("kwargs", "error", "words"),
    [
        ({"apply_decay_param_fun": None, "lr_ratio": lambda p: 0.5}, NotImplementedError, "lr_ratio"),
        ({"weight_decay": np.float32(0.1)}, TypeError, "weight_decay must be a number, got .*float32"),
        ({"beta2": None}, ValueError, "beta2 must be set"),
    ],
    ids=["lr_ratio", "weight_decay", "beta2"],
)
def test_adamw_refuses(kwargs: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        paddle.adamw(**kwargs)
