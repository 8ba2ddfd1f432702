"""Sums and averages over a million steps, beside closed forms and float64: rounding takes nothing from them in the end.

Rounded to the nearest, each of like terms loses the same: float32 was off by 0.3 % to 2 %.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.control.guard import Running

N = 10**6
START = np.array([0.1, 0.3, 1.7], np.float32)
MOVE = np.array([2.0**-23, 3e-7, 1e-6], np.float32)
"""What the parameters move by at each step."""


def run(tx: Any, gradient: Any, p: Any = START, **extra: Any) -> tuple[Any, Any, Any]:
    """Parameters, state and update after a million steps."""
    p = jnp.asarray(p)

    def step(carry: Any, t: Any) -> tuple[Any, None]:
        p, state, _ = carry
        u, state = tx.update(gradient(t), state, p, **extra)
        return (gx.apply_updates(p, u), state, u), None

    first = p, tx.init(p), jnp.zeros_like(p)
    return jax.jit(lambda first: jax.lax.scan(step, first, jnp.arange(N))[0])(first)


def drawn(t: Any) -> Any:
    return START + jax.random.normal(jax.random.fold_in(jax.random.key(0), t), (3,))


def exact(x: Any) -> Any:
    return np.asarray(x, np.float64)


@pytest.mark.parametrize("decay", [0.9, 0.999, 0.9999, 0.99999, 0.999999])
@pytest.mark.parametrize("debias", [True, False])
def test_the_average_of_a_constant_is_the_constant(decay: float, debias: bool) -> None:
    _, _, u = run(gx.ema(decay, debias), lambda t: START)
    np.testing.assert_allclose(u, exact(START) * (1 if debias else -np.expm1(N * np.log(decay))), rtol=2e-6)


@pytest.mark.parametrize("decay", [0.999, 0.99999])
def test_the_average_of_draws(decay: float) -> None:
    xs = exact(jax.jit(jax.vmap(drawn))(jnp.arange(N)))
    expected = (1 - decay) * decay ** np.arange(N)[::-1] @ xs / -np.expm1(N * np.log(decay))
    _, _, u = run(gx.ema(decay), drawn)
    np.testing.assert_allclose(u, expected, rtol=3e-5)


AVERAGES: dict[str, Any] = {
    "polyak": (gx.polyak_average(), lambda xs: xs.mean(axis=0)),
    "polyak late": (gx.polyak_average(1000), lambda xs: xs[1000:].mean(axis=0)),
    "every third": (gx.stochastic_weight_average(3, 10), lambda xs: xs[12::3].mean(axis=0)),
    "ema": (gx.ema_of_params(0.99999), lambda xs: weighed(xs) / -np.expm1(N * np.log(0.99999))),
    "ema plain": (gx.ema_of_params(0.99999, False), lambda xs: weighed(xs) + 0.99999**N),
}


def weighed(xs: Any) -> Any:
    return 1e-5 * 0.99999 ** np.arange(N)[::-1] @ xs


@pytest.mark.parametrize("name", AVERAGES)
def test_averages_of_parameters_that_move_slowly(name: str) -> None:
    """From 1 by 2⁻²¹ a step, which float32 holds exactly."""
    tx, mean = AVERAGES[name]
    p, state, _ = run(gx.chain(gx.sgd(1.0), tx), lambda t: jnp.full(1, -(2.0**-21)), np.ones(1, np.float32))
    xs = 1 + 2.0**-21 * np.arange(1, N + 1)[:, None]
    assert float(p[0]) == xs[-1, 0]
    np.testing.assert_allclose(gx.view(state, "average"), mean(xs), rtol=1e-6)


@pytest.mark.parametrize("rate", [0.1, 0.0025, 0.3])
def test_schedule_free_weighs_by_the_sum_of_all_weights(rate: float) -> None:
    _, state, _ = run(gx.chain(gx.sgd(0.0), gx.average_schedule_free(rate)), lambda t: START)
    np.testing.assert_allclose(gx.view(state, "weight_sum"), N * float(np.float32(rate)) ** 2, rtol=1e-6)


def test_schedule_free_iterates_and_their_average() -> None:
    """z moves by the same at every step, and x is the mean of all z."""
    tx = gx.schedule_free_sgd(1.0)
    p, state, _ = run(tx, lambda t: -MOVE)
    zs = exact(START) + np.array([1, (N + 1) / (2 * N)])[:, None] * N * exact(MOVE)
    np.testing.assert_allclose(gx.view(state, "z"), zs[0], rtol=4e-6)
    np.testing.assert_allclose(gx.eval_params(tx, state, p), zs[1], rtol=4e-6)


def test_adagrad_sums_squares() -> None:
    _, state, _ = run(gx.scale_by_rss(), lambda t: START)
    np.testing.assert_allclose(gx.view(state, "sum_of_squares"), 0.1 + N * exact(START) ** 2, rtol=1e-6)


def test_guards_mean_and_variance() -> None:
    """Of norms 1 and 1.4 in turn: mean 1.2, and of the variance what is left of the first steps."""
    tx = gx.guard(gx.sgd(0.0), spike=6.0, decay=0.99999)
    _, state, _ = run(tx, lambda t: jnp.array([1.0 + 0.4 * (t % 2)]), np.zeros(1, np.float32))
    is_running = lambda x: isinstance(x, Running)  # noqa: E731
    norm = next(filter(is_running, jax.tree.leaves(state, is_leaf=is_running)))
    np.testing.assert_allclose((norm.mean, norm.var), (1.2, 0.04), rtol=1e-4)


def test_gradients_go_through_the_rounding() -> None:
    tx, s = gx.ema(0.9999, debias=False), gx.ema(0.9999).init(jnp.ones(2))
    _, s = tx.update(jnp.full(2, 0.3), s)
    slope = jax.grad(lambda g: tx.update(g, s)[0].sum())(jnp.full(2, 0.7))
    np.testing.assert_allclose(slope, 1e-4, rtol=1e-6)
