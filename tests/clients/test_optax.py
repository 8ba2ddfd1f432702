"""optax: its chain and its wrappers around ours, its transformations inside ours."""

from __future__ import annotations

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx
from tests.catalogue import tree
from tests.events import traced_and_compiled


def run(tx: Any, steps: int = 4, add: Any = optax.apply_updates) -> tuple[Any, Any]:
    """Parameters and state after some steps on `sum(p**2)`, compiled."""

    @jax.jit
    def step(params: Any, state: Any) -> Any:
        grads = jax.tree.map(lambda p: 2 * p, params)
        updates, state = tx.update(grads, state, params)
        return add(params, updates), state

    params = tree(0)
    state = tx.init(params)
    for _ in range(steps):
        params, state = step(params, state)
    return params, state


def assert_near(actual: Any, expected: Any) -> None:
    """To 1e-5 of a way of 0.4: optax's float32 bias correction at b2 = 0.999 is off by up to 3e-5."""
    chex.assert_trees_all_close(actual, expected, rtol=1e-6, atol=1e-5)


def test_ours_with_optax_apply_updates() -> None:
    chex.assert_trees_all_equal(run(gx.adamw(0.1)), run(gx.adamw(0.1), add=gx.apply_updates))
    assert_near(run(gx.adamw(0.1))[0], run(optax.adamw(0.1))[0])


@pytest.mark.parametrize("chain", [optax.chain, gx.chain])
def test_chains_of_both(chain: Any) -> None:
    expected, _ = run(optax.chain(optax.clip_by_global_norm(0.5), optax.scale_by_adam(), optax.sgd(0.1, momentum=0.9)))
    for members in (
        (gx.clip_by_global_norm(0.5), optax.scale_by_adam(), gx.sgd(0.1, momentum=0.9)),
        (optax.clip_by_global_norm(0.5), gx.scale_by_adam(), optax.sgd(0.1, momentum=0.9)),
        (optax.chain(optax.clip_by_global_norm(0.5), gx.scale_by_adam()), gx.sgd(0.1, momentum=0.9)),
        (gx.chain(optax.clip_by_global_norm(0.5), gx.scale_by_adam()), optax.sgd(0.1, momentum=0.9)),
    ):
        params, _ = run(chain(*members))
        assert_near(params, expected)


def test_a_chain_of_both_keeps_one_state() -> None:
    _, state = run(gx.chain(gx.trace(0.5), optax.adam(0.1), gx.ema(0.5)))
    assert isinstance(state, gx.State)
    assert state.count == 4
    assert sorted(state.leaves["dense"]["kernel"]) == ["ema", "trace"]
    assert [type(x).__name__ for x in state.tree["foreign"]] == ["ScaleByAdamState", "EmptyState"]


def test_named_chain_and_frozen_leaves_around_optax() -> None:
    """Their state holds nothing for what is frozen, and their update does not move it."""
    params, state = run(gx.chain(gx.freeze("bias"), gx.named_chain(("slow", optax.adam(0.1)))))
    expected, _ = run(optax.adam(0.1))
    np.testing.assert_array_equal(params["dense"]["bias"], tree(0)["dense"]["bias"])
    assert_near(params["dense"]["kernel"], expected["dense"]["kernel"])
    assert state.tree["slow"][0].mu["dense"]["bias"] is None


def test_groups_of_both() -> None:
    params, _ = run(gx.groups([("kernel", optax.adam(0.1), "theirs")], default=gx.sgd(0.1)))
    labels = {"dense": {"kernel": "a", "bias": "b"}, "scale": "b"}
    expected, _ = run(optax.partition({"a": optax.adam(0.1), "b": optax.sgd(0.1)}, labels))
    assert_near(params, expected)
    params, _ = run(optax.partition({"a": gx.adam(0.1), "b": gx.sgd(0.1)}, labels))
    assert_near(params, expected)
    params, _ = run(gx.partition({"a": optax.adam(0.1), "b": gx.sgd(0.1)}, labels))
    assert_near(params, expected)


def test_optax_wrappers_take_ours_as_it_is() -> None:
    kernels = {"dense": {"kernel": True, "bias": False}, "scale": False}

    def wrapped(adam: Any, sgd: Any) -> dict[str, Any]:
        return {
            "masked": optax.masked(adam(0.1), kernels),
            "masked by a function": optax.masked(adam(0.1), lambda p: jax.tree.map(lambda x: x.ndim > 1, p)),
            "MultiSteps": optax.MultiSteps(adam(0.1), 2).gradient_transformation(),
            "apply_if_finite": optax.apply_if_finite(adam(0.1), 2),
            "flatten": optax.flatten(adam(0.1)),
            "conditionally_transform": optax.conditionally_transform(sgd(0.1), lambda step: step % 2 == 0),
            "skip_not_finite": optax.MultiSteps(
                sgd(0.1), 2, should_skip_update_fn=optax.skip_not_finite
            ).gradient_transformation(),
            "named_chain": optax.named_chain(("a", adam(0.1)), ("b", sgd(0.5))),
        }

    theirs = wrapped(optax.adam, optax.sgd)
    for name, tx in wrapped(gx.adam, gx.sgd).items():
        assert_near(run(tx)[0], run(theirs[name])[0])


def test_inject_hyperparams_around_our_factories() -> None:
    """Numbers and schedules that optax keeps in its own state reach our rules as data."""
    schedule = optax.linear_schedule(0.2, 0.0, 4)
    for ours, theirs, arguments in (
        (gx.adamw, optax.adamw, {"learning_rate": schedule, "weight_decay": 0.1}),
        (gx.sgd, optax.sgd, {"learning_rate": 0.1, "momentum": schedule}),
        (gx.lamb, optax.lamb, {"learning_rate": schedule}),
    ):
        params, state = run(optax.inject_hyperparams(ours)(**arguments))
        expected, _ = run(optax.inject_hyperparams(theirs)(**arguments))
        assert_near(params, expected)
        assert all(x.shape == () for x in state.hyperparams.values())


def test_injected_hyperparams_are_set_by_hand() -> None:
    tx = optax.inject_hyperparams(gx.sgd)(learning_rate=0.1)
    p = tree(0)
    state = tx.init(p)
    for update in (tx.update, jax.jit(tx.update)):
        state.hyperparams["learning_rate"] = 0.25
        updates, state = update(p, state, p)
        chex.assert_trees_all_equal(updates, jax.tree.map(lambda x: -0.25 * x, p))


def test_injected_schedules_compile_once_without_jit() -> None:
    """Each step makes a new transformation of ours; its rate enters the compiled code as data."""
    schedule, p = optax.linear_schedule(0.2, 0.0, 4), tree(0)
    ours, theirs = (optax.inject_hyperparams(adam)(learning_rate=schedule) for adam in (gx.adam, optax.adam))
    state, expected = ours.init(p), theirs.init(p)
    for i in range(6):
        with traced_and_compiled() as found:
            updates, state = ours.update(p, state, p)
        assert i < 1 or "backend_compile_duration" not in found
        wanted, expected = theirs.update(p, expected, p)
        assert_near(updates, wanted)


def test_statistics_are_found_by_optax_tree_get() -> None:
    """Field names are the ecosystem's, so optax's search by name finds them; one parameter's at a time."""
    _, state = run(gx.adam(0.1))
    assert optax.tree.get(state, "count") == 4
    found = [value for _, value in optax.tree.get_all_with_path(state, "mu")]
    chex.assert_trees_all_equal(found, jax.tree.leaves(gx.view(state, "mu")))


def test_extra_arguments_reach_optax_members() -> None:
    """A line search of optax's at the end of our chain gets its value, gradient and function."""

    def f(p: Any) -> Any:
        return sum(jnp.sum((x - 1) ** 2) for x in jax.tree.leaves(p))

    def run_search(chain: Any) -> Any:
        tx, params = chain(gx.sgd(1.0), optax.scale_by_backtracking_linesearch(10)), tree(0)
        state = tx.init(params)
        for _ in range(2):
            value, grad = jax.value_and_grad(f)(params)
            updates, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=f)
            params = optax.apply_updates(params, updates)
        return params

    params = run_search(gx.chain)
    chex.assert_trees_all_close(params, run_search(optax.chain), rtol=1e-6)
    assert f(params) < 0.2 * f(tree(0))
