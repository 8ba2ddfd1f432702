"""optax's wrappers that decide about a step: its states, its numbers, and no branch."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax as theirs
import pytest

import gradxform.compat.optax as optax
from tests.compat.optax.test_stages import assert_same, tree
from tests.compiler import FAST


def run(tx: Any, bad: tuple[int, ...] = (), steps: int = 8, dtype: Any = jnp.float32) -> Any:
    """Parameters after each step, and the last state; gradients of the bad steps are not finite."""
    p = tree(0, dtype)

    @functools.partial(jax.jit, compiler_options=FAST)
    def step(g: Any, state: Any, p: Any, scale: Any) -> Any:
        u, state = tx.update(jax.tree.map(lambda x: (x * scale).astype(x.dtype), g), state, p)
        return theirs.apply_updates(p, u), state

    state, ps = tx.init(p), []
    for i in range(steps):
        p, state = step(tree(i + 1, dtype), state, p, jnp.float32(jnp.inf if i in bad else 1.0))
        ps.append(p)
    return ps, state


@pytest.mark.parametrize("bad", [(), (2, 5), (1, 2, 3, 4)])
def test_steps_that_are_not_finite_are_left_out_and_counted(bad: tuple[int, ...]) -> None:
    made = (lib.apply_if_finite(lib.chain(lib.clip(1.0), lib.sgd(0.1, 0.9)), 3) for lib in (optax, theirs))
    assert_same(*(run(tx, bad) for tx in made), 1e-6)


def test_no_gradients_are_finite() -> None:
    tx = optax.apply_if_finite(optax.sgd(0.1), 3)
    assert bool(tx.update({}, tx.init({}))[1].last_finite)


@pytest.mark.parametrize(
    "given",
    [
        {"every_k_schedule": 3},
        {"every_k_schedule": lambda step: 1 + (step > 1)},
        {"every_k_schedule": 2, "use_grad_mean": False},
    ],
    ids=["three", "schedule", "sum"],
)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_windows_are_optaxs(given: dict[str, Any], dtype: Any) -> None:
    ours, expected = (lib.MultiSteps(lib.adamw(0.1), **given) for lib in (optax, theirs))
    assert_same(run(ours, dtype=dtype), run(expected, dtype=dtype), 1e-4 if dtype == jnp.float32 else 2**-5)
    assert isinstance(ours, theirs.MultiSteps)
    state = run(ours, steps=1)[1]
    assert bool(ours.has_updated(state)) == bool(expected.has_updated(state))


def test_a_window_that_was_not_finite_ends_with_it() -> None:
    """optax's sum stays NaN for ever: 0 times it is NaN."""
    _, state = run(optax.MultiSteps(optax.sgd(0.1), 2), (0,), steps=2)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.acc_grads))


@pytest.mark.parametrize("name", ["MultiSteps", "apply_if_finite"])
def test_keys_inside_are_kept_unjitted_too(name: str) -> None:
    def after(lib: Any) -> Any:
        tx = getattr(lib, name)(lib.add_noise(0.1, 0.5, key=0), 2)
        _, state = tx.update({"w": jnp.ones(3)}, tx.init({"w": jnp.ones(3)}))
        return jax.tree.map(
            lambda x: jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x, state
        )

    assert_same(after(optax), after(theirs), 1e-6)


def test_the_step_inside_is_traced_once() -> None:
    seen = []
    inner = theirs.GradientTransformation(lambda p: (), lambda u, s, p=None: (seen.append(0) or u, s))
    tx, p = optax.MultiSteps(inner, 2), tree(0)
    text = str(jax.make_jaxpr(tx.update)(p, tx.init(p), p))
    assert len(seen) == 1
    assert "cond" not in text


@pytest.mark.parametrize("name", ["conditionally_transform", "conditionally_mask"])
def test_steps_that_a_function_decides_about_are_optaxs(name: str) -> None:
    given = lambda step, limit=4: (step % 2 == 0) & (step < limit)  # noqa: E731
    ours, expected = (getattr(lib, name)(lib.sgd(0.1, 0.9), given) for lib in (optax, theirs))
    assert_same(run(ours), run(expected), 1e-6)
    tx, p = getattr(optax, name)(optax.sgd(0.5), lambda step, limit: step < limit, forward_extra_args=True), tree(0)
    state = tx.init(p)
    for limit, moved in (1, True), (1, False):
        u, state = tx.update(p, state, limit=limit)  # un-jitted: nothing to compile
        rest = p if name == "conditionally_transform" else jax.tree.map(jnp.zeros_like, p)
        assert_same(u, jax.tree.map(lambda x: -0.5 * x, p) if moved else rest, 0)
    assert int(state.step) == 2


def test_a_window_leaves_out_what_its_function_says() -> None:
    skip = functools.partial(theirs.skip_large_updates, max_squared_norm=100.0)
    for given in {"every_k_schedule": 2}, {"every_k_schedule": 1, "use_grad_mean": False}:
        made = (lib.MultiSteps(lib.adam(0.1), should_skip_update_fn=skip, **given) for lib in (optax, theirs))
        assert_same(*(run(tx, bad=(1, 2, 5)) for tx in made), 1e-4)
    with pytest.raises(ValueError, match="boolean scalar"):
        optax.MultiSteps(optax.sgd(0.1), 2, should_skip_update_fn=lambda *_: (jnp.int32(0), ())).update(
            tree(1), optax.MultiSteps(optax.sgd(0.1), 2).init(tree(0)), tree(0)
        )


@pytest.mark.parametrize("reset", [True, False])
def test_slow_parameters_pull_as_optaxs(reset: bool) -> None:
    def end(lib: Any) -> Any:
        tx = lib.lookahead(lib.adam(0.1), 3, 0.4, reset_state=reset)
        p = lib.LookaheadParams.init_synced(tree(0))
        state, step = tx.init(p), jax.jit(tx.update)
        for i in range(7):
            u, state = step(tree(i + 1), state, p)
            p = theirs.apply_updates(p, u)
        return p, state

    assert_same(end(optax), end(theirs), 1e-4)


@pytest.mark.parametrize("reset", [True, False])
def test_sharpness_is_looked_for_as_optax_does(reset: bool) -> None:
    def made(lib: Any) -> Any:
        uphill = lib.chain(lib.contrib.normalize(), lib.sgd(0.05, 0.9))
        return lib.contrib.sam(lib.adam(0.1), uphill, 3, reset_state=reset)

    assert_same(run(made(optax)), run(made(theirs)), 1e-4)


def test_a_sum_of_updates_that_was_not_finite_ends_with_its_window() -> None:
    made = (lib.chain(lib.sgd(0.1), lib.apply_every(3)) for lib in (optax, theirs))
    assert_same(*(run(tx) for tx in made), 1e-6)
    _, state = run(optax.apply_every(2), (0,), steps=3)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.grad_acc))


def test_value_and_gradient_are_taken_from_the_state() -> None:
    calls = []

    def value(p: Any, shift: Any) -> Any:
        calls.append(0)
        return jnp.sum((p - shift) ** 2)

    both = lambda p, state: optax.value_and_grad_from_state(value)(p, 1.0, state=state)  # noqa: E731
    state = theirs.scale_by_backtracking_linesearch(3, store_grad=True).init(jnp.ones(2))
    assert_same(jax.jit(both)(jnp.zeros(2), state), (jnp.float32(2.0), jnp.full(2, -2.0)), 0)
    known = state._replace(value=jnp.float32(7.0), grad=jnp.full(2, 3.0))
    calls.clear()
    assert_same(both(jnp.zeros(2), known), (jnp.float32(7.0), jnp.full(2, 3.0)), 0)
    assert not calls
    with pytest.raises(ValueError, match="no gradient"):
        both(jnp.zeros(2), theirs.EmptyState())


def test_slow_copies_have_optaxs_dtypes() -> None:
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), tree(1))
    for new, old in (tree(0), tree(1)), (tree(0), half), (half, half):
        got, expected = (lib.incremental_update(new, old, 0.1) for lib in (optax, theirs))
        assert_same(got, expected, 1e-6)
