"""The small GPT whose whole training step is counted."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.compiled import training


def test_loss_and_its_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"LAYERS": 2, "WIDTH": 16, "HEADS": 2, "VOCABULARY": 32, "BATCH": 2, "LENGTH": 8}
    for name, size in small.items():
        monkeypatch.setattr(training, name, size)
    draw = np.random.default_rng(0)
    tokens = jnp.asarray(draw.integers(0, 32, (2, 8)))
    params = {
        key: jnp.asarray(draw.standard_normal(shape) / 4, jnp.float32) for key, shape in training.shapes().items()
    }
    # All words are as likely where the last layer says nothing.
    both = jax.jit(jax.value_and_grad(training.loss))
    assert both(params | {"norm": jnp.zeros(16)}, tokens)[0] == pytest.approx(np.log(32), rel=1e-6)
    _, grads = both(params, tokens)
    assert all(float(jnp.max(jnp.abs(g))) > 0 for g in grads.values())
    # What stands at the last place is guessed, and read for no guess.
    assert jnp.all(grads["position"][-1] == 0)
    assert jnp.all(grads["position"][-2] != 0)
