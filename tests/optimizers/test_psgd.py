"""PSGD Kron against float64 transcripts: of evanatyourservice/kron_torch at 884427c, lixilinx/psgd_torch at a8616f1."""

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


def many_bound(a: Any, most: Any, v: Any) -> Any:
    """`norm_lower_bound_spd` and `_skh`."""
    if most == 0:
        return 0.0
    a = a / most
    row = a[np.argmax(np.linalg.norm(a, axis=1))]
    v = row + np.sign(v @ row)[:, None] * v
    for _ in range(2):
        v = v @ a
        v = v / np.linalg.norm(v, axis=1, keepdims=True) @ a
    return most * np.linalg.norm(v, axis=1).max()


def whiten(x, gs, lr, draws, b1=0.9, lam=0.0, diagonal=(False, False), scale=1.0, step_size=0.1, raw=False):
    """`KronWhiten.step` of one matrix with dQ "Q0.5EQ1.5": draws as in `kron`, V and 32 rows for each bound."""

    def step(x, s, g, lr, t):
        m, qs, ls = s or (0 * g, [scale**0.5 * np.eye(n) for n in g.shape], [0.0, 0.0])
        (now, balanced), (v, *rows) = draws[t - 1]
        beta = min((t - 1) / t, b1)
        m = beta * m + (1 - beta) * g
        if now:
            seen = g if raw else m
            seen = seen + (1e-9 + np.finfo(np.float64).eps * np.abs(seen)) * v
            pg = qs[0].T @ qs[0] @ seen @ qs[1].T @ qs[1]
            new = [
                learnt(q, ell, a, diag, *rows[2 * i : 2 * i + 2])
                for i, (q, ell, a, diag) in enumerate(zip(qs, ls, (pg, pg.T), diagonal, strict=True))
            ]
            qs, ls = [q for q, _ in new], [ell for _, ell in new]
            if balanced:
                most = [np.abs(q).max() for q in qs]
                qs = [q * np.sqrt(most[0] * most[1]) / n for q, n in zip(qs, most, strict=True)]
        u = qs[0].T @ qs[0] @ m @ qs[1].T @ qs[1]
        u = np.clip(u * min(1.0, 2.0 / np.sqrt(np.mean(u * u))), -10, 10)
        return x - lr * (u + lam * x), (m, qs, ls)

    def learnt(q, ell, a, diag, v_spd, v_skh):
        gram, n = a @ a.T, a.size / len(a)
        now = n + (np.diag(gram).max() if diag else many_bound(gram, np.diag(gram).max(), v_spd))
        ell = max(0.9 * ell + 0.1 * now, now)
        if diag:
            return q * (1 - step_size / ell * (np.diag(gram) - n)), ell
        q = q - step_size / ell * (gram @ q - n * q)
        r = q.T - q
        r = r / (many_bound(r, np.abs(r).max(), v_skh) or 1.0)
        rq, rrq = r @ q, r @ r @ q
        bend = np.trace(rrq)
        a = min(-np.trace(rq) / bend, 1 / 8) if bend < 0 else 1 / 8
        return q + a * (rq + 0.5 * a * rrq), ell

    return iterates(step, x, gs, lr)


def draws_of(tx: Any, shape: tuple[int, ...], steps: int, probability: float, several: bool) -> Any:
    """What `tx` draws for the leaf "w"."""
    rule, name = tx.stages[0].rule, tx.stages[0].name

    def at(t: Any) -> Any:
        all_leaves, leaf = (drawn(at_step(owned(rule, path, name, True), t)).key for path in ("/", "w"))
        chances = jax.random.uniform(all_leaves, (2,))
        if not several:
            return chances, jax.random.normal(leaf, shape)
        key, other = jax.random.split(leaf)
        rows = jax.random.normal(other, (64, sum(shape)))
        parts = rows[:32, : shape[0]], rows[32:, : shape[0]], rows[:32, shape[0] :], rows[32:, shape[0] :]
        return chances, jax.random.normal(key, shape), *parts

    chances, *vs = map(np.asarray, jax.jit(jax.vmap(at))(jnp.arange(1, steps + 1)))
    each = zip(*vs, strict=True) if several else vs[0]
    return [((bool(one < probability), two < 0.01), v) for (one, two), v in zip(chances, each, strict=True)]


OPTIONS = {
    "b1": 0.5,
    "preconditioner_update_probability": 0.4,
    "precond_lr": 0.3,
    "precond_init_scale": 2.0,
    "memory_save_mode": "smart_one_diag",
}
LETTERS = {"b1": 0.5, "step_size": 0.3, "scale": 2.0, "diagonal": (False, True)}


def compare(transcript: Any, shape: Any, options: Any, letters: Any, double: bool, rtol: float) -> None:
    """A hundred and twenty steps, with V and the choice of steps as drawn."""
    params, grads = {"w": D(shape)}, {"w": 0.1 * D((120, *shape))}
    tx = gx.chain(gx.scale_by_psgd_kron(**options, key=3), gx.add_decayed_weights(0.1), gx.scale_by_learning_rate(0.01))
    with in_double() if double else nullcontext():
        chance = options.get("preconditioner_update_probability", 1.0)
        draws = draws_of(tx, shape, 120, chance, transcript is whiten)
        after = walk(tx, params, grads, jnp.float64 if double else jnp.float32)[0]
    assert len({now for (now, _), _ in draws}) == (2 if "b1" in options else 1)
    assert any(balanced for (_, balanced), _ in draws)
    near(after, {"w": transcript(params["w"], grads["w"], 0.01, draws, lam=0.1, **letters)}, rtol)


@pytest.mark.reference("evanatyourservice/kron_torch at 884427c", "psgd_kron")
@pytest.mark.parametrize(
    ("shape", "options", "letters", "double"),
    [
        ((4, 3), {}, {}, False),
        ((3, 5), OPTIONS | {"momentum_into_precond_update": False}, LETTERS | {"raw": True}, True),
    ],
    ids=["defaults", "others"],
)
def test_psgd_kron_follows_the_authors(shape: Any, options: Any, letters: Any, double: bool) -> None:
    compare(kron, shape, options, letters, double, 1e-12 if double else 5e-6)


@pytest.mark.reference("lixilinx/psgd_torch at a8616f1, dQ Q0.5EQ1.5", "psgd_kron")
def test_the_newer_geometry_follows_its_author() -> None:
    compare(whiten, (3, 5), OPTIONS | {"geometry": "Q0.5EQ1.5"}, LETTERS, True, 1e-12)
