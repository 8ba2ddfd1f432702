"""The line search beside torch's own, and the conditions that it is named for, which it meets if it may go on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradxform.compat.torch.wolfe import C1, C2, strong_wolfe
from tests.trajectories import double

FUNCTIONS: dict[str, tuple[Callable[[Any, Any], Any], float]] = {
    "quadratic": (lambda x, m: (x - 3) ** 2, 1.0),
    "too far": (lambda x, m: x**4 - x, 5.0),
    "not far enough": (lambda x, m: m.exp(-x), 0.01),
    "waves": (lambda x, m: -0.3 * x + m.sin(4 * x) / 4 + x**2 / 20 - 0.9 * x, 3.0),
    "good at once": (lambda x, m: (x - 1) ** 2, 1.0),
}


def theirs(name: str, most: int) -> tuple[float, ...]:
    torch = pytest.importorskip("torch")
    from torch.optim.lbfgs import _strong_wolfe

    f, first = FUNCTIONS[name]

    def at(x: Any, t: Any, d: Any) -> tuple[float, Any]:
        w = (x[0] + t * d).requires_grad_()
        loss = f(w, torch).sum()
        loss.backward()
        return float(loss.detach()), w.grad

    x, d = [torch.zeros(1, dtype=torch.float64)], torch.ones(1, dtype=torch.float64)
    loss, grad = at(x, 0.0, d)
    found, g, t, n = _strong_wolfe(at, x, first, d, loss, grad, grad.dot(d), max_ls=most)
    return float(found), float(g), float(t), n


def ours(name: str, most: int) -> tuple[float, ...]:
    f, first = FUNCTIONS[name]
    slopes = jax.value_and_grad(lambda t: f(t, jnp))

    def on(t: Any) -> Any:
        loss, g = slopes(t)
        return loss, g[None], g

    loss, g, slope = on(jnp.asarray(0.0))
    found, g, t, n = strong_wolfe(on, jnp.asarray(first), jnp.asarray(1.0), loss, g, slope, most)
    return float(found), float(g[0]), float(t), int(n)


@pytest.mark.parametrize(("name", "most"), [*((name, 25) for name in FUNCTIONS), ("too far", 2)])
def test_evaluation_by_evaluation(name: str, most: int) -> None:
    with double():
        found = ours(name, most)
        before, slope = map(float, jax.value_and_grad(lambda t: FUNCTIONS[name][0](t, jnp))(0.0))
    expected = theirs(name, most)
    assert found[3] == expected[3]
    np.testing.assert_allclose(found[:3], expected[:3], rtol=1e-9, atol=1e-12)
    if most == 25:
        loss, g, t, _ = found
        assert loss <= before + C1 * t * slope
        assert abs(g) <= -C2 * slope
