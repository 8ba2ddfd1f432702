"""Muon against a float64 transcript of the authors' code, and against optax's."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax.contrib
import pytest

import gradxform as gx
from gradxform.optimizers.newton_schulz import DION, POLAR_EXPRESS
from tests.trajectories import as_written, double, gradients, near, parameters, walk
from tests.transcripts import adam, iterates

D = np.random.default_rng(0).standard_normal


def newton_schulz(g: Any, eps: float = 1e-7, table: Any = ((3.4445, -4.7750, 2.0315),) * 5, times: float = 1.0) -> Any:
    x = g.T if g.shape[0] > g.shape[1] else g
    x = x / (np.linalg.norm(x) * times + eps)
    for a, b, c in table:
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if g.shape[0] > g.shape[1] else x


def polar_express(steps: int) -> Any:
    """Amsel et al. 2025, arXiv:2505.16932, algorithm 1."""
    rows = [(a / 1.01, b / 1.01**3, c / 1.01**5) for a, b, c in POLAR_EXPRESS[:-1]] + [POLAR_EXPRESS[-1]] * steps
    return lambda g: newton_schulz(g, 1e-7, rows[:steps], 1.01)


def muon(x, gs, eta, beta=0.95, nesterov=True, lam=0.0, polar=newton_schulz, factor=None, adam_eta=None, **rest):
    """`muon_update` and the Adam beside it; `x @ W` has [in, out], so that their rows are columns here."""
    if np.ndim(x) != 2:
        return adam(x, gs, eta if adam_eta is None else adam_eta, **{"beta1": 0.9, "beta2": 0.95, "eps": 1e-10, **rest})

    def step(x, m, g, eta, t):
        m = beta * (0.0 if m is None else m) + (1 - beta) * g
        u = polar((1 - beta) * g + beta * m if nesterov else m)
        fan_in, fan_out = g.shape
        scale = max(1, fan_out / fan_in) ** 0.5 if factor is None else factor(fan_in, fan_out)
        return x * (1 - eta * lam) - eta * scale * u, m

    return iterates(step, x, gs, eta)


def moonlight(fan_in: int, fan_out: int) -> float:
    return 0.2 * max(fan_in, fan_out) ** 0.5


MUONS = [
    (gx.muon(0.02, where=gx.ndim_at_least(2)), {}),
    (
        gx.muon(0.02, beta=0.8, weight_decay=0.1, nesterov=False, adam_learning_rate=0.003, consistent_rms=0.2),
        {"beta": 0.8, "lam": 0.1, "nesterov": False, "adam_eta": 0.003, "factor": moonlight},
    ),
    (
        gx.muon(0.02, "polar_express", 9, eps=1e-7 / 1.01, shape_factor="spectral"),
        {"polar": polar_express(9), "factor": lambda fan_in, fan_out: (fan_out / fan_in) ** 0.5},
    ),
    (gx.muon(0.02, "dion", 6), {"polar": lambda g: newton_schulz(g, 1e-7, (*DION, DION[-1]))}),
]


@pytest.mark.reference("KellerJordan/Muon at 857d1ad", "muon")
@pytest.mark.parametrize(("tx", "letters"), MUONS, ids=as_written)
def test_muon_follows_the_authors(tx: Any, letters: Any) -> None:
    """Fifty steps. In float32 small singular values are taken up by factors of thousands, and their rounding too."""
    params, grads = parameters(), gradients()
    for name, shape in {"wide": (3, 5), "square": (4, 4)}.items():
        params[name], grads[name] = D(shape), D((50, *shape))
    paths = {k: muon(params[k], grads[k], 0.02, **letters) for k in params}
    near(walk(tx, params, grads, jnp.float32)[0], paths, 1e-5)
    with double():
        near(walk(tx, params, grads, jnp.float64)[0], paths, 1e-12)


OPTAX = {"eps": 1e-8, "adam_b2": 0.999}


@pytest.mark.reference("optax", "muon")
@pytest.mark.parametrize(
    "same",
    [
        {},
        {"nesterov": False, "adaptive": True, "weight_decay": 0.1, "consistent_rms": 0.3},
        {"preconditioning": "aol", "ns_steps": 4},
        {"preconditioning": "schatten", "ns_coeffs": "dion"},
        {"ns_coeffs": ((2.0, -1.5, 0.5), (1.5, -0.5, 0.0)), "adam_learning_rate": 0.003},
    ],
    ids=str,
)
def test_muon_is_optax_s_by_option(same: dict[str, Any]) -> None:
    ours = {"bias_correction": True, "adam_nesterov": same.get("nesterov", True), "adam_eps": 1e-8}
    params, grads = parameters(), gradients()
    with double():
        theirs = walk(optax.contrib.muon(0.02, **OPTAX, **same), params, grads, jnp.float64)
        found = walk(gx.muon(0.02, **OPTAX, **same, **ours, where=gx.ndim_at_least(2)), params, grads, jnp.float64)
    for a, b in zip(found, theirs, strict=True):
        near(a, b, 1e-12)


def test_polar_express_converges() -> None:
    g = D((6, 6))
    u, _, vh = np.linalg.svd(g)
    with double():
        found, _ = gx.orthogonalize("polar_express", 12).update(jnp.asarray(g), ())
    np.testing.assert_allclose(found, u @ vh, atol=1e-10)


def test_steps_in_bfloat16() -> None:
    g = {"w": jnp.asarray(D((5, 8)), jnp.float32)}
    rough, fine = (gx.orthogonalize(ns_dtype=d).update(g, ())[0]["w"] for d in (jnp.bfloat16, None))
    assert rough.dtype == jnp.float32
    np.testing.assert_allclose(rough, fine, atol=0.1)
    assert not jnp.array_equal(rough, fine)


def test_coefficients_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="ns_coeffs must be"):
        gx.orthogonalize("other")
    with pytest.raises(TypeError, match="ns_coeffs must be a name, three numbers or rows of three"):
        gx.orthogonalize(((1.0, 2.0),))


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
    tx = gx.orthogonalize(eps=eps)

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
