"""torch's Adagrad beside torch itself, step by step."""

from __future__ import annotations

import pytest

from tests.compat.torch.live import RTOL, agree_in_groups


@pytest.mark.parametrize("dtype", RTOL)
def test_adagrad(dtype: str) -> None:
    agree_in_groups("Adagrad/adagrad", dtype, lr=0.1, lr_decay=0.1, weight_decay=0.1, initial_accumulator_value=0.1)
