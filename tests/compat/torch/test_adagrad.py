"""torch's Adagrad beside torch itself, step by step."""

from __future__ import annotations

import pytest

from tests.compat.torch.live import RTOL, agree


@pytest.mark.parametrize("dtype", RTOL)
def test_adagrad(dtype: str) -> None:
    """torch fills the memory in its constructor, by the value that is given there."""
    groups = [{"params": ["bias"], "lr": 0.05, "initial_accumulator_value": 0.5}, {"params": ["scale", "kernel"]}]
    kwargs = {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.1}
    agree("Adagrad/adagrad", 1, dtype, {(0, "bias"), (3, "kernel")}, groups, **kwargs)
