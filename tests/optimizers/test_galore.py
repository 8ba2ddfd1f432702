"""GaLore and APOLLO against float64 transcripts of the authors' code, of torch's weights: [out, in]."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests.trajectories import double, near
from tests.transcripts import adam, iterates

D = np.random.default_rng(0).standard_normal
STEPS = 30
SHAPES = {"up": (4, 7), "down": (6, 3), "even": (5, 5)}


def moments(s, low, b1, b2, eps, t):
    m, v = (0.0, 0.0) if s is None else s[:2]
    m, v = b1 * m + (1 - b1) * low, b2 * v + (1 - b2) * low**2
    return m, v, m / (np.sqrt(v) + eps), np.sqrt(1 - b2**t) / (1 - b1**t)


def galore(w, gs, lr, rank=2, b1=0.9, b2=0.999, eps=1e-6, lam=0.0, gap=200, scale=0.25):
    """jiaweizzhao/GaLore's AdamW and GaLoreProjector "std" at 2cc66f8; new vectors have old ones' signs."""

    def step(w, s, g, lr, t):
        right, q = g.shape[0] >= g.shape[1], None if s is None else s[2]
        if (t - 1) % gap == 0:
            left, _, rows = np.linalg.svd(g, full_matrices=False)
            new = rows[:rank].T if right else left[:, :rank]
            q = new if q is None else new * np.where(np.sum(new * q, 0) < 0, -1, 1)
        m, v, d, size = moments(s, g @ q if right else q.T @ g, b1, b2, eps, t)
        back = d @ q.T if right else q @ d
        return w - lr * (size * scale * back + lam * w), (m, v, q)

    return iterates(step, w, gs, lr)


def apollo(w, gs, lr, qs, b1=0.9, b2=0.999, eps=1e-6, lam=0.0, scale=1.0, kind="channel"):
    """zhuhanqing/APOLLO's apollo.py at 76b3472, with given projections: one a step, [shorter side, rank]."""

    def step(w, s, g, lr, t):
        axis, q = 0 if g.shape[0] < g.shape[1] else 1, qs[t - 1]
        low = g @ q if axis == 1 else q.T @ g
        m, v, d, size = moments(s, low, b1, b2, eps, t)
        sizes = {"axis": axis, "keepdims": True} if kind == "channel" else {}
        scaled = g * np.linalg.norm(d, **sizes) / (np.linalg.norm(low, **sizes) + 1e-8)
        norm = np.linalg.norm(scaled)
        limiter = 1.0 if s is None else max(norm / (s[2] + 1e-8), 1.01) / 1.01
        return w - lr * (size * np.sqrt(scale) * scaled / limiter + lam * w), (m, v, norm / limiter)

    return iterates(step, w, gs, lr)


def trained(tx, params, grads, dtype):
    """Parameters and, where there are some, bases of the matrices after each step."""

    @jax.jit
    def run(params, grads):
        def step(carry, g):
            params, state = carry
            updates, state = tx.update(g, state, params)
            params = jax.tree.map(jnp.add, params, updates)
            return (params, state), (params, gx.view(state, "basis"))

        return jax.lax.scan(step, (params, tx.init(params)), grads)[1]

    cast = [jax.tree.map(lambda x: jnp.asarray(x, dtype), tree) for tree in (params, grads)]
    return jax.tree.map(lambda x: np.asarray(x, np.float64), run(*cast))


def follows(tx, transcript, with_bases=False, **letters):
    params = {k: D(s) for k, s in SHAPES.items()} | {"b": D(5)}
    grads = {
        k: D((STEPS, *np.shape(p))) * np.linspace(1, 3, STEPS).reshape(-1, *[1] * p.ndim) for k, p in params.items()
    }
    for dtype, rtol in ((jnp.float64, 1e-10), (jnp.float32, 2e-5))[: 1 if with_bases else 2]:
        with double():
            after, bases = trained(tx, params, grads, dtype)
        names = {"b1": "beta1", "b2": "beta2", "eps": "eps", "lam": "lam"}
        of_adam = {"eps": 1e-6} | {names[k]: x for k, x in letters.items() if k in names}
        paths = {"b": adam(params["b"], grads["b"], 0.01, **of_adam)}
        for k in SHAPES:
            given = {"qs": bases[k]} if with_bases else {}
            turned = transcript(params[k].T, grads[k].swapaxes(1, 2), 0.01, **given, **letters)
            paths[k] = turned.swapaxes(1, 2)
        near(after, paths, rtol)


OTHER = {"b1": 0.8, "b2": 0.9, "eps": 1e-3}


@pytest.mark.reference("jiaweizzhao/GaLore at 2cc66f8", "galore")
@pytest.mark.parametrize(
    ("options", "letters"),
    [
        ({}, {}),
        (
            {**OTHER, "update_proj_gap": 7, "scale": 2.0, "weight_decay": 0.1},
            {**OTHER, "gap": 7, "scale": 2.0, "lam": 0.1},
        ),
    ],
)
def test_galore_follows_the_authors(options, letters):
    follows(gx.galore(0.01, 2, where=gx.ndim_at_least(2), **options), galore, **letters)


@pytest.mark.reference("zhuhanqing/APOLLO at 76b3472", "apollo")
@pytest.mark.parametrize(
    ("options", "letters"),
    [
        ({"rank": 2}, {}),
        (
            {**OTHER, "rank": 1, "scale": 128.0, "scale_type": "tensor", "update_proj_gap": 7, "weight_decay": 0.1},
            {"scale": 128.0, "kind": "tensor", "lam": 0.1, **OTHER},
        ),
    ],
)
def test_apollo_follows_the_authors(options, letters):
    follows(gx.apollo(0.01, where=gx.ndim_at_least(2), key=3, **options), apollo, with_bases=True, **letters)


def test_a_projection_is_drawn_anew_for_each_matrix_and_window():
    tx, p = gx.scale_by_apollo(2, update_proj_gap=2), {"a": jnp.ones((4, 300)), "b": jnp.ones((4, 300))}
    _, bases = trained(tx, p, jax.tree.map(lambda x: jnp.ones((4, *x.shape)), p), jnp.float32)
    assert not np.array_equal(bases["a"][0], bases["b"][0])
    np.testing.assert_array_equal(bases["a"][0], bases["a"][1])
    assert not np.array_equal(bases["a"][1], bases["a"][2])
    _, (wide,) = trained(gx.scale_by_apollo(256), [p["a"].T], [jnp.ones((1, 300, 4))], jnp.float32)
    assert wide.shape == (1, 4, 4)
