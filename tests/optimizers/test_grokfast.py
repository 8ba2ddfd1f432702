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
