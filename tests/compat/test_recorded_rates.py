"""The frameworks' schedulers against rates that were recorded in the real frameworks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradxform.compat import mindspore_schedules, paddle_schedules, torch_schedules
from tests.compat.rates import rates

RECORDED = json.loads((Path(__file__).parent / "recorded_rates.json").read_text())


def built(module: Any, spec: Any, *first: Any) -> Any:
    """The schedule of a config `{"type": ..., argument: value}`, nested ones included."""
    arguments = {k: built(module, v) if isinstance(v, dict) else v for k, v in spec.items() if k != "type"}
    return getattr(module, spec["type"])(*first, **arguments)


@pytest.mark.parametrize("case", RECORDED, ids=[case["case"] for case in RECORDED])
def test_recorded_rates(case: Any) -> None:
    module = {"torch": torch_schedules, "paddle": paddle_schedules, "mindspore": mindspore_schedules}[case["framework"]]
    schedule = built(module, case["schedule"], *([case["lr"]] if case["framework"] == "torch" else []))
    expected = np.array(case["rates"])
    # mindspore computes in float32, with an error of a rounding of the largest rate wherever the rate is small.
    np.testing.assert_allclose(rates(schedule, len(expected)), expected, rtol=4e-7, atol=1e-7 * expected.max())
