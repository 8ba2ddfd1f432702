"""A run goes on in the other library from its state."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx
from gradxform.compat.optax import state_from_optax, state_to_optax
from tests.compat.optax.test_stages import trajectory, tree

PAIRS: dict[str, Any] = {
    "adamw": lambda lib: lib.adamw(1e-2, weight_decay=0.1),
    "clip and amsgrad": lambda lib: lib.chain(lib.clip_by_global_norm(1.0), lib.amsgrad(1e-2)),
    "two adams": lambda lib: lib.chain(lib.scale_by_adam(0.5), lib.scale_by_adam(0.9), lib.scale(-0.01)),
    "lion": lambda lib: lib.lion(1e-2),
    "adafactor": lambda lib: lib.adafactor(1e-2, min_dim_size_to_factor=4),
    "rmsprop": lambda lib: lib.rmsprop(lib.linear_schedule(1e-2, 0.0, 20), centered=True, momentum=0.9),
    "rprop": lambda lib: lib.rprop(1e-2),
    "novograd": lambda lib: lib.novograd(1e-2),
    "optimistic": lambda lib: lib.optimistic_gradient_descent(1e-2),
}


def onwards(tx: Any, state: Any, p: Any, steps: int = 10) -> Any:
    update = jax.jit(tx.update)
    for i in range(20, 20 + steps):
        u, state = update(tree(i), state, p)
        p = optax.apply_updates(p, u)
    return p


@pytest.mark.parametrize("name", [name for name in PAIRS if name != "rprop"])  # optax's and torch's differ
def test_it_goes_on_natively(name: str) -> None:
    theirs, ours = PAIRS[name](optax), PAIRS[name](gx)
    _, state = trajectory(theirs, 3)
    p = tree(7)
    after = onwards(ours, state_from_optax(state, ours, p), p)
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(onwards(theirs, state, p)), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)  # optax's 1 - b2**t is float32's


@pytest.mark.parametrize("name", PAIRS)
def test_there_and_back_keeps_every_bit(name: str) -> None:
    theirs, ours = PAIRS[name](optax), PAIRS[name](gx)
    _, state = trajectory(theirs, 3)
    p = tree(7)
    back = state_to_optax(state_from_optax(state, ours, p), theirs.init(p), p)
    assert jax.tree.structure(back) == jax.tree.structure(state)
    jax.tree.map(np.testing.assert_array_equal, back, state)


def test_ours_goes_on_in_optax() -> None:
    ours, theirs, p = gx.adamw(1e-2), optax.adamw(1e-2), tree(7)
    _, state = trajectory(ours, 3)
    after = onwards(theirs, state_to_optax(state, theirs.init(p), p), p)
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(onwards(ours, state, p)), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6)  # optax's 1 - b2**t is float32's


def test_it_is_a_copy() -> None:
    theirs, ours, p = optax.sgd(0.1, 0.9), gx.sgd(0.1, 0.9), {"w": np.ones(3, np.float32)}
    state = jax.tree.map(np.array, theirs.init(p))
    taken = state_from_optax(state, ours, p)
    state[0].trace["w"][:] = 7.0
    np.testing.assert_array_equal(gx.view(taken, "trace")["w"], 0.0)


@pytest.mark.parametrize(
    ("theirs", "ours", "words"),
    [
        (optax.sgd(0.1), gx.adam(0.1), "no mu, nu for 'w', which adam keeps"),
        (optax.adam(0.1), gx.sgd(0.1), "keeps no 'mu', which optax's state has for 'w'"),
        (optax.scale_by_novograd(), gx.scale_by_adam(), r"'nu' of 'w' has shape \(\), where .* keeps \(3,\)"),
        (optax.sgd(0.1), gx.accumulate(gx.sgd(0.1), 2), "is no State of a chain"),
    ],
    ids=["missing", "surplus", "shape", "wrapper"],
)
def test_what_does_not_fit_is_refused(theirs: Any, ours: Any, words: str) -> None:
    p = {"w": jnp.ones(3)}
    with pytest.raises(ValueError, match=words):
        state_from_optax(theirs.init(p), ours, p)


def test_only_ours_is_taken() -> None:
    with pytest.raises(TypeError, match="takes a gradxform transformation"):
        state_from_optax(optax.sgd(0.1).init({}), optax.sgd(0.1), {})  # type: ignore[arg-type]
