"""torch's averaged descent beside torch itself, step by step."""

from __future__ import annotations

import pytest

from tests.compat.torch.live import RTOL, agree_in_groups, agree_where_the_rate_falls


@pytest.mark.parametrize("dtype", RTOL)
def test_asgd(dtype: str) -> None:
    agree_in_groups("ASGD/asgd", dtype, lr=0.1, lambd=0.01, alpha=0.7, t0=3, weight_decay=0.1)


def test_it_begins_with_the_rate_of_the_first_gradient() -> None:
    agree_where_the_rate_falls("ASGD/asgd")
