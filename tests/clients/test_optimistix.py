"""optimistix: `OptaxMinimiser`, which hands `value`, `grad` and `value_fn` to every update and adds as equinox does."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optimistix
import pytest

import gradxform as gx
from gradxform.compat.optax import to_optax

A = np.array([[3.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 1.5]], np.float32)
B = np.array([1.0, -2.0, 0.5], np.float32)


def quadratic(y: Any, args: Any) -> Any:
    a, b = args
    x = jnp.append(y["x"], y["y"])
    return 0.5 * x @ a @ x - b @ x


def minimise(tx: Any, start: Any = None) -> Any:
    solver = optimistix.OptaxMinimiser(tx, rtol=1e-6, atol=1e-7)
    start = {"x": jnp.zeros(2), "y": jnp.zeros(())} if start is None else start
    return optimistix.minimise(quadratic, solver, start, (A, B), max_steps=2000)


MINIMISERS = {
    "momentum": gx.momentum(0.2, 0.5, nesterov=True),
    "clipped adam": gx.chain(gx.clip_by_global_norm(1.0), gx.adam(gx.exponential_decay(0.3, 20, 0.7))),
    "tunable": gx.sgd(gx.tunable(0.3)),
    "as optax's type": to_optax(gx.sgd(0.3)),
    "with a line search": gx.chain(gx.sgd(1.0), optax.scale_by_backtracking_linesearch(15)),
}
if optimistix.__version__.startswith("0.0."):  # its solver hands over the parameters only
    del MINIMISERS["with a line search"]


@pytest.mark.parametrize("name", MINIMISERS)
def test_a_quadratic_is_minimised(name: str) -> None:
    """Its minimum solves `A x = b`; the solver stops when steps fall below 1e-6.

    A line search compares values, which in float32 are flat to 1e-7 and so know their minimum to 3e-4 only.
    """
    solution = minimise(MINIMISERS[name])
    assert solution.result == optimistix.RESULTS.successful
    found = np.append(solution.value["x"], solution.value["y"])
    atol = 5e-4 if "search" in name else 2e-5
    np.testing.assert_allclose(found, np.linalg.solve(A.astype(np.float64), B), rtol=0, atol=atol)


def test_the_same_steps_as_with_optax() -> None:
    ours, theirs = minimise(gx.sgd(0.2, 0.5)), minimise(optax.sgd(0.2, 0.5))
    assert ours.stats["num_steps"] == theirs.stats["num_steps"]
    np.testing.assert_allclose(ours.value["x"], theirs.value["x"], rtol=1e-6)


def test_a_solver_of_a_rebuilt_optimizer_is_not_compiled_again() -> None:
    traces = []

    def counted(y: Any, args: Any) -> Any:
        traces.append(1)
        return quadratic(y, args)

    counts = []
    for _ in range(2):
        solver = optimistix.OptaxMinimiser(gx.sgd(0.2), rtol=1e-3, atol=1e-3)
        optimistix.minimise(counted, solver, {"x": jnp.zeros(2), "y": jnp.zeros(())}, (A, B))
        counts.append(len(traces))
    assert counts[0] == counts[1]


def test_under_vmap() -> None:
    starts = {"x": jnp.array([[0.0, 1.0], [2.0, -1.0]]), "y": jnp.array([0.0, 3.0])}
    found = jax.vmap(lambda s: minimise(gx.momentum(0.2, 0.5), s).value)(starts)
    expected = np.linalg.solve(A.astype(np.float64), B)
    for i in range(2):
        np.testing.assert_allclose(np.append(found["x"][i], found["y"][i]), expected, rtol=0, atol=2e-5)
