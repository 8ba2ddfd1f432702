"""A barrier changes no number, stands in programs for CPU alone, and goes through every transformation of JAX."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

import gradxform as gx
from gradxform.core.barriers import SMALL, TOGETHER, barrier, barrier_each, in_place

X = np.array([1.0, -2.0, 3.0], np.float32)


def program(f, *args, platform):
    return jax.jit(f).trace(*args).lower(lowering_platforms=(platform,)).as_text()


def clipped():
    return gx.chain(gx.clip_by_global_norm(0.1), gx.adamw(1e-3))


BEHIND = {
    "clip, adamw": clipped(),
    "lamb": gx.lamb(1e-3, weight_decay=0.1),
    "adam, clip": gx.chain(gx.scale_by_adam(), gx.clip_by_global_norm(0.1)),
    "guard": gx.guard(clipped(), spike=6.0, max_consecutive=3, then="zero"),
    "loss scale": gx.dynamic_loss_scale(clipped()),
    "accumulate": gx.accumulate(clipped(), 2),
    "measure": gx.measure(gx.adamw(1e-3), grad_norm=True, update_norm=True, param_norm=True),
}


def test_it_stands_on_cpu_alone():
    def f(x, y):
        return barrier((x * 2, y + 1))

    assert program(f, X, X, platform="cpu").count("optimization_barrier") == 1
    for platform in ("cuda", "tpu"):
        text = program(f, X, X, platform=platform)
        assert text == program(lambda x, y: (x * 2, y + 1), X, X, platform=platform).replace("__lambda", "_f")


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("tx", BEHIND.values(), ids=BEHIND)
def test_no_transformation_has_one_on_gpus_and_tpus(tx, platform):
    params = {"w": jnp.ones((300, 400)), "b": jnp.ones(7)}
    args = params, tx.init(params), params, jnp.ones(())

    def update(g, s, p, value):
        return tx.update(g, s, p, value=value)

    assert "barrier" in program(update, *args, platform="cpu")
    assert "barrier" not in program(update, *args, platform=platform)


def steps(tx):
    rng = np.random.default_rng(0)
    params = {k: jnp.asarray(rng.standard_normal(s), jnp.float32) for k, s in {"w": (300, 400), "b": (7,)}.items()}
    state = tx.init(params)
    step = jax.jit(lambda g, s, p: tx.update(g, s, p, value=1.0))
    for _ in range(3):
        updates, state = step(jax.tree.map(lambda p: p * 1.25 - 0.5, params), state, params)
        params = gx.apply_updates(params, updates)
    return params, state


@pytest.mark.parametrize("tx", BEHIND.values(), ids=BEHIND)
def test_numbers_are_those_without_it(tx, monkeypatch):
    there = steps(tx)
    monkeypatch.setattr(jax.lax, "optimization_barrier", lambda xs: xs)
    assert "optimization_barrier" not in program(barrier, X, platform="cpu")
    here = steps(tx)
    for a, b in zip(*map(jax.tree.leaves, (here, there)), strict=True):
        # Sums of 120,000 squares are added in another order; beside the largest, small differences of large terms.
        np.testing.assert_allclose(a, b, rtol=3e-6, atol=3e-7 * np.max(np.abs(b)))


def test_un_jitted_nothing_happens():
    tree = {"a": jnp.ones(2), "b": (3.0, None)}
    assert barrier(tree) is tree


def test_trees_keep_their_structure():
    assert jax.eval_shape(lambda x: barrier({"a": x, "b": (x[0], None)}), X) == {
        "a": jax.ShapeDtypeStruct((3,), jnp.float32),
        "b": (jax.ShapeDtypeStruct((), jnp.float32), None),
    }


def test_derivatives_of_every_order():
    def f(x):
        return jnp.sum(barrier(x * x) ** 2)

    for transformed in (jax.jit, lambda f: f):
        np.testing.assert_array_equal(transformed(jax.grad(f))(X), 4 * X**3)
        np.testing.assert_array_equal(transformed(jax.hessian(f))(X), np.diag(12 * X**2))
        np.testing.assert_array_equal(transformed(jax.grad(jax.checkpoint(f)))(X), 4 * X**3)


def test_mapped_along_some_arrays_only():
    def f(x, y):
        return barrier((x * x, y + 1))

    for transformed in (jax.jit, lambda f: f):
        squares, more = transformed(jax.vmap(f, in_axes=(0, None), out_axes=(0, None)))(X, X)
        np.testing.assert_array_equal(squares, X * X)
        np.testing.assert_array_equal(more, X + 1)


def test_arrays_that_vary_stand_beside_arrays_that_do_not():
    """One that is the same on every device is known to be so behind the barrier too."""
    mesh = Mesh(jax.devices()[:2], ("data",))

    def f(x, y):
        return barrier_each([x * x, y + 1])

    by_hand = jax.shard_map(f, mesh=mesh, in_specs=(P("data"), P()), out_specs=[P("data"), P()])
    squares, more = jax.jit(by_hand)(jnp.arange(4.0), X)
    np.testing.assert_array_equal(squares, jnp.arange(4.0) ** 2)
    np.testing.assert_array_equal(more, X + 1)


def test_small_arrays_share_barriers():
    arrays = [jnp.full(SMALL, i) for i in range(TOGETHER + 1)] + [jnp.ones(SMALL + 1), jnp.zeros(SMALL + 1)]
    assert program(lambda xs: barrier_each(xs), arrays, platform="cpu").count("optimization_barrier") == 4
    for x, same in zip(arrays, jax.jit(barrier_each)(arrays), strict=True):
        np.testing.assert_array_equal(same, x)


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_what_follows_from_nothing_remembered_is_chosen_on_gpus(platform):
    text = program(in_place, X, X, platform=platform)
    assert ("stablehlo.select" in text) is (platform == "cuda")


@pytest.mark.parametrize("platform", ["cpu", "cuda"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.complex64])
def test_in_its_place_it_is_the_same(platform, dtype, monkeypatch):
    def chosen(*args, default, **by_platform):
        return by_platform.get(platform, default)(*args)

    monkeypatch.setattr(jax.lax, "platform_dependent", chosen)
    new = jnp.array([1.0, 0.0, -0.0, np.nan, np.inf, -np.inf, 2.0], dtype)
    for old in (new, jnp.zeros(7), jnp.full(7, np.nan), jnp.full(7, np.inf), new[::-1]):
        got = jax.jit(lambda new, old: in_place(new, old))(new, old)
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, new)
