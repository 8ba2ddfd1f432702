"""Fifty steps of a transformation over a small tree, beside a transcript or beside optax."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import gradxform as gx
from gradxform.params.select import Selector

STEPS = 50
SHAPES: dict[str, tuple[int, ...]] = {"kernel": (4, 3), "bias": (5,), "scale": ()}
Tree = dict[str, Any]
COMPARED: list[tuple[int, float, float]] = []
"""Of every comparison: its steps, the tolerance, and the largest error as a part of the leaf's largest value."""


def double() -> AbstractContextManager[Any]:
    """Inside it, JAX computes in float64."""
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax.experimental import enable_x64

    return enable_x64()


def as_written(x: Any) -> str | None:
    """A test's name for an argument that prints itself; numbered otherwise, the same in every process."""
    return repr(x) if isinstance(x, gx.GradientTransformation | Selector) and " at 0x" not in repr(x) else None


def parameters(seed: int = 0) -> Tree:
    """A matrix, a vector and a scalar, float64 values that float32 holds exactly."""
    rng = np.random.default_rng(seed)
    return {k: rng.normal(size=s).astype(np.float32).astype(np.float64) for k, s in SHAPES.items()}


def gradients(seed: int = 1, steps: int = STEPS) -> Tree:
    """A stack of random gradients, of another size for every leaf; float64 values that float32 holds exactly."""
    rng = np.random.default_rng(seed)
    sizes = {"kernel": 1.0, "bias": 0.05, "scale": 3.0}
    found = {k: sizes[k] * rng.normal(size=(steps, *shape)) for k, shape in SHAPES.items()}
    return {k: x.astype(np.float32).astype(np.float64) for k, x in found.items()}


def walk(tx: Any, params: Tree, grads: Tree, dtype: Any, **extra: Any) -> tuple[Tree, Tree]:
    """Parameters and updates after each step, as float64 arrays with a leading axis of steps; as extra has it."""

    @jax.jit
    def run(params: Tree, grads: Tree) -> tuple[Tree, Tree]:
        def step(carry: Any, now: Any) -> Any:
            (params, state), (g, extra) = carry, now
            updates, state = tx.update(g, state, params, **extra)
            params = optax.apply_updates(params, updates)
            return (params, state), (params, updates)

        return jax.lax.scan(step, (params, tx.init(params)), (grads, extra))[1]

    params, grads = (jax.tree.map(lambda x: jnp.asarray(x, dtype), tree) for tree in (params, grads))
    return jax.tree.map(lambda x: np.asarray(x, np.float64), run(params, grads))


def near(actual: Tree, expected: Tree, rtol: float) -> None:
    """Every element within rtol of the leaf's largest value."""
    assert sorted(actual) == sorted(expected)
    for name in expected:
        largest = np.max(np.abs(expected[name]))
        error = np.max(np.abs(actual[name] - expected[name])) / (largest or 1.0)
        COMPARED.append((len(np.atleast_1d(expected[name])), rtol, float(error)))
        assert error <= rtol, f"{name} is off by {error:.2e} of its largest value, allowed are {rtol:.0e}"


def follows(
    tx: Any, transcript: Callable[..., Any], *args: Any, per_leaf: Any = None, steers: bool = False, **kwargs: Any
) -> None:
    """Parameters and updates stay on the transcript's path: 2e-6 in float32, 1e-12 in float64.

    per_leaf: name of a leaf -> arguments of the transcript that differ there. steers: the update is `prox(p + u) - p`,
    which rounds in units of p, so that in float32 only the parameters are compared.
    """
    params, grads = parameters(), gradients()
    paths = {k: transcript(params[k], grads[k], *args, **{**kwargs, **(per_leaf or {}).get(k, {})}) for k in params}
    moves = {k: np.diff(x, axis=0, prepend=params[k][None]) for k, x in paths.items()}
    after, updates = walk(tx, params, grads, jnp.float32)
    near(after, paths, 2e-6)
    if not steers:
        near(updates, moves, 2e-6)
    with double():
        after, updates = walk(tx, params, grads, jnp.float64)
    near(after, paths, 1e-12)
    near(updates, moves, 1e-12)


def follows_curved(tx: Any, transcript: Callable[..., Any], *args: Any, rtol: float = 2e-6, **kwargs: Any) -> None:
    """As `follows` where a random Hessian's diagonal comes with each gradient; a convolution is among the leaves."""
    params, grads, curvature = parameters(), gradients(), gradients(2)
    for i, tree in enumerate((params, grads, curvature)):
        kernel = np.random.default_rng(7 + i).normal(size=((STEPS,) if i else ()) + (2, 3, 1, 2))
        tree["conv"] = kernel.astype(np.float32).astype(np.float64)
    paths = {k: transcript(params[k], grads[k], curvature[k], *args, **kwargs) for k in params}
    near(walk(tx, params, grads, jnp.float32, hessian=curvature)[0], paths, rtol)
    with double():
        curvature = jax.tree.map(jnp.asarray, curvature)
        near(walk(tx, params, grads, jnp.float64, hessian=curvature)[0], paths, 1e-12)


def follows_whole(tx: Any, transcript: Callable[..., Any], rtol: float = 1e-5, **kwargs: Any) -> None:
    """As `follows`, where a transcript of the whole tree as one vector sees gradients that point one way for a while.

    An array `value` among the transcript's arguments, one number a step, is the extra argument of that name.
    """
    params, grads = parameters(), gradients()
    way = np.exp(-np.arange(STEPS) / 8)
    grads = {k: x + 2 * np.std(x) * way.reshape(-1, *[1] * (x.ndim - 1)) for k, x in grads.items()}
    extra = {"value": kwargs["value"]} if "value" in kwargs else {}
    ends = np.cumsum([params[k].size for k in params])[:-1]
    vector = np.concatenate([params[k].ravel() for k in params])
    path = transcript(vector, np.concatenate([grads[k].reshape(STEPS, -1) for k in params], 1), **kwargs)
    parts = zip(params, np.split(path, ends, 1), strict=True)
    paths = {k: x.reshape(STEPS, *params[k].shape) for k, x in parts}
    moves = {k: np.diff(x, axis=0, prepend=params[k][None]) for k, x in paths.items()}
    after, updates = walk(tx, params, grads, jnp.float32, **extra)
    near(after, paths, rtol)
    near(updates, moves, rtol)
    with double():
        after, updates = walk(tx, params, grads, jnp.float64, **extra)
    near(after, paths, rtol * 1e-6)
    near(updates, moves, rtol * 1e-6)


def agrees(name: str, *args: Any, dtype: Any = np.float64, rtol: float = 1e-12, **kwargs: Any) -> None:
    """`gx.name` and `optax.name`, or `optax.contrib.name`, given the same arguments, make the same steps."""
    peer = optax if hasattr(optax, name) else optax.contrib
    ours, theirs = (getattr(library, name)(*args, **kwargs) for library in (gx, peer))
    params, grads = parameters(2), gradients(3)
    if dtype == np.float64:
        with double():
            found = [walk(tx, params, grads, dtype) for tx in (ours, theirs)]
    else:
        found = [walk(tx, params, grads, dtype) for tx in (ours, theirs)]
    for a, b in zip(*found, strict=True):
        near(a, b, rtol)


def down_a_bowl(tx: Any, steps: int = 20) -> Any:
    """Where steps down `Σ w²` from (1, -2) lead, each told the loss."""

    def step(carry: Any, _: Any) -> Any:
        w, state = carry
        u, state = tx.update(2 * w, state, w, value=jnp.sum(w**2))
        return (w + u, state), w + u

    w = jnp.asarray([1.0, -2.0])
    return jax.jit(lambda: jax.lax.scan(step, (w, tx.init(w)), length=steps)[1])()
