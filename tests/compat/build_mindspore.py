"""Recorded runs of MindSpore, rebuilt: from a case's `config` to a transformation, from our state to their names."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from gradxform import GradientTransformation, Hyper
from gradxform.compat import mindspore, mindspore_schedules
from gradxform.compat.mindspore.state import save_state
from gradxform.core.hyper import Table

FUNCTIONS = {
    "Momentum": mindspore.momentum,
    "Adam": mindspore.adam,
    "ProximalAdagrad": mindspore.proximal_adagrad,
    "SGD": mindspore.sgd,
    "AdamWeightDecay": mindspore.adam_weight_decay,
    "AdamOffload": mindspore.adam_offload,
    "LazyAdam": mindspore.lazy_adam,
    "AdaMax": mindspore.adamax,
    "Adadelta": mindspore.adadelta,
    "Adagrad": mindspore.adagrad,
    "RMSProp": mindspore.rmsprop,
    "FTRL": mindspore.ftrl,
}
SCALERS = {
    "FixedLossScaleUpdateCell": mindspore.fixed_loss_scale_update_cell,
    "DynamicLossScaleUpdateCell": mindspore.dynamic_loss_scale_update_cell,
    "DynamicLossScaler": mindspore.dynamic_loss_scaler,
    "StaticLossScaler": lambda tx, scale_value: mindspore.fixed_loss_scale_update_cell(tx, scale_value),
}


class LinearInStep(mindspore_schedules.LearningRateSchedule):
    """A user's schedule: `base + slope s`."""

    base: Hyper
    slope: Hyper

    def construct(self, global_step: Any) -> Any:
        return self.base + self.slope * jnp.asarray(global_step, dtype=float)


def build(config: Any) -> GradientTransformation | None:
    """The optimizer of a case; None for one that is not built."""
    if config["optimizer"] in SCALERS:
        return SCALERS[config["optimizer"]](mindspore.momentum(0.1, 0.9), **config["kwargs"])
    if config.get("scale_cell"):
        inner = build(config | {"optimizer": config["inner_optimizer"], "scale_cell": None})
        return SCALERS[config["scale_cell"]](inner, **config["scale_cell_kwargs"])
    make = FUNCTIONS.get(config["optimizer"])
    if make is None:
        return None
    given = {key: value(x, recorded(config, key)) for key, x in config["kwargs"].items()}
    groups = []
    for group in config.get("groups") or []:
        leaf = (group.get("params") or [None])[0]
        groups.append({key: value(x, recorded(config, key, leaf)) for key, x in group.items()})
    return make(**given, **({"groups": groups} if groups else {}))


def recorded(config: Any, key: str, leaf: str | None = None) -> list[float] | None:
    """The numbers that the framework used, step by step, where a leaf's rate or decay was recorded."""
    name = {"learning_rate": "lr_per_step", "lr": "lr_per_step", "weight_decay": "weight_decay_per_step"}.get(key)
    steps = config.get(name) or [None]
    found = [x.get(leaf) if isinstance(x, dict) else x for x in steps]
    return None if None in found else found


def value(x: Any, numbers: list[float] | None = None) -> Any:
    """An argument from what stands for it in a config; for a user's own function, the numbers that it gave."""
    if not isinstance(x, dict):
        return x
    kind = x["type"]
    rest = {key: value(part) for key, part in x.items() if key != "type"}
    values = rest.get("values", rest.get("value"))
    if kind in ("generator", "iterator"):
        return iter(values)
    if kind in ("ndarray", "array", "numpy.ndarray", "Tensor", "Parameter"):
        return np.asarray(values, np.float32)
    if values is not None:
        return values
    if kind.startswith("linear_in_step"):
        return LinearInStep(**{key: float(part) for key, part in rest.items()})
    found = getattr(mindspore_schedules, kind, None)
    if kind.endswith(("LR", "_lr")) and found is not None:
        return found(**rest)
    if numbers is None:
        raise NotImplementedError(kind)
    return Table(tuple(numbers))


RECORDED = {"adam_m": "moments1", "adam_v": "moments2", "mean_square": "ms", "mean_grad": "mg"}
"""Where a case calls a statistic by its attribute, and a checkpoint by another name."""


def state(config: Any, state: Any, params: Any) -> dict[str, Any]:
    """The final state as a case records it: `{"state_name/leaf": array}`."""
    if config["optimizer"] == "SGD" and not config["kwargs"].get("momentum"):
        kept = {"accum": np.zeros, "stat": np.ones}  # never touched there, not kept here
        return {f"{name}/{leaf}": kept[name](shape) for name in kept for leaf, shape in config["leaves"]}
    saved = {name.replace(".", "/", 1): x for name, x in save_state(state, params).items()}
    for entry, recorded in RECORDED.items():
        saved |= {name.replace(entry, recorded, 1): x for name, x in saved.items() if name.startswith(f"{entry}/")}
    return {name: x for name, x in saved.items() if name.split("/")[0] in config["state_names"]}
