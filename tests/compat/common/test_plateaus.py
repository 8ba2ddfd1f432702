"""Rates that a scheduler with a metric lowers, wherever they stand in the state."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat.common.plateaus import begun, number, rate_in, with_rate

P = {"a": jnp.ones(2), "b": jnp.ones(3)}


def test_the_rate_of_all_groups_is_one() -> None:
    tx = gx.groups([("a", gx.sgd(gx.tunable(0.1))), ("b", gx.sgd(gx.tunable(0.1)))])
    state = with_rate(tx.init(P), 0.05)
    assert float(rate_in(state)) == np.float32(0.05)
    updates, _ = tx.update(P, state, P)
    assert {float(u[0]) for u in updates.values()} == {-np.float32(0.05)}


def test_a_state_without_a_tunable_rate() -> None:
    for act in (rate_in, lambda state: with_rate(state, 0.1)):
        with pytest.raises(ValueError, match="state must hold a tunable rate: give the optimizer the scheduler"):
            act(gx.sgd(0.1).init(P))


def test_what_is_known_before_the_first_metric() -> None:
    known = begun(np.inf)
    assert known.best == np.inf
    assert not any(known[1:])


@pytest.mark.parametrize("x", ["test", None, [1.0], np.ones(2)], ids=str)
def test_a_metric_is_a_number(x: object) -> None:
    with pytest.raises(TypeError, match="loss must be a number"):
        number("loss", x, jnp.zeros(()))  # type: ignore[arg-type]
    assert number("loss", np.ones(1), jnp.zeros(())).shape == ()
