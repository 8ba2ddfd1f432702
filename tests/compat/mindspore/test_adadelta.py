"""MindSpore's Adadelta against its paper, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradxform.compat import mindspore
from tests import transcripts
from tests.compat.transcribed import walks

REFUSED: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("adadelta", {"rho": -0.5}, ValueError, "rho.*-0.5"),
]


@pytest.mark.parametrize(("name", "kwargs", "error", "words"), REFUSED, ids=str)
def test_refused(name: str, kwargs: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        getattr(mindspore, name)(**kwargs)
    assert caught.type is error


def test_adadelta() -> None:
    """With L2 decay, which joins the gradient."""
    tx = mindspore.adadelta(0.5, 0.875, 2.0**-8, weight_decay=0.25)
    walks(tx, transcripts.adadelta, 0.5, rho=0.875, eps=2.0**-8, lam=0.25, dtype=np.float32)
