"""Muon against a float64 transcript of the authors' code (KellerJordan/Muon, `zeropower_via_newtonschulz5`)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx

D = np.random.default_rng(0).standard_normal


def newton_schulz(g: np.ndarray, eps: float = 1e-7) -> np.ndarray:
    x = g.T if g.shape[0] > g.shape[1] else g
    x = x / (np.linalg.norm(x) + eps)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T if g.shape[0] > g.shape[1] else x


@pytest.mark.parametrize("shape", [(8, 8), (4, 9), (9, 4), (1, 5), (5, 1)])
def test_orthogonalize_is_the_authors(shape: tuple[int, int]) -> None:
    tx = gx.orthogonalize()
    for scale in (1e-3, 1.0, 1e6):
        g = scale * D(shape)
        u, _ = tx.update({"w": jnp.asarray(g, jnp.float32)}, tx.init({"w": jnp.zeros(shape)}))
        np.testing.assert_allclose(u["w"], newton_schulz(g), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("eps", [0.0, 1e-7])
@pytest.mark.parametrize("size", [0.0, 1e-40, 1e30])
def test_it_is_finite_with_finite_derivatives(size: float, eps: float) -> None:
    tx = gx.orthogonalize(eps)

    def of(g: Any) -> Any:
        return tx.update(g, tx.init(g))[0].sum()

    g = jnp.full((3, 4), size)
    assert jnp.isfinite(of(g))
    assert jnp.isfinite(jax.grad(of)(g)).all()


def permuted(x: Any, rows: Any, columns: Any) -> Any:
    return x[..., rows, :][..., columns]


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5)])
def test_rows_columns_and_transposes(shape: tuple[int, int]) -> None:
    """What is done to the gradient's rows and columns is done to the update's."""
    tx = gx.orthogonalize()
    g, rng = jnp.asarray(D(shape), jnp.float32), np.random.default_rng(1)
    rows, columns = rng.permutation(shape[0]), rng.permutation(shape[1])

    def of(g: Any) -> Any:
        return tx.update(g, tx.init(g))[0]

    np.testing.assert_allclose(of(permuted(g, rows, columns)), permuted(of(g), rows, columns), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(of(g.T), of(g).T, rtol=1e-4, atol=1e-5)
