"""Scenarios of PyTorch's own tests beside torch; all of them are run by `python -m benchmarks.scenarios torch`."""

from __future__ import annotations

import pytest

from tests.compat.torch import scenarios

pytest.importorskip("torch")


@pytest.mark.parametrize("family", ["Schedulers with a metric", "SGD, its arguments", "What is refused"])
def test_scenarios(family: str) -> None:
    verdicts = dict(scenarios.FAMILIES[family]())
    assert not {name: wrong for name, wrong in verdicts.items() if wrong}


def test_what_is_decided_is_a_scenario() -> None:
    assert scenarios.DECIDED.keys() <= scenarios.CALLS.keys()
