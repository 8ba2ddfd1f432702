"""What the frameworks' scheduler families share, each part against its closed form."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradxform.compat import paddle_schedules, torch_schedules
from gradxform.compat.common.schedules import (
    CosineWave,
    PolynomialCycles,
    RunningProduct,
    Triangles,
    check_one_cycle,
    check_triangles,
    one_cycle,
    python_function,
)
from gradxform.core.hyper import Schedule
from tests.compat.rates import compare, each, uneven


def callbacks(schedule: Schedule) -> bool:
    return "callback" in str(jax.make_jaxpr(schedule)(3))


def test_a_function_runs_on_the_host_only_where_it_cannot_be_traced() -> None:
    traced, host = python_function("f", lambda n: 0.5**n), python_function("f", uneven)
    compare(traced, each(lambda k: 0.5**k))
    compare(host, each(uneven))
    assert (callbacks(traced), callbacks(host)) == (False, True)
    assert python_function("f", host) is host
    with pytest.raises(TypeError, match="f must be a function, got 3 of type int"):
        python_function("f", 3)


def test_an_untraceable_function_with_a_mistake_raises_its_own_error() -> None:
    schedule = torch_schedules.LambdaLR(0.1, lambda step: "a" + step)
    with pytest.raises(TypeError, match="can only concatenate str"):
        jax.jit(schedule)(3)


@pytest.mark.parametrize("factor", [lambda n: n / (n + 1), uneven], ids=["traced", "host"])
def test_a_running_product(factor: Any) -> None:
    compare(
        RunningProduct(0.5, python_function("f", factor)),
        each(lambda k: 0.5 * math.prod(map(factor, range(1, k + 1)))),
    )


def test_a_cosine_wave() -> None:
    compare(CosineWave(0.3, 0.1, 4), each(lambda k: 0.2 + 0.1 * math.cos(math.pi * k / 4)))


def test_polynomial_cycles() -> None:
    expected = each(lambda k: 0.01 + 0.09 * (1 - k / (5 * max(1, math.ceil(k / 5)))) ** 2)
    compare(PolynomialCycles(0.1, 0.01, 2.0, 5), expected)


HEIGHTS = [0, 1 / 2, 1, 2 / 3, 1 / 3]


@pytest.mark.parametrize(
    ("mode", "scale"),
    [("triangular", lambda k: 1.0), ("triangular2", lambda k: 0.5 ** (k // 5)), ("exp_range", lambda k: 0.9**k)],
)
def test_triangles(mode: str, scale: Any) -> None:
    """Two steps up and three down."""
    compare(Triangles(0.1, 0.3, 2, 3, mode, 0.9), each(lambda k: 0.1 + 0.2 * HEIGHTS[k % 5] * scale(k)))


@pytest.mark.parametrize(("by", "argument"), [("cycle", lambda k: k // 5 + 1), ("iterations", lambda k: k)])
def test_triangles_of_a_users_scale(by: str, argument: Any) -> None:
    scaled = Triangles(0.1, 0.3, 2, 3, "triangular", 1.0, python_function("f", lambda x: 1 / (x + 1)), by)
    compare(scaled, each(lambda k: 0.1 + 0.2 * HEIGHTS[k % 5] / (argument(k) + 1)))


def test_one_cycle_in_straight_lines() -> None:
    """Up for 4 steps, down to the end by the last of 10, and past it the last value."""
    knots = [0, 4, 9, 30], [0.1, 0.5, 0.01, 0.01]
    found = one_cycle(10, 0.5, (0.1, 0.5, 0.01), "linear", False)(jnp.asarray([0, 1, 4, 7, 9, 11, 30]))
    np.testing.assert_allclose(found, np.interp([0, 1, 4, 7, 9, 11, 30], *knots), rtol=1e-6)


def test_one_cycle_in_three_phases() -> None:
    knots = [0, 2, 4, 9], [0.1, 0.5, 0.1, 0.01]
    found = one_cycle(10, 0.3, (0.1, 0.5, 0.01), "linear", True)(jnp.arange(10))
    np.testing.assert_allclose(found, np.interp(np.arange(10), *knots), rtol=1e-6)


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (lambda: check_one_cycle(10, 0.1, "pct_start"), r"pct_start must not give a first phase of no steps, got 0\.1"),
        (lambda: check_triangles("square", 1.0, None, "cycle", "gamma"), "mode must be one of 'triangular'"),
        (lambda: check_triangles("triangular", 1.0, None, "steps", "gamma"), "scale_mode must be one of"),
        (lambda: check_triangles("triangular", 0.0, None, "cycle", "exp_gamma"), "exp_gamma must be positive"),
    ],
    ids=["phase", "mode", "scale_mode", "gamma"],
)
def test_refused(check: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check()


def test_a_users_scale_makes_the_mode_moot() -> None:
    check_triangles("square", 1.0, uneven, "cycle", "gamma")


def test_schedulers_are_values() -> None:
    schedule = torch_schedules.StepLR(0.1, 30)
    assert repr(schedule) == "StepLR(lr=0.1, step_size=30, gamma=0.1)"
    assert schedule == torch_schedules.StepLR(0.1, step_size=30)
    assert hash(schedule) == hash(torch_schedules.StepLR(0.1, 30))
    assert isinstance(schedule, Schedule)
    nested = paddle_schedules.LinearWarmup(paddle_schedules.StepDecay(0.2, 5), 7, 0.0, 0.2)
    assert nested == eval(repr(nested), vars(paddle_schedules))
    combined = torch_schedules.SequentialLR([schedule, torch_schedules.LinearLR(0.1)], [7])
    assert combined == eval(repr(combined), vars(torch_schedules))
    assert torch_schedules.LambdaLR(0.1, uneven) == torch_schedules.LambdaLR(0.1, uneven)
