"""paddle's RMSProp against its documented formula, in float64 NumPy."""

from __future__ import annotations

from typing import Any

import pytest

from gradxform.compat import paddle
from tests import transcripts
from tests.compat.transcribed import walks

LETTERS = {"decay": 0.875, "eps": 2.0**-6}
ARGUMENTS = {"rho": 0.875, "epsilon": 2.0**-6}


@pytest.mark.parametrize("options", [{}, {"momentum": 0.75}, {"momentum": 0.75, "centered": True}], ids=str)
def test_rmsprop(options: dict[str, Any]) -> None:
    """Momentum sums steps, epsilon is inside the root."""
    letters = {"mu": options.get("momentum", 0.0), "centered": options.get("centered", False)}
    walks(paddle.rmsprop(0.1, **ARGUMENTS, **options), transcripts.rmsprop, 0.1, **LETTERS, **letters)
