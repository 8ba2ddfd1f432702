"""Shampoo against a float64 transcript of the authors' code."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests.optimizers.test_soap import work
from tests.trajectories import double, near, walk
from tests.transcripts import adam, iterates

D = np.random.default_rng(0).standard_normal


def inverse_root(factor, power, eps):
    """`matrix_inverse_root_from_eigendecomposition`."""
    values, vectors = np.linalg.eigh(factor)
    return vectors * (values - min(values.min(), 0.0) + eps) ** -power @ vectors.T


def shampoo(x, gs, lr, betas=(0.9, 1.0), eps=1e-12, power=0.25, every=1, start=None, graft=None, gb2=0.999, ge=1e-8):
    """`DistributedShampoo` of one block, roots by eigendecomposition."""
    (beta1, beta2), start = betas, every if start is None else start

    def step(x, s, g, lr, t):
        m, v, ggs, roots = s or (0.0, 0.0, [0.0, 0.0], [np.eye(n) for n in g.shape])
        weight = 1.0 if beta2 == 1.0 else 1 - beta2
        ggs = [beta2 * gg + weight * new for gg, new in zip(ggs, (g @ g.T, g.T @ g), strict=True)]
        if (t % every == 0 and t > start) or t == start:
            correction = 1.0 if beta2 == 1.0 else 1 - beta2**t
            roots = [inverse_root(gg / correction, power, eps) for gg in ggs]
        v = v + g**2 if graft == "adagrad" else gb2 * v + (1 - gb2) * g**2
        m = beta1 * m + (1 - beta1) * g
        filtered = m / (1 - beta1**t)
        u = roots[0] @ filtered @ roots[1]
        if graft:
            corrected = v / (1 - gb2**t) if graft == "adam" else v
            d = filtered if graft == "sgd" else filtered / (np.sqrt(corrected) + ge)
            u = d if t < start else u * (np.linalg.norm(d) / (np.linalg.norm(u) + 1e-16))
        return x - lr * u, (m, v, ggs, roots)

    return iterates(step, x, gs, lr)


@pytest.mark.reference("facebookresearch/optimizers at f606606", "shampoo")
@pytest.mark.parametrize(
    ("grafts", "options", "letters"),
    [
        ((None, "adagrad"), {}, {}),
        (
            (None, "sgd", "rmsprop"),
            {"b1": 0.8, "b2": 0.9, "eps": 1e-3, "power": 0.5, "precondition_frequency": 3, "graft_eps": 1e-2},
            {"betas": (0.8, 0.9), "eps": 1e-3, "power": 0.5, "every": 3, "ge": 1e-2},
        ),
        (
            ("adam", "sgd", "rmsprop"),
            {"b2": 0.99, "precondition_frequency": 4, "start_preconditioning_step": 7, "graft_b2": 0.9},
            {"betas": (0.9, 0.99), "every": 4, "start": 7, "gb2": 0.9},
        ),
    ],
    ids=str,
)
def test_shampoo_follows_the_authors(grafts: Any, options: Any, letters: Any) -> None:
    """Thirty steps of a square matrix: where a factor has no full rank, eps alone says how long the step is."""
    params, grads = {"w": D((5, 5)), "b": D(5)}, {"w": D((30, 5, 5)), "b": D((30, 5))}
    beta1, graft_eps = letters.get("betas", (0.9, 1.0))[0], letters.get("ge", 1e-8)
    paths = {"b": adam(params["b"], grads["b"], 0.01, beta1, letters.get("gb2", 0.999), graft_eps)}
    for graft in grafts:
        paths["w"] = shampoo(params["w"], grads["w"], 0.01, graft=graft, **letters)
        tx = gx.shampoo(0.01, grafting=graft or "none", **options)
        with double():
            near(walk(tx, params, grads, jnp.float64)[0], paths, 1e-12)


def test_roots_are_made_in_a_conditional() -> None:
    tx = gx.matrices(gx.scale_by_shampoo(), {"w": gx.Matrix("layer in out", rows="in", columns="out")})
    params = {"w": jnp.asarray(D((3, 4, 5)), jnp.float32)}
    inside, outside = work(jax.make_jaxpr(tx.update)(params, tx.init(params)).jaxpr)
    assert "eigh" in inside
    assert "eigh" not in outside


@pytest.mark.parametrize(
    "tx", [gx.scale_by_muon(), gx.scale_by_normuon(), gx.scale_by_soap(), gx.scale_by_shampoo(b2=0.9)], ids=repr
)
def test_matrices_of_several_leaves_together_are_each_by_itself(tx: Any) -> None:
    params, grads = {k: D((4, 4)) for k in "abc"}, {k: D((12, 4, 4)) for k in "abc"}
    with double():
        one, _ = walk(tx, params, grads, jnp.float64)
        joined, _ = walk(gx.matrices(tx, together=1000), params, grads, jnp.float64)
    near(joined, one, 1e-11)


def test_blocks_by_a_spec() -> None:
    spec = gx.Matrix("(i a) (j b)", rows="a", columns="b", a=4, b=4)
    g = jnp.asarray(D((8, 12)), jnp.float32)
    tx = gx.scale_by_shampoo(eps=1e-3)
    split = gx.matrices(tx, {"w": spec})
    found, _ = split.update({"w": g}, split.init({"w": g}))
    for i, j in itertools.product((0, 4), (0, 4, 8)):
        block = g[i : i + 4, j : j + 4]
        one, _ = tx.update(block, tx.init(block))
        np.testing.assert_allclose(found["w"][i : i + 4, j : j + 4], one, rtol=1e-4, atol=1e-4)
