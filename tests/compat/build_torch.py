"""Recorded runs of torch, rebuilt: from a case's `config` to a transformation, from our state to torch's names."""

from __future__ import annotations

import inspect
import re
from typing import Any

import numpy as np

from gradxform import GradientTransformation, Schedule
from gradxform.compat import torch as compat
from gradxform.compat import torch_schedules
from gradxform.compat.torch.schedules import CyclicLR, OneCycleLR, TorchSchedule
from gradxform.compat.torch.state import entries_of
from gradxform.core.hyper import coerce

FUNCTIONS = {
    "SGD": compat.sgd,
    "Adam": compat.adam,
    "AdamW": compat.adamw,
    "RMSprop": compat.rmsprop,
    "Adagrad": compat.adagrad,
    "Adadelta": compat.adadelta,
    "Adamax": compat.adamax,
    "NAdam": compat.nadam,
    "RAdam": compat.radam,
    "Rprop": compat.rprop,
    "ASGD": compat.asgd,
    "Adafactor": compat.adafactor,
    "Muon": compat.muon,
    "SparseAdam": compat.sparse_adam,
    "LBFGS": compat.lbfgs,
}
NO_NUMBER = {"foreach", "fused", "capturable", "differentiable", "last_epoch", "verbose"}
"""Options that choose a kernel, or print, and change no number."""


def build(config: Any) -> GradientTransformation | None:
    """The optimizer of a case; None for one that is not built."""
    make = FUNCTIONS.get(config["optimizer"])
    if make is None:
        return None
    kwargs = {key: value(x) for key, x in config["kwargs"].items() if key not in NO_NUMBER}
    groups = [{key: value(x) for key, x in group.items()} for group in config.get("groups") or []]
    if config.get("lr_schedule"):
        own = {name: p.default for name, p in inspect.signature(make).parameters.items()} | kwargs
        groups = [{**group, **scheduled(config, own | group, i)} for i, group in enumerate(groups)]
        kwargs |= scheduled(config, own, 0)
    return make(**kwargs, groups=groups or None)


def value(x: Any) -> Any:
    """An argument from what stands for it in a config: `"Tensor(0.1, float32)"` is an array without axes."""
    if isinstance(x, list):
        return [value(part) for part in x]
    tensor = re.fullmatch(r"[Tt]ensor\((.*?)(?:, *(?:torch\.)?(\w+))?\)", x) if isinstance(x, str) else None
    if tensor:
        return np.asarray(float(tensor[1].strip("[]")), tensor[2] or "float32")
    return x


def scheduled(config: Any, options: dict[str, Any], group: int) -> dict[str, Any]:
    """The options that a scheduler sets in one group."""
    try:
        schedule = scheduler(config["lr_schedule"], options["lr"], group)
    except NotImplementedError:
        return {"lr": coerce("lr", [rates[group] for rates in config["lr_per_step"]])}
    if schedule.momentum is None:
        return {"lr": schedule}
    if "betas" in options:
        return {"lr": schedule, "betas": (schedule.momentum, options["betas"][1])}
    return {"lr": schedule, "momentum": schedule.momentum}


def scheduler(x: Any, lr: Any, group: int) -> Any:
    """A scheduler from `{"type": ..., ...}`, or from the list of those that it combines.

    Raises: NotImplementedError where a function stands as a text.
    """
    kind = getattr(torch_schedules, x["type"], None)
    if not (isinstance(kind, type) and issubclass(kind, TorchSchedule)):
        raise NotImplementedError(x["type"])
    fields = {key: part for key, part in x.items() if key != "type" and key not in NO_NUMBER}
    if "schedulers" in fields:
        fields["schedulers"] = [scheduler(part, lr, group) for part in fields["schedulers"]]
    elif not issubclass(kind, OneCycleLR | CyclicLR):
        fields["lr"] = lr
    for key, part in fields.items():
        if key in ("lr_lambda", "scale_fn") and part is not None:
            raise NotImplementedError(f"{key} is a text: {part}")
        if key in ("max_lr", "base_lr", "max_momentum", "base_momentum") and isinstance(part, list):
            fields[key] = part[group]
    found: Schedule = kind(**fields)
    return found


def state(config: Any, state: Any, params: Any) -> dict[str, Any]:
    """The final state as a case records it: `{"state_name/leaf": array}`."""
    found = {}
    if config["optimizer"] == "LBFGS":
        return found
    for leaf, memory in state.leaves.items():
        for stage, held in memory.items():
            for name, field in entries_of(stage, held).items():
                found[f"{name}/{leaf}"] = getattr(held, field)
    return found
