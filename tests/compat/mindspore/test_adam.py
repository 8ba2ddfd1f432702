"""MindSpore's Adam and its kin: beside a transcript, and what they refuse."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

import gradxform as gx
from gradxform.compat import mindspore
from tests import transcripts
from tests.compat import mindspore_transcript
from tests.compat.mindspore.beside import cases, compare, fractions, positive
from tests.compat.transcribed import walks

ADAM = st.fixed_dictionaries(
    {
        "beta1": fractions,
        "beta2": fractions,
        "eps": positive,
        "use_nesterov": st.booleans(),
        "use_amsgrad": st.booleans(),
        "use_lazy": st.booleans(),
        "use_locking": st.booleans(),
    }
).map(lambda options: options | {"use_lazy": options["use_lazy"] and not options["use_amsgrad"]})


@cases(ADAM)
def test_adam(**case: Any) -> None:
    case["sparse"] &= not case["options"]["use_amsgrad"]
    compare(mindspore.adam, mindspore_transcript.Adam, **case)


REFUSED: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("adamax", {"beta1": 1.0}, ValueError, "beta1.*1.0"),
    ("adam_weight_decay", {"eps": 1}, TypeError, "eps.*1"),
    ("lazy_adam", {"use_locking": 1}, TypeError, "use_locking.*1"),
]


@pytest.mark.parametrize(("name", "kwargs", "error", "words"), REFUSED, ids=str)
def test_refused(name: str, kwargs: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        getattr(mindspore, name)(**kwargs)
    assert caught.type is error


@pytest.mark.parametrize("options", [{}, {"use_nesterov": True}, {"use_amsgrad": True}, {"use_lazy": True}], ids=str)
def test_powers_of_betas_round_as_they_are_multiplied_up(options: dict[str, bool]) -> None:
    """MindSpore 2.10, plain: -5.00004959 after five steps; `beta2ᵗ` rounded once gives -4.99999332."""
    tx, w, g = mindspore.adam(1.0, 0.9, 0.9999, **options), jnp.zeros(1), jnp.full(1, 0.5)
    b1, b2, one = np.float32(0.9), np.float32(0.9999), np.float32(1)
    for compiled in (False, True):
        step = jax.jit(tx.update) if compiled else tx.update
        state, p1, p2, m, v, total = tx.init(w), one, one, 0.0, 0.0, 0.0
        for _ in range(5):
            updates, state = step(g, state, w)
            p1, p2, m, v = p1 * b1, p2 * b2, float(b1) * m + float(one - b1) * 0.5, float(b2) * v + float(one - b2) / 4
            ahead = float(b1) * m + float(one - b1) * 0.5 if options.get("use_nesterov") else m
            u = -float(np.sqrt(one - p2) / (one - p1)) * ahead / (np.sqrt(v) + 1e-8)
            np.testing.assert_allclose(updates, u, rtol=5e-7)
            total += float(updates[0])
        assert options.get("use_nesterov") or abs(total + 5.00004959) < 2e-6


def test_the_power_of_adamax_rounds_too() -> None:
    tx, w, power, m = mindspore.adamax(1.0, 0.999, 0.9), jnp.zeros(1), np.float32(1), 0.0
    state = tx.init(w)
    for _ in range(20):
        updates, state = tx.update(jnp.ones(1), state, w)
        power, m = power * np.float32(0.999), m + (1 - float(np.float32(0.999))) * (1 - m)
        np.testing.assert_allclose(updates, -m / float(1 - power) / (1 + 1e-8), rtol=2e-6)


B1, B2, EPS, DECAY = 0.875, 0.96875, 2.0**-8, 0.25


def test_adamax() -> None:
    """Epsilon beside the new maximum."""

    def step(w: Any, s: Any, g: Any, lr: float, t: int) -> tuple[Any, Any]:
        m, u = (0.0, 0.0) if s is None else s
        m, u = B1 * m + (1 - B1) * g, np.maximum(B2 * u, np.abs(g))
        return w - lr / (1 - B1**t) * m / (u + EPS), (m, u)

    transcript = functools.partial(transcripts.iterates, step)
    walks(mindspore.adamax(0.1, B1, B2, EPS), transcript, 0.1, dtype=np.float32)


def test_adam_weight_decay() -> None:
    """Without corrections, decay beside the direction."""

    def step(w: Any, s: Any, g: Any, lr: float, t: int) -> tuple[Any, Any]:
        m, v = (0.0, 0.0) if s is None else s
        m, v = B1 * m + (1 - B1) * g, B2 * v + (1 - B2) * g**2
        return w - lr * (m / (np.sqrt(v) + EPS) + DECAY * w), (m, v)

    transcript = functools.partial(transcripts.iterates, step)
    walks(mindspore.adam_weight_decay(0.1, B1, B2, EPS, DECAY), transcript, 0.1, dtype=np.float32)


def test_lazy_and_offloaded_are_options_of_adam() -> None:
    assert mindspore.lazy_adam(0.5, use_nesterov=True) == mindspore.adam(0.5, use_nesterov=True, use_lazy=True)
    assert mindspore.adam_offload(0.5, loss_scale=2.0) == mindspore.adam(0.5, loss_scale=2.0, use_offload=True)


@pytest.mark.parametrize("decay", [1, gx.linear_schedule(0.1, 0.0, 5)], ids=["int", "schedule"])
def test_lazy_adam_takes_a_float_as_decay(decay: Any) -> None:
    with pytest.raises(TypeError, match="weight_decay of lazy_adam must be a float, got"):
        mindspore.lazy_adam(0.5, weight_decay=decay)
    mindspore.lazy_adam(0.5, groups=[{"params": "w", "weight_decay": decay}])
