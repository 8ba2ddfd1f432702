from __future__ import annotations

import io

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx

BOWL = gx.Problem(lambda key: {"x": jnp.ones(2)}, lambda params: 0.25 * jnp.sum(params["x"] ** 2))
"""Gradient x / 2: a step of size r multiplies by 1 - r / 2."""
OTHER = gx.Problem(lambda key: {"x": jnp.zeros(2)}, lambda params: jnp.sum((params["x"] - 1) ** 2))
RATES = [4.5, 0.1, 2.0, 1.0]


@pytest.fixture(scope="module")
def found():
    with np.errstate(over="ignore"):
        return gx.compare(
            {"sgd": gx.sgd, "optax": optax.sgd(1.0), "averaged": lambda r: gx.chain(gx.sgd(r), gx.polyak_average())},
            {"bowl": BOWL, "other": OTHER},
            rates=RATES, seeds=2, steps=150, target=1e-4, progress=False,
        )  # fmt: skip


def test_losses_are_those_of_the_closed_form(found):
    runs = found.runs["bowl", "sgd"]
    assert runs.losses.shape == (4, 2, 101)
    assert (runs.steps[0], runs.steps[-1], len(runs.steps)) == (0, 150, 101)
    for rate, losses in zip(RATES, runs.losses, strict=True):
        expected = 0.5 * (1 - rate / 2) ** (2.0 * runs.steps)
        # Relative: one rounding of float32 a step. Below its normal numbers, zero.
        np.testing.assert_allclose(losses[0], expected, rtol=150 * 2e-7, atol=1e-37)
        np.testing.assert_array_equal(losses[0], losses[1])


def test_a_row_tells_the_best_rate_its_valley_and_the_steps_to_the_target(found):
    row = found.rows[0]
    assert (row.problem, row.optimizer, row.rate, row.loss) == ("bowl", "sgd", 2.0, 0.0)
    # 0.1 ends at 0.5 · 0.95^300 = 1e-7 and 1 at 0: both lose less than a tenth; 4.5 diverges.
    assert row.valley == pytest.approx(20.0)
    assert row.to_target == 1
    assert row.state_bytes == 2.0  # one int32 counter for two parameters


def test_what_carries_its_rate_runs_once(found):
    row = next(row for row in found.rows if row[:2] == ("bowl", "optax"))
    assert (row.rate, row.valley) == (None, None)
    assert row.to_target == 7  # 0.5 · 0.5^(2·6) = 1.2e-4 > 1e-4 > 0.5 · 0.5^(2·7), at the points 6 and 7


def test_averages_are_what_is_measured(found):
    runs = found.runs["bowl", "averaged"]
    p = 0.5 ** np.arange(1, 151)
    np.testing.assert_allclose(runs.losses[3, 0, -1], 0.5 * p.mean() ** 2, rtol=1e-5)


def test_rates_replace_the_rate_of_a_transformation():
    one = {"chained": gx.chain(gx.clip(1.0), gx.momentum(0.3, 0.5)), "made": lambda r: gx.momentum(r, 0.5)}
    found = gx.compare(one, {"bowl": BOWL}, rates=[0.1, 0.2], seeds=1, steps=5, progress=False)
    np.testing.assert_array_equal(found.runs["bowl", "chained"].losses, found.runs["bowl", "made"].losses)
    assert found.runs["bowl", "made"].losses[0, 0, -1] != found.runs["bowl", "made"].losses[1, 0, -1]


def test_paths_and_spectra(found):
    paths = found.runs["bowl", "sgd"].paths
    np.testing.assert_allclose(paths[3, 0, :3], 0.5 ** np.array([[0, 0], [1, 1], [3, 3]]), rtol=1e-6)
    problem = {
        "matrix": gx.Problem(lambda key: {"w": jnp.diag(jnp.array([4.0, 2.0, 1.0]))}, lambda p: jnp.sum(p["w"] ** 2))
    }
    runs = gx.compare({"sgd": gx.sgd(0.1)}, problem, seeds=1, steps=1, progress=False).runs["matrix", "sgd"]
    np.testing.assert_allclose(runs.spectrum, [1.0, 0.5, 0.25], rtol=1e-6)
    assert runs.paths is None


def test_it_prints_and_draws(found, tmp_path):
    pytest.importorskip("matplotlib")
    head, first, *rest = str(found).splitlines()
    assert head.split() == [
        "problem",
        "optimizer",
        "rate",
        "final",
        "loss",
        "lowest-highest",
        "valley",
        "to",
        "target",
        "state",
        "step",
    ]
    assert first.split()[:5] == ["bowl", "sgd", "2", "0", "0-0"]
    assert len(rest) == 5
    figure = found.plot()
    assert [len(panel.lines) for panel in figure.axes] == [3] * 6
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["sgd", "optax", "averaged"]
    found.plot(tmp_path / "all.png")
    assert (tmp_path / "all.png").stat().st_size > 10_000


def test_progress_is_shown_where_rich_is(capsys, monkeypatch):
    rich = pytest.importorskip("rich")
    monkeypatch.setattr("sys.stdout", io.StringIO())
    gx.compare({"sgd": gx.sgd(0.1)}, {"bowl": BOWL}, seeds=1, steps=1)
    assert rich
