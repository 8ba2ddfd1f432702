"""paddle's Adagrad against its documented formula, in float64 NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradxform.compat import paddle
from tests import transcripts
from tests.compat.transcribed import walks

EPS, START = 2.0**-6, 0.25


def adagrad(w: Any, gs: Any, lr: float) -> Any:
    """Epsilon is added to the root."""

    def step(w: Any, a: Any, g: Any, lr: float, t: int) -> tuple[Any, Any]:
        a = (START if a is None else a) + g**2
        return w - lr * g / (np.sqrt(a) + EPS), a

    return transcripts.iterates(step, w, gs, lr)


def test_adagrad() -> None:
    walks(paddle.adagrad(0.1, EPS, initial_accumulator_value=START), adagrad, 0.1)


def test_the_rate_has_no_default() -> None:
    with pytest.raises(ValueError, match="learning_rate must be set, got None"):
        paddle.adagrad(None)
