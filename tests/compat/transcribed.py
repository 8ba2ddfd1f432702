"""Rules and optimizers step by step, beside their formulas in float64 NumPy."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import jax.numpy as jnp
import numpy as np

from gradxform import Rule, lift
from tests.trajectories import double, gradients, near, parameters, walk

GRADS = np.array([[1.0, -2.0, 0.5], [0.25, 3.0, -0.5], [-1.5, 0.75, 0.125], [2.0, -0.25, 1.0]])


def updates(rule: Rule, gs: Any = GRADS, p: Any = None) -> tuple[list[Any], Any]:
    """The update at each step, and the memory after the last one; p: the parameter, zeros without it."""
    tx = lift(rule)
    with double():
        p = jnp.asarray(np.zeros_like(gs[0]) if p is None else p)
        state, found = tx.init(p), []
        for g in gs:
            u, state = tx.update(jnp.asarray(g), state, p)
            found.append(np.asarray(u))
    return found, next(iter((state.leaves or {}).values()), None)


def means(b: float, xs: Any) -> list[Any]:
    """`m <- b·m + (1 - b)·x`, from 0."""
    m, found = np.zeros_like(xs[0]), []
    for x in xs:
        m = b * m + (1 - b) * x
        found.append(m)
    return found


def rectified(b1: float, b2: float, eps: float, gs: Any) -> list[Any]:
    """RAdam, eps beside √v. From the sixth step on the average in v is long enough; before, the mean alone."""
    longest, lengths, expected = 2 / (1 - b2) - 1, [], []
    for t, (m, v) in enumerate(zip(means(b1, gs), means(b2, gs**2), strict=True), 1):
        length, u = longest - 2 * t * b2**t / (1 - b2**t), m / (1 - b1**t)
        if length > 5:
            r = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
            u = u * np.sqrt(r) * np.sqrt(1 - b2**t) / (np.sqrt(v) + eps)
        lengths.append(length)
        expected.append(u)
    assert lengths[4] < 5 < lengths[5]
    return expected


def walks(tx: Any, transcript: Callable[..., Any], *args: Any, dtype: Any = np.float64, **kwargs: Any) -> None:
    """Eight steps of an optimizer stay on the transcript's path: `transcript(first, gradients, *args, **kwargs)`."""
    params, grads = parameters(), gradients(steps=8)
    paths = {k: transcript(params[k], grads[k], *args, **kwargs) for k in params}
    with double() if dtype == np.float64 else nullcontext():
        after, _ = walk(tx, params, grads, dtype)
    near(after, paths, 1e-12 if dtype == np.float64 else 2e-6)
