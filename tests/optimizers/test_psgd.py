"""PSGD Kron against a float64 transcript of its authors' code, evanatyourservice/kron_torch at 884427c."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.core.keys import at_step, drawn, owned
from tests.trajectories import double as in_double
from tests.trajectories import near, walk
from tests.transcripts import iterates

D = np.random.default_rng(0).standard_normal


def norm_bound(a: Any) -> Any:
    most = np.abs(a).max()
    a = a / most
    x = a[:, np.argmax((a * a).sum(0))] @ a
    return most * np.linalg.norm(a @ (x / np.linalg.norm(x)))


def kron(x, gs, lr, draws, b1=0.9, lam=0.0, diagonal=(False, False), scale=1.0, step_size=0.1, raw=False):
    """`Kron.step` of one matrix: draws are at each step whether it learns, whether it balances, and V."""

    def step(x, s, g, lr, t):
        if s is None:
            s = 0.0, [scale**0.5 * np.eye(n) for n in g.shape]
        m, (p, q) = s
        (now, balanced), v = draws[t - 1]
        m = b1 * m + (1 - b1) * g
        debiased = m / (1 - b1**t)
        if now:
            if balanced:
                most = np.abs(p).max(), np.abs(q).max()
                mean = np.exp(np.mean(np.log(most)))
                p, q = p * mean / most[0], q * mean / most[1]
            seen = g if raw else debiased
            seen = seen + np.sqrt(np.finfo(np.float32).eps) * np.abs(seen).mean() * v
            a, b = p @ seen @ q.T, np.linalg.inv(p).T @ v @ np.linalg.inv(q)
            p, q = (
                learnt(factor, left, right, diag)
                for factor, left, right, diag in zip((p, q), (a, a.T), (b, b.T), diagonal, strict=True)
            )
        u = p.T @ p @ debiased @ q.T @ q
        u = u * min(1.0, 1.1 / (np.sqrt(np.mean(u * u)) + 1e-12))
        return x - lr * (u + lam * x), (m, (p, q))

    def learnt(factor, a, b, diag):
        minus, plus = a @ a.T - b @ b.T, a @ a.T + b @ b.T
        if diag:
            return factor - step_size * np.diag(np.diag(minus)) @ factor / np.diag(plus).max()
        return factor - step_size * np.triu(minus) @ factor / norm_bound(plus)

    return iterates(step, x, gs, lr)


def draws_of(tx: Any, shape: tuple[int, ...], steps: int, probability: float) -> Any:
    """What `tx` draws for the leaf "w"."""
    rule, name = tx.stages[0].rule, tx.stages[0].name

    def at(t: Any) -> Any:
        all_leaves, leaf = (drawn(at_step(owned(rule, path, name, True), t)).key for path in ("/", "w"))
        return jax.random.uniform(all_leaves, (2,)), jax.random.normal(leaf, shape)

    chances, vs = map(np.asarray, jax.jit(jax.vmap(at))(jnp.arange(1, steps + 1)))
    return [((bool(one < probability), two < 0.01), v) for (one, two), v in zip(chances, vs, strict=True)]


@pytest.mark.reference("evanatyourservice/kron_torch at 884427c", "psgd_kron")
@pytest.mark.parametrize(
    ("shape", "options", "letters", "double", "rtol"),
    [
        ((4, 3), {}, {}, False, 5e-6),
        (
            (3, 5),
            {
                "b1": 0.5,
                "preconditioner_update_probability": 0.4,
                "momentum_into_precond_update": False,
                "precond_lr": 0.3,
                "precond_init_scale": 2.0,
                "memory_save_mode": "smart_one_diag",
            },
            {"b1": 0.5, "raw": True, "step_size": 0.3, "scale": 2.0, "diagonal": (False, True)},
            True,
            1e-12,
        ),
    ],
    ids=str,
)
def test_psgd_kron_follows_the_authors(shape: Any, options: Any, letters: Any, double: bool, rtol: float) -> None:
    """A hundred and twenty steps, with V and the choice of steps as drawn."""
    params, grads = {"w": D(shape)}, {"w": 0.1 * D((120, *shape))}
    tx = gx.chain(gx.scale_by_psgd_kron(**options, key=3), gx.add_decayed_weights(0.1), gx.scale_by_learning_rate(0.01))
    with in_double() if double else nullcontext():
        draws = draws_of(tx, shape, 120, options.get("preconditioner_update_probability", 1.0))
        after = walk(tx, params, grads, jnp.float64 if double else jnp.float32)[0]
    assert len({now for (now, _), _ in draws}) == (2 if options else 1)
    assert any(balanced for (_, balanced), _ in draws)
    near(after, {"w": kron(params["w"], grads["w"], 0.01, draws, lam=0.1, **letters)}, rtol)
