"""Other libraries' optimizers to the last operation: `torch`, `paddle`, `mindspore`, `optax`, and their schedules."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradxform.compat import mindspore, mindspore_schedules, optax, paddle, paddle_schedules, torch, torch_schedules

__all__ = ["mindspore", "mindspore_schedules", "optax", "paddle", "paddle_schedules", "torch", "torch_schedules"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
