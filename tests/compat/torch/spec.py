"""Schedulers as data: torch's own and ours from one description."""

from __future__ import annotations

from typing import Any, TypeAlias

Spec: TypeAlias = tuple[str, Any]
"""A scheduler and its arguments; a chain and its parts; a sequence, its parts and its milestones."""


def made(module: Any, spec: Spec, first: Any) -> Any:
    """first: the optimizer of torch, or the rate here."""
    name, fields = spec
    here = isinstance(first, float)
    if name == "ChainedScheduler":
        return module.ChainedScheduler([made(module, part, first) for part in fields])
    if name == "SequentialLR":
        parts = [made(module, part, first) for part in fields[0]]
        return module.SequentialLR(*([] if here else [first]), parts, fields[1])
    if name == "SWALR" and not here:
        import torch

        module = torch.optim.swa_utils
    return getattr(module, name)(*([] if here and name in ("CyclicLR", "OneCycleLR") else [first]), **fields)
