"""What odd gradients do: zeros, `None`, other shapes, gradients for integers."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx
from tests.catalogue import Entry, entries, memories, moved, own, tree

SHAPES = {"row": (1, 5), "vector": (5,), "scalar": (), "transposed": (5, 6), "flat": (30,), "deeper": (1, 6, 5)}
"""Shapes that the kernel's gradient does not have; most of them would broadcast."""


def with_kernel(tree: Any, x: Any) -> Any:
    return tree | {"dense": tree["dense"] | {"kernel": x}}


def assert_equal(actual: Any, expected: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


@entries(lambda e: e.axis is None)
def test_zero_gradients_give_no_nan(entry: Entry):
    """Bias and kernel in float16, where a usual `eps` is 0, the scale in bfloat16: one program for both."""
    dtypes = (jnp.float16, jnp.float16, jnp.bfloat16)
    p = tree(0, dtypes)
    state, zeros = entry.tx.init(p), jax.tree.map(jnp.zeros_like, p)
    for g in (zeros, zeros, tree(1, dtypes), zeros):
        p, state = gx.make_step(entry.tx)(p, state, g, **entry.extra)
    assert all(np.isfinite(np.asarray(x, np.float32)).all() for x in jax.tree.leaves((p, memories(state))))


WITHOUT_EPS = {
    "adam": lambda lib: lib.adam(0.1, eps=0.0),
    "nadam": lambda lib: lib.nadam(0.1, eps=0.0),
    "amsgrad": lambda lib: lib.amsgrad(0.1, eps=0.0),
    "rmsprop": lambda lib: lib.rmsprop(0.1, eps=0.0),
    "centred": lambda lib: lib.rmsprop(0.1, eps=0.0, centered=True),
    "eps_outside": lambda lib: lib.rmsprop(0.1, eps=0.0, eps_in_sqrt=False),
    "adagrad": lambda lib: lib.adagrad(0.1, 0.0, 0.0),
    "adabelief": lambda lib: lib.adabelief(0.1, eps=0.0, eps_root=0.0),
    "adan": lambda lib: lib.adan(0.1, eps=0.0, eps_root=0.0),
    "novograd": lambda lib: lib.novograd(0.1, eps=0.0),
    "yogi": lambda lib: lib.yogi(0.1, 0.9, 0.999, 0.0),
    "normalized": lambda lib: lib.normalize_by_update_norm(eps=0.0),
}


@pytest.mark.parametrize("name", WITHOUT_EPS)
def test_without_eps_zero_gradients_give_no_nan_and_what_is_not_finite_passes(name: str):
    tx, zeros = WITHOUT_EPS[name](gx), {"w": jnp.zeros(3)}
    updates, state = tx.update(zeros, tx.init(zeros), zeros)
    assert_equal(updates, zeros)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(state))
    updates, _ = tx.update({"w": jnp.full(3, jnp.nan)}, state, zeros)
    assert np.isnan(updates["w"]).all()


@pytest.mark.parametrize("name", sorted(set(WITHOUT_EPS) - {"adan", "centred", "yogi"}))
def test_without_eps_optax_agrees_where_gradients_are_not_zero(name: str):
    p, g = {"w": jnp.ones(3)}, {"w": jnp.asarray([1e-6, -3.0, 0.5])}
    ours, theirs = WITHOUT_EPS[name](gx), WITHOUT_EPS[name](optax)
    mine, other = ours.update(g, ours.init(p), p)[0], theirs.update(g, theirs.init(p), p)[0]
    np.testing.assert_allclose(mine["w"], other["w"], rtol=2e-5)  # optax loses digits in 1 - 0.999


@entries(lambda e: e.axis is None and not e.draws and e.function != "proximal_simplex")  # 0 is not in it
def test_zero_gradients_of_zero_parameters_give_zero(entry: Entry):
    zeros = jax.tree.map(jnp.zeros_like, tree(0, jnp.float16))
    p, _ = gx.make_step(entry.tx)(jax.tree.map(jnp.copy, zeros), entry.tx.init(zeros), zeros, **entry.extra)
    assert_equal(p, zeros)


@entries(lambda e: not e.correcting)
def test_none_leaves_its_leaf_untouched(entry: Entry):
    g, state, p = moved(entry.name)
    some = with_kernel(g, None)
    all_updates, all_after = entry.op_by_op()
    with jax.disable_jit():
        updates, after = entry.update(some, state, p)
    assert updates["dense"]["kernel"] is None
    assert jax.tree.structure(updates) == jax.tree.structure(some)
    assert jax.tree.structure(after) == jax.tree.structure(all_after)
    (bias, kernel, scale), (all_bias, _, all_scale) = memories(after), memories(all_after)
    assert_equal(kernel, memories(state)[1])
    assert_equal(gx.apply_updates(p, updates)["dense"]["kernel"], p["dense"]["kernel"])
    assert own(after).count == own(state).count + 1
    if entry.reach not in (gx.Reach.TREE, None):
        assert_equal(updates, with_kernel(all_updates, None))
        assert_equal((bias, scale), (all_bias, all_scale))


@entries(lambda e: not any(rule.corrects for _, rule in e.rules))
def test_none_everywhere_moves_nothing_but_the_counter(entry: Entry):
    _, state, p = moved(entry.name)
    nothing = jax.tree.map(lambda _: None, p)
    updates, after = entry.run(nothing, state, p)
    assert updates == nothing
    assert_equal(own(after)._replace(count=own(state).count, tree=own(state).tree), own(state))


@entries()
def test_a_gradient_of_another_shape_is_refused_with_its_path(entry: Entry):
    g, state, p = moved(entry.name)
    for shape in SHAPES.values():
        with pytest.raises(ValueError, match="dense/kernel") as raised:
            entry.update(with_kernel(g, np.ones(shape, np.float32)), state, p)
        assert str(shape) in str(raised.value)
        assert "(6, 5)" in str(raised.value)


def keeps_the_kernels_shape(entry: Entry) -> bool:
    _, kernel, _ = memories(jax.eval_shape(entry.tx.init, tree(0)))
    return any(x.shape == (6, 5) for x in jax.tree.leaves(kernel))


@entries(lambda e: not e.needing_params and keeps_the_kernels_shape(e))
def test_without_parameters_it_is_refused_by_what_is_kept(entry: Entry):
    """Shapes that broadcast are refused here, all others (a TypeError) by JAX, in the rule; the path is a note then."""
    g, state, _ = moved(entry.name)
    for shape in SHAPES.values():
        with pytest.raises((ValueError, TypeError), match="dense/kernel"):
            entry.update(with_kernel(g, np.ones(shape, np.float32)), state)


@entries()
def test_a_gradient_too_many_or_too_few_is_refused_with_its_path(entry: Entry):
    g, state, p = moved(entry.name)
    with pytest.raises(ValueError, match="dense/gain"):
        entry.update(g | {"dense": g["dense"] | {"gain": jnp.ones(())}}, state, p)
    with pytest.raises(ValueError, match="dense/kernel"):
        entry.update(g | {"dense": {"bias": g["dense"]["bias"]}}, state, p)


@entries()
def test_an_integer_leaf_keeps_no_state_and_gets_none(entry: Entry):
    p = tree(0) | {"scale": jnp.asarray(3)}
    state = entry.tx.init(p)
    assert memories(state)[2] == {}
    for absent in (None, np.zeros((), jax.dtypes.float0)):
        updates, after = jax.eval_shape(lambda g, s, p, a=absent: entry.update(g | {"scale": a}, s, p), p, state, p)
        assert updates["scale"] is None
        assert memories(after)[2] == {}
    with pytest.raises(ValueError, match="'scale'"):
        entry.update(p, state, p)
