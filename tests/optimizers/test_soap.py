"""SOAP against a float64 transcript of the authors' code."""

from __future__ import annotations

import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests.trajectories import double, near, walk
from tests.transcripts import adam, iterates

D = np.random.default_rng(0).standard_normal


def soap(x, gs, lr, betas=(0.95, 0.95), shampoo_beta=None, eps=1e-8, every=10, longest=10000, phase=0):
    """`SOAP.step` of one matrix without decay; `step` counts from the second gradient. phase: not the authors'."""
    beta1, beta2 = betas
    beta = beta2 if shampoo_beta is None else shampoo_beta
    kept = [n <= longest for n in np.shape(x)]

    def turn(x, qs, back):
        for axis, q in enumerate(qs):
            x = x if q is None else np.moveaxis(np.tensordot(x, q, axes=[[axis], [1 if back else 0]]), -1, axis)
        return x

    def outer(ggs, g):
        return [beta * gg + (1 - beta) * (g @ g.T if axis == 0 else g.T @ g) for axis, gg in enumerate(ggs)]

    def step(x, s, g, lr, t):
        if s is None:
            ggs = outer([np.zeros((n, n)) for n in g.shape], g)
            qs = [np.linalg.eigh(gg)[1][:, ::-1] if yes else None for gg, yes in zip(ggs, kept, strict=True)]
            return x, (np.zeros_like(g), np.zeros_like(g), ggs, qs)
        mean, square, ggs, qs = s
        n = t - 1
        projected = turn(g, qs, False)
        mean = beta1 * mean + (1 - beta1) * projected
        square = beta2 * square + (1 - beta2) * projected**2
        size = lr * np.sqrt(1 - beta2**n) / (1 - beta1**n)
        x = x - size * turn(mean / (np.sqrt(square) + eps), qs, True)
        mean, ggs = turn(mean, qs, True), outer(ggs, g)
        if (n + phase) % every == 0:
            new = []
            for axis, (gg, q) in enumerate(zip(ggs, qs, strict=True)):
                if q is not None:
                    order = np.argsort(-np.diag(q.T @ gg @ q))
                    square = np.take(square, order, axis)
                    q = np.linalg.qr(gg @ q[:, order])[0]
                new.append(q)
            qs = new
        return x, (turn(mean, qs, False), square, ggs, qs)

    return iterates(step, x, gs, lr)


def problem(shape: tuple[int, int]) -> Any:
    return {"w": D(shape), "b": D(5)}, {"w": D((40, *shape)), "b": D((40, 5))}


@pytest.mark.reference("nikhilvyas/SOAP at a1e5535", "soap")
@pytest.mark.parametrize(
    ("options", "letters"),
    [
        ({}, {}),
        (
            {"b1": 0.9, "b2": 0.8, "eps": 1e-3, "shampoo_beta": 0.7, "precondition_frequency": 3},
            {"betas": (0.9, 0.8), "eps": 1e-3, "shampoo_beta": 0.7, "every": 3},
        ),
        ({"precondition_frequency": 1}, {"every": 1}),
    ],
    ids=str,
)
def test_soap_follows_the_authors(options: Any, letters: Any) -> None:
    """Forty steps of a square matrix: the bases of a factor without full rank are anybody's choice."""
    params, grads = problem((6, 6))
    betas = letters.get("betas", (0.95, 0.95))
    paths = {
        "w": soap(params["w"], grads["w"], 0.01, **letters),
        "b": adam(params["b"], grads["b"], 0.01, *betas, letters.get("eps", 1e-8)),
    }
    tx = gx.soap(0.01, weight_decay=0.0, **options)
    near(walk(tx, params, grads, jnp.float32)[0], paths, 1e-5)
    with double():
        near(walk(tx, params, grads, jnp.float64)[0], paths, 1e-12)


@pytest.mark.parametrize("shape", [(6, 9), (9, 6)])
def test_a_side_that_is_too_long_has_no_basis(shape: tuple[int, int]) -> None:
    params, grads = problem(shape)
    del params["b"], grads["b"]
    tx = gx.soap(0.01, weight_decay=0.0, max_precond_dim=6)
    memory = tx.init(params).leaves["w"]["soap"]
    assert (memory.left.ndim, memory.right.ndim) == tuple(2 if n <= 6 else 0 for n in shape)
    with double():
        after, _ = walk(tx, params, grads, jnp.float64)
    near(after, {"w": soap(params["w"], grads["w"], 0.01, longest=6)}, 1e-12)


def test_staggered_leaves_turn_at_steps_of_their_own() -> None:
    phases = {name: zlib.crc32(name.encode()) % 4 for name in ("a", "b", "d")}
    assert len(set(phases.values())) == 3
    params, grads = {name: D((4, 4)) for name in phases}, {name: D((14, 4, 4)) for name in phases}
    tx = gx.soap(0.01, weight_decay=0.0, precondition_frequency=4, staggered=True)
    with double():
        after, _ = walk(tx, params, grads, jnp.float64)
    near(after, {k: soap(params[k], grads[k], 0.01, every=4, phase=phase) for k, phase in phases.items()}, 1e-12)


@pytest.mark.parametrize("staggered", [False, True])
@pytest.mark.parametrize("method", [gx.scale_by_soap, gx.scale_by_kl_soap])
def test_work_on_bases_stays_a_conditional(method: Any, staggered: bool) -> None:
    """Also where several matrices go through side by side."""
    tx = gx.matrices(method(staggered=staggered), {"w": gx.Matrix("layer in out", rows="in", columns="out")})
    params = {"w": jnp.asarray(D((3, 4, 5)), jnp.float32)}
    inside, outside = work(jax.make_jaxpr(tx.update)(params, tx.init(params)).jaxpr)
    for names in ({"eigh"}, {"qr", "geqrf"}):
        assert names & inside
        assert not names & outside


def work(jaxpr: Any) -> tuple[set[str], set[str]]:
    """The primitives inside conditionals, and those outside."""
    inside, outside = set(), set()
    for eqn in jaxpr.eqns:
        inner = [getattr(x, "jaxpr", x) for x in jax.tree.leaves(list(eqn.params.values())) if hasattr(x, "eqns")]
        parts = [work(x) for x in inner]
        within = {name for part in parts for name in part[0] | (part[1] if eqn.primitive.name == "cond" else set())}
        inside |= within
        outside |= {eqn.primitive.name} | {name for part in parts for name in part[1]} - within
    return inside, outside


def test_the_first_step_only_looks() -> None:
    tx, g = gx.scale_by_soap(), {"w": jnp.asarray(D((4, 4)), jnp.float32)}
    updates, state = tx.update(g, tx.init(g))
    assert not updates["w"].any()
    assert not gx.view(state, "mu")["w"].any()
    updates, _ = tx.update(g, state)
    assert updates["w"].any()
