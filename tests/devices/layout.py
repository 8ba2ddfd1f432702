"""A small tree that eight devices can share, its walk on one device, and the same walk laid out over a mesh."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, PartitionSpec

import gradxform as gx
from tests.catalogue import CATALOGUE, Entry
from tests.compiler import FAST

P = PartitionSpec
STEPS = 3
SHAPES = {"dense": {"kernel": (8, 6), "bias": (6,)}, "scale": ()}
SPECS = {"dense": {"kernel": P("x", "y"), "bias": P("y")}, "scale": P()}
"""The kernel's rows over four devices, columns and bias over two; a scalar is the same everywhere."""
STACKED = jax.tree.map(lambda spec: P(None, *spec), SPECS, is_leaf=lambda x: isinstance(x, P))
"""The same for gradients with the steps in front."""


def is_leaf(x: Any) -> bool:
    return isinstance(x, tuple)


@functools.cache
def mesh(kind: AxisType = AxisType.Auto) -> Mesh:
    return jax.make_mesh((4, 2), ("x", "y"), axis_types=(kind, kind))


def at_hand(kind: AxisType) -> Any:
    """The mesh as context, which older JAX spells otherwise."""
    enter = jax.set_mesh if hasattr(jax, "set_mesh") else jax.sharding.use_mesh
    return enter(mesh(kind))


def numbers(seed: int, *front: int) -> Any:
    """Normal numbers of 8 bits, so that a mean over devices of simple multiples of them is exact."""
    draw = np.random.default_rng(seed).standard_normal
    return jax.tree.map(
        lambda shape: draw((*front, *shape)).astype(jnp.bfloat16).astype(np.float32), SHAPES, is_leaf=is_leaf
    )


def parameters() -> Any:
    return numbers(0)


def gradients() -> Any:
    """One stack a leaf: a gradient for every step."""
    return numbers(1, STEPS)


def parts(grads: Any) -> Any:
    """The gradients that eight devices see, in front: multiples whose mean is exactly the whole."""
    weights = np.array([0.5, 1.5, 0.25, 1.75, 1.0, 1.0, 2.0, 0.0], np.float32)
    return jax.tree.map(lambda g: weights.reshape(8, *(1,) * g.ndim) * g, grads)


def walk(tx: Any, params: Any, state: Any, grads: Any, **extra: Any) -> Any:
    """Parameters and state after as many steps as there are gradients."""

    def step(carry: Any, g: Any) -> Any:
        params, state = carry
        updates, state = tx.update(g, state, params, **extra)
        return (gx.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, state), grads)[0]


@functools.cache
def alone(name: str) -> Any:
    """What a transformation of the catalogue does on one device."""
    entry = Entry(name, CATALOGUE[name])
    params = jax.tree.map(jnp.asarray, parameters())
    run = jax.jit(lambda p, g: walk(entry, p, entry.tx.init(p), g), compiler_options=FAST)
    return run(params, gradients())


def assert_same(actual: Any, expected: Any, narrow: bool = False) -> None:
    """To rounding: sums over devices run in another order, which three steps carry on.

    narrow: a statistic is kept in bfloat16 or float16, so that one rounding may fall to the other side there.
    """
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    rounding = 2**-8 if narrow else 8 * 2**-23
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        np.testing.assert_allclose(a, b, rtol=0, atol=rounding * max(1.0, np.abs(b).max(initial=0)))


@functools.cache
def line(kind: AxisType = AxisType.Auto) -> Mesh:
    """All devices side by side."""
    return jax.make_mesh((8,), ("devices",), axis_types=(kind,))
