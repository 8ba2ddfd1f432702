"""Recorded runs of paddle, rebuilt: from a case's `config` to a transformation, from our state to paddle's names."""

from __future__ import annotations

import inspect
from typing import Any

from gradxform import GradientTransformation
from gradxform.compat import paddle as compat
from gradxform.compat import paddle_schedules
from gradxform.core.hyper import coerce
from tests.compat.live.words import function, predicate

FUNCTIONS = {
    "Momentum": compat.momentum,
    "SGD": compat.sgd,
    "Adam": compat.adam,
    "AdamW": compat.adamw,
    "Adagrad": compat.adagrad,
    "Adadelta": compat.adadelta,
    "Adamax": compat.adamax,
    "NAdam": compat.nadam,
    "RAdam": compat.radam,
    "RMSProp": compat.rmsprop,
    "Lamb": compat.lamb,
}
NO_NUMBER = {"parameters", "rescale_grad", "verbose"}
"""Options that change no number; the CPU kernel of Momentum ignores rescale_grad."""


def build(config: Any) -> GradientTransformation | None:
    """The optimizer of a case; None for one that is not built."""
    make = FUNCTIONS.get(config["optimizer"])
    if make is None:
        return None
    groups = [options(config, group) for group in config.get("groups") or []]
    kwargs = options(config, config["kwargs"])
    if config.get("param_attr"):
        attributes = {leaf: compat.ParamAttr(**options(config, x)) for leaf, x in config["param_attr"].items()}
        kwargs["param_attr"] = {(leaf,): attribute for leaf, attribute in attributes.items()}
    return make(**kwargs, groups=groups or None)


def options(config: Any, given: Any) -> dict[str, Any]:
    """Arguments from what stands for them in a config."""
    return {key: value(config, key, x) for key, x in given.items() if key not in NO_NUMBER}


def value(config: Any, key: str, x: Any) -> Any:
    if key in ("apply_decay_param_fun", "exclude_from_weight_decay_fn") and isinstance(x, str):
        return predicate(x)
    if key == "lr_lambda" and not is_prose(x):
        return function(x)
    if not isinstance(x, dict) or "type" not in x:
        return x
    if key == "learning_rate" and is_text(x):
        return coerce(key, [rates if isinstance(rates, float) else rates[0] for rates in config["lr_per_step"]])
    kind = getattr(compat, x["type"], None) or getattr(paddle_schedules, x["type"])
    fields = {name: value(config, name, part) for name, part in x.items() if name != "type"}
    known = inspect.signature(kind).parameters
    return kind(**{name: part for name, part in fields.items() if name not in NO_NUMBER or name in known})


def is_text(x: Any) -> bool:
    """Whether only the recorded rates tell what a scheduler gives: a function stands in it as a text, or a metric."""
    if not isinstance(x, dict):
        return False
    unknown = not hasattr(paddle_schedules, x["type"])
    return (
        unknown
        or x["type"] == "ReduceOnPlateau"
        or any(is_prose(part) if name in ("lr_lambda", "scale_fn") else is_text(part) for name, part in x.items())
    )


def is_prose(x: Any) -> bool:
    """Whether a text is no function of k."""
    return isinstance(x, str) and not x.startswith("lambda k: ")


def state(config: Any, state: Any, params: Any) -> dict[str, Any]:
    """The final state as a case records it: `{"state_name/leaf": array}`."""
    saved = compat.save_state(state, params, tx=build(config))
    return {f"{name}/{leaf}": saved[f"{leaf}_{name}_0"] for name in config["state_names"] for leaf in params}
