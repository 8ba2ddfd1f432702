"""Schedules against optax in double precision, against closed forms, and as values."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform.schedules as schedules
from gradxform.core.hyper import Schedule
from gradxform.schedules import (
    constant_schedule,
    cosine_decay_schedule,
    cosine_onecycle_schedule,
    cosine_restarts_schedule,
    exponential_decay,
    inverse_sqrt_schedule,
    inverse_time_decay,
    join_schedules,
    linear_onecycle_schedule,
    linear_schedule,
    multi_step_schedule,
    natural_exp_decay,
    noam_schedule,
    over,
    piecewise_constant_schedule,
    piecewise_interpolate_schedule,
    polynomial_schedule,
    sgdr_schedule,
    step_decay,
    warmup_constant_schedule,
    warmup_cosine_decay_schedule,
    warmup_exponential_decay_schedule,
    warmup_stable_decay_schedule,
)

COUNTS = [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 19, 20, 21, 30, 49, 50, 51, 84, 85, 99, 100, 101, 107, 10**6]
SGDR = [
    {"init_value": 0.0, "peak_value": 0.1, "warmup_steps": 2, "decay_steps": 20},
    {"init_value": 0.01, "peak_value": 0.05, "warmup_steps": 3, "decay_steps": 30, "end_value": 0.001},
]
LIKE_OPTAX = [
    ("constant_schedule", (0.3,)),
    ("linear_schedule", (1.0, 0.01, 100)),
    ("linear_schedule", (0.0, 0.2, 50, 7)),
    ("linear_schedule", (1.0, 0.01, 0)),
    ("polynomial_schedule", (1.0, 0.01, 2, 100)),
    ("polynomial_schedule", (0.1, 0.01, 0.5, 100, 5)),
    ("exponential_decay", (0.1, 10, 0.9)),
    ("exponential_decay", (0.1, 10, 0.9, 3, True)),
    ("exponential_decay", (0.1, 1000, 0.96, 3, False, 0.05)),
    ("exponential_decay", (0.1, 10, 1.1, 3, False, 0.4)),
    ("exponential_decay", (0.1, 0, 0.9)),
    ("cosine_decay_schedule", (0.1, 100)),
    ("cosine_decay_schedule", (0.1, 100, 0.1, 2.0)),
    ("piecewise_constant_schedule", (1.0, {100: 0.1, 8: 0.01})),
    ("piecewise_constant_schedule", (1.0,)),
    ("piecewise_interpolate_schedule", ("linear", 1.0, {4: 0.1, 8: 3.0})),
    ("piecewise_interpolate_schedule", ("cosine", 1.0, {0: 0.5, 4: 0.1, 8: 0.01})),
    ("piecewise_interpolate_schedule", ("linear", 0.7)),
    ("warmup_constant_schedule", (0.0, 0.1, 10)),
    ("warmup_constant_schedule", (0.3, 0.1, 0)),
    ("warmup_cosine_decay_schedule", (0.0, 0.1, 10, 100)),
    ("warmup_cosine_decay_schedule", (0.0, 0.1, 0, 100, 0.01, 2.0)),
    ("warmup_cosine_decay_schedule", (0.1, 0.0, 10, 100, 0.01)),
    ("warmup_exponential_decay_schedule", (0.0, 0.1, 10, 20, 0.9)),
    ("warmup_exponential_decay_schedule", (0.0, 0.1, 10, 20, 0.9, 5, True, 0.01)),
    ("linear_onecycle_schedule", (100, 1.0)),
    ("linear_onecycle_schedule", (3, 1.0, 0.1, 0.2)),
    ("cosine_onecycle_schedule", (100, 1.0)),
    ("cosine_onecycle_schedule", (1, 1.0)),
    ("sgdr_schedule", (SGDR,)),
]
OPTAX_NAMES = sorted({name for name, _ in LIKE_OPTAX} | {"join_schedules"})


@pytest.fixture
def double() -> Iterator[None]:
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


def at(schedule: Callable[[Any], Any]) -> np.ndarray:
    return np.asarray(jax.jit(jax.vmap(schedule))(jnp.asarray(COUNTS)))


@pytest.mark.parametrize(("name", "args"), LIKE_OPTAX)
def test_equals_optax(name: str, args: Any, double: None) -> None:
    ours, theirs = getattr(schedules, name)(*args), getattr(optax, name)(*args)
    expected = np.array([float(theirs(count)) for count in COUNTS])
    np.testing.assert_allclose(ours(np.asarray(COUNTS)), expected, rtol=1e-13, atol=1e-16)
    jax.config.update("jax_enable_x64", False)
    # optax itself is off by up to 5e-5 of a small value in float32, so double precision is the reference.
    np.testing.assert_allclose(ours(jnp.asarray(COUNTS)), expected, rtol=5e-7, atol=1e-12)


def test_join_equals_optax(double: None) -> None:
    def middle(count: Any) -> Any:
        return 0.1 / (2 + count**2)

    parts = [optax.linear_schedule(0.0, 0.2, 5), middle, optax.cosine_decay_schedule(0.3, 9)]
    ours = [linear_schedule(0.0, 0.2, 5), middle, cosine_decay_schedule(0.3, 9)]
    expected = at(optax.join_schedules(parts, [5, 20]))
    np.testing.assert_allclose(at(join_schedules(ours, [5, 20])), expected, rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize("name", OPTAX_NAMES)
def test_signature_is_that_of_optax(name: str) -> None:
    def arguments(function: Any) -> list[Any]:
        return [(p.name, p.default) for p in inspect.signature(function).parameters.values()]

    assert arguments(getattr(schedules, name)) == arguments(getattr(optax, name))


def cosine_with_restarts(t: int) -> float:
    start, length, n = 0, 7, 0
    while t >= start + length:
        start, length, n = start + length, 3 * length, n + 1
    return 0.2 * (0.1 + (0.5**n - 0.1) * (1 + math.cos(math.pi * (t - start) / length)) / 2)


def cooled(shape: Callable[[float], float]) -> Callable[[int], float]:
    def value(t: int) -> float:
        if t < 10:
            return 0.01 + (0.3 - 0.01) * t / 10
        return 0.02 + (0.3 - 0.02) * shape(min(max(t - 50, 0) / 50, 1.0))

    return value


CLOSED_FORMS = [
    (natural_exp_decay(0.1, 20, 0.7), lambda t: 0.1 * math.exp(-0.7 * t / 20)),
    (natural_exp_decay(0.1, 20, 0.7, 3, True), lambda t: 0.1 * math.exp(-0.7 * (max(t - 3, 0) // 20))),
    (inverse_time_decay(0.1, 20, 0.7, 3), lambda t: 0.1 / (1 + 0.7 * max(t - 3, 0) / 20)),
    (inverse_time_decay(0.1, 20, 0.7, staircase=True), lambda t: 0.1 / (1 + 0.7 * (t // 20))),
    (step_decay(0.1, 20, 0.5), lambda t: 0.1 * 0.5 ** (t // 20)),
    (multi_step_schedule(0.1, (10, 10, 50)), lambda t: 0.1 * 0.1 ** (2 * (t >= 10) + (t >= 50))),
    (inverse_sqrt_schedule(0.01, 0.1, 20), lambda t: 0.01 + 0.09 * t / 20 if t < 20 else 0.1 * math.sqrt(20 / t)),
    (noam_schedule(512, 40, 2.0), lambda t: 2 * 512**-0.5 * min((t + 1) ** -0.5, (t + 1) * 40**-1.5)),
    (cosine_restarts_schedule(0.2, 7, 3, 0.5, 0.1), cosine_with_restarts),
    (cosine_restarts_schedule(0.2, 10), lambda t: 0.2 * (1 + math.cos(math.pi * (t % 10) / 10)) / 2),
    (warmup_stable_decay_schedule(0.01, 0.3, 10, 40, 50, 0.02), cooled(lambda x: 1 - x)),
    (
        warmup_stable_decay_schedule(0.01, 0.3, 10, 40, 50, 0.02, "cosine"),
        cooled(lambda x: (1 + math.cos(math.pi * x)) / 2),
    ),
    (warmup_stable_decay_schedule(0.01, 0.3, 10, 40, 50, 0.02, "sqrt"), cooled(lambda x: 1 - math.sqrt(x))),
]


@pytest.mark.parametrize(("schedule", "formula"), CLOSED_FORMS, ids=[s.public_name() for s, _ in CLOSED_FORMS])
def test_equals_its_closed_form(schedule: Schedule, formula: Callable[[int], float], double: None) -> None:
    expected = np.array([formula(count) for count in COUNTS])
    np.testing.assert_allclose(schedule(np.asarray(COUNTS)), expected, rtol=1e-12, atol=1e-100)
    jax.config.update("jax_enable_x64", False)
    # exp(-x) has the relative error of x, so 4e-7 x: values below 1e-30 are left to the line above.
    np.testing.assert_allclose(schedule(jnp.asarray(COUNTS)), expected, rtol=1e-6, atol=1e-30)


EVERY = [getattr(schedules, name)(*args) for name, args in LIKE_OPTAX] + [s for s, _ in CLOSED_FORMS]


def names(schedule: Any) -> str:
    return schedule.public_name()


@pytest.mark.parametrize("schedule", EVERY, ids=names)
def test_prints_what_makes_it(schedule: Schedule) -> None:
    again = eval(repr(schedule), vars(schedules))
    assert again == schedule
    assert hash(again) == hash(schedule)
    assert repr(again) == repr(schedule)


def test_prints_names_and_arguments() -> None:
    assert repr(cosine_decay_schedule(0.1, 100)) == (
        "cosine_decay_schedule(init_value=0.1, decay_steps=100, alpha=0.0, exponent=1.0)"
    )
    assert repr(piecewise_constant_schedule(1, {200: 0.5, 100: 0.1})) == (
        "piecewise_constant_schedule(init_value=1.0, boundaries_and_scales={100: 0.1, 200: 0.5})"
    )


def test_equal_by_value_and_no_more() -> None:
    assert linear_schedule(1, np.float32(0.5), np.int64(10)) == linear_schedule(1.0, jnp.asarray(0.5), 10.0)
    assert linear_schedule(1.0, 0.5, 10) != linear_schedule(1.0, 0.5, 11)
    assert natural_exp_decay(0.1, 20, 0.7) != inverse_time_decay(0.1, 20, 0.7)


@pytest.mark.parametrize("schedule", EVERY, ids=names)
def test_passes_through_jit_and_vmap(schedule: Schedule) -> None:
    counts = jnp.asarray(COUNTS[:-1])
    expected = np.asarray(schedule(counts))
    called = jax.jit(lambda s, c: s(c))
    # Numbers that arrive as data are rounded to float32 before they are used.
    np.testing.assert_allclose(called(schedule, counts), expected, rtol=5e-6, atol=1e-9)
    np.testing.assert_allclose(at(schedule)[:-1], expected, rtol=1e-6, atol=1e-9)
    value = schedule(jnp.int32(3))
    assert value.shape == ()
    assert value.dtype == jnp.float32
    assert not value.weak_type
    assert jnp.array_equal(jax.jit(schedule)(jnp.int32(3)), jax.jit(schedule)(3.0))


def test_another_number_does_not_retrace() -> None:
    traces = []

    @jax.jit
    def rate(schedule: Schedule, count: Any) -> Any:
        traces.append(schedule)
        return schedule(count)

    rates = [rate(warmup_cosine_decay_schedule(0.0, peak, 10, 100), 10) for peak in (0.1, 0.2, 0.3)]
    np.testing.assert_allclose(rates, [0.1, 0.2, 0.3], rtol=1e-6)
    assert len(traces) == 1


def test_a_sweep_is_one_vmap() -> None:
    peaks = jnp.asarray([0.1, 0.2, 0.4])
    rates = jax.vmap(lambda peak: cosine_decay_schedule(peak, 100)(25))(peaks)
    np.testing.assert_allclose(rates, np.asarray(peaks) * (1 + math.cos(math.pi / 4)) / 2, rtol=5e-7)


@pytest.mark.parametrize("given_as", ["constant", "data"])
def test_rates_near_one_keep_their_digits(given_as: str) -> None:
    schedule = exponential_decay(1.0, 1, 1 - 1e-6)
    value = jax.jit(lambda s, c: s(c))(schedule, 10**6) if given_as == "data" else schedule(10**6)
    np.testing.assert_allclose(value, math.exp(10**6 * math.log1p(-1e-6)), rtol=3e-7)


def test_large_counts_keep_their_digits() -> None:
    long = 10**9
    np.testing.assert_allclose(linear_schedule(1.0, 0.0, long)(long - 3), 3 / long, rtol=2e-7)
    np.testing.assert_allclose(linear_schedule(1.0, 0.0, 4, long)(long + 3), 0.25, rtol=2e-7)
    np.testing.assert_allclose(cosine_decay_schedule(1.0, long)(long - 3), (math.pi * 3 / long / 2) ** 2, rtol=5e-7)
    assert step_decay(1.0, 10, 0.5)(long + 9) == step_decay(1.0, 10, 0.5)(long)
    np.testing.assert_allclose(linear_schedule(1.0, 0.0, 2**40)(2**39), 0.5, rtol=2e-7)
    np.testing.assert_allclose(linear_schedule(1.0, 0.0, 2**40)(jnp.int32(2**30)), 1 - 2**-10, rtol=2e-7)
    np.testing.assert_allclose(cosine_restarts_schedule(1.0, 1, 2)(2**30 - 1), 1.0, rtol=2e-7)
    assert linear_schedule(1.0, 0.0, 10, 100)(np.uint8(3)) == 1.0


def test_ends_are_exact() -> None:
    schedule = warmup_cosine_decay_schedule(0.0, 0.1, 10, 100)
    assert schedule(0) == 0.0
    assert schedule(10) == np.float32(0.1)
    assert schedule(100) == 0.0
    assert linear_schedule(0.1, 0.7, 30)(30) == np.float32(0.7)


@pytest.mark.parametrize(
    ("fractions", "steps"),
    [
        (warmup_cosine_decay_schedule(0.0, 0.1, 0.05, 1.0), warmup_cosine_decay_schedule(0.0, 0.1, 50, 1000)),
        (warmup_cosine_decay_schedule(0.0, 0.1, 20, 0.5), warmup_cosine_decay_schedule(0.0, 0.1, 20, 500)),
        (
            piecewise_constant_schedule(1.0, {0.5: 0.1, 0.75: 0.5}),
            piecewise_constant_schedule(1.0, {500: 0.1, 750: 0.5}),
        ),
        (multi_step_schedule(1.0, (0.3, 0.6)), multi_step_schedule(1.0, (300, 600))),
        (
            join_schedules([constant_schedule(1.0), linear_schedule(1.0, 0.0, 0.2)], [0.8]),
            join_schedules([constant_schedule(1.0), linear_schedule(1.0, 0.0, 200)], [800]),
        ),
        (linear_onecycle_schedule(1.0, 0.1), linear_onecycle_schedule(1000, 0.1)),
        (exponential_decay(0.1, 0.1, 0.5, 0.2), exponential_decay(0.1, 100, 0.5, 200)),
        (step_decay(0.1, 7), step_decay(0.1, 7)),
    ],
)
def test_fractions_of_a_declared_total(fractions: Schedule, steps: Schedule) -> None:
    assert over(1000, fractions) == steps


def test_undeclared_fractions_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"warmup_steps of .* is a fraction: declare the total with over"):
        warmup_cosine_decay_schedule(0.0, 0.1, 0.05, 1000)(0)
    with pytest.raises(ValueError, match=r"transition_steps of .* is a fraction"):
        join_schedules([linear_schedule(1.0, 0.0, 0.2), 0.1], [10])(0)


def test_floats_above_one_are_steps() -> None:
    assert cosine_decay_schedule(0.1, 1e4) == cosine_decay_schedule(0.1, 10_000)
    np.testing.assert_allclose(linear_schedule(0.0, 1.0, 2.5)(2), 0.8, rtol=2e-7)


BAD = [
    (lambda: constant_schedule("a"), TypeError, "value must be a number"),
    (lambda: constant_schedule(math.nan), ValueError, "value must be finite, got nan"),
    (lambda: constant_schedule([0.1, 0.2]), TypeError, "value must be a number, got \\[0.1, 0.2\\]"),
    (lambda: constant_schedule(lambda count: 0.1), TypeError, "value must be a number"),
    (lambda: constant_schedule(True), TypeError, "value must be a number"),
    (lambda: linear_schedule(1.0, math.inf, 10), ValueError, "end_value must be finite, got inf"),
    (lambda: linear_schedule(1.0, 0.0, -1), ValueError, "transition_steps must be at least 0, got -1"),
    (lambda: linear_schedule(1.0, 0.0, 10, -2), ValueError, "transition_begin must be at least 0, got -2"),
    (lambda: linear_schedule(1.0, 0.0, "10"), TypeError, "transition_steps must be a number of steps, got '10'"),
    (lambda: linear_schedule(1.0, 0.0, True), TypeError, "transition_steps must be a number of steps, got True"),
    (lambda: linear_schedule(1.0, 0.0, math.inf), ValueError, "transition_steps must be at least 0 and finite"),
    (lambda: polynomial_schedule(1.0, 0.0, -1, 10), ValueError, "power must be at least 0 and finite, got -1"),
    (lambda: exponential_decay(1.0, 10, 0.0), ValueError, "decay_rate must be positive and finite, got 0"),
    (lambda: exponential_decay(1.0, -10, 0.5), ValueError, "transition_steps must be at least 0, got -10"),
    (lambda: exponential_decay(1.0, 10, 0.5, staircase=1), TypeError, "staircase must be True or False, got 1"),
    (lambda: exponential_decay(1.0, 10, 0.5, end_value="a"), TypeError, "end_value must be a number"),
    (lambda: natural_exp_decay(1.0, 10, "a"), TypeError, "decay_rate must be a number"),
    (lambda: inverse_time_decay(1.0, 10, -0.5), ValueError, "decay_rate must be at least 0 and finite, got -0.5"),
    (lambda: step_decay(1.0, 0), ValueError, "transition_steps must be at least 1, got 0"),
    (lambda: step_decay(1.0, 10, -0.1), ValueError, "decay_rate must be positive and finite, got -0.1"),
    (lambda: inverse_sqrt_schedule(0.0, 0.1, 0), ValueError, "warmup_steps must be at least 1, got 0"),
    (lambda: noam_schedule(0, 10), ValueError, "d_model must be positive and finite, got 0"),
    (lambda: noam_schedule(512, 0), ValueError, "warmup_steps must be at least 1, got 0"),
    (lambda: cosine_decay_schedule(0.1, 0), ValueError, "decay_steps must be at least 1, got 0"),
    (lambda: cosine_decay_schedule(0.1, 10, exponent=-1), ValueError, "exponent must be at least 0"),
    (
        lambda: piecewise_constant_schedule(1.0, {10: -0.1}),
        ValueError,
        r"boundaries_and_scales\[10\] must be at least 0",
    ),
    (lambda: piecewise_constant_schedule(1.0, {10: "a"}), TypeError, r"boundaries_and_scales\[10\] must be a number"),
    (lambda: piecewise_constant_schedule(1.0, {-1: 0.1}), ValueError, "a step in boundaries_and_scales must be at le"),
    (lambda: piecewise_constant_schedule(1.0, [10]), TypeError, "boundaries_and_scales must map steps to scales"),
    (lambda: piecewise_interpolate_schedule("sqrt", 1.0), ValueError, "interpolate_type must be one of 'linear', 'cos"),
    (lambda: multi_step_schedule(1.0, (5, 3)), ValueError, r"boundaries must not decrease, got \(5, 3\)"),
    (lambda: multi_step_schedule(1.0, 5), TypeError, "boundaries must be a sequence of steps, got 5"),
    (lambda: multi_step_schedule(1.0, (5,), -1.0), ValueError, "decay_rate must be at least 0"),
    (lambda: linear_onecycle_schedule(0, 1.0), ValueError, "transition_steps must be at least 1, got 0"),
    (lambda: linear_onecycle_schedule(10, 1.0, pct_start=1.5), ValueError, r"pct_start must be in \[0, 1\], got 1.5"),
    (lambda: linear_onecycle_schedule(10, 1.0, div_factor=0.0), ValueError, "div_factor must be positive"),
    (lambda: cosine_onecycle_schedule(10, 1.0, pct_start="a"), TypeError, "pct_start must be a number"),
    (lambda: cosine_onecycle_schedule(0, 1.0), ValueError, "transition_steps must be at least 1, got 0"),
    (lambda: cosine_restarts_schedule(0.1, 0), ValueError, "first_decay_steps must be at least 1, got 0"),
    (lambda: cosine_restarts_schedule(0.1, 10, 0), ValueError, "t_mul must be at least 1, got 0"),
    (lambda: cosine_restarts_schedule(0.1, 10, 1.5), TypeError, "t_mul must be an integer, got 1.5"),
    (lambda: cosine_restarts_schedule(0.1, 10, m_mul=0.0), ValueError, "m_mul must be positive"),
    (lambda: sgdr_schedule([]), ValueError, "cosine_kwargs must have at least one cycle"),
    (
        lambda: sgdr_schedule([{"peak_value": 1.0}]),
        TypeError,
        r"cosine_kwargs\[0\]\['decay_steps'\] must be an integer",
    ),
    (lambda: join_schedules([constant_schedule(1.0)], [5]), ValueError, "boundaries must be one fewer than schedules"),
    (lambda: join_schedules(["a"], []), TypeError, r"schedules\[0\] must be a number"),
    (lambda: join_schedules(3, []), TypeError, "schedules must be a sequence of schedules, got 3"),
    (lambda: warmup_constant_schedule(0.0, 1.0, -1), ValueError, "warmup_steps must be at least 0, got -1"),
    (
        lambda: warmup_cosine_decay_schedule(0.0, 1.0, 10, 10),
        ValueError,
        "decay_steps must be greater than warmup_steps",
    ),
    (lambda: warmup_cosine_decay_schedule(0.0, 1.0, 0.5, 0.4), ValueError, "decay_steps must be greater than warmup"),
    (lambda: warmup_exponential_decay_schedule(0.0, 1.0, 5, 5, -0.5), ValueError, "decay_rate must be positive"),
    (lambda: warmup_stable_decay_schedule(0.0, 1.0, 5, 5, 0), ValueError, "decay_steps must be at least 1, got 0"),
    (
        lambda: warmup_stable_decay_schedule(0.0, 1.0, 5, 5, 5, decay_type="exp"),
        ValueError,
        "decay_type must be one of",
    ),
    (lambda: over(0, constant_schedule(1.0)), ValueError, "total_steps must be at least 1, got 0"),
    (lambda: over(10, 0.1), TypeError, "schedule must be a schedule, got 0.1"),
    (lambda: over(10, cosine_decay_schedule(0.1, 0.01)), ValueError, "decay_steps must be at least 1, got 0"),
    (
        lambda: over(10, piecewise_constant_schedule(1.0, {0.5: 0.1, 0.51: 0.1})),
        ValueError,
        "total_steps must keep the b",
    ),
]


@pytest.mark.parametrize(("make", "error", "message"), BAD, ids=[message for *_, message in BAD])
def test_bad_arguments_are_refused_by_name(make: Callable[[], Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        make()
