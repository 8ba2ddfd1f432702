from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx
from gradxform.core.value import Pair
from gradxform.optimizers.radam import lengths
from tests import transcripts
from tests.trajectories import agrees, as_written, double, follows


@pytest.mark.reference("Liu et al. 2019, algorithm 2", "radam")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.radam(0.02), {}),
        (gx.radam(0.02, 0.7, 0.8, 1e-2), {"beta1": 0.7, "beta2": 0.8, "eps": 1e-2}),
        (gx.radam(0.02, 0.7, 0.3), {"beta1": 0.7, "beta2": 0.3}),
        (
            gx.radam(0.02, 0.7, 0.95, 0.0, 1e-2, 4.5),
            {"beta1": 0.7, "beta2": 0.95, "eps": 0.0, "eps_root": 1e-2, "threshold": 4.5},
        ),
        (gx.radam(0.02, nesterov=True), {"nesterov": True}),
    ],
    ids=as_written,
)
def test_radam_follows_its_paper(tx, letters):
    follows(tx, transcripts.radam, 0.02, **letters)


@pytest.mark.reference("optax")
@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("radam", (optax.cosine_decay_schedule(0.1, 40), 0.7, 0.9, 1e-2)),
        ("scale_by_radam", (0.7, 0.8, 1e-2)),
    ],
)
def test_equals_optax(name, args):
    # optax's ρ cancels: 1e-16 · ρ∞ / (ρ - 4) is lost there.
    agrees(name, *args, rtol=1e-11)


@pytest.mark.parametrize("b2", [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999])
@pytest.mark.parametrize("data", [False, True], ids=["number", "data"])
def test_the_length_does_not_cancel(b2, data):
    """The sum of ages with weights b2^age: no difference of large numbers."""
    rate = Pair(jnp.float32(b2), jnp.float32(1 - b2)) if data else b2
    complement = float(np.float32(1 - b2)) if data else 1 - b2
    for t in (1, 2, 5, 6, 7, 30, 1000, 20000):
        ages = np.arange(1.0, t + 1)
        weights = np.exp((ages - 1) * np.log1p(-complement)) if b2 else (ages == 1.0)
        exact = 2 * np.average(ages, weights=weights) - 1
        assert abs(float(lengths(rate, jnp.int32(t))[1]) - exact) <= 1e-6 * exact
        if not data:
            with double():
                assert abs(float(lengths(rate, jnp.int32(t))[1]) - exact) <= 1e-11 * exact
