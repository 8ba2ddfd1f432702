"""A transformation that came through `jit`, or whose numbers are tunable, gives the constants' result."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.core.chain import map_rules
from gradxform.core.hyper import Schedule, Tunable, hyper_fields, is_beta, replace_hyper
from tests.catalogue import Entry, entries, moved, tree

FACTORS = {"step_size", "weight_decay", "learning_rate", "loss_scale"}
"""Hyperparameters that multiply, where no landing stage makes a threshold of them."""


def only_factors(entry: Entry) -> bool:
    """Whether all numbers of an entry are factors."""
    return not entry.lands and all(set(hyper_fields(rule)) <= FACTORS for _, rule in entry.rules)


def assert_same(actual: Any, expected: Any, exact: bool, p: Any) -> None:
    def check(a: Any, e: Any, p: Any) -> None:
        # Betas, eps and powers of betas are rounded to float32 here and folded in double there: some ulp of the result,
        # and of the parameter where a landing stage subtracts it.
        scale = max(float(np.abs(e).max()), 0.0 if p is None else float(np.abs(p).max()))
        np.testing.assert_allclose(
            np.asarray(a, float), np.asarray(e, float), rtol=0, atol=0 if exact else 2e-6 * scale
        )

    jax.tree.map(check, actual, expected, jax.tree.map(lambda _: None, expected) if p is None else p)


@entries(lambda e: e.axis is None)
def test_through_jit_it_gives_the_constants_result(entry: Entry):
    g, state, p = moved(entry.name)
    expected, after = entry.run(g, state, p)
    updates, traced_after = jax.jit(lambda tx, *args: tx.update(*args))(entry.tx, g, state, p)
    assert_same(updates, expected, only_factors(entry), p if entry.lands else None)
    assert jax.tree.structure(after) == jax.tree.structure(traced_after)


def all_tunable(rule: gx.Rule) -> gx.Rule:
    """The rule with every number in the state instead of in the program."""
    return replace_hyper(
        rule, {f: x if isinstance(x, Schedule | Tunable) else Tunable(x) for f, x in hyper_fields(rule).items()}
    )


@entries(lambda e: e.axis is None and e.reach is not None and any(hyper_fields(rule) for _, rule in e.rules))
def test_tunables_give_the_constants_result(entry: Entry):
    g, state, p = moved(entry.name)
    expected, _ = entry.run(g, state, p)
    tx = map_rules(entry.tx, all_tunable, "test")
    hyper = tx.init(p).hyper
    assert hyper or all(isinstance(x, Schedule) for _, rule in entry.rules for x in hyper_fields(rule).values())
    updates, after = jax.jit(tx.update)(g, state._replace(hyper=hyper), p)
    assert_same(updates, expected, only_factors(entry), p if entry.lands else None)
    jax.tree.map(np.testing.assert_array_equal, after.hyper, hyper)


@pytest.mark.parametrize(
    "make",
    [
        lambda x: gx.sgd(x),
        lambda x: gx.adamw(x, weight_decay=0.1),
        lambda x: gx.adamw(0.1, weight_decay=x),
        lambda x: gx.lars(x, 0.01),
        lambda x: gx.chain(gx.clip_by_global_norm(1.0), gx.rmsprop(x, momentum=0.9)),
        lambda x: gx.chain(gx.unscale(x), gx.lion(0.1)),
        lambda x: gx.scale(x),
    ],
    ids=["rate", "rate-adamw", "decay-adamw", "rate-lars", "rate-rmsprop", "loss-scale", "scale"],
)
def test_a_factor_gives_the_constants_result_bit_for_bit(make: Any):
    x = 0.1

    def run(make: Any, *args: Any) -> Any:
        """Gradients are arguments: XLA folds those that it knows with the constants beside them, in another order."""
        return jax.jit(lambda p, g, *args: update(make(*args), p, g))(tree(0), tree(1), *args)

    def update(tx: Any, p: Any, g: Any) -> Any:
        return tx.update(g, tx.init(p), p)[0]

    constant = run(lambda: make(x))
    jax.tree.map(np.testing.assert_array_equal, run(make, x), constant)
    for same in (gx.tunable(x), gx.constant_schedule(x), [x], jnp.float32(x)):
        jax.tree.map(np.testing.assert_array_equal, run(lambda same=same: make(same)), constant)


@pytest.mark.parametrize("t", [1, 2, 10, 1000, 10**6])
@pytest.mark.parametrize("kind", ["constant", "argument", "tunable"])
@pytest.mark.parametrize(
    "make",
    [
        lambda b: gx.scale_by_adam(0.0, b, eps=0.0),
        lambda b: gx.scale_by_amsgrad(0.0, b, eps=0.0),
        lambda b: gx.scale_by_rms(b, eps=0.0, bias_correction=True),
        lambda b: gx.ema(b),
        lambda b: gx.scale_by_adamax(b1=b, b2=0.0),
    ],
    ids=["adam", "amsgrad", "rms", "ema", "adamax"],
)
def test_bias_correction_is_exact_to_1e_6(make: Any, kind: str, t: int):
    b, g = 0.9999, 1.5
    tx = make(gx.tunable(b) if kind == "tunable" else b)
    g_tree = {"x": jnp.asarray([g], jnp.float32)}
    state = tx.init(g_tree)
    before = -np.expm1((t - 1) * np.log(b))
    held = {"nu": before * g**2, "mu": before * g, "ema": before * g}
    if "adamax" in state.leaves["x"]:
        held["nu"] = 0.0
    elif "nu" in [f for s in state.leaves["x"].values() for f in s._fields]:
        held["mu"] = g
    (name, memory), *_ = state.leaves["x"].items()
    memory = memory._replace(**{f: jnp.asarray([x], jnp.float32) for f, x in held.items() if f in memory._fields})
    state = state._replace(count=jnp.asarray(t - 1, jnp.int32), leaves={"x": {name: memory}})
    run = (
        jax.jit(lambda tx, s: tx.update(g_tree, s)[0])
        if kind == "argument"
        else jax.jit(lambda _, s: tx.update(g_tree, s)[0])
    )
    # With a constant gradient every debiased mean is that gradient, whatever b and t are.
    u = run(tx if kind == "argument" else None, state)["x"]
    np.testing.assert_allclose(u, g if name == "ema" else 1.0, rtol=1e-6)


def test_a_decay_rate_given_as_float32_is_exact_as_that_float32():
    b = np.float32(0.9999)
    tx = gx.scale_by_adam(b2=b)
    assert is_beta(tx.stages[0].rule, "b2")
    assert gx.hyperparams(tx, tx.init(tree(0)))["adam/b2"] == float(b)
