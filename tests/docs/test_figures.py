"""What the landing page counts, beside what is kept."""

from __future__ import annotations

import pytest

pytest.importorskip("sphinx", reason="the pages are made by `make docs`")

from figures import STEPS, frameworks, memory, passes


def test_every_step_stands_beside_optax() -> None:
    rows = passes().count("   * - ")
    assert rows == 1 + len(STEPS)
    assert "* - ``adamw``\n     - 7.00\n     - 7.00\n     - 1.00" in passes()


def test_frameworks_are_counted() -> None:
    assert ":doc:`PyTorch 2.13 </coming_from_torch>`\n     - 15\n" in frameworks()


def test_bars_are_bytes() -> None:
    (panel,) = memory().axes
    names = [label.get_text() for label in panel.get_yticklabels()]
    ends = dict(zip(names, [round(bar.get_x() + bar.get_width(), 1) for bar in panel.containers[1]], strict=True))
    assert (ends["sgd"], ends["adamw"], ends["adamw, split16"], ends["adamw, int8"]) == (4.0, 12.0, 12.0, 6.0)
