"""The catalogue's entries: where they stand, what they say, and the path that is drawn."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("sphinx", reason="the pages are made by `make docs`")

from catalogue_page import GROUPS, draw, facts, formula, group_of, made
from example_programs import catalogue, places


def test_every_entry_has_a_group_and_facts() -> None:
    homes = {full.removeprefix("gradxform."): module for full, module in places().items()}
    found = {name: group_of(name, homes[name], made(name)) for name in catalogue()}
    assert set(found.values()) == set(GROUPS)
    expected = {
        "clip": "Cleanse",
        "scale_by_adam": "Direct",
        "add_l1": "Decay",
        "scale_by_learning_rate": "Step",
        "proximal_l1": "Land",
        "muon": "Whole optimizers",
        "cautious": "Composing",
        "guard": "Controls",
        "packed": "Strategies",
    }
    assert expected.items() <= found.items()


def test_facts_are_counted_over_shapes() -> None:
    assert list(facts(made("adamw"), 7.0, 8.0)) == ["reach element", "8.00 B per parameter", "7.00 passes (8.00)"]
    assert list(facts(made("sgd"), None, None)) == ["reach element", "0.00 B per parameter"]


def test_a_formula_is_that_of_the_stage() -> None:
    assert formula("adam") == formula("scale_by_adam") == "u = m̂ / (√(v̂ + eps_root) + eps)"


def test_a_path_is_drawn_where_there_is_one(tmp_path: Path) -> None:
    assert draw("sgd", made("sgd"), tmp_path / "sgd.svg")
    assert "<svg" in (tmp_path / "sgd.svg").read_text()
    assert not draw("muon", made("muon"), tmp_path / "muon.svg")
    assert [path.name for path in tmp_path.iterdir()] == ["sgd.svg"]
