from __future__ import annotations

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest

import gradxform as gx
from tests import transcripts
from tests.trajectories import agrees, as_written, follows

KERNEL = {"kernel": True, "bias": False, "scale": False}


@pytest.mark.reference("Chen et al. 2023, algorithm 2", "lion")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.lion(0.01), {"lam": 1e-3}),
        (gx.lion(0.01, 0.7, 0.8, None, 0.3), {"beta1": 0.7, "beta2": 0.8, "lam": 0.3}),
        (gx.lion(0.01, mu_dtype=jnp.bfloat16), {"lam": 1e-3, "keep": transcripts.kept_in(ml_dtypes.bfloat16)}),
        (gx.chain(gx.scale_by_lion(mode="smooth", smooth_beta=3.0), gx.scale_by_learning_rate(0.01)),
         {"turn": transcripts.smooth_sign(3.0)}),
        (gx.chain(gx.scale_by_lion(0.7, mode="refined"), gx.scale_by_learning_rate(0.01)),
         {"beta1": 0.7, "turn": transcripts.refined_sign}),
    ],
    ids=as_written,
)  # fmt: skip
def test_lion_follows_its_paper(tx, letters):
    follows(tx, transcripts.lion, 0.01, **letters)


def test_lion_decays_where_the_mask_says():
    tx = gx.lion(0.01, weight_decay=0.5, mask=gx.weights_only)
    follows(tx, transcripts.lion, 0.01, per_leaf={"kernel": {"lam": 0.5}})


@pytest.mark.reference("optax")
@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [
        ("lion", (optax.cosine_decay_schedule(0.1, 40), 0.7, 0.8, None, 0.3, KERNEL), {}),
        ("scale_by_lion", (), {"mode": "smooth", "smooth_beta": 3.0}),
        ("scale_by_lion", (0.7, 0.8), {"mode": "refined"}),
    ],
)
def test_equals_optax(name, args, kwargs):
    agrees(name, *args, **kwargs)


def test_equals_optax_in_single():
    agrees("lion", 0.01, dtype=np.float32, rtol=1e-6)
