from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx
from tests import transcripts
from tests.trajectories import agrees, follows


@pytest.mark.reference("Mokhtari et al. 2019", "optimistic_gradient_descent")
@pytest.mark.parametrize("letters", [{}, {"alpha": 0.7, "beta": 0.3}])
def test_it_follows_its_paper(letters):
    follows(gx.optimistic_gradient_descent(0.02, *letters.values()), transcripts.optimistic, 0.02, **letters)


@pytest.mark.reference("optax", "optimistic_gradient_descent", "scale_by_optimistic_gradient")
def test_equals_optax():
    agrees("optimistic_gradient_descent", optax.cosine_decay_schedule(0.1, 40), 0.7, 0.3)
    agrees("scale_by_optimistic_gradient")


def test_it_finds_a_saddle_point_that_plain_descent_circles():
    """min over x, max over y of x·y, whose solution is 0: Daskalakis et al. 2018, section 1."""

    def distance(tx):
        def step(carry, _):
            p, state = carry
            u, state = tx.update({"x": p["y"], "y": -p["x"]}, state)
            return (gx.apply_updates(p, u), state), None

        p = {"x": jnp.asarray(1.0), "y": jnp.asarray(1.0)}
        return gx.global_norm(jax.lax.scan(step, (p, tx.init(p)), length=400)[0][0])

    assert distance(gx.optimistic_gradient_descent(0.3)) < 1e-3
    # A step of descent lengthens the distance by sqrt(1 + 0.3²) exactly.
    np.testing.assert_allclose(distance(gx.sgd(0.3)), np.sqrt(2) * 1.09**200, rtol=1e-4)


@pytest.mark.reference("optax")
@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("optimistic_adam_v2", {"learning_rate": 0.02}),
        ("optimistic_adam_v2", {"learning_rate": lambda t: 0.1 / (1 + t), "alpha": 0.5, "beta": 2.0, "b1": 0.8}),
        ("optimistic_adam", {"learning_rate": 0.02}),
        ("optimistic_adam", {"learning_rate": 0.02, "optimism": 0.5, "b2": 0.8, "eps": 1e-3, "nesterov": False}),
    ],
)
@pytest.mark.filterwarnings("ignore:`optimistic_adam` is deprecated")
def test_optimistic_adam_equals_optax(name, arguments):
    agrees(name, **arguments)


@pytest.mark.reference("Daskalakis et al. 2018, algorithm 1", "optimistic_adam", "optimistic_adam_v2")
def test_both_forms_of_optimistic_adam_are_one():
    for tx in (gx.optimistic_adam(0.02, nesterov=False), gx.optimistic_adam_v2(0.02, nesterov=False)):
        follows(tx, daskalakis, 0.02)


def daskalakis(theta, gs, eta, beta1=0.9, beta2=0.999, eps=1e-8):
    """Daskalakis et al. 2018, algorithm 1; the step before the first is the first."""

    def step(theta, s, g, eta, t):
        m, v, before = (0.0, 0.0, None) if s is None else s
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        u = m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps)
        return theta - 2 * eta * u + eta * (u if before is None else before), (m, v, u)

    return transcripts.iterates(step, theta, gs, eta)
