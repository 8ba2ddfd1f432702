"""A clock for each parameter: corrections go by the steps at which it had a gradient."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat.common.own_clock import COUNTED, OwnClock, own_clock
from gradxform.optimizers.adadelta import ScaleByAdadelta
from gradxform.optimizers.adagrad import ScaleByRss
from gradxform.optimizers.adam import ScaleByAdam, ScaleByAmsgrad
from gradxform.optimizers.adamax import ScaleByAdamax
from gradxform.optimizers.rmsprop import ScaleByRms, ScaleByStddev
from gradxform.optimizers.rprop import ScaleByRprop

KEPT = [
    ScaleByAdam(),
    ScaleByAmsgrad(),
    ScaleByAdamax(),
    ScaleByRms(),
    ScaleByStddev(),
    ScaleByRss(),
    ScaleByAdadelta(),
    ScaleByRprop(0.1),
]


def test_a_parameter_that_begins_later_begins_with_the_first_correction() -> None:
    """Adam of a constant gradient, without epsilon, moves by its sign from the first step on, whenever that is."""
    tx, params = own_clock(ScaleByAdam(0.9, 0.999, 0.0)), {"early": jnp.zeros(2), "late": jnp.zeros(2)}
    g, state = jnp.array([0.25, -4.0]), tx.init({"early": jnp.zeros(2), "late": jnp.zeros(2)})
    for t in range(5):
        updates, state = tx.update({"early": g, "late": g if t > 2 else None}, state, params)
        np.testing.assert_allclose(updates["early"], [1.0, -1.0], rtol=1e-6)
        assert t > 2 or updates["late"] is None
    np.testing.assert_allclose(updates["late"], [1.0, -1.0], rtol=1e-6)
    assert {name: int(count) for name, count in gx.view(state, "count").items()} == {"early": 5, "late": 2}


@pytest.mark.parametrize("rule", KEPT, ids=repr)
def test_the_memory_is_that_of_the_rule_and_a_counter(rule: Any) -> None:
    p, tx = jnp.ones(3), own_clock(rule)
    plain, (kept,) = rule.init(p), tx.init(p).leaves.values()
    assert kept._fields == (*plain._fields, "count")
    (after,) = tx.update(p, tx.init(p), p)[1].leaves.values()
    assert type(after) is type(kept) is COUNTED[type(plain)]
    assert (int(after.count), after.count.dtype) == (1, jnp.int32)


def test_every_memory_has_one_with_a_counter() -> None:
    assert {type(rule.init(jnp.ones(1))) for rule in KEPT} == set(COUNTED)


def test_it_prints_as_the_rule() -> None:
    assert repr(OwnClock(ScaleByAdam())) == repr(ScaleByAdam())
