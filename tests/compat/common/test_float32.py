"""Hyperparameters as float32 numbers, wherever they come from."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat.common.float32 import InFloat32, in_float32
from gradxform.compat.mindspore.checks import Rates
from tests.trajectories import double

TENTH = float(np.float32(0.1))


def test_numbers_and_tunables() -> None:
    assert in_float32(0.1) == TENTH != 0.1
    assert in_float32(gx.tunable(0.1)) == gx.tunable(TENTH)
    assert in_float32(None) is None


def test_a_schedule_gives_float32_numbers_in_double_precision() -> None:
    falling = gx.exponential_decay(0.1, 1, 0.3)
    narrow = in_float32(falling)
    assert repr(narrow) == repr(falling)
    with double():
        found = np.asarray(narrow(jnp.arange(4)))
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, np.float32(np.asarray(falling(jnp.arange(4)))).astype(np.float64))


@pytest.mark.parametrize("schedule", [InFloat32(gx.constant_schedule(0.1)), Rates((TENTH,))], ids=["made", "a vector"])
def test_what_is_narrow_already_stays_as_it_is(schedule: gx.Schedule) -> None:
    assert in_float32(schedule) is schedule
