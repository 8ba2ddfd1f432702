"""torch's Adadelta beside torch itself, step by step."""

from __future__ import annotations

import pytest

from tests.compat.torch.live import RTOL, agree_in_groups


@pytest.mark.parametrize("dtype", RTOL)
def test_adadelta(dtype: str) -> None:
    agree_in_groups("Adadelta/adadelta", dtype, lr=0.5, rho=0.8, weight_decay=0.1)
