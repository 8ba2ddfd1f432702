"""The parts of the live comparison that need no peer but torch."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compat.live import __main__ as live
from tests.compat.live.ours import awkward, overwritten
from tests.compat.live.peer import go_on, record, under


def test_configurations_are_the_same_every_time() -> None:
    for system in live.systems():
        first, again = live.configured(system, 3), live.configured(system, 3)
        assert first.config == again.config
        assert first.config != live.configured(system, 4).config
        for key, x in first.arrays.items():
            np.testing.assert_array_equal(x, again.arrays[key])


def test_a_run_of_torch_and_ours_go_on_from_each_other() -> None:
    pytest.importorskip("torch")
    from tests.compat.live.peer_torch import TorchRun

    case = record(live.configured("torch.SGD", 1), TorchRun)
    assert live.here(case) == ""
    assert live.there(go_on(case, TorchRun)) == ""
    assert under("on/", case.arrays).keys() == under("resumed/", case.arrays).keys() != set()
    case.arrays["on/8/bn/gamma"] = case.arrays["on/8/bn/gamma"] + 1e-4
    assert "from our state 8/bn/gamma is off by" in live.there(case)


def test_awkward_memory() -> None:
    x = np.arange(3.0)
    for kind, aligned, writes in [("plain", True, True), ("unaligned", False, True), ("read-only", True, False)]:
        found = awkward(x, kind)
        np.testing.assert_array_equal(found, x)
        assert (found.flags.aligned, found.flags.writeable) == (aligned, writes)
        overwritten({"x": found, "n": 3})
        assert np.isnan(found).all() == writes
