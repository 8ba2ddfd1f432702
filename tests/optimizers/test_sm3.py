from __future__ import annotations

import numpy as np
import optax
import pytest

import gradxform as gx
from tests.trajectories import as_written, double, follows, near, walk
from tests.transcripts import iterates


def sm3(x, gs, eta, momentum=0.9, eps=1e-30):
    """Anil et al. 2019, SM3-II, as its authors' code has it."""

    def step(x, s, g, eta, t):
        axes = range(g.ndim)
        sums, m = ([0.0] * max(g.ndim, 1), 0.0) if s is None else s
        total = np.minimum.reduce(np.broadcast_arrays(*sums, g)[:-1]) + g**2
        others = [tuple(a for a in axes if a != i) for i in axes]
        sums = [total.max(other, keepdims=True) for other in others] if g.ndim > 1 else [total]
        m = m + ((momentum - 1) * m + (1 - momentum) * g / np.sqrt(total + eps))
        return x - eta * m, (sums, m)

    return iterates(step, x, gs, eta)


@pytest.mark.reference("google-research/sm3 at 0c1bbe5", "sm3")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.sm3(0.02), {"eps": 1e-8}),
        (gx.chain(gx.scale_by_sm3(0.5, eps=1e-30), gx.scale(-0.02)), {"momentum": 0.5}),
    ],
    ids=as_written,
)
def test_sm3_follows_the_authors(tx, letters):
    follows(tx, sm3, 0.02, **letters)


@pytest.mark.reference("optax", "sm3")
@pytest.mark.parametrize("arguments", [(), (0.5, 0.9, 1e-4)])
def test_equals_optax_which_has_no_scalars(arguments):
    draw = np.random.default_rng(0).normal
    params, grads = ({k: draw(size=(*n, *s)) for k, s in {"w": (3, 5, 4), "b": (6,)}.items()} for n in ((), (20,)))
    with double():
        found = [walk(library.scale_by_sm3(*arguments), params, grads, np.float64) for library in (gx, optax)]
    for ours, theirs in zip(*found, strict=True):
        near(ours, theirs, 1e-12)


def test_memory_grows_with_the_sum_of_the_axes():
    sums = gx.sm3(0.1).init({"w": np.ones((3, 5, 4), np.float32)}).leaves["w"]["sm3"].sums
    assert [x.shape for x in sums] == [(3, 1, 1), (1, 5, 1), (1, 1, 4)]
