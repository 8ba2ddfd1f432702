"""MindSpore's SGD and its Momentum: beside a transcript, and what they refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from gradxform.compat import mindspore
from gradxform.compat.mindspore.schedules import WarmUpLR
from tests import transcripts
from tests.compat import mindspore_transcript
from tests.compat.mindspore.beside import cases, compare, fractions
from tests.compat.transcribed import walks

MOMENTUM = st.fixed_dictionaries({"momentum": fractions, "use_nesterov": st.booleans()})


@cases(MOMENTUM, sparse=False)
def test_momentum(**case: Any) -> None:
    compare(mindspore.momentum, mindspore_transcript.Momentum, **case)


REFUSED: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("sgd", {"nesterov": True}, ValueError, "nesterov.*momentum=0.0"),
    ("sgd", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, ValueError, "nesterov.*dampening=0.1"),
    ("sgd", {"momentum": -0.1}, ValueError, "momentum.*-0.1"),
    ("sgd", {"dampening": -0.1}, ValueError, "dampening.*-0.1"),
    ("sgd", {"momentum": "a"}, TypeError, "momentum.*'a'"),
    ("sgd", {"weight_decay": WarmUpLR(0.1, 3)}, TypeError, "weight_decay.*WarmUpLR"),
    (
        "sgd",
        {"groups": [{"params": ["a", "b"], "weight_decay": WarmUpLR(0.1, 3)}]},
        TypeError,
        "weight_decay.*WarmUpLR",
    ),
]


@pytest.mark.parametrize(("name", "kwargs", "error", "words"), REFUSED, ids=str)
def test_refused(name: str, kwargs: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        getattr(mindspore, name)(**kwargs)
    assert caught.type is error


def test_momentum_of_sgd_may_be_an_int() -> None:
    assert mindspore.sgd(momentum=1) == mindspore.sgd(momentum=1.0)


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd(nesterov: bool) -> None:
    """The sum starts from the first gradient, undampened; with L2 decay, which joins the gradient."""
    dampening = 0.0 if nesterov else 0.25
    tx = mindspore.sgd(0.1, 0.75, dampening, 0.125, nesterov)
    letters = {"mu": 0.75, "tau": dampening, "nesterov": nesterov, "first": "gradient", "l2": 0.125}
    walks(tx, transcripts.heavy_ball, 0.1, dtype=np.float32, **letters)
