from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx
from tests import transcripts
from tests.trajectories import agrees, as_written, follows


@pytest.mark.reference("Zaheer et al. 2018, algorithm 2", "yogi")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.yogi(0.02), {}),
        (gx.yogi(0.02, 0.7, 0.8, 1e-2), {"beta1": 0.7, "beta2": 0.8, "eps": 1e-2}),
        (
            gx.chain(gx.scale_by_yogi(0.7, 0.8, 1e-2, 1e-3, 0.5), gx.scale(-0.02)),
            {"beta1": 0.7, "beta2": 0.8, "eps": 1e-2, "eps_root": 1e-3, "v0": 0.5},
        ),
    ],
    ids=as_written,
)
def test_yogi_follows_its_paper(tx, letters):
    follows(tx, transcripts.yogi, 0.02, **letters)


@pytest.mark.reference("optax", "scale_by_yogi")
def test_equals_optax_where_both_moments_start_at_zero():
    agrees("scale_by_yogi", 0.7, 0.8, 1e-2, 1e-3, 0.0)


def test_optax_moves_what_has_no_gradient_and_we_do_not():
    p = {"a": jnp.zeros(3)}
    theirs = optax.yogi(0.1)
    assert np.all(theirs.update(p, theirs.init(p), p)[0]["a"])
    assert not np.any(gx.yogi(0.1).update(p, gx.yogi(0.1).init(p), p)[0]["a"])
