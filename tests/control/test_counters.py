"""What controls have counted, from any state that holds them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx
from gradxform.control.counters import FIGURES

P = {"w": jnp.ones(3)}
BAD = {"w": jnp.array([1.0, jnp.nan, 1.0])}


def test_every_figure_is_a_field_of_its_state() -> None:
    for state, (_, fields) in FIGURES.items():
        assert set(fields) <= set(state._fields)


def test_they_are_flat_by_name_outermost_first() -> None:
    tx = gx.static_loss_scale(gx.accumulate(gx.guard(gx.sgd(0.1)), 2), 4.0)
    found = gx.counters(tx.init(P))
    assert [*dict.fromkeys(name.split("/")[0] for name in found)] == ["loss_scale", "accumulate", "guard"]
    assert float(found["loss_scale/scale"]) == 4.0
    assert all(x.shape == () for x in found.values())


def test_a_bad_step_is_counted_where_it_is_seen() -> None:
    tx = gx.guard(gx.guard(gx.sgd(0.1)))
    _, state = tx.update(BAD, tx.init(P), P)
    found = {name: int(x) for name, x in gx.counters(state).items()}
    assert (found["guard/skipped"], found["guard/nonfinite"], found["guard/last_skipped"]) == (1, 1, 1)
    assert (found["guard_2/skipped"], found["guard_2/nonfinite"]) == (0, 0)


@pytest.mark.parametrize(
    "around",
    [
        lambda tx: gx.chain(gx.clip(1.0), tx),
        lambda tx: gx.groups([("w", tx)]),
        lambda tx: optax.chain(optax.identity(), tx),
        gx.master_weights,
    ],
    ids=["chain", "groups", "optax", "wrapper"],
)
def test_they_are_found_inside(around) -> None:
    tx = around(gx.guard(gx.sgd(0.1)))
    assert int(gx.counters(tx.update(BAD, tx.init(P), P)[1])["guard/skipped"]) == 1


def test_inside_jit() -> None:
    tx = gx.guard(gx.sgd(0.1))
    skipped = jax.jit(lambda s: gx.counters(tx.update(BAD, s, P)[1])["guard/skipped"])(tx.init(P))
    np.testing.assert_array_equal(skipped, 1)


def test_without_any() -> None:
    with pytest.raises(ValueError, match="the state holds no counters; see guard, dynamic_loss_scale and accumulate"):
        gx.counters(gx.adam(0.1).init(P))
