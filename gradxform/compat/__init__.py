"""Other libraries' optimizers to the last operation: `torch`, `paddle`, `mindspore`, `optax`, and their schedules."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradxform.compat import mindspore, optax, paddle, torch
    from gradxform.compat.mindspore import schedules as mindspore_schedules
    from gradxform.compat.paddle import schedules as paddle_schedules
    from gradxform.compat.torch import schedules as torch_schedules

__all__ = ["mindspore", "mindspore_schedules", "optax", "paddle", "paddle_schedules", "torch", "torch_schedules"]

_HOMES = {
    "mindspore": "mindspore",
    "mindspore_schedules": "mindspore.schedules",
    "optax": "optax",
    "paddle": "paddle",
    "paddle_schedules": "paddle.schedules",
    "torch": "torch",
    "torch_schedules": "torch.schedules",
}
"""Name -> the module that it stands for, imported when it is first asked for."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = globals()[name] = importlib.import_module(f"{__name__}.{_HOMES[name]}")
    return module
