"""How many steps to a loss are read off runs of several lengths."""

from __future__ import annotations

import math

import pytest

from benchmarks import steps_to_loss


@pytest.mark.parametrize(("goal", "steps"), [(3.5, 100), (3.0, 100), (2.5, 150), (1.0, 400), (0.5, math.inf)])
def test_steps_lie_on_lines_between_runs(goal: float, steps: float) -> None:
    assert steps_to_loss.needed([(100, 3.0), (200, 2.0), (400, 1.0)], goal) == steps


def test_the_table_is_of_the_kept_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps_to_loss, "train", None)
    assert steps_to_loss.lines() in (steps_to_loss.DOCS / "matrices.md").read_text()
