"""paddle's Adadelta against its paper, in float64 NumPy."""

from __future__ import annotations

import pytest

from gradxform.compat import paddle
from tests import transcripts
from tests.compat.transcribed import walks


def test_adadelta() -> None:
    tx = paddle.adadelta(0.5, epsilon=2.0**-8, rho=0.875)
    walks(tx, transcripts.adadelta, 0.5, rho=0.875, eps=2.0**-8)


def test_l2_decay_joins_the_gradient() -> None:
    tx = paddle.adadelta(0.5, epsilon=2.0**-8, rho=0.875, weight_decay=0.25)
    walks(tx, transcripts.adadelta, 0.5, rho=0.875, eps=2.0**-8, lam=0.25)


def test_numbers_are_needed() -> None:
    with pytest.raises(ValueError, match="rho must be set, got None"):
        paddle.adadelta(rho=None)
