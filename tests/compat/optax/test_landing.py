"""optax's wrappers that steer where a step lands: its states and its curve, by our rules."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax as theirs
import pytest

import gradxform.compat.optax as optax
from gradxform.compat.optax import landing
from tests.compat.optax.test_stages import assert_same, tree
from tests.compat.optax.test_wrappers import run


def made(lib: Any) -> dict[str, Any]:
    rise = lib.linear_schedule(0.0, 0.5, 3)
    return {
        "schedule_free_adamw": lib.contrib.schedule_free_adamw(0.1, warmup_steps=3, weight_decay=0.1),
        "schedule_free": lib.contrib.schedule_free(lib.sgd(rise), rise, weight_lr_power=1.0),
        "mechanize": lib.contrib.mechanize(lib.adamw(0.1), s_init=1e-2),
    }


@pytest.mark.parametrize("name", made(theirs))
def test_steps_land_where_optaxs_do(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landing, "REFUSALS", ())  # so that it is not optax's that makes them
    ours, expected = (run(made(lib)[name], steps=6) for lib in (optax, theirs))
    assert_same(ours, expected, 3e-5)  # optax adds and subtracts at the size of the parameters


def test_dtypes_are_optaxs() -> None:
    tx, p = optax.contrib.schedule_free_sgd(0.5), tree(0, jnp.bfloat16)
    u, state = jax.eval_shape(tx.update, p, tx.init(p), p)
    assert {x.dtype for x in jax.tree.leaves((u, state.z))} == {jnp.dtype("bfloat16")}


def test_averages_are_read_from_the_state() -> None:
    p, state = run(made(optax)["schedule_free"], steps=3)
    averages = optax.contrib.schedule_free_eval_params(state, p[-1])
    assert_same(averages, theirs.contrib.schedule_free_eval_params(state, p[-1]), 1e-5)
    with pytest.raises(AttributeError):
        optax.contrib.schedule_free_eval_params(theirs.EmptyState(), p[-1])


def test_what_our_rules_refuse_optax_does() -> None:
    made = [lib.contrib.mechanize(lib.sgd(0.5), weight_decay=-0.1) for lib in (optax, theirs)]
    assert_same(*(run(tx, steps=2) for tx in made), 1e-6)
    with pytest.raises(ValueError, match="params"):
        made[0].update(tree(1), made[0].init(tree(0)))
