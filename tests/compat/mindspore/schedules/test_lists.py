"""MindSpore's lists of rates, beside closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradxform.compat import mindspore_schedules

LISTS = [
    (mindspore_schedules.piecewise_constant_lr([2, 5, 10], [0.1, 0.05, 0.01]), [0.1] * 2 + [0.05] * 3 + [0.01] * 5),
    (mindspore_schedules.exponential_decay_lr(0.1, 0.9, 6, 2, 1), [0.1, 0.1, 0.09, 0.09, 0.081, 0.081]),
    (mindspore_schedules.exponential_decay_lr(0.1, 0.9, 6, 1, 2, True), [0.1, 0.1, 0.09, 0.09, 0.081, 0.081]),
    (mindspore_schedules.natural_exp_decay_lr(0.1, 0.9, 6, 2, 2, True), [0.1] * 4 + [0.1 * math.exp(-1.8)] * 2),
    (mindspore_schedules.natural_exp_decay_lr(0.1, 0.9, 3, 1, 2), [0.1, 0.1 * math.exp(-0.9), 0.1 * math.exp(-1.8)]),
    (mindspore_schedules.inverse_decay_lr(0.1, 0.5, 6, 1, 1, True), [0.1 / (1 + 0.5 * e) for e in range(6)]),
    (mindspore_schedules.inverse_decay_lr(0.1, 0.5, 4, 2, 3), [0.1, 0.1, 0.1 / (1 + 0.5 / 3), 0.1 / (1 + 0.5 / 3)]),
    (mindspore_schedules.cosine_decay_lr(0.01, 0.1, 6, 2, 2), [0.1, 0.1, 0.055, 0.055, 0.01, 0.01]),
    (
        mindspore_schedules.polynomial_decay_lr(0.1, 0.01, 6, 2, 2, 0.5),
        [0.1, 0.1, 0.09 * 0.5**0.5 + 0.01, 0.09 * 0.5**0.5 + 0.01, 0.01, 0.01],
    ),
    (mindspore_schedules.polynomial_decay_lr(0.1, 0.01, 5, 1, 2, 1.0, True), [0.1, 0.055, 0.01, 0.0325, 0.01]),
    (mindspore_schedules.warmup_lr(0.1, 6, 2, 2), [0.0, 0.0, 0.05, 0.05, 0.1, 0.1]),
]


@pytest.mark.parametrize(("listed", "expected"), LISTS)
def test_lists_are_python_doubles(listed: list[float], expected: list[float]) -> None:
    assert isinstance(listed, list)
    assert all(type(rate) is float for rate in listed)
    np.testing.assert_allclose(listed, expected, rtol=1e-14, atol=1e-17)


def test_lists_can_be_made_while_tracing() -> None:
    assert float(jax.jit(lambda: jnp.asarray(mindspore_schedules.warmup_lr(0.1, 6, 2, 2))[2])()) == np.float32(0.05)


BAD = [
    (
        lambda: mindspore_schedules.piecewise_constant_lr(3, [0.1]),
        TypeError,
        "milestone must be a list or a tuple, got 3",
    ),
    (
        lambda: mindspore_schedules.piecewise_constant_lr([3], []),
        ValueError,
        r"learning_rates must be as many as milestone \(1\), got 0",
    ),
    (
        lambda: mindspore_schedules.piecewise_constant_lr([3, 2], [0.1, 0.2]),
        ValueError,
        r"milestone must not decrease, got \[3, 2\]",
    ),
    (
        lambda: mindspore_schedules.piecewise_constant_lr([3], [1]),
        TypeError,
        r"learning_rates\[0\] must be a float, got 1",
    ),
    (
        lambda: mindspore_schedules.exponential_decay_lr(0.1, 0.9, 0, 2, 1),
        ValueError,
        "total_step must be at least 1, got 0",
    ),
    (lambda: mindspore_schedules.warmup_lr(0.1, 6, 2, 0), ValueError, "warmup_epoch must be at least 1, got 0"),
    (
        lambda: mindspore_schedules.cosine_decay_lr(0.01, 0.1, 6, 0, 2),
        ValueError,
        "step_per_epoch must be at least 1, got 0",
    ),
    (
        lambda: mindspore_schedules.natural_exp_decay_lr(0.1, 0.9, 6, 2, 2.5),
        TypeError,
        "decay_epoch must be an integer, got 2.5",
    ),
    (lambda: mindspore_schedules.inverse_decay_lr(0.1, "a", 6, 2, 2), TypeError, "decay_rate must be a float, got 'a'"),
    (
        lambda: mindspore_schedules.polynomial_decay_lr(0.1, 0.01, 6, 2, 2, 1.0, 1),
        TypeError,
        "update_decay_epoch must be True or False",
    ),
]


@pytest.mark.parametrize(("make", "error", "message"), BAD, ids=[message for *_, message in BAD])
def test_bad_arguments_are_refused_by_name(make: Callable[[], Any], error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        make()
