"""The embedding example, briefly; what it must reach is checked where it runs in full."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("train_embedding")


def test_the_text_is_split_and_hashed(example: Any) -> None:
    train, test, characters = example.load_text()
    assert len(train) > 8 * len(test) > 100_000
    assert max(train.max(), test.max()) == characters - 1
    rows = example.contexts(train[:50])
    assert rows.shape == (44, example.LONGEST)
    assert rows.min() >= 0
    assert rows.max() < example.ROWS
    # One character before is the same in two places exactly where the shortest context is.
    same = train[5:49][:, None] == train[5:49][None, :]
    np.testing.assert_array_equal(rows[:, :1] == rows[:, :1].T, same)


def test_the_step_moves_the_rows_looked_up_as_the_dense_gradient_would(example: Any) -> None:
    params = example.init_params(11, seed=1)
    rng = np.random.default_rng(0)
    rows, character = rng.integers(0, example.ROWS, (8, example.LONGEST)), rng.integers(0, 11, 8)

    def loss(params: Any) -> Any:
        net = {name: part for name, part in params.items() if name != "table"}
        return example.bits(net, params["table"][rows], character)

    tx = gx.lazy(gx.sgd(0.5))
    expected = jax.tree.map(lambda p, g: p - 0.5 * g, params, jax.grad(loss)(params))
    moved, _, value = example.make_step(tx)(jax.tree.map(jnp.copy, params), tx.init(params), rows, character)
    np.testing.assert_allclose(value, loss(params), rtol=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=1e-6), moved, expected)


@pytest.mark.slow
def test_a_short_run_learns_and_leaves_the_other_rows_alone(example: Any, capsys: pytest.CaptureFixture[str]) -> None:
    params, state, held_out = example.train(120, seed=0)
    assert held_out < 4.3  # counting single characters gives 4.8
    unmoved = np.asarray((gx.view(state, "mu")["table"] == 0).all(axis=1))
    assert 0 < unmoved.sum() < example.ROWS
    before = example.init_params(params["out"]["bias"].size, seed=0)["table"]
    np.testing.assert_array_equal(params["table"][unmoved], before[unmoved])
    assert "held out" in capsys.readouterr().out
