"""A clock for each parameter: corrections go by the steps at which it had a gradient."""

from __future__ import annotations

import copy
import pickle
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.core.clock import Counted, OwnClock, counted
from gradxform.optimizers.adam import Moments, ScaleByAdam
from gradxform.strategies.lazy import Dated
from tests.catalogue import ENTRIES


class Sum(NamedTuple):
    total: Any
    count: Any


class MeanOf(gx.Rule):
    """A user's rule: the mean of `value` times the gradient, by the number of steps."""

    facts = gx.Facts(needs=("value",))

    def init(self, p: Any) -> Sum:
        return Sum(jnp.zeros_like(p), jnp.zeros(()))

    def scalars(self, t: Any, value: Any = None) -> Any:
        return t, value

    def update(self, g: Any, s: Sum, p: Any, k: Any) -> tuple[Any, Sum]:
        t, value = k
        total = s.total + value * g
        return total / t, Sum(total, s.count + 1.0)

    def evaluate(self, p: Any, s: Sum, t: Any) -> Any:
        return p + t


def test_a_parameter_that_begins_later_begins_with_the_first_correction() -> None:
    """Adam of a constant gradient, without epsilon, moves by its sign from the first step on, whenever that is."""
    tx, params = gx.lift(OwnClock(ScaleByAdam(0.9, 0.999, 0.0))), {"early": jnp.zeros(2), "late": jnp.zeros(2)}
    g, state = jnp.array([0.25, -4.0]), tx.init(params)
    for t in range(5):
        updates, state = tx.update({"early": g, "late": g if t > 2 else None}, state, params)
        np.testing.assert_allclose(updates["early"], [1.0, -1.0], rtol=1e-6)
        assert t > 2 or updates["late"] is None
    np.testing.assert_allclose(updates["late"], [1.0, -1.0], rtol=1e-6)
    assert {name: int(count) for name, count in gx.view(state, "count").items()} == {"early": 5, "late": 2}


REMEMBERING = {type(rule): rule for e in ENTRIES for _, rule in e.rules if rule.corrects}


@pytest.mark.parametrize(
    "rule", [r for r in REMEMBERING.values() if not isinstance(r, gx.TreeRule | OwnClock)], ids=repr
)
def test_the_memory_is_that_of_the_rule_and_a_counter(rule: Any) -> None:
    p = jnp.ones((2, 2))
    plain, kept = rule.init(p), OwnClock(rule).init(p)
    assert kept._fields == (*plain._fields, "count")
    assert type(kept) is counted(type(plain))
    assert (int(kept.count), kept.count.dtype) == (0, jnp.int32)
    assert type(OwnClock(rule).read(kept, p)) is type(plain)


def test_the_counter_stands_beside_one_that_the_rule_has() -> None:
    """Σ value·g / own steps, in closed form; the average is read by the own steps too."""
    tx, p = gx.own_clock(gx.lift(MeanOf()), "w"), {"w": jnp.zeros(2), "b": jnp.zeros(2)}
    state = tx.init(p)
    assert state.leaves["w"]["mean_of"]._fields == ("total", "count", "count_2")
    for t in range(1, 5):
        updates, state = tx.update({"w": jnp.ones(2) if t > 2 else None, "b": jnp.ones(2)}, state, p, value=float(t))
    np.testing.assert_allclose(updates["w"], (3.0 + 4.0) / 2)
    np.testing.assert_allclose(updates["b"], (1.0 + 2.0 + 3.0 + 4.0) / 4)
    read = gx.eval_params(tx, state, p)
    assert (float(read["w"][0]), float(read["b"][0])) == (2.0, 4.0)


@pytest.mark.parametrize("again", [lambda s: pickle.loads(pickle.dumps(s)), copy.deepcopy, lambda s: s._replace()])
def test_it_goes_through_pickle_and_copies(again: Any) -> None:
    s = counted(Moments)(1, 2, 3)
    assert again(s) == s
    assert type(again(s)) is type(s)
    assert isinstance(s, Counted)
    assert repr(s) == "CountedMoments(mu=1, nu=2, count=3)"
    assert jax.tree.structure(again(s)) == jax.tree.structure(s)
    assert jax.tree.structure(counted(Dated)(s, 1, 2)) != jax.tree.structure(s)


def test_its_counter_saturates() -> None:
    tx, p = gx.lift(OwnClock(ScaleByAdam())), jnp.ones(2)
    most = np.iinfo(np.int32).max
    full = jax.tree.map(lambda x: jnp.full_like(x, most) if x.dtype == jnp.int32 else x, tx.init(p))
    assert int(gx.view(tx.update(p, full, p)[1], "count")) == most


def test_it_prints_as_it_is_written() -> None:
    rule = ScaleByAdam()
    assert repr(OwnClock(rule)) == f"own_clock({rule!r})"
    assert repr(gx.own_clock(gx.lift(rule), "w")) == f"own_clock({rule!r}, matching('w'))"


def test_it_corrects_by_the_chain_where_it_does_not_count() -> None:
    rule = gx.own_clock(gx.scale_by_adam(), "w").stages[0].rule
    assert rule.corrects
    assert not rule.for_leaf("w", jnp.ones(2)).corrects
    assert rule.for_leaf("b", jnp.ones(2)).corrects
    assert not OwnClock(ScaleByAdam()).corrects
