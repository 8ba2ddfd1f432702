"""A run goes on in the other library from its state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import gradxform as gx
from gradxform.compat.optax import state_from_optax, state_to_optax
from tests.checkpoints import files
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


def make(lib: Any) -> dict[str, Any]:
    """What a checkpoint holds; k of a window and a schedule are those of both libraries."""
    rate = lib.linear_schedule(1e-2, 0.0, 40)
    if lib is optax:
        every, finite = optax.MultiSteps(optax.adamw(1e-2), 2).gradient_transformation(), optax.apply_if_finite
        held = optax.inject_hyperparams(optax.adamw)(learning_rate=1e-2, weight_decay=0.1)
        turning = optax.inject_hyperparams(optax.sgd, static_args="nesterov")(rate, momentum=0.9)
    else:
        every, finite = gx.accumulate(gx.adamw(1e-2), 2), gx.apply_if_finite
        held = gx.adamw(gx.tunable(1.0), weight_decay=gx.tunable(1.0))
        turning = gx.sgd(gx.tunable(rate), gx.tunable(0.9))
    return {
        "adamw": lib.adamw(1e-2), "lion": lib.lion(1e-2), "adafactor": lib.adafactor(1e-2, min_dim_size_to_factor=4),
        "every": every, "held": held, "turning": turning, "finite": finite(lib.adam(rate), 3),
    }  # fmt: skip


def all_onwards(txs: dict[str, Any], steps: int = 10) -> Any:
    """The parameters after the steps of each transformation from its state, in one program."""
    gs = jax.tree.map(lambda *xs: jnp.stack(xs), *map(tree, range(20, 20 + steps)))

    def end(tx: Any, state: Any) -> Any:
        def step(carry: Any, g: Any) -> Any:
            u, s = tx.update(g, carry[1], carry[0])
            return (optax.apply_updates(carry[0], u), s), None

        return jax.lax.scan(step, (tree(7), state), gs)[0][0]

    return jax.jit(lambda states: {name: end(tx, states[name]) for name, tx in txs.items()})


def test_a_checkpoint_goes_on_natively_and_back(tmp_path: Path) -> None:
    theirs, ours, p = make(optax), make(gx), tree(7)
    state = {name: trajectory(tx, 3)[1] for name, tx in theirs.items()}
    state["held"].hyperparams["learning_rate"] = jnp.float32(3e-3)
    files.write_orbax(tmp_path / "theirs", state)
    state = files.read_orbax(tmp_path / "theirs", {name: tx.init(p) for name, tx in theirs.items()})
    native = {name: state_from_optax(state[name], tx, p) for name, tx in ours.items()}
    files.write_orbax(tmp_path / "ours", native)
    native = files.read_orbax(tmp_path / "ours", {name: tx.init(p) for name, tx in ours.items()})
    back = {name: state_to_optax(native[name], tx.init(p), p) for name, tx in theirs.items()}
    shown = back["turning"].hyperparams, state["turning"].hyperparams
    shown[0]["learning_rate"] = shown[1]["learning_rate"]  # that of the last step, which no step reads
    for a, b in zip(jax.tree.leaves(back), jax.tree.leaves(state), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7)  # a mean of a window is a sum here, divided again
    go_on = all_onwards(theirs)
    expected = go_on(state)
    for end in (all_onwards(ours)(native), go_on(back)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-6), end, expected)


def test_figures_of_the_whole_tree_go_along() -> None:
    p = tree(7)
    for theirs, ours in (
        (optax.contrib.prodigy(), gx.prodigy(bias_correction=True)),
        (optax.contrib.dog(), gx.dog()),
        (optax.chain(optax.adam(1e-2), optax.contrib.reduce_on_plateau(patience=1)), plateau()),
    ):
        update, state = jax.jit(theirs.update), theirs.init(p)
        for i in range(3):
            _, state = update(tree(i), state, p, value=1.0) if "value" in repr(state) else update(tree(i), state, p)
        taken = state_from_optax(state, ours, p)
        back = state_to_optax(taken, theirs.init(p), p)
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b), back, state)
        assert int(taken.count) == (1 if "is_init_step" in repr(state) else 3)


def plateau() -> Any:
    return gx.chain(gx.adam(1e-2), gx.reduce_on_plateau(patience=1))


def test_variables_of_nnx_are_looked_into() -> None:
    model = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    g, params = nnx.state(nnx.Linear(2, 3, rngs=nnx.Rngs(1)), nnx.Param), nnx.state(model, nnx.Param)
    theirs = nnx.Optimizer(model, optax.adam(1e-2), wrt=nnx.Param)
    for _ in range(3):
        theirs.update(model, g)
    taken = state_from_optax(theirs.opt_state, gx.adam(1e-2), params)
    assert int(taken.count) == 3
    back = state_to_optax(taken, theirs.opt_state, params)
    assert jax.tree.structure(back) == jax.tree.structure(theirs.opt_state)
    jax.tree.map(np.testing.assert_array_equal, back, theirs.opt_state)
    ours = nnx.Optimizer(model, gx.adam(1e-2), wrt=nnx.Param)
    ours.opt_state = jax.tree.unflatten(jax.tree.structure(ours.opt_state), jax.tree.leaves(taken))
    copy = nnx.clone(model)
    ours.update(copy, g)
    theirs.update(model, g)
    for a, b in zip(jax.tree.leaves(nnx.state(copy)), jax.tree.leaves(nnx.state(model)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
