"""What programs do with transformations and states of optax around their loops, with ours in its place."""

from __future__ import annotations

import copy
import pickle
import re
from typing import Any

import chex
import flax.serialization
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import optax as theirs
import pytest

import gradxform.compat.optax as optax
from tests.compat.optax.test_loops import loss, start
from tests.compat.optax.test_stages import assert_same, trajectory, tree


def recipe(lib: Any) -> Any:
    """Warm-up, clip, decay of kernels alone, and a group at rest."""
    rate = lib.warmup_cosine_decay_schedule(0.0, 1e-2, 2, 10)
    mask = lambda params: flax.traverse_util.path_aware_map(lambda path, _: path[-1] == "kernel", params)  # noqa: E731
    tx = lib.chain(lib.clip_by_global_norm(1.0), lib.adamw(rate, weight_decay=0.1, mask=mask))
    return lib.multi_transform({"on": tx, "off": lib.set_to_zero()}, {"encoder": "off", "head": "on"})


def steps(tx: Any, params: Any, state: Any, n: int = 3) -> Any:
    update = jax.jit(tx.update)
    for _ in range(n):
        u, state = update(jax.grad(loss)(params), state, params)
        params = theirs.apply_updates(params, u)
    return params, state


def test_a_run_is_resumed_from_bytes_and_from_a_pickle() -> None:
    ours, expected = recipe(optax), recipe(theirs)
    params, state = steps(ours, start(), ours.init(start()))
    end = steps(expected, *steps(expected, start(), expected.init(start())))
    read = [
        flax.serialization.from_bytes(ours.init(start()), flax.serialization.to_bytes(state)),
        pickle.loads(pickle.dumps(jax.device_get(state))),
        copy.deepcopy(state),
    ]
    for old in read:
        assert jax.tree.structure(old) == jax.tree.structure(state)
    assert_same(steps(copy.deepcopy(ours), params, read[0]), end, 2e-4)


def test_names_of_the_state_choose_layouts() -> None:
    """Axes of statistics by regular expressions over the names of a flattened state, as partitioners have them."""

    def chosen(lib: Any) -> Any:
        flat = flax.traverse_util.flatten_dict(flax.serialization.to_state_dict(recipe(lib).init(start())), sep="/")
        return {name: bool(re.search(r"/(mu|nu)/head/kernel", name)) for name in flat}

    assert chosen(optax) == chosen(theirs)
    assert sum(chosen(optax).values()) == 2


def test_statistics_are_mapped_beside_parameters_and_the_rest_is_not() -> None:
    params = start()
    axes = jax.tree.map(lambda p: f"axes{p.ndim}", params)
    given = {"transform_non_params": lambda _: None, "is_leaf": lambda x: isinstance(x, theirs.MaskedNode)}
    ours, expected = (
        lib.tree_map_params(recipe(lib), lambda _, a: a, recipe(lib).init(params), axes, **given)
        for lib in (optax, theirs)
    )
    assert jax.tree.leaves(ours) == jax.tree.leaves(expected)
    assert jax.tree.structure(ours) == jax.tree.structure(expected)


def test_fields_are_read_and_set_by_name() -> None:
    for lib in (optax, theirs):
        tx = lib.chain(lib.identity(), lib.inject_hyperparams(lib.adam)(learning_rate=0.1))
        state = tx.init(tree(0))
        assert isinstance(state[0], theirs.EmptyState)
        state = lib.tree_utils.tree_set(state, learning_rate=jnp.float32(0.5))
        assert float(lib.tree_utils.tree_get(state, "learning_rate")) == 0.5
        u, _ = tx.update(tree(1), state, tree(0))
        np.testing.assert_allclose(np.abs(u["w"]), 0.5, rtol=1e-3)  # Adam's first step is the rate
        found = lib.tree_utils.tree_get_all_with_path(state, "mu")
        assert len(found) == 1
        chex.assert_trees_all_equal(found[0][1], jax.tree.map(jnp.zeros_like, tree(0)))


def test_a_population_is_trained_under_vmap() -> None:
    rates = jnp.array([0.3, 0.03, 0.003])

    def end(lib: Any) -> Any:
        def member(rate: Any) -> Any:
            tx = lib.chain(lib.clip(1.0), lib.adam(rate, b1=0.8))
            params, state = tree(0), tx.init(tree(0))
            for i in range(3):
                u, state = tx.update(tree(i + 1), state, params)
                params = lib.apply_updates(params, u)
            return params, state

        return jax.jit(jax.vmap(member))(rates)

    assert_same(end(optax), end(theirs), 1e-4)


def test_two_players_step_from_one_state() -> None:
    """Labels as a prefix of a tuple of both players' parameters, each at its rate, the second after the first."""

    def end(lib: Any) -> Any:
        tx = lib.partition({"g": lib.adam(1e-2, b1=0.5), "d": lib.rmsprop(5e-2)}, ("g", "d"))
        both = (tree(0), tree(1))
        state, update = tx.init(both), jax.jit(tx.update)
        for i in range(3):
            u, state = update((tree(i), jax.tree.map(jnp.negative, tree(i + 1))), state, both)
            both = theirs.apply_updates(both, u)
        return both, state

    assert_same(end(optax), end(theirs), 1e-4)


def test_transformations_are_taken_apart_put_together_and_named_in_annotations() -> None:
    init, update = optax.adam(0.1)
    again = optax.GradientTransformation(init, update)
    assert isinstance(again, theirs.GradientTransformation)
    assert hash(optax.adam(0.1)) is not None
    assert_same(trajectory(again), trajectory(theirs.adam(0.1)), 1e-4)
    tx = optax.adam(0.1)._replace(init=lambda params: theirs.adam(0.1).init(params))
    u, _ = tx.update(updates=tree(1), state=tx.init(tree(0)), params=tree(0))
    chex.assert_trees_all_equal_shapes_and_dtypes(u, tree(0))
    static = jax.jit(lambda tx, g, s: tx.update(g, s), static_argnums=0)
    chex.assert_trees_all_close(
        static(optax.sgd(0.5), tree(1), optax.sgd(0.5).init(tree(0)))[0], jax.tree.map(lambda x: -0.5 * x, tree(1))
    )


def test_a_state_on_a_mesh_keeps_its_layout() -> None:
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("d",))
    spread = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("d"))
    tx, p = optax.adamw(0.1), {"w": jax.device_put(jnp.ones((8, 2)), spread)}
    state = jax.jit(tx.init)(p)
    shardings = optax.tree_map_params(tx, lambda _: spread, state, transform_non_params=lambda _: None)
    assert shardings[0].mu["w"] == spread
    u, after = jax.jit(tx.update)(p, state, p)
    assert after[0].mu["w"].sharding.is_equivalent_to(spread, 2)
    assert u["w"].sharding.is_equivalent_to(spread, 2)


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["unjitted", "jitted"])
def test_a_transformation_of_the_users_around_ours(wrap: Any) -> None:
    """The natural gradient of a user's, with its own state, before our momentum and beside an extra argument."""

    def made(lib: Any) -> Any:
        def init(params: Any) -> Any:
            return {"damping": jnp.float32(1e-3), "inner": lib.trace(0.9).init(params)}

        def update(g: Any, state: Any, params: Any = None, *, loss: Any, **_: Any) -> Any:
            damped = jax.tree.map(lambda x: x / (jnp.abs(x) + state["damping"] + loss), g)
            u, inner = lib.trace(0.9).update(damped, state["inner"], params)
            return u, {"damping": state["damping"] * 0.9, "inner": inner}

        own = lib.GradientTransformationExtraArgs(init, update)
        return lib.chain(own, lib.scale_by_schedule(lambda t: -1.0 / (1.0 + t)), lib.apply_if_finite(lib.identity(), 2))

    def end(lib: Any) -> Any:
        tx, params = made(lib), tree(0)
        state, step = tx.init(params), wrap(lambda g, s, loss: tx.update(g, s, loss=loss))
        for i in range(3):
            u, state = step(tree(i + 1), state, jnp.float32(i))
        return u, state

    assert_same(end(optax), end(theirs), 1e-6)
