"""The scenarios of MindSpore's own tests, with their verdicts."""

from __future__ import annotations

import pytest

from tests.compat.mindspore.scenarios import DECIDED, FAMILIES


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_wrong(family: str) -> None:
    assert {name: wrong for name, wrong in FAMILIES[family]() if wrong} == {}


def test_what_is_decided_is_a_scenario() -> None:
    assert {name for name, _ in FAMILIES["What is refused"]()} >= DECIDED.keys()
