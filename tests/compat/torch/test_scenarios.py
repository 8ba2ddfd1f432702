"""Scenarios of PyTorch's own tests beside torch; all of them are run by `python -m benchmarks.scenarios torch`."""

from __future__ import annotations

import pytest

from tests.compat.torch import scenarios

pytest.importorskip("torch")


def test_what_is_refused() -> None:
    """The family that takes seconds; the others run what the tests beside this one hold, in more rows."""
    assert not {name: wrong for name, wrong in scenarios.FAMILIES["What is refused"]() if wrong}


def test_what_is_decided_is_a_scenario() -> None:
    assert scenarios.DECIDED.keys() <= scenarios.CALLS.keys()
