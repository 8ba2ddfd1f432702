"""Tables of Newton-Schulz steps, and the form on the Gram matrix, in float64.

The speedrun's of KellerJordan/modded-nanogpt at f411b3d, Turbo-Muon's of thib-s/flash-newton-schulz at cdb03db, CANS
and DeepSeek-V4 of NVIDIA-NeMo/Emerging-Optimizers at fd77292, the Gram form of Dao-AILab/gram-newton-schulz at f08f25e.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.optimizers.newton_schulz import AOL, CANS, POLAR_EXPRESS, SPEEDRUN, coefficients
from tests.optimizers.test_muon import newton_schulz
from tests.trajectories import double

D = np.random.default_rng(0).standard_normal
SHAPES = [(4, 9), (9, 4), (6, 6)]
GRAM = [(a / 1.05, b / 1.05**3, c / 1.05**5) for a, b, c in POLAR_EXPRESS[:5]]
V4 = [(3.4445, -4.7750, 2.0315)] * 8 + [(2.0, -1.5, 0.5)] * 2


def turbo(g: Any) -> Any:
    """`newton_schulz_triton_aol`."""
    x = g.T if g.shape[0] > g.shape[1] else g
    gram = x @ x.T
    s = 1 / np.sqrt(np.abs(gram).sum(axis=-1))
    x, gram = x * s[:, None], gram * s[:, None] * s
    for i, (a, b, c) in enumerate(AOL):
        gram = gram if i == 0 else x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if g.shape[0] > g.shape[1] else x


def gram_newton_schulz(g: Any, rows: Any, restarts: Any) -> Any:
    """`_gram_newton_schulz`; of square matrices `_standard_newton_schulz`."""
    if g.shape[0] == g.shape[1]:
        return newton_schulz(g, table=rows)
    x = g.T if g.shape[0] > g.shape[1] else g
    x = x / (np.linalg.norm(x) + 1e-7)
    r, q = x @ x.T, None
    for i, (a, b, c) in enumerate(rows):
        if i in restarts and i != 0:
            x = q @ x
            r, q = x @ x.T, None
        z = b * r + c * r @ r
        q = z + a * np.eye(len(x)) if q is None else q @ z + a * q
        if i < len(rows) - 1 and i + 1 not in restarts:
            rz = r @ z + a * r
            r = z @ rz + a * rz
    x = q @ x
    return x.T if g.shape[0] > g.shape[1] else x


@pytest.mark.parametrize("shape", SHAPES)
def test_they_are_the_authors(shape: tuple[int, int]) -> None:
    g = D(shape)
    cases = [
        (gx.orthogonalize("cans"), newton_schulz(g, table=CANS)),
        (gx.orthogonalize("deepseek_v4", 10), newton_schulz(g, table=V4)),
        (gx.orthogonalize("polar_express_speedrun", eps=1e-6 / 1.02), newton_schulz(g, 1e-6, SPEEDRUN, 1.02)),
        (gx.orthogonalize("aol", 4, 0.0, preconditioning="aol"), turbo(g)),
        (gx.orthogonalize("polar_express_gram", gram_restarts=(2,)), gram_newton_schulz(g, GRAM, (2,))),
        (gx.orthogonalize("dion", gram_restarts=[1, 3]), gram_newton_schulz(g, coefficients("dion", 5), (1, 3))),
    ]
    with double():
        for tx, expected in cases:
            np.testing.assert_allclose(tx.update(jnp.asarray(g), ())[0], expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(
    ("tx", "least", "low", "high"),
    [
        (gx.orthogonalize(), 3e-3, 0.68, 1.21),
        (gx.orthogonalize("cans"), 1e-3, 0.88, 1.12),
        (gx.orthogonalize("polar_express_speedrun"), 2e-3, 0.855, 1.145),
        (gx.orthogonalize("polar_express_gram", gram_restarts=(2,)), 2e-3, 0.845, 1.125),
        (gx.orthogonalize("deepseek_v4", 10), 1e-3, 0.9999, 1.0006),
        (gx.orthogonalize("polar_express", 8), 1e-3, 0.999, 1.001),
    ],
    ids=["jordan", "cans", "speedrun", "gram", "deepseek", "polar express"],
)
def test_singular_values_end_near_1(tx: Any, least: float, low: float, high: float) -> None:
    """From the least on that a table is made for, up to 1: all of the Frobenius norm in one of them."""
    u, v = (np.linalg.qr(D((n, 60)))[0] for n in (60, 80))
    s = np.append(np.geomspace(least, 0.2, 59), 0.0)
    s[-1] = np.sqrt(1 - np.sum(s**2))
    with double():
        found = np.linalg.svd(tx.update(jnp.asarray(u * s @ v.T), ())[0], compute_uv=False)
    assert low <= found.min() <= found.max() <= high


def test_turbo_muon_s_end_near_1() -> None:
    """As their preconditioning leaves them: of 0.01 on, to 0.94 and 1.05."""
    x = np.geomspace(0.01, 1.0, 1001)
    for a, b, c in AOL:
        x = a * x + b * x**3 + c * x**5
    assert 0.94 <= x.min() <= x.max() <= 1.051


def test_the_gram_form_with_a_restart_bears_small_singular_values() -> None:
    """In float32, and with steps of matrices in bfloat16: what is lost of xxᴴ is not taken up."""
    u, v = (np.linalg.qr(D((n, 30)))[0] for n in (30, 90))
    g = jnp.asarray(u * np.geomspace(1e-7, 1.0, 30) @ v.T, jnp.float32)
    for dtype in (None, jnp.bfloat16):
        tx = gx.orthogonalize("polar_express_gram", ns_dtype=dtype, gram_restarts=(2,))
        assert np.linalg.svd(tx.update(g, ())[0], compute_uv=False).max() < 1.2


def test_the_gram_form_is_finite_with_finite_derivatives() -> None:
    tx = gx.orthogonalize(eps=0.0, gram_restarts=(2,))
    of = jax.jit(jax.value_and_grad(lambda g: tx.update(g, ())[0].sum()))
    for size in (0.0, 1e-40, 1e30):
        value, slope = of(jnp.full((3, 4), size))
        assert jnp.isfinite(value)
        assert jnp.isfinite(slope).all()


def test_too_few_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="ns_steps must be at least 10 for 'deepseek_v4', got 5"):
        gx.muon(0.1, "deepseek_v4")


@pytest.mark.parametrize("method", [gx.muon, gx.normuon, gx.muonh, gx.scion, gx.dion2], ids=lambda f: f.__name__)
def test_the_gram_form_is_an_option_of_all_that_orthogonalize(method: Any) -> None:
    params = {"kernel": jnp.asarray(D(size=(4, 9)), jnp.float32)}
    plain, gram = (method(0.1, where="kernel", gram_restarts=restarts) for restarts in (None, (2,)))
    assert plain != gram
    a, b = (tx.update(params, tx.init(params), params)[0]["kernel"] for tx in (plain, gram))
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-4 * float(jnp.abs(a).max()))
    with pytest.raises(ValueError, match="gram_restarts must be fewer than the 5 steps"):
        method(0.1, gram_restarts=(5,))
