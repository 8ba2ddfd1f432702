"""Our rules inside optax's types: optax's numbers on optax's states, and optax's code where ours refuse."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax as theirs
import pytest

import gradxform.compat.optax as optax
from gradxform.compat.optax.recipes import staged, stages
from tests.compiler import FAST

GIVEN: dict[str, tuple[Any, ...]] = {
    "ema": (0.9,),
    "clip": (0.1,),
    "clip_by_global_norm": (0.1,),
    "clip_by_block_rms": (0.1,),
    "adaptive_grad_clip": (0.1,),
    "add_decayed_weights": (0.1,),
    "scale": (2.0,),
    "scale_by_schedule": (lambda count: 1 / (count + 1),),
    "trace": (0.9,),
    "scale_by_learning_rate": (0.1,),
    "scale_by_madgrad": (0.1,),
    "scale_by_factored_rms": (True, 0.8, 0, 4),
    "scale_by_dog": (("heuristic", 1e-6),),
    "scale_by_rprop": (0.1,),
    "reduce_on_plateau": (0.5, 2),
}
NO_NUMBERS = "scale_by_sm3", "scale_by_distance_over_gradients"


def tree(seed: int, dtype: Any = jnp.float32) -> Any:
    draw = np.random.default_rng(seed).standard_normal
    return {"w": jnp.asarray(draw((6, 5)), dtype), "b": [jnp.asarray(draw(5), dtype), jnp.asarray(draw(()), dtype)]}


def vectors(seed: int, dtype: Any = jnp.float32) -> Any:
    """The same without the number."""
    return {"w": tree(seed, dtype)["w"], "b": tree(seed, dtype)["b"][0]}


def trajectory(tx: Any, steps: int = 5, dtype: Any = jnp.float32, tree: Any = tree) -> Any:
    """Updates and the last state, compiled."""
    p = tree(0, dtype)
    extra = {"value": 1.0} if isinstance(tx, theirs.GradientTransformationExtraArgs) else {}
    state, update, us = tx.init(p), jax.jit(tx.update, compiler_options=FAST), []
    for i in range(1, steps + 1):
        u, state = update(tree(i, dtype), state, p, **extra)
        p, us = theirs.apply_updates(p, u), [*us, u]
    return us, state


def assert_same(ours: Any, expected: Any, rtol: float) -> None:
    assert jax.tree.structure(ours) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max())


def alone(theirs: Any, *args: Any, **kwargs: Any) -> Any:
    """A stage of ours whose optax cannot make the step."""

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError(f"{theirs.__name__}: optax's own code ran")

    @functools.wraps(theirs)
    def stage(*args: Any, **kwargs: Any) -> Any:
        made = theirs(*args, **kwargs)
        return type(made)(made.init, never)

    return staged(stage, stages()[theirs])(*args, **kwargs)


@pytest.mark.parametrize("theirs", [x for x in stages() if not hasattr(theirs.contrib._muon, x.__name__)])
def test_each_stage_gives_optaxs_numbers_on_optaxs_state(theirs: Any) -> None:
    given, draw = GIVEN.get(theirs.__name__, ()), vectors if theirs.__name__ in NO_NUMBERS else tree
    ours, expected = (trajectory(make(*given), tree=draw) for make in (functools.partial(alone, theirs), theirs))
    # optax's 1 - b2**t is float32's, 3e-5 off at the first steps.
    assert_same(ours, expected, 1e-4)


@pytest.mark.parametrize("name", ["adamw", "adafactor", "lamb", "lion"])
def test_dtypes_are_optaxs_where_parameters_are_narrow(name: str) -> None:
    ours, expected = (trajectory(getattr(lib, name)(0.1), 1, jnp.bfloat16) for lib in (optax, theirs))
    assert_same(ours, expected, 2**-6)  # bfloat16 in other orders of rounding


def test_what_ours_refuse_optax_does() -> None:
    rates = {"w": jnp.linspace(0, 1, 5)}
    by_element = optax.scale(-1.0), optax.adam(-0.1), optax.adam(0.1, b1=jnp.float32(1.0)), optax.clip(rates["w"])
    expected = theirs.scale(-1.0), theirs.adam(-0.1), theirs.adam(0.1, b1=jnp.float32(1.0)), theirs.clip(rates["w"])
    p, g = {"w": jnp.ones((3, 5))}, {"w": jnp.full((3, 5), 0.5)}
    for a, b in zip(by_element, expected, strict=True):
        u, v = a.update(g, a.init(p), p)[0], b.update(g, b.init(p), p)[0]
        np.testing.assert_allclose(u["w"], v["w"], rtol=1e-4)


def test_memory_that_is_rounded_is_optaxs() -> None:
    ours, expected = (trajectory(lib.adam(0.1, mu_dtype=jnp.bfloat16)) for lib in (optax, theirs))
    assert_same(ours, expected, 1e-6)


def test_it_is_optaxs_type_and_its_state_can_be_read_and_replaced() -> None:
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(0.1))
    assert isinstance(tx, theirs.GradientTransformationExtraArgs)
    _, state = trajectory(tx, 3)
    assert isinstance(state[1][0], theirs.ScaleByAdamState)
    assert int(state[1][0].count) == 3
    assert jax.tree.structure(state[1][0].mu) == jax.tree.structure(tree(0))
    assert theirs.tree_utils.tree_get(state, "nu") is state[1][0].nu
    reset = (state[0], (state[1][0]._replace(count=jnp.zeros((), jnp.int32)), *state[1][1:]))
    u, after = tx.update(tree(9), reset, tree(0))
    assert int(after[1][0].count) == 1
    expected, _ = theirs.chain(theirs.clip_by_global_norm(1.0), theirs.adamw(0.1)).update(tree(9), reset, tree(0))
    assert_same(u, expected, 1e-4)


def test_parameters_that_take_no_part_keep_optaxs_nodes() -> None:
    ours, expected = (
        trajectory(lib.masked(lib.adam(0.1), {"w": True, "b": [False, True]}), 2) for lib in (optax, theirs)
    )
    assert_same(ours, expected, 1e-4)
    assert isinstance(ours[1].inner_state[0].mu["b"][0], theirs.MaskedNode)


def test_a_state_of_optax_goes_on_here_and_back() -> None:
    for name in ("adamw", "lion", "adafactor", "rmsprop"):
        make = [getattr(lib, name)(1e-3) for lib in (theirs, optax)]
        _, state = trajectory(make[0], 3)
        p, g = tree(7), [tree(i) for i in range(20, 30)]
        ends = []
        for tx in make:
            s, q = state, p
            for x in g:
                u, s = tx.update(x, s, q)
                q = theirs.apply_updates(q, u)
            ends.append((q, s))
        assert_same(ends[1], ends[0], 1e-4)
        assert_same(ends[1][0], ends[0][0], 1e-6)
