from __future__ import annotations

import numpy as np
import optax
import pytest

import gradxform as gx
from tests import transcripts
from tests.trajectories import agrees, as_written, follows

KERNEL = {"kernel": True, "bias": False, "scale": False}


@pytest.mark.reference("Kingma, Ba 2014, algorithm 2", "adamax", "adamaxw")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.adamax(0.02), {}),
        (gx.adamax(0.02, 0.7, 0.8, 1e-2), {"beta1": 0.7, "beta2": 0.8, "eps": 1e-2}),
        (gx.adamaxw(0.02), {"lam": 1e-4}),
        (gx.adamaxw(0.02, 0.7, 0.8, 1e-2, 0.3), {"beta1": 0.7, "beta2": 0.8, "eps": 1e-2, "lam": 0.3}),
    ],
    ids=as_written,
)
def test_adamax_follows_its_paper(tx, letters):
    follows(tx, transcripts.adamax, 0.02, **letters)


def test_adamaxw_decays_where_the_mask_says():
    tx = gx.adamaxw(0.02, weight_decay=0.5, mask=gx.weights_only)
    follows(tx, transcripts.adamax, 0.02, per_leaf={"kernel": {"lam": 0.5}})


@pytest.mark.parametrize("name", ["adamax", "adamaxw"])
def test_equals_optax_in_single(name):
    agrees(name, 0.02, dtype=np.float32, rtol=2e-6)


@pytest.mark.reference("optax")
@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("adamax", (optax.cosine_decay_schedule(0.1, 40), 0.7, 0.8, 1e-2)),
        ("adamaxw", (0.02, 0.7, 0.8, 1e-2, 0.3, KERNEL)),
        ("scale_by_adamax", (0.7, 0.8, 1e-2)),
    ],
)
def test_equals_optax(name, args):
    agrees(name, *args)
