from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx
from tests.trajectories import as_written, double, follows, gradients, near, parameters, walk
from tests.transcripts import iterates

START = parameters(), gradients()


def rms(x):
    return np.sqrt(np.mean(x**2))


def adafactor(p, gs, eta=None, scaled=True, d=1.0, c=0.8, beta1=None, lam=0.0, eps=1e-30, factored=True):
    """Shazeer, Stern 2018, algorithms 4 and 5, as its authors' code has them.

    lam is optax's, and is not times the rate.
    """

    def step(p, s, g, eta, t):
        beta, sides = 1 - t**-c, factored and g.ndim == 2
        square = g**2 + eps
        means = (square.mean(1, keepdims=True), square.mean(0, keepdims=True)) if sides else (square,)
        vs, m = ([0.0] * 2, 0.0) if s is None else s
        vs = [beta * v + (1 - beta) * mean for v, mean in zip(vs, means, strict=False)]
        u = g / np.sqrt(vs[0] * vs[1] / vs[0].mean() if sides else vs[0])
        u = u / max(1.0, rms(u) / d)
        eta = min(t**-0.5, 0.01) * (1 if scaled else 0.05) if np.isnan(eta) else eta
        u = eta * (max(rms(p), 1e-3) if scaled else 1.0) * u
        if beta1 is not None:
            u = m = beta1 * m + (1 - beta1) * u
        return p - u - lam * p, (vs, m)

    return iterates(step, p, gs, np.nan if eta is None else eta)


@pytest.mark.reference("tensor2tensor, utils/adafactor.py at 02999ee", "adafactor")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.adafactor(min_dim_size_to_factor=1), {}),
        (gx.adafactor(None, 2, multiply_by_parameter_scale=False), {"scaled": False}),
        (gx.adafactor(0.1, 2), {"eta": 0.1}),
        (gx.adafactor(0.1), {"eta": 0.1, "factored": False}),
        (
            gx.adafactor(0.1, 2, 0.6, 0, False, 0.5, None, jnp.float32, 0.01, 1e-3),
            {"eta": 0.1, "c": 0.6, "scaled": False, "d": 0.5, "lam": 0.01, "eps": 1e-3},
        ),
        (gx.adafactor(0.1, 2, clipping_threshold=None), {"eta": 0.1, "d": np.inf}),
    ],
    ids=as_written,
)
def test_adafactor_follows_its_paper(tx, letters):
    follows(tx, adafactor, **letters)


def test_momentum_averages_steps():
    with double():
        after, _ = walk(gx.adafactor(0.1, 2, momentum=0.8, dtype_momentum=jnp.float64), *START, jnp.float64)
    near(after, {k: adafactor(p, START[1][k], 0.1, beta1=0.8) for k, p in START[0].items()}, 1e-12)


def three_axes(seed, steps=()):
    draw = np.random.default_rng(seed).normal
    return {"w": draw(size=(*steps, 3, 4, 4)), "v": draw(size=(*steps, 6, 2))}


@pytest.mark.reference("optax", "scale_by_factored_rms")
@pytest.mark.parametrize(
    "arguments",
    [(True, 0.8, 0, 3), (True, 0.5, 0, 2, 1e-4), (False,), (True, 0.8, 0, 4, 1e-30, lambda i, c: 1 - (i + 2.0) ** -c)],
)
def test_the_two_largest_axes_are_factored_as_in_optax(arguments):
    found = []
    for library in (gx, optax):
        tx = library.chain(library.scale_by_factored_rms(*arguments), library.scale(-0.1))
        with double():
            found.append(walk(tx, three_axes(0), three_axes(1, (20,)), jnp.float64))
    for ours, theirs in zip(*found, strict=True):
        near(ours, theirs, 1e-7)  # optax raises t to a power in float32


def test_optaxs_none_is_a_rate_of_one():
    found = [walk(tx, parameters(2), gradients(3), np.float32) for tx in (gx.adafactor(1.0), optax.adafactor())]
    for ours, theirs in zip(*found, strict=True):
        near(ours, theirs, 5e-6)


def test_memory_is_a_row_and_a_column():
    p = {"w": jnp.ones((256, 130), jnp.bfloat16), "b": jnp.ones(256, jnp.bfloat16)}
    tx = gx.adafactor(0.1)
    state = tx.init(p)
    _, state = tx.update(p, state, p)
    assert (gx.view(state, "v_row")["w"].shape, gx.view(state, "v_col")["w"].shape) == ((130,), (256,))
    assert gx.view(state, "v")["b"].shape == (256,)
    assert {x.dtype for x in jax.tree.leaves(state.leaves)} == {jnp.dtype(jnp.float32)}


def test_an_offset_counts_from_there():
    tx, p, g = gx.scale_by_factored_rms(step_offset=2), jnp.ones(3), jnp.asarray([1.0, -2.0, 4.0])
    state = tx.init(p)
    for size in (1.0, 3.0, 5.0):
        u, state = tx.update(size * g, state, p)
        np.testing.assert_allclose(u, jnp.sign(g), rtol=1e-6)


def test_a_row_that_is_small_beside_others_stays_finite():
    g = jnp.ones((4, 4)).at[0].set(1e-13).at[1].set(1e18)
    tx = gx.scale_by_factored_rms(min_dim_size_to_factor=1)
    u, _ = tx.update(g, tx.init(g), g)
    np.testing.assert_allclose(u, 1.0, rtol=1e-4)
