"""Paddle's scheduler with a metric, beside what Paddle 3.3.1 did with the same metrics."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat import paddle, paddle_schedules

RNG = np.random.default_rng(3)
FALLING = np.round(np.maximum(1.0 - 0.04 * np.arange(40), 0.3) + 0.01 * RNG.normal(size=40), 3)
RESTLESS = np.round(RNG.normal(size=40), 3)
RESTLESS[9] = np.nan
UNKNOWN = np.where(np.arange(40) == 0, np.nan, RESTLESS)
CAPPED = (1.591, 0, 1, 0.02)
P = {"a": jnp.ones(2), "b": jnp.ones(3)}

RUN: list[tuple[dict[str, Any], Any, list[int], tuple[float, int, int, float]]] = [
    ({"patience": 0}, FALLING, [9, 20, 21, 22, 24, 25, 26], (0.272, 0, 0, 1e-8)),
    ({"factor": 0.5, "patience": 2, "cooldown": 3}, FALLING, [22, 33], (0.283, 0, 0, 0.025)),
    (
        {"factor": 0.5, "patience": 1, "threshold": 0.02, "threshold_mode": "ABS", "min_lr": 0.01},
        FALLING,
        [19, 21, 25, 27],
        (0.272, 1, 0, 0.01),
    ),
    (
        {"mode": "max", "factor": 0.3, "patience": 2, "cooldown": 1, "min_lr": 0.02},
        RESTLESS,
        [4, 9],
        (1.591, 0, 1, 0.02),
    ),
    ({"mode": "max", "factor": 0.3, "patience": 9}, UNKNOWN, [10, 20, 30], (np.nan, 9, 0, 0.0027)),
    (
        {"mode": "max", "patience": 3, "threshold": 0.3, "threshold_mode": "abs"},
        RESTLESS,
        [5, 10, 14, 18, 22, 26, 30],
        (1.406, 1, 0, 1e-8),
    ),
    (
        {"patience": 1, "threshold": 0.2, "factor": 0.6, "epsilon": 0.004},
        RESTLESS,
        [5, 7, 9, 13, 19],
        (-2.158, 1, 0, 0.007776),
    ),
    ({"patience": 1, "factor": 0.6, "epsilon": 0.0}, -FALLING, [*range(2, 40, 2)], (-1.02, 1, 0, 6.0935974e-06)),
]
"""Options, metrics, the calls that lowered the rate, and best, bad epochs, cooldown and rate behind the last one."""


@pytest.mark.parametrize(("options", "metrics", "lowered", "last"), RUN, ids=[str(options) for options, *_ in RUN])
def test_beside_paddle(options: dict[str, Any], metrics: Any, lowered: Any, last: Any) -> None:
    scheduler = paddle_schedules.ReduceOnPlateau(0.1, **options)
    tx = paddle.momentum(scheduler)

    @jax.jit
    def run(metrics: Any) -> Any:
        def one(carry: Any, metric: Any) -> Any:
            carry = scheduler.step(*carry, metric)
            return carry, carry[0].hyper["learning_rate"]

        return jax.lax.scan(one, (tx.init(P), scheduler.init()), metrics)

    (state, plateau), rates = run(jnp.asarray(metrics))
    assert np.flatnonzero(np.diff(np.append(np.float32(0.1), rates))).tolist() == lowered
    found = scheduler.state_dict(state, plateau)
    names = ("best", "num_bad_epochs", "cooldown_counter", "last_lr")
    np.testing.assert_allclose([found[name] for name in names], last, rtol=1e-6)
    assert found["last_epoch"] == 40
    updates, _ = tx.update(P, state, P)
    np.testing.assert_allclose(-updates["a"], last[-1], rtol=1e-6)


def test_it_goes_on_from_paddles_state_and_back() -> None:
    """Saved after 12 calls, with the optimizer's state; factors of groups stay what they are."""
    scheduler = paddle_schedules.ReduceOnPlateau(0.1, patience=1, factor=0.5, cooldown=2)
    groups = [{"params": ["a"], "learning_rate": 0.5}, {"params": ["b"]}]
    for make in (paddle.momentum, paddle.rmsprop):
        tx = make(scheduler, groups=groups)
        state, plateau = tx.init(P), scheduler.init()
        assert scheduler.state_dict(state, plateau)["best"] is None
        fresh = scheduler.set_state_dict(state, scheduler.state_dict(state, plateau))
        jax.tree.map(np.testing.assert_array_equal, fresh, (state, plateau))
        for metric in RESTLESS[:12]:
            state, plateau = scheduler.step(state, plateau, metric)
        saved = paddle.save_state(state, P, tx=tx) | {"LR_Scheduler": scheduler.state_dict(state, plateau)}
        loaded = paddle.load_state(saved, P, tx=tx)
        loaded, known = scheduler.set_state_dict(loaded, saved["LR_Scheduler"])
        for metric in RESTLESS[12:]:
            state, plateau = scheduler.step(state, plateau, metric)
            loaded, known = scheduler.step(loaded, known, metric)
        jax.tree.map(np.testing.assert_array_equal, (loaded.hyper, known), (state.hyper, plateau))
        assert set(gx.hyperparams(tx, loaded)) >= {"learning_rate"} or make is paddle.rmsprop


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"learning_rate": "fast"}, TypeError, "learning_rate must be a number"),
    ({"mode": "least"}, ValueError, "mode must be one of 'min', 'max'"),
    ({"threshold_mode": 3}, ValueError, "threshold_mode must be one of"),
    ({"factor": 1.0}, ValueError, "factor must be below 1, got 1.0"),
    ({"patience": 0.5}, TypeError, "patience must be an integer"),
    ({"cooldown": -1}, ValueError, "cooldown must be at least 0"),
    ({"epsilon": np.inf}, ValueError, "epsilon must be finite"),
    ({"verbose": "yes"}, TypeError, "verbose must be True or False"),
]


@pytest.mark.parametrize(("wrong", "error", "words"), WRONG, ids=lambda x: str(x) if isinstance(x, dict) else "")
def test_bad_arguments(wrong: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        paddle_schedules.ReduceOnPlateau(**{"learning_rate": 0.1, **wrong})


def test_bad_states() -> None:
    scheduler = paddle_schedules.ReduceOnPlateau(0.1)
    with pytest.raises(ValueError, match="state must hold a tunable rate"):
        scheduler.step(paddle.momentum(0.1).init(P), scheduler.init(), 1.0)
    state = paddle.momentum(scheduler).init(P)
    with pytest.raises(TypeError, match="state_dict must be a dict"):
        scheduler.set_state_dict(state, 3)
    with pytest.raises(ValueError, match="state_dict has no 'best'"):
        scheduler.set_state_dict(state, {"last_epoch": 3, "last_lr": 0.1})
