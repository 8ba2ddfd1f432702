"""What all schedules are: values whose lengths may be fractions of a declared total."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradxform.core.hyper import Schedule
from gradxform.schedules import (
    constant_schedule,
    cosine_decay_schedule,
    exponential_decay,
    inverse_time_decay,
    join_schedules,
    linear_onecycle_schedule,
    linear_schedule,
    multi_step_schedule,
    natural_exp_decay,
    over,
    piecewise_constant_schedule,
    step_decay,
    warmup_cosine_decay_schedule,
)

BAD = [
    (lambda: over(0, constant_schedule(1.0)), ValueError, "total_steps must be at least 1, got 0"),
    (lambda: over(10, 0.1), TypeError, "schedule must be a schedule, got 0.1"),
    (lambda: over(10, cosine_decay_schedule(0.1, 0.01)), ValueError, "decay_steps must be at least 1, got 0"),
    (
        lambda: over(10, piecewise_constant_schedule(1.0, {0.5: 0.1, 0.51: 0.1})),
        ValueError,
        "total_steps must keep the b",
    ),
]


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


@pytest.mark.parametrize(("make", "error", "message"), BAD, ids=[message for *_, message in BAD])
def test_bad_arguments_are_refused_by_name(make: Callable[[], Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        make()
