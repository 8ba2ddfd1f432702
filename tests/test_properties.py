"""Any tree: shapes, dtypes and containers drawn at random, with `None`, nothing, scalars and empty arrays in it."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import assume, example, given
from hypothesis import strategies as st

import gradxform as gx
from tests.trees import NAMES, PARAMS, TREES, Block, Layer, Param, draw, rests

TRANSFORMATIONS = {
    "sgd": lambda: gx.sgd(0.1),
    "adamw": lambda: gx.adamw(0.1, weight_decay=0.1, mask=gx.ndim_at_least(2)),
    "lamb": lambda: gx.lamb(0.1),
    "clipped": lambda: gx.chain(gx.clip_by_global_norm(0.5), gx.momentum(0.1)),
    "centred": lambda: gx.chain(gx.centralize(), gx.rmsprop(0.1, centered=True)),
    "grouped": lambda: gx.groups([(gx.ndim_at_least(1), gx.adam(0.1))], default=gx.sgd(0.1)),
    "tunable": lambda: gx.lion(gx.tunable(0.1)),
    "proximal": lambda: gx.proximal_sgd(0.1, l1=0.5),
    "averaged": lambda: gx.chain(gx.adagrad(0.1), gx.ema_of_params(0.9)),
}
TX = st.sampled_from(list(TRANSFORMATIONS)).map(lambda name: TRANSFORMATIONS[name]())


def kinds(tree: Any) -> Any:
    return jax.tree.structure(tree), [(x.shape, x.dtype, x.weak_type) for x in jax.tree.leaves(tree)]


def keeps_none(x: Any) -> bool:
    return x is None


@given(tree=TREES, tx=TX)
@example(tree={}, tx=gx.adam(0.1))
@example(tree=(), tx=gx.chain(gx.clip_by_global_norm(1.0), gx.adam(0.1)))
@example(tree=Param((), None, None), tx=gx.adam(0.1))
@example(tree=Param((), jnp.float32, jnp.float32), tx=gx.lamb(0.1))
@example(tree=Param((), jnp.float32, None), tx=gx.adam(0.1))
@example(tree={"a": {}, "b": [], "c": Param((0, 2), jnp.bfloat16, jnp.float32)}, tx=gx.lamb(0.1))
def test_state_updates_and_parameters_have_the_shapes_they_must(tree: Any, tx: Any):
    p, g = draw(tree, grad=False), draw(tree, grad=True)
    if rests(tree):
        tx = gx.own_clock(tx)
    state = tx.init(p)
    updates, after = jax.eval_shape(tx.update, g, state, p)
    assert kinds(after) == kinds(state)
    assert jax.tree.structure(updates) == jax.tree.structure(g)
    for u, x in zip(jax.tree.leaves(updates), jax.tree.leaves(g), strict=True):
        assert u.shape == x.shape
        assert u.dtype == jnp.float32 or u.size == 0
    new = jax.eval_shape(gx.apply_updates, p, updates)
    assert [(x.shape, x.dtype) for x in jax.tree.leaves(new)] == [(x.shape, x.dtype) for x in jax.tree.leaves(p)]
    assert jax.tree.structure(new) == jax.tree.structure(p)


@given(tree=TREES, tx=TX)
def test_init_of_shapes_gives_the_shapes_of_the_state(tree: Any, tx: Any):
    p = draw(tree, grad=False)
    assume(jax.tree.leaves(p))
    structs = tx.init(jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), p))
    assert kinds(structs) == kinds(tx.init(p))


@given(tree=TREES, rate=st.floats(0.0, 1.0, width=32), decay=st.floats(0.0, 1.0, width=32))
def test_descent_equals_its_formula_leaf_by_leaf(tree: Any, rate: float, decay: float):
    p, g = draw(tree, grad=False), draw(tree, grad=True)
    tx = gx.chain(gx.add_decayed_weights(decay), gx.sgd(rate))
    with jax.disable_jit():
        updates, _ = tx.update(g, tx.init(p), p)
        new = gx.apply_updates(p, updates)

    def check(x: Any, g: Any, after: Any) -> None:
        if x is None:
            assert after is None
            return
        if g is None:
            np.testing.assert_array_equal(after, x)
            return
        x32, g32 = (np.asarray(a, np.float32) for a in (x, g))
        expected = x32 - np.float32(rate) * (g32 + np.float32(decay) * x32)
        # One rounding to the dtype of the parameter, at a place that an ulp of float32 may shift.
        ulp = float(jnp.finfo(x.dtype).eps) + 4 * 2.0**-23
        bound = ulp * (1 + np.abs(x32) + np.abs(g32))
        assert np.all(np.abs(np.asarray(after, np.float32) - expected) <= bound)

    jax.tree.map(check, p, g, new, is_leaf=keeps_none)


@given(params=st.lists(PARAMS, min_size=1, max_size=3))
def test_the_container_makes_no_difference(params: Any):
    """Adam on a list, a tuple, a dict or nested in a dataclass does to each leaf what it does to that leaf alone."""
    tx = gx.own_clock(gx.adam(0.1))

    def run(p: Any, g: Any) -> Any:
        with jax.disable_jit():
            return tx.update(g, tx.init(p), p)[0]

    ps, gs = [x.draw(i, False) for i, x in enumerate(params)], [x.draw(i + 9, True) for i, x in enumerate(params)]
    alone = [run(p, g) for p, g in zip(ps, gs, strict=True)]
    rest = (None,) * (3 - len(ps))
    for make in (
        list,
        tuple,
        lambda xs: {str(i): x for i, x in enumerate(xs)},
        lambda xs: {"deep": [{"er": list(xs)}]},
        lambda xs: Block(Layer(*[*xs, *rest][:2]), [*xs, *rest][2]),
    ):
        updates = run(make(ps), make(gs))
        expected = make(alone)
        assert jax.tree.structure(updates) == jax.tree.structure(expected)
        jax.tree.map(np.testing.assert_array_equal, updates, expected)


@given(tree=TREES, seed=st.integers(0, 99))
def test_the_global_norm_is_that_of_all_numbers(tree: Any, seed: int):
    g = draw(tree, grad=True, seed=seed)
    numbers = [np.asarray(x, np.float64).ravel() for x in jax.tree.leaves(g)]
    np.testing.assert_allclose(gx.global_norm(g), np.linalg.norm(np.concatenate([[0.0], *numbers])), rtol=1e-6)


@given(names=st.lists(NAMES, unique=True, min_size=1, max_size=4), where=NAMES)
def test_a_state_made_for_one_container_serves_another_of_the_same_paths(names: Any, where: str):
    """Leaves are matched by path: `init` and `update` may see dicts of another order or another type."""
    tx = gx.chain(gx.trace(0.9), gx.add_decayed_weights(0.1, lambda p: {k: k == where for k in p}))
    p = {name: jnp.full(2, float(i + 1)) for i, name in enumerate(names)}
    state = tx.init(p)
    turned = OrderedDict((name, p[name]) for name in reversed(names))
    with jax.disable_jit():
        expected, _ = tx.update(p, state, p)
        updates, _ = tx.update(turned, state, turned)
    for name in names:
        np.testing.assert_array_equal(updates[name], expected[name])
        assert bool(np.all(updates[name] == p[name])) != (name == where)
