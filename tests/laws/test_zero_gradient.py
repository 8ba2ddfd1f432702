"""0 / 0 is 0 in every rule that divides, however its `eps` came to be 0; an `eps` that is plainly not costs nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.core.arithmetic import TINY
from gradxform.core.hyper import FromFunction, Tunable, hyper_fields, replace_hyper
from gradxform.core.lens import Wrapper
from gradxform.core.rule import Rule
from gradxform.core.stacks import ByMatrix
from gradxform.optimizers.mechanic import LearnScale
from tests.catalogue import ENTRIES

P, G = jnp.asarray([0.0, 1.5]), jnp.asarray([0.5, -2.0])
"""A parameter that is 0, where decay is 0 too, and one that is not."""
EXTRAS = {"value": 0.5}
SMALL = {"0": 0.0, "1e-45": 1e-45, "1e-39": 1e-39, "1e-38": 1e-38, "TINY": TINY}
"""As float32: 0, numbers that are flushed to 0 on some devices, and the smallest that is not."""


def small_fields(rule: Rule) -> list[str]:
    return [name for name in hyper_fields(rule) if name.startswith("eps")]


def with_small(rule: Rule, x: Any) -> Rule:
    """The rule with x for every eps, and memory that starts from 0."""
    starts = {name: 0.0 for name in hyper_fields(rule) if name.startswith("initial_")}
    return replace_hyper(rule, {**starts, **dict.fromkeys(small_fields(rule), x)})  # type: ignore[no-any-return]


def dividing() -> list[Any]:
    """Every rule of the catalogue with an eps, once in each of its forms."""
    cases: dict[str, Rule] = {"scale_by_polyak": gx.scale_by_polyak(variant="sps+").stages[0].rule}
    for entry in ENTRIES:
        for _, rule in entry.rules:
            rule = rule.rule if isinstance(rule, ByMatrix) else rule
            new = rule not in cases.values() and with_small(rule, 0.0) not in cases.values()
            if new and small_fields(rule) and not isinstance(rule, LearnScale):
                cases[f"{entry.name} {rule.name}".replace(" ", "-")] = with_small(rule, 0.0)
    return [pytest.param(rule, id=name) for name, rule in cases.items()]


def shape_for(tx: Any) -> tuple[int, ...]:
    return (1, *P.shape) if any(stage.facts.matrix for stage in tx.stages) else P.shape


def steps(tx: Any, state: Any) -> tuple[Any, Any, Any]:
    """The updates of eight gradients of 0 (RAdam divides from step 6 on), of one which is not, and the state."""

    shape = shape_for(tx)

    def step(state: Any, g: Any) -> Any:
        extra = {**EXTRAS, "hessian": {"w": jnp.abs(g).reshape(shape)}}
        updates, state = tx.update({"w": g.reshape(shape)}, state, {"w": P.reshape(shape)}, **extra)
        return state, updates["w"].reshape(P.shape)

    state, updates = jax.lax.scan(step, state, jnp.stack([0 * G] * 8 + [G]))
    return updates[:-1], updates[-1], state


def ways(rule: Rule) -> dict[str, Callable[[Any], Any]]:
    """How an eps may come to be 0: each runs `steps`, given the transformation that came through jit."""

    def given(x: Any) -> Callable[[Any], Any]:
        tx = gx.lift(with_small(rule, x))
        return lambda _: steps(tx, tx.init({"w": P.reshape(shape_for(tx))}))

    def set_there(_: Any) -> Any:
        tx = gx.lift(with_small(rule, Tunable(1e-8)))
        state = tx.init({"w": P.reshape(shape_for(tx))})
        return steps(tx, gx.with_hyperparams(state, **{name: 0 for name in state.hyper if "/eps" in name}))

    def argument(tx: Any) -> Any:
        return steps(tx, tx.init({"w": P.reshape(shape_for(tx))}))

    numbers = {f"number {name}": given(x) for name, x in SMALL.items()}
    falls = FromFunction(lambda count: jnp.where(count < 1, 1e-8, 0.0))
    scheduled = {"schedule": given(falls), "tunable": given(Tunable(0.0)), "tunable schedule": given(Tunable(falls))}
    return {**numbers, **scheduled, "set": set_there, "argument": argument}


@pytest.mark.parametrize("rule", dividing())
def test_zero_gradients_give_zero_however_eps_is_given(rule: Rule):
    every = ways(rule)
    results = jax.jit(lambda tx: {name: run(tx) for name, run in every.items()})(gx.lift(with_small(rule, 0.0)))
    for name, (resting, moving, state) in results.items():
        np.testing.assert_array_equal(resting[:, 0], 0.0, err_msg=name)
        for x in (resting, moving, *jax.tree.leaves((state.leaves, state.tree))):
            assert np.isfinite(x).all(), f"{name}: {x}"
        # From an eps of 0 Adadelta never moves, and ADOPT and ACProp divide by what they knew before. Shampoo's roots
        # of eigenvalues near 0 are 3e9, and multiply what is left by the rounding of eigenvectors: 0 there by chance.
        chance = rule.name == "shampoo" and name == "number TINY"
        assert (moving != 0).all() or rule.name in ("adadelta", "adopt", "acprop") or chance, name


def test_a_set_eps_of_zero_decays_what_rests():
    """`-lr·weight_decay·p` where the gradient is 0, and Adam's first step of full length where it is not."""
    tx = gx.adamw(0.5, b1=0.0, b2=0.0, eps=gx.tunable(1e-8), weight_decay=0.25)
    p, g = {"w": jnp.asarray([3.0, 3.0])}, {"w": jnp.asarray([0.0, -7.0])}
    state = gx.with_hyperparams(tx.init(p), tx=tx, eps=0)
    updates, _ = tx.update(g, state, p)
    np.testing.assert_array_equal(updates["w"], [-0.5 * 0.25 * 3, -0.5 * (-1 + 0.25 * 3)])


def subclasses(of: type) -> set[type]:
    return {of}.union(*map(subclasses, of.__subclasses__()))


def test_no_rule_with_an_eps_is_left_out():
    def inner(rule: Any) -> Any:
        return inner(rule.rule) if isinstance(rule, Wrapper) else rule

    ours = {c for c in subclasses(Rule) if c.__module__.startswith(("gradxform.optimizers", "gradxform.transforms"))}
    named = {c for c in ours if any(f.startswith("eps") for f in getattr(c, "__annotations__", {}))}
    tried = {type(inner(case.values[0])) for case in dividing()}
    fed = {LearnScale}  # by its stage, with gradients; an eps of 0 is refused
    assert {c for c in named if not any(issubclass(t, c) for t in tried)} == fed


def choices(rule: Rule, x: float) -> int:
    """How often a step chooses between two numbers."""
    tx = gx.lift(with_small(rule, x))
    state = jax.eval_shape(tx.init, {"w": P})
    return str(jax.make_jaxpr(tx.update)({"w": G}, state, {"w": P})).count("select_n")


@pytest.mark.parametrize("name", ["adam", "nadam", "amsgrad", "adamax", "adagrad", "adadelta", "rmsprop", "yogi"])
def test_a_plain_eps_is_not_guarded(name: str):
    rule = getattr(gx, name)(0.1).stages[0].rule
    plain, *others = [choices(rule, x) for x in (1.0, 1e-8, 1e-37, 1e-39, 0.0)]
    assert plain == 0 or name == "adagrad"  # its sum is rounded up or down
    assert [n > plain for n in others] == [False, False, True, True]
