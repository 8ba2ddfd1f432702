from __future__ import annotations

import numpy as np
import pytest

import gradxform as gx
from tests.trajectories import as_written, double, follows, near, walk
from tests.transcripts import iterates


def came(theta, gs, eta, beta1=0.9, beta2=0.999, beta3=0.9999, eps1=1e-30, eps2=1e-16, d=1.0, lam=0.0):
    """Luo et al. 2023, algorithm 2, as its authors' code has it."""

    def sides(old, square, beta):
        means = square.mean(-1, keepdims=True), square.mean(-2, keepdims=True)
        return [beta * v + (1 - beta) * mean for v, mean in zip(old, means, strict=True)]

    def divided(x, vs):
        return x / np.sqrt(vs[0] / vs[0].mean(-2, keepdims=True)) / np.sqrt(vs[1])

    def step(theta, s, g, eta, t):
        m, v, vs, rs = (0.0, 0.0, [0.0] * 2, [0.0] * 2) if s is None else s
        square = g**2 + eps1
        if g.ndim < 2:
            v = beta2 * v + (1 - beta2) * square
        else:
            vs = sides(vs, square, beta2)
        u = g / np.sqrt(v) if g.ndim < 2 else divided(g, vs)
        u = u / max(1.0, np.sqrt(np.mean(u**2)) / d)
        m = beta1 * m + (1 - beta1) * u
        if g.ndim >= 2:
            rs = sides(rs, (u - m) ** 2 + eps2, beta3)
        return (1 - lam * eta) * theta - eta * (m if g.ndim < 2 else divided(m, rs)), (m, v, vs, rs)

    return iterates(step, theta, gs, eta)


@pytest.mark.reference("yangluo7/CAME at b368dc0", "came")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.came(0.002), {}),
        (
            gx.came(0.002, 0.7, 0.8, 0.9, 1e-3, 1e-2, 0.5, weight_decay=0.1),
            {"beta1": 0.7, "beta2": 0.8, "beta3": 0.9, "eps1": 1e-3, "eps2": 1e-2, "d": 0.5, "lam": 0.1},
        ),
    ],
    ids=as_written,
)
def test_came_follows_the_authors(tx, letters):
    follows(tx, came, 0.002, **letters)


def test_the_last_two_axes_are_the_matrices():
    draw = np.random.default_rng(0).normal
    params, grads = {"w": draw(size=(3, 5, 4))}, {"w": draw(size=(20, 3, 5, 4))}
    with double():
        after, _ = walk(gx.came(0.002), params, grads, np.float64)
    near(after, {"w": came(params["w"], grads["w"], 0.002)}, 1e-12)
