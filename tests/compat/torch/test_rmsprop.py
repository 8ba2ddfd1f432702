"""torch's RMSprop beside torch itself, step by step."""

from __future__ import annotations

import pytest

from tests.compat.torch.live import RTOL, agree_in_groups


@pytest.mark.parametrize("dtype", RTOL)
def test_rmsprop(dtype: str) -> None:
    agree_in_groups("RMSprop/rmsprop", dtype, lr=0.1, alpha=0.9, weight_decay=0.1, momentum=0.8, centered=True)
