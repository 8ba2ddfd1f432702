from __future__ import annotations

import pytest

import gradxform as gx
from tests.trajectories import as_written, follows
from tests.transcripts import iterates


def grokfast(x, gs, eta, alpha=0.98, lamb=2.0):
    """Lee et al. 2024, `gradfilter_ema` of the authors' code, and descent."""

    def step(x, m, g, eta, t):
        m = alpha * (g if m is None else m) + (1 - alpha) * g
        return x - eta * (g + lamb * m), m

    return iterates(step, x, gs, eta)


@pytest.mark.reference("ironjr/grokfast at 47397ee", "grokfast")
@pytest.mark.parametrize(
    ("tx", "letters"), [(gx.grokfast(), {}), (gx.grokfast(0.7, 5.0), {"alpha": 0.7, "lamb": 5.0})], ids=as_written
)
def test_grokfast_follows_the_authors(tx, letters):
    follows(gx.chain(tx, gx.sgd(0.02)), grokfast, 0.02, **letters)


def grokfast_ma(x, gs, eta, window_size=100, lamb=5.0, filter_type="mean", warmup=True):
    """`gradfilter_ma`, with a queue of gradients."""

    def step(x, queue, g, eta, t):
        queue = [*(queue or []), g][-window_size:]
        if not warmup or len(queue) == window_size:
            g = g + lamb * sum(queue) / (len(queue) if filter_type == "mean" else 1)
        return x - eta * g, queue

    return iterates(step, x, gs, eta)


SUM = {"filter_type": "sum", "warmup": False}


@pytest.mark.reference("ironjr/grokfast at 93b2248", "grokfast_ma")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.grokfast_ma(7), {"window_size": 7}),
        (gx.grokfast_ma(12, 0.5, "sum", False), {"window_size": 12, "lamb": 0.5, **SUM}),
    ],
    ids=as_written,
)
def test_grokfast_ma_follows_the_authors(tx, letters):
    follows(gx.chain(tx, gx.sgd(0.02)), grokfast_ma, 0.02, **letters)
