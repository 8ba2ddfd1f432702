"""torch's Rprop beside torch itself, step by step."""

from __future__ import annotations

import pytest

from tests.compat.torch.live import RTOL, agree_in_groups, agree_where_the_rate_falls


@pytest.mark.parametrize("dtype", RTOL)
def test_rprop(dtype: str) -> None:
    agree_in_groups("Rprop/rprop", dtype, lr=0.1, etas=(0.4, 1.3), step_sizes=(0.05, 0.2))


def test_it_begins_with_the_rate_of_the_first_gradient() -> None:
    agree_where_the_rate_falls("Rprop/rprop")
