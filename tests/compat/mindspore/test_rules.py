"""Rules and selectors that MindSpore alone needs, against their formulas."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat.mindspore.rules import (
    Centralized,
    EpsilonHatAmsgrad,
    Kernel,
    LandInFloat32,
    MomentumKernel,
    ScaledDecay,
    Wide,
)
from gradxform.optimizers.adam import ScaleByAdam
from gradxform.transforms.momentum import Trace
from tests.compat.transcribed import GRADS, means, updates
from tests.trajectories import double


def f32(x: Any) -> Any:
    return np.asarray(x, np.float32).astype(np.float64)


def test_decay_by_the_loss_scale_too_much() -> None:
    """Of a number the product is rounded to float32 once, of a schedule both factors and the product are."""
    p = np.array([1.0, -2.0, 4.0])
    for decay, by in ((0.1, f32(0.1 * 1000.0)), (gx.constant_schedule(0.1), f32(f32(0.1) * 1000.0))):
        (u,), _ = updates(ScaledDecay(decay, 1000.0), np.zeros((1, 3)), p)
        np.testing.assert_array_equal(u, by * p)


def test_decay_of_sparse_rows_acts_on_each_value_row() -> None:
    """A repeated row decays twice, a row of padding not at all."""
    p, tx = jnp.array([[1.0], [2.0], [4.0]]), gx.lift(ScaledDecay(0.5, 2.0))
    rows = gx.Rows(jnp.array([2, 2, 0, 3]), jnp.zeros((4, 1)), (3, 1))
    found, _ = tx.update(rows, tx.init(p), p)
    np.testing.assert_array_equal(found.values, [[4.0], [4.0], [1.0], [0.0]])


def test_amsgrad_over_the_uncorrected_maximum() -> None:
    b1, b2, eps = 0.8, 0.7, 0.05
    tops = np.maximum.accumulate(means(b2, GRADS**2))
    powers = np.cumprod(np.full((len(GRADS), 2), (b1, b2), np.float32), axis=0)
    expected = [
        np.sqrt(1 - p2) / (1 - p1) * m / (np.sqrt(x) + eps)
        for (p1, p2), m, x in zip(powers, means(b1, GRADS), tops, strict=True)
    ]
    np.testing.assert_allclose(updates(EpsilonHatAmsgrad(b1, b2, eps))[0], expected, rtol=3e-7)


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_of_a_float64_parameter_in_float32_numbers(nesterov: bool) -> None:
    gs, mu, v, expected = GRADS / 3, float(f32(0.9)), np.zeros(3), []
    for g in f32(gs):
        v = f32(f32(mu * v) + g)
        expected.append(g + f32(mu * v) if nesterov else v)
    np.testing.assert_array_equal(updates(MomentumKernel(Trace(mu, nesterov)), gs)[0], expected)


def test_it_lands_on_float32_numbers() -> None:
    p, u = np.array([0.1, 1 / 3, -2.0]), np.array([1e-9, -0.7, 0.2])
    (step,), _ = updates(LandInFloat32(), u[None], p)
    # The step is a difference in float64, which rounds.
    np.testing.assert_allclose(p + step, f32(f32(p) + f32(u)), rtol=5e-16)


def test_a_kernel_refuses_what_it_has_no_code_for() -> None:
    rule, rows = ScaleByAdam(), gx.Rows(jnp.array([0]), jnp.ones((1, 2)), (3, 2))
    assert repr(Kernel(rule, "this")) == repr(rule)
    with double():
        with pytest.raises(TypeError, match="this takes parameters of float32 and narrower, got float64"):
            gx.lift(Kernel(rule, "this")).init(jnp.ones(2))
        state = gx.lift(Kernel(rule, "this", float64=True)).init(jnp.ones(2))
        assert state.leaves["adam"].mu.dtype == jnp.float64
    refusing = gx.lift(Kernel(rule, "this", sparse=ValueError))
    with pytest.raises(ValueError, match="this with these options takes dense gradients, got Rows"):
        refusing.update(rows, refusing.init(jnp.ones((3, 2))), jnp.ones((3, 2)))


def test_selectors() -> None:
    assert [Centralized().matches("", jnp.ones(s)) for s in ((32,), (3, 16), (16, 3), (3, 32, 5))] == [
        False,
        True,
        False,
        True,
    ]
    with double():
        assert [Wide().matches("", jnp.ones(1, d)) for d in (jnp.float32, jnp.float64)] == [False, True]
