"""The gallery: what is kept is not run again, a loser is shown as one, and no optimizer is left out."""

from __future__ import annotations

import inspect
import json
import math
from pathlib import Path

import pytest

import gradxform as gx
from benchmarks.gallery import page, sweep
from benchmarks.gallery.recipes import RECIPES, Recipe
from benchmarks.gallery.tasks import CURVATURES, TESTS
from gradxform import optimizers

WRAPPED = {"mechanize", "lookahead", "schedule_free"}
"""Around an optimizer, and so under another name."""
NO_OPTIMIZERS = {"dpsgd", "grokfast_ma", "orthogonalize"}
"""For gradients of examples; stages."""


def test_what_is_kept_is_not_run_again_and_a_loser_loses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "RESULTS", tmp_path / "results.jsonl")
    for tasks in (sweep.ALL, page.ALL):
        monkeypatch.setitem(tasks, "axes", TESTS["axes"]._replace(steps=40, goal=0.1))
    recipes = {"adamw": Recipe(gx.adamw, 0.03), "uphill": Recipe(lambda r: gx.scale(0.1 * r), 1.0)}
    monkeypatch.setattr(page, "RECIPES", recipes)
    factors = (1 / 9, 3.0, 9.0)
    monkeypatch.setattr(page, "FACTORS", factors)
    kept = sweep.load()
    assert kept == {}
    adam, uphill = (sweep.swept(recipe, "axes", factors, kept) for recipe in recipes.values())

    started = adam["curve"][0]
    assert started == pytest.approx(0.5 * CURVATURES.sum(), rel=0.03)  # starts are 1 % apart, and enter squared
    assert [page.passing(adam), page.passing(uphill)] == [2, 0]
    assert page.standing(adam)[0] == 0.1
    assert page.standing(uphill) == (min(page.medians(uphill)), math.inf)
    assert page.standing(uphill)[0] > started
    found = page.gallery(kept)
    assert [page.passed(found[row]) for row in ("adamw", "uphill")] == [1, 0]
    rows = page.test_lines(found).splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == ["adamw", "uphill"]
    assert rows[1].count("·") == 1

    monkeypatch.setattr(sweep, "run", None)
    again = sweep.load()
    assert again == kept
    assert json.loads(sweep.RESULTS.read_text().splitlines()[0]) == adam
    assert sweep.swept(Recipe(lambda rate: gx.adamw(rate), 0.03), "axes", factors, again) == adam
    with pytest.raises(TypeError, match="not callable"):  # another number is another transformation
        sweep.swept(Recipe(lambda rate: gx.adamw(rate, b2=0.99), 0.03), "axes", factors, again)


def test_every_optimizer_has_a_row() -> None:
    names = {name for name in dir(optimizers) if inspect.isfunction(getattr(optimizers, name))}
    names = {name for name in names if not name.startswith(("scale_by_", "_"))}
    assert names - WRAPPED - NO_OPTIMIZERS <= {word for row in RECIPES for word in row.split(" + ")}
    shown = " ".join(RECIPES)
    assert all(name in shown for name in WRAPPED)


def test_the_page_is_of_the_kept_runs() -> None:
    found = page.gallery(sweep.load())
    text = (page.DOCS / "gallery.md").read_text()
    assert page.lines(found) in text
    assert page.test_lines(found) in text
