"""The private example, briefly: its sampling, its accountant, and its program."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

for needed in ("dp_accounting", "sklearn", "matplotlib", "rich"):
    pytest.importorskip(needed)

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def private(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("train_private")


def test_every_image_is_drawn_with_the_probability_and_on_its_own(private: Any) -> None:
    n, steps, q = 400, 500, 0.1
    data = private.Digits(np.arange(n, dtype=float).reshape(-1, 1, 1, 1), np.arange(n))
    taken = np.zeros((steps, n))
    for row, batch in zip(taken, private.drawn(data, q, steps, seed=3), strict=True):
        labels = batch.data.labels[batch.taken]
        assert len(np.unique(labels)) == len(labels)
        assert np.array_equal(batch.data.images.ravel(), batch.data.labels)
        row[labels] = 1
    # Binomial counts, within 5 deviations: of one image over the steps, of one step over the images, of all.
    assert np.abs(taken.sum(0) - q * steps).max() < 5 * math.sqrt(steps * q * (1 - q))
    assert np.abs(taken.sum(1) - q * n).max() < 5 * math.sqrt(n * q * (1 - q))
    assert np.var(taken.sum(1)) == pytest.approx(n * q * (1 - q), rel=5 * math.sqrt(2 / steps))


def test_an_empty_place_has_no_gradient(private: Any) -> None:
    data = private.load_split()[0]
    params = private.init_params(0)
    grads = private.gradients(params, data.images[:3], data.labels[:3], np.array([True, False, True]))
    norms = [[float(np.linalg.norm(x)) for x in g] for g in jax.tree.leaves(grads)]
    assert all((norm > 0) == (i != 1) for g in norms for i, norm in enumerate(g))


def test_the_accountant_knows_the_gaussian_mechanism(private: Any) -> None:
    """One step of all images: delta of Balle, Wang 2018, theorem 8, at the epsilon that is found."""
    from scipy.stats import norm

    found = private.epsilon(private.Run(noise=2.0, probability=1.0, steps=1, accuracy=0.0))
    delta = norm.cdf(1 / 4 - 2 * found) - math.exp(found) * norm.cdf(-1 / 4 - 2 * found)
    # The library rounds privacy losses up, to a grid of 1e-4.
    assert delta == pytest.approx(private.DELTA, rel=2e-3)
    assert private.epsilon(private.Run(0.0, 0.1, 1, 0.0)) == math.inf


def test_two_epochs_end_in_a_table_and_a_sentence_of_what_is_missing(
    private: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    with pytest.raises(SystemExit, match=r"^The private run reached a test accuracy of 0\.\d{4}; 0\.9 was asked\.$"):
        private.main(["--epochs", "2", "--noise", "8"])
    said = capsys.readouterr().out
    assert "17.8%" in said
    assert [line.split("│")[1].strip() for line in said.splitlines() if "17.8%" in line] == ["8", "0"]


@pytest.mark.parametrize("wrong", [["--noise", "0"], ["--noise", "nan"], ["--epochs", "0"]])
def test_bad_options_are_refused(private: Any, capsys: pytest.CaptureFixture[str], wrong: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        private.main(wrong)
    assert wrong[0] in capsys.readouterr().err
