"""KL-SOAP against a float64 transcript of the authors' code, yorkerlin/KL-Methods at a02e622."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests.optimizers.test_soap import problem
from tests.trajectories import double, near, walk
from tests.transcripts import adam, iterates


def kl_soap(x, gs, lr, betas=(0.9, 0.98), shampoo_beta=None, eps=1e-8, every=10, start=0.1, most=4000):
    """`KLOpt.step` of one matrix with `using_klsoap`, in float64, without decay; it counts from the second gradient."""
    beta1, beta2 = betas
    beta = beta2 if shampoo_beta is None else shampoo_beta

    def eigenvalues(inverse, diagonal):
        learnt = beta / inverse**2 + (1 - beta) * diagonal
        return np.minimum(1 / np.sqrt(learnt), max(10, min(len(learnt), most)))

    def step(x, s, g, lr, t):
        rows, columns = g.shape
        if s is None:
            left, right = (1 - beta) * g @ g.T / columns, (1 - beta) * g.T @ g / rows
            p, q = (np.linalg.eigh(gg)[1][:, ::-1] for gg in (left, right))
            return x, (
                np.zeros_like(g),
                np.zeros_like(g),
                left,
                right,
                p,
                q,
                *(np.full(n, start**-0.5) for n in g.shape),
            )
        mean, square, left, right, p, q, i, j = s
        projected = p.T @ g @ q
        mean = beta1 * mean + (1 - beta1) * projected
        square = beta2 * square + (1 - beta2) * projected**2
        x = x - lr * p @ (mean / (np.sqrt(square) + eps)) @ q.T
        a, b = j[:, None] * (q.T @ g.T), i[:, None] * (p.T @ g)
        left = beta * left + (1 - beta) * a.T @ a / columns
        right = beta * right + (1 - beta) * b.T @ b / rows
        i, j = (
            eigenvalues(i, np.mean((projected * j) ** 2, axis=1)),
            eigenvalues(j, np.mean((projected * i[:, None]) ** 2, axis=0)),
        )
        if (t - 1) % every == 0:
            mean = p @ mean @ q.T
            p, q = np.linalg.qr(left @ p)[0], np.linalg.qr(right @ q)[0]
            mean = p.T @ mean @ q
        return x, (mean, square, left, right, p, q, i, j)

    return iterates(step, x, gs, lr)


@pytest.mark.reference("yorkerlin/KL-Methods at a02e622", "kl_soap")
@pytest.mark.parametrize(
    ("options", "letters"),
    [
        ({}, {}),
        (
            {"b1": 0.8, "b2": 0.9, "eps": 1e-3, "shampoo_beta": 0.7, "init_factor": 1.0, "precondition_frequency": 3},
            {"betas": (0.8, 0.9), "eps": 1e-3, "shampoo_beta": 0.7, "start": 1.0, "every": 3},
        ),
    ],
    ids=str,
)
def test_kl_soap_follows_the_authors(options: Any, letters: Any) -> None:
    """Forty steps of a square matrix, whose gradients are small enough for eigenvalues to reach their bound."""
    params, grads = problem((6, 6))
    grads["w"] *= 0.03
    paths = {
        "w": kl_soap(params["w"], grads["w"], 0.01, **letters),
        "b": adam(params["b"], grads["b"], 0.01, *letters.get("betas", (0.9, 0.98)), letters.get("eps", 1e-8)),
    }
    tx = gx.kl_soap(0.01, weight_decay=0.0, **options)
    with double():
        near(walk(tx, params, grads, jnp.float64)[0], paths, 1e-11)
    near(walk(tx, params, grads, jnp.float32)[0], paths, 2e-5)


@pytest.mark.parametrize("shape", [(6, 9), (9, 6)])
def test_a_side_that_is_too_long_counts_as_the_identity(shape: tuple[int, int]) -> None:
    tx = gx.scale_by_kl_soap(max_precond_dim=6)
    params = {"w": jnp.ones(shape)}
    memory = tx.init(params).leaves["w"]["kl_soap"]
    assert (memory.left_values.ndim, memory.right_values.ndim) == tuple(int(n <= 6) for n in shape)
