"""torch's schedulers as they run here."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest

from tests.compat.rates import STEPS


def live(make: Callable[[Any, Any], Any]) -> tuple[list[float], list[float]]:
    """The rates and momenta that torch uses; shorter where the scheduler raises at its end."""
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1, momentum=0.5)
    lrs, momenta = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the argument `epoch`, which torch passes to itself, and of first steps
        scheduler = make(torch.optim.lr_scheduler, optimizer)
        for _ in range(STEPS):
            (group,) = optimizer.param_groups
            lrs.append(group["lr"])
            momenta.append(group["momentum"])
            optimizer.step()
            try:
                scheduler.step()
            except ValueError:
                break
    return lrs, momenta
