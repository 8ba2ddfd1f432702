from __future__ import annotations

import optax
import pytest

import gradxform as gx
from tests import transcripts
from tests.trajectories import agrees, as_written, follows


@pytest.mark.reference("Zhuang et al. 2020, algorithm 2", "adabelief")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.adabelief(0.02), {}),
        (gx.adabelief(0.02, 0.7, 0.8, 1e-3, 1e-4), {"beta1": 0.7, "beta2": 0.8, "eps": 1e-3, "eps_root": 1e-4}),
    ],
    ids=as_written,
)
def test_adabelief_follows_its_paper(tx, letters):
    follows(tx, transcripts.adabelief, 0.02, **letters)


@pytest.mark.reference("optax")
@pytest.mark.parametrize(
    ("name", "args", "options"),
    [
        ("adabelief", (optax.cosine_decay_schedule(0.1, 40), 0.7, 0.8, 1e-3, 1e-4), {}),
        ("adabelief", (0.02,), {"nesterov": True}),
        ("scale_by_belief", (0.7, 0.8, 1e-2, 1e-6), {"nesterov": True}),
    ],
)
def test_equals_optax(name, args, options):
    agrees(name, *args, **options)
