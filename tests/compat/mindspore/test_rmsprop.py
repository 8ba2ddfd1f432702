"""MindSpore's RMSProp against its documented formula, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradxform.compat import mindspore
from tests import transcripts
from tests.compat.transcribed import walks

REFUSED: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("rmsprop", {"momentum": -1.0}, ValueError, "momentum.*-1.0"),
]


@pytest.mark.parametrize(("name", "kwargs", "error", "words"), REFUSED, ids=str)
def test_refused(name: str, kwargs: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        getattr(mindspore, name)(**kwargs)
    assert caught.type is error


@pytest.mark.parametrize("options", [{}, {"momentum": 0.75, "centered": True}], ids=str)
def test_rmsprop(options: dict[str, Any]) -> None:
    """The mean of squares starts at 1; momentum sums steps, epsilon is inside the root."""
    letters = {"mu": options.get("momentum", 0.0), "centered": options.get("centered", False), "n0": 1.0}
    tx = mindspore.rmsprop(0.1, 0.875, epsilon=2.0**-6, **options)
    walks(tx, transcripts.rmsprop, 0.1, decay=0.875, eps=2.0**-6, dtype=np.float32, **letters)
