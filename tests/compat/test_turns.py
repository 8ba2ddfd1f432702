"""The other libraries' optimizers turn the sign: with another behind them they are refused."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from gradxform.compat import torch
from tests.compat.test_unjitted import MAKES
from tests.laws.test_turns import descends, refuse


@pytest.mark.parametrize("make", [*MAKES.values(), torch.lbfgs], ids=[*MAKES, "torch-lbfgs"])
def test_an_optimizer_behind_one_that_descends_is_refused(make: Any) -> None:
    given = {"momentum": 0.9, "learning_rate": 0.1, "lr": 0.1}
    names = inspect.signature(make).parameters
    tx = make(**{name: x for name, x in given.items() if name in names})
    if make is not torch.lbfgs:  # It evaluates the loss itself.
        assert descends(tx, tx.update)
    refuse(tx)
