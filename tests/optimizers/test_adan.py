from __future__ import annotations

import pytest

import gradxform as gx
from tests import transcripts
from tests.trajectories import agrees, as_written, follows


@pytest.mark.reference("Xie et al. 2022, algorithm 1", "adan")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.adan(0.02), {"eps_root": 1e-8}),
        (
            gx.adan(0.02, 0.9, 0.6, 0.8, 1e-3, 1e-4, 0.1),
            {"beta1": 0.1, "beta2": 0.4, "beta3": 0.2, "eps": 1e-3, "eps_root": 1e-4, "lam": 0.1},
        ),
        (gx.chain(gx.scale_by_adan(), gx.scale(-0.02)), {}),
    ],
    ids=as_written,
)
def test_adan_follows_its_paper(tx, letters):
    follows(tx, transcripts.adan, 0.02, **letters)


def test_adan_decays_where_the_mask_says():
    tx = gx.adan(0.02, weight_decay=0.5, mask=gx.weights_only)
    follows(tx, transcripts.adan, 0.02, eps_root=1e-8, per_leaf={"kernel": {"lam": 0.5}})


@pytest.mark.reference("optax", "adan", "scale_by_adan")
def test_equals_optax_where_its_weight_of_the_change_is_the_papers():
    """optax 0.2.8 takes 1 - b2 for b2 there; at one half they are the same."""
    agrees("adan", 0.02, 0.9, 0.5, 0.8, 1e-3, 1e-4, 0.1)
    agrees("scale_by_adan", 0.9, 0.5, 0.8, 1e-3)
