from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx
from tests.trajectories import as_written, follows_whole
from tests.transcripts import iterates

INF = np.inf


def prodigy(w, gs, rate=1.0, b1=0.9, b2=0.999, b3=None, eps=1e-8, d0=1e-6, coef=1.0, lam=0.0, safe=False,
            debiased=False, growth=INF):  # fmt: skip
    """Mishchenko, Defazio 2023, as its authors' code has it."""
    first, b3 = np.asarray(w, np.float64), b2**0.5 if b3 is None else b3

    def step(w, state, g, rate, t):
        m, v, s, d, top, numerator = state or (0.0, 0.0, 0.0, d0, d0, 0.0)
        now = d * rate * ((1 - b2**t) ** 0.5 / (1 - b1**t) if debiased else 1.0)
        m, v = b1 * m + (1 - b1) * d * g, b2 * v + (1 - b2) * (d * g) ** 2
        s = b3 * s + d / d0 * (d if safe else now) * g
        numerator = b3 * numerator + d / d0 * now * np.dot(g, first - w)
        if (size := np.abs(s).sum()) == 0:
            return w, (m, v, s, d, top, numerator)
        found = coef * numerator / size
        d = max(d, found) if d == d0 else d
        top = max(top, found)
        d = min(top, d * growth)
        return w - lam * now * w - now * m / (np.sqrt(v) + d * eps), (m, v, s, d, top, numerator)

    return iterates(step, w, gs, rate)


def dadapt(w, gs, rate=1.0, b1=0.9, b2=0.999, eps=1e-8, d0=1e-6, lam=0.0, debiased=False, growth=INF):
    """Defazio, Mishchenko 2023, as its authors' code has it, its decay decoupled."""
    b = b2**0.5

    def step(w, state, g, rate, t):
        m, v, s, d, numerator = state or (0.0, 0.0, np.zeros_like(g), d0, 0.0)
        now = d * rate * ((1 - b2**t) ** 0.5 / (1 - b1**t) if debiased else 1.0)
        along = now * np.dot(g, s / (np.sqrt(v) + eps))
        m, v = b1 * m + now * (1 - b1) * g, b2 * v + (1 - b2) * g**2
        s = b * s + now * (1 - b) * g
        if (size := np.abs(s).sum()) == 0:
            return w, (m, v, s, d, numerator)
        numerator = b * numerator + (1 - b) * along
        d = max(d, min(numerator / ((1 - b) * size), d * growth))
        return w - lam * now * w - m / (np.sqrt(v) + eps), (m, v, s, d, numerator)

    return iterates(step, w, gs, rate)


RATES = [*np.linspace(0.1, 1.0, 50)]


@pytest.mark.reference("konstmish/prodigy at 3efb213", "prodigy")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.prodigy(), {}),
        (
            gx.prodigy(RATES, (0.8, 0.99), 0.9, 1e-3, 1e-4, 2.0, 0.1, True),
            {"rate": RATES, "b1": 0.8, "b2": 0.99, "b3": 0.9, "eps": 1e-3, "d0": 1e-4, "coef": 2.0, "lam": 0.1,
             "safe": True},
        ),
        (gx.prodigy(bias_correction=True, growth_rate=1.5), {"debiased": True, "growth": 1.5}),
    ],
    ids=as_written,
)  # fmt: skip
def test_prodigy_follows_the_authors(tx, letters):
    follows_whole(tx, prodigy, 1e-2, **letters)  # steps of 1e-6 from where float32 is 1e-7 apart


@pytest.mark.reference("facebookresearch/dadaptation at c984980", "dadapt_adamw")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.dadapt_adamw(), {}),
        (
            gx.dadapt_adamw(RATES, (0.8, 0.99), 1e-3, 1e-4, 0.1),
            {"rate": RATES, "b1": 0.8, "b2": 0.99, "eps": 1e-3, "d0": 1e-4, "lam": 0.1},
        ),
        (gx.dadapt_adamw(bias_correction=True, growth_rate=1.5), {"debiased": True, "growth": 1.5}),
    ],
    ids=as_written,
)
def test_dadapt_adamw_follows_the_authors(tx, letters):
    follows_whole(tx, dadapt, **letters)


def descended(tx, steps=60):
    """A tree's way down a slope that is known everywhere, and the states."""
    target = {"a": jnp.array([3.0, -2.0]), "b": jnp.array(1.0)}
    w = jax.tree.map(jnp.zeros_like, target)
    state, found = tx.init(w), []
    for _ in range(steps):
        g = jax.tree.map(lambda w, x: jnp.tanh(w - x), w, target)
        u, state = jax.jit(tx.update)(g, state, w)
        w = optax.apply_updates(w, u)
        found.append([*w["a"], w["b"]])
    return np.asarray(found), state


@pytest.mark.parametrize("name", ["prodigy", "dadapt_adamw"])
def test_equals_optax_whose_rate_is_corrected(name):
    ours, _ = descended(getattr(gx, name)(bias_correction=True))
    theirs, _ = descended(getattr(optax.contrib, name)())
    np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=1e-6)
    assert np.abs(ours[-1]).max() > 0.1


@pytest.mark.parametrize("name", ["prodigy", "dadapt_adamw"])
def test_a_first_gradient_of_zero_spoils_nothing(name):
    w = {"a": jnp.ones(3)}
    ours, theirs = getattr(gx, name)(), getattr(optax.contrib, name)()
    for tx, finite in ((ours, True), (theirs, False)):
        state = tx.init(w)
        for g in (0.0, 1.0, -1.0):
            u, state = tx.update({"a": jnp.full(3, g)}, state, w)
        assert np.isfinite(u["a"]).all() == finite


@pytest.mark.parametrize("name", ["prodigy", "dadapt_adamw"])
@pytest.mark.parametrize("strategy", [lambda tx: gx.stored_as("bfloat16", tx, min_size=0), gx.packed, gx.guard])
def test_strategies_keep_the_sums_of_the_whole_tree(name, strategy):
    plain, _ = descended(getattr(gx, name)(), 12)
    other, _ = descended(strategy(getattr(gx, name)()), 12)
    np.testing.assert_allclose(other, plain, rtol=0.1, atol=1e-6)


def test_betas_are_two():
    with pytest.raises(ValueError, match="betas must be two decay rates, got"):
        gx.prodigy(betas=(0.9, 0.99, 0.999))
    with pytest.raises(ValueError, match=r"betas must be in \[0, 1\), got 1.0"):
        gx.dadapt_adamw(betas=(0.9, 1.0))
