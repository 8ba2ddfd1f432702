"""All of optax is here, and what it builds of its stages it builds of ours."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax as theirs
import pytest

import gradxform.compat.optax as optax
from gradxform.compat.optax.recipes import FUNCTIONS, STAGES, WRAPPERS, stages, verdict
from gradxform.compat.optax.rules import RULES
from tests.compat.optax.test_optax import NAMESPACES, public
from tests.compat.optax.test_stages import assert_same, trajectory


def test_what_is_ours_is_said() -> None:
    verdicts = {x: verdict(x) for space in NAMESPACES for x in public(space).values() if callable(x)}
    ours = [x for x, words in verdicts.items() if words in ("ours", "optax's recipe of ours")]
    assert len(ours) >= 138
    assert all(verdict(getattr(theirs, name, getattr(theirs.tree_utils, name, None))) == "ours" for name in FUNCTIONS)
    assert verdict(theirs.adamw) == verdict(theirs.nadamw) == verdict(theirs.contrib.muon) == "optax's recipe of ours"
    assert verdict(theirs.MultiSteps) == verdict(theirs.masked) == verdict(theirs.contrib.scale_by_muon) == "ours"
    assert verdict(theirs.scale_by_lbfgs) == verdict(theirs.l2_loss) == "optax's own"
    assert verdict(theirs.inject_hyperparams) == verdict(theirs.flatten) == "optax's wrapper of what it is given"


def test_no_stage_is_listed_that_optax_has_not() -> None:
    assert len(stages()) == len(STAGES) + len(RULES)
    assert all(
        any(hasattr(home, name) for home in (theirs, theirs.contrib, theirs.tree_utils))
        for name in (*FUNCTIONS, *WRAPPERS)
    )


RECIPES = {
    "adabelief": {}, "adadelta": {}, "adafactor": {}, "adagrad": {}, "adamax": {}, "adamaxw": {}, "adamw": {},
    "amsgrad": {}, "fromage": {}, "lamb": {}, "lars": {}, "lion": {}, "nadam": {}, "nadamw": {}, "novograd": {},
    "radam": {}, "rmsprop": {"centered": True, "momentum": 0.9}, "sgd": {"momentum": 0.9, "nesterov": True},
    "signum": {}, "yogi": {}, "optimistic_gradient_descent": {},
}  # fmt: skip


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_give_optaxs_numbers_on_optaxs_state(name: str) -> None:
    rate = theirs.warmup_cosine_decay_schedule(0.0, 0.1, 2, 10)
    ours, expected = (trajectory(getattr(lib, name)(rate, **RECIPES[name])) for lib in (optax, theirs))
    assert_same(ours, expected, 1e-4)


def mixed(lib: Any) -> dict[str, Any]:
    """Around our stages optax's own code, and a pair of the user's among them."""
    halved = theirs.GradientTransformation(lambda p: theirs.EmptyState(), lambda u, s, p=None: (half(u), s))
    inner = lib.chain(lib.clip(0.5), halved, lib.adamw(lib.cosine_decay_schedule(0.1, 10), weight_decay=0.1))
    return {
        "chain": inner,
        "MultiSteps": lib.MultiSteps(inner, 2).gradient_transformation(),
        "inject_hyperparams": lib.inject_hyperparams(lib.adamw)(learning_rate=0.1),
        "partition": lib.partition({"a": lib.adam(0.1), "b": lib.sgd(0.1, 0.9)}, {"w": "a", "b": ["b", "a"]}),
        "apply_if_finite": lib.apply_if_finite(inner, 3),
        "named_chain": lib.named_chain(("clip", lib.clip_by_global_norm(1.0)), ("adam", lib.scale_by_adam())),
        "flatten": lib.flatten(lib.adam(0.1)),
    }


def half(updates: Any) -> Any:
    return jax.tree.map(lambda u: u / 2, updates)


@pytest.mark.parametrize("name", mixed(theirs))
def test_wrappers_and_pairs_of_the_users_go_around_and_between(name: str) -> None:
    assert_same(trajectory(mixed(optax)[name]), trajectory(mixed(theirs)[name]), 1e-4)


def test_hyperparameters_that_are_injected_can_be_read_and_set() -> None:
    tx = optax.inject_hyperparams(optax.sgd)(learning_rate=optax.linear_schedule(1.0, 0.0, 4))
    p, g = {"w": jnp.zeros(2)}, {"w": jnp.ones(2)}
    state = tx.init(p)
    for expected in (1.0, 0.75, 0.5):
        u, state = tx.update(g, state, p)
        np.testing.assert_allclose(u["w"], -expected)
        np.testing.assert_allclose(state.hyperparams["learning_rate"], expected)
    fixed = optax.inject_hyperparams(optax.sgd)(learning_rate=1.0)
    state = fixed.init(p)
    state.hyperparams["learning_rate"] = jnp.asarray(0.125)
    np.testing.assert_array_equal(fixed.update(g, state, p)[0]["w"], [-0.125, -0.125])


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if "schedule" in name or name == "exponential_decay"])
def test_schedules_give_optaxs_values(name: str) -> None:
    given = {
        "constant_schedule": (0.5,),
        "cosine_decay_schedule": (0.5, 7),
        "cosine_onecycle_schedule": (9, 0.5),
        "exponential_decay": (0.5, 3, 0.9),
        "join_schedules": ([theirs.linear_schedule(1.0, 0.0, 4), theirs.constant_schedule(2.0)], [5]),
        "linear_onecycle_schedule": (9, 0.5),
        "linear_schedule": (0.5, 0.1, 5),
        "piecewise_constant_schedule": (0.5, {3: 0.5, 6: 0.1}),
        "piecewise_interpolate_schedule": ("linear", 0.5, {3: 0.5, 6: 0.1}),
        "polynomial_schedule": (0.5, 0.1, 2, 5),
        "sgdr_schedule": (
            [{"init_value": 0.1, "peak_value": 1.0, "decay_steps": 4, "warmup_steps": 1, "end_value": 0.0}] * 2,
        ),
        "warmup_constant_schedule": (0.1, 0.5, 4),
        "warmup_cosine_decay_schedule": (0.1, 0.5, 2, 9),
        "warmup_exponential_decay_schedule": (0.1, 0.5, 2, 3, 0.9),
    }[name]
    ours, expected = (getattr(lib, name)(*given) for lib in (optax, theirs))
    for count in (*range(12), jnp.int32(3)):
        np.testing.assert_allclose(ours(count), expected(count), rtol=2e-6, atol=1e-7)


@pytest.mark.filterwarnings("ignore:optax:DeprecationWarning")
def test_functions_of_trees_give_optaxs_dtypes() -> None:
    half = {"a": jnp.ones((4, 3), jnp.bfloat16), "b": jnp.ones(4, jnp.bfloat16)}

    def given(lib: Any) -> Any:
        private = lib.contrib.differentially_private_aggregate(1.0, 0.0, key=0)
        clips = lib.per_example_global_norm_clip(half, 1.0), lib.per_example_layer_norm_clip(half, 1.0)
        return (
            lib.global_norm(half),
            clips,
            lib.safe_increment(jnp.uint8(255)),
            private.update(half, private.init(half))[0],
        )

    assert_same(given(optax), given(theirs), 2**-6)


def test_an_example_that_is_not_finite_adds_nothing() -> None:
    g = {"w": jnp.array([[3.0, 4.0], [jnp.inf, 1.0]])}
    tx = optax.contrib.differentially_private_aggregate(1.0, 0.0, key=0)
    u, _ = tx.update(g, tx.init({"w": jnp.ones(2)}))
    np.testing.assert_allclose(u["w"], [0.3, 0.4], rtol=1e-6)
    assert verdict(theirs.contrib.differentially_private_aggregate) == "optax's recipe of ours"
