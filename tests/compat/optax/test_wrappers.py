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


def run(tx: Any, bad: tuple[int, ...] = (), steps: int = 8, dtype: Any = jnp.float32) -> Any:
    """Parameters after each step, and the last state; gradients of the bad steps are not finite."""
    p = tree(0, dtype)

    @jax.jit
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


def test_what_the_user_leaves_out_is_left_out() -> None:
    skip = functools.partial(theirs.skip_large_updates, max_squared_norm=1e6)
    made = [lib.MultiSteps(lib.adam(0.1), 2, should_skip_update_fn=skip) for lib in (optax, theirs)]
    assert_same(*(run(tx, (2,)) for tx in made), 1e-4)


def test_a_window_that_was_not_finite_ends_with_it() -> None:
    """optax's sum stays NaN for ever: 0 times it is NaN."""
    _, state = run(optax.MultiSteps(optax.sgd(0.1), 2), (0,), steps=2)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state.acc_grads))


def test_the_step_inside_is_traced_once() -> None:
    seen = []
    inner = theirs.GradientTransformation(lambda p: (), lambda u, s, p=None: (seen.append(0) or u, s))
    tx, p = optax.MultiSteps(inner, 2), tree(0)
    text = str(jax.make_jaxpr(tx.update)(p, tx.init(p), p))
    assert len(seen) == 1
    assert "cond" not in text
