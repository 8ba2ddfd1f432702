"""Stages of the training records in float64: of modded-nanogpt at f411b3d, track 3, record 46."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.linalg import norm

import gradxform as gx
from tests.trajectories import as_written, double, follows, gradients, near, parameters, walk
from tests.transcripts import iterates


def turned(x: Any, gs: Any, eta: float, now: bool = False) -> Any:
    """Wen et al. 2026, equation of Hyperball; with the length of now, as `scale_invariant_update` of their code."""

    def step(x: Any, r: Any, g: Any, eta: float, t: int) -> Any:
        r = norm(x) if r is None or now else r
        v = x - eta * g * r / norm(g)
        return v / norm(v) * r, r

    return iterates(step, x, gs, eta)


def braked(x: Any, gs: Any, eta: float, outward: float = 0.5, inward: float = 1.0) -> Any:
    """`scale_radial_update`."""

    def step(x: Any, _: Any, g: Any, eta: float, t: int) -> Any:
        c = np.sum(g * x) / np.sum(x * x)
        return x - eta * (g - c * x + (outward if c < 0 else inward) * c * x), None

    return iterates(step, x, gs, eta)


def pinned(x: Any, gs: Any, eta: float) -> Any:
    """`target_radius_after_update`, the step, `rescale_to_radius`."""

    def step(x: Any, _: Any, g: Any, eta: float, t: int) -> Any:
        v, length = x - eta * g, norm(x)
        return v * (length - eta * np.sum(g * x) / length) / norm(v), None

    return iterates(step, x, gs, eta)


def lifted(x: Any, gs: Any, eta: float, ratio: float, axis: int | None = 0) -> Any:
    """The u/w floor; of each row of theirs, where `x @ W` has columns."""

    def step(x: Any, _: Any, g: Any, eta: float, t: int) -> Any:
        r, s = (np.sqrt(np.sum(np.square(y), axis)) for y in (x, g))
        return x - eta * g * np.maximum(ratio * r / s, 1), None

    return iterates(step, x, gs, eta)


def sgd_behind(stage: Any) -> Any:
    return gx.chain(stage, gx.sgd(0.1))


CASES = [
    (gx.hyperball(0.03), turned, {"eta": 0.03}, True),
    (gx.hyperball(0.03, "now"), turned, {"eta": 0.03, "now": True}, True),
    (sgd_behind(gx.radial_brake(0.5, 0.3)), braked, {"eta": 0.1, "inward": 0.3}, False),
    (gx.chain(gx.sgd(0.1), gx.pin_radius()), pinned, {"eta": 0.1}, True),
    (sgd_behind(gx.update_floor(3.0, "array")), lifted, {"eta": 0.1, "ratio": 3.0, "axis": None}, False),
]


@pytest.mark.reference(
    "KellerJordan/modded-nanogpt at f411b3d, records 46 and 29; arXiv:2606.16899",
    "hyperball", "radial_brake", "pin_radius", "update_floor",
)  # fmt: skip
@pytest.mark.parametrize(("tx", "transcript", "letters", "steers"), CASES, ids=as_written)
def test_they_follow_the_records(tx: Any, transcript: Any, letters: dict[str, Any], steers: bool) -> None:
    follows(tx, transcript, **letters, steers=steers)


def test_a_floor_of_neurons() -> None:
    params, grads = ({"kernel": x["kernel"]} for x in (parameters(), gradients()))
    tx = sgd_behind(gx.update_floor(2.0))
    with double():
        found, _ = walk(tx, params, grads, jnp.float64)
    near(found, {"kernel": lifted(params["kernel"], grads["kernel"], 0.1, 2.0)}, 1e-12)


@pytest.mark.parametrize("radius", ["start", "now"])
def test_zeros_stay_and_a_whole_turn_is_finite(radius: str) -> None:
    tx, p, zero = gx.hyperball(1.0, radius), jnp.array([3.0, 4.0]), jnp.zeros(2)
    for at, g in ((zero, p), (p, zero), (p, p), (p, 1e30 * p)):
        u, _ = tx.update(g, tx.init(at), at)
        assert jnp.isfinite(u).all()
    assert jnp.array_equal(tx.update(p, tx.init(zero), zero)[0], zero)


def test_the_length_of_the_start_stays_in_bfloat16() -> None:
    """What rounding adds to the length it adds once."""
    rng = np.random.default_rng(0)
    p = p0 = jnp.asarray(rng.standard_normal((64, 64)), jnp.bfloat16)
    tx = gx.hyperball(0.3)
    state = tx.init(p)
    for _ in range(20):
        u, state = tx.update(jnp.asarray(rng.standard_normal((64, 64)), jnp.float32), state, p)
        p = gx.apply_updates(p, u)
    before, after = (norm(np.asarray(x, np.float64)) for x in (p0, p))
    assert abs(after / before - 1) < 1e-4


def test_of_a_stack_each_matrix_keeps_its_length() -> None:
    rng = np.random.default_rng(0)
    p = {"w": jnp.asarray(rng.standard_normal((3, 4, 5)), jnp.float32)}
    tx = gx.matrices(gx.hyperball(0.1), {"w": gx.Matrix("layer in out", rows="in", columns="out")})
    u, _ = tx.update({"w": jnp.ones((3, 4, 5))}, tx.init(p), p)
    after = np.asarray(p["w"] + u["w"])
    np.testing.assert_allclose(norm(after, axis=(1, 2)), norm(np.asarray(p["w"]), axis=(1, 2)), rtol=1e-6)
