from __future__ import annotations

import jax.numpy as jnp
import optax
import pytest

import gradxform as gx
from tests import transcripts
from tests.trajectories import agrees, as_written, follows


@pytest.mark.reference("Ginsburg et al. 2019, algorithm 1", "novograd")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.novograd(0.02), {}),
        (gx.novograd(0.02, 0.7, 0.8, 1e-2, 0.0, 0.3), {"beta1": 0.7, "beta2": 0.8, "eps": 1e-2, "lam": 0.3}),
    ],
    ids=as_written,
)
def test_novograd_follows_its_paper(tx, letters):
    follows(tx, transcripts.novograd, 0.02, **letters)


@pytest.mark.reference("optax", "novograd", "scale_by_novograd")
def test_equals_optax():
    agrees("novograd", optax.cosine_decay_schedule(0.1, 40), 0.7, 0.8, 1e-2, 1e-3, 0.3)
    agrees("scale_by_novograd", 0.7, 0.8, 1e-2, 1e-3, 0.3)


def test_mu_is_stored_in_the_dtype_asked_for():
    p = {"a": jnp.ones((2, 3))}
    state = gx.scale_by_novograd(mu_dtype=jnp.bfloat16).init(p)
    assert gx.view(state, "mu")["a"].dtype == jnp.bfloat16
    assert gx.view(state, "nu")["a"].shape == ()
