"""What holds for all of torch's optimizers here, beside the live ones."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat import torch as compat
from tests.compat.torch.live import STEPS, ours, theirs
from tests.trajectories import double

torch = pytest.importorskip("torch")


@pytest.mark.parametrize(
    ("name", "rests", "kwargs"),
    [
        ("Adam", True, {}),
        ("Adam", False, {"amsgrad": True}),
        ("Adamax", True, {}),
        ("NAdam", False, {}),
        ("RAdam", False, {}),
        ("Adagrad", False, {}),
        ("Adadelta", True, {}),
        ("RMSprop", True, {}),
        ("RMSprop", True, {"centered": True}),
    ],
)
def test_an_eps_of_zero_makes_torchs_nan_or_rests(name: str, rests: bool, kwargs: dict[str, Any]) -> None:
    """The first element has gradients of 0 only; RAdam divides from its sixth step on."""
    params, grads = {"w": np.ones(2, np.float32)}, [{"w": np.asarray([0.0, 0.5], np.float32)}] * STEPS
    kwargs = {"lr": 0.1, "eps": 0.0, **kwargs}
    then = theirs(getattr(torch.optim, name), params, grads, None, **kwargs)[-1]["w"]
    now = ours(getattr(compat, name.lower())(**kwargs), params, grads)[-1]["w"]
    assert np.isnan(then[0])
    np.testing.assert_array_equal(now[0], 1.0 if rests else np.nan)
    np.testing.assert_allclose(now[1], then[1], rtol=1e-5)


def test_derivatives_through_steps_are_finite() -> None:
    """By the rate and by the start, where a gradient is 0 and where a parameter is; by the rate as differences say."""
    made = {"adam": {"amsgrad": True}, "nadam": {}, "radam": {"betas": (0.5, 0.5)}, "adagrad": {}, "adafactor": {}}

    def loss(p: Any) -> Any:
        return 0.5 * jnp.sum(p["w"][:, :2] ** 2)

    def after(lr: Any, w: Any) -> Any:
        losses = []
        for name, kwargs in made.items():
            tx, p = getattr(compat, name)(lr=lr, **kwargs), {"w": w}
            state = tx.init(p)
            for _ in range(2):
                updates, state = tx.update(jax.grad(loss)(p), state, p)
                p = gx.apply_updates(p, updates)
            losses.append(loss(p))
        return sum(losses)

    with double():
        start = jnp.array([[1.0, 0.0, 2.0], [0.5, -1.0, 0.0]])
        by_rate, by_start = jax.jit(jax.grad(after, (0, 1)))(0.05, start)
        forward = jax.jit(after)
        np.testing.assert_allclose(by_rate, (forward(0.05001, start) - forward(0.04999, start)) / 2e-5, rtol=1e-6)
        assert np.isfinite(by_start).all()
