"""MindSpore's callback with a metric, beside what MindSpore 2.10 did with the same metrics."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat import mindspore, mindspore_schedules

RNG = np.random.default_rng(3)
FALLING = np.round(np.maximum(1.0 - 0.04 * np.arange(40), 0.3) + 0.01 * RNG.normal(size=40), 3)
RESTLESS = np.round(RNG.normal(size=40), 3)
RESTLESS[[5, 6, 9]] = 0.0, 0.0, np.nan
CAPPED = (1.591, 1, 0, 0.02)
P = {"a": jnp.ones(2), "b": jnp.ones(3)}

RUN: list[tuple[dict[str, Any], Any, list[int], tuple[float, int, int, float]]] = [
    (
        {"patience": 1},
        FALLING,
        [9, *range(20, 23), *range(24, 30), *range(31, 36), 37, 38, 39],
        (0.272, 0, 0, 1.0000005e-19),
    ),
    ({"factor": 0.5, "patience": 2, "cooldown": 3}, FALLING, [21, 25, 29, 33, 38], (0.272, 0, 2, 0.003125)),
    (
        {"factor": 0.5, "patience": 2, "min_delta": -0.05, "min_lr": 0.01},
        FALLING,
        [20, 22, 24, 26],
        (0.31, 1, 0, 0.01),
    ),
    ({"mode": "max", "factor": 0.3, "patience": 2, "cooldown": 1, "min_lr": 0.02}, RESTLESS, [3, 9], CAPPED),
    (
        {"monitor": "acc", "factor": 0.5, "patience": 0},
        RESTLESS,
        [2, 3, 4, *range(8, 23), *range(24, 27), *range(28, 32), *range(33, 40)],
        (1.591, 0, 0, 2.3283064e-11),
    ),
    ({"monitor": "loss", "patience": 3}, RESTLESS, [8, 11, 14, *range(20, 40, 3)], (-2.494, 1, 0, 1.0000002e-11)),
]
"""Options, metrics, the epochs that lowered the rate, and best, wait, cooldown and rate behind the last one."""


@pytest.mark.parametrize(("options", "metrics", "lowered", "last"), RUN, ids=[str(options) for options, *_ in RUN])
def test_beside_mindspore(options: dict[str, Any], metrics: Any, lowered: Any, last: Any) -> None:
    callback = mindspore_schedules.ReduceLROnPlateau(**options)
    tx = mindspore.momentum(gx.tunable(0.1), 0.9)

    @jax.jit
    def run(metrics: Any) -> Any:
        def one(carry: Any, metric: Any) -> Any:
            carry = callback.step(*carry, metric)
            return carry, carry[0].hyper["learning_rate"]

        return jax.lax.scan(one, (tx.init(P), callback.init()), metrics)

    (state, plateau), rates = run(jnp.asarray(metrics))
    assert np.flatnonzero(np.diff(np.append(np.float32(0.1), rates))).tolist() == lowered
    found = [plateau.best, plateau.num_bad_epochs, plateau.cooldown_counter, state.hyper["learning_rate"]]
    np.testing.assert_allclose(found, last, rtol=1e-6)


WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"monitor": 3}, TypeError, "monitor must be a name"),
    ({"mode": "least"}, ValueError, "mode must be one of 'auto', 'min', 'max'"),
    ({"factor": 1.0}, ValueError, r"factor must be in \(0, 1\), got 1.0"),
    ({"patience": 0.5}, TypeError, "patience must be an integer"),
    ({"cooldown": -1}, ValueError, "cooldown must be at least 0"),
    ({"verbose": "yes"}, TypeError, "verbose must be True or False"),
]


@pytest.mark.parametrize(("wrong", "error", "words"), WRONG, ids=lambda x: str(x) if isinstance(x, dict) else "")
def test_bad_arguments(wrong: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        mindspore_schedules.ReduceLROnPlateau(**wrong)


def test_a_state_without_a_tunable_rate() -> None:
    callback = mindspore_schedules.ReduceLROnPlateau()
    with pytest.raises(ValueError, match="state must hold a tunable rate"):
        callback.step(mindspore.adam().init(P), callback.init(), 1.0)
