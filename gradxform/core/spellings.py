"""Arguments as other frameworks spell them, answered with how they are spelt here."""

from __future__ import annotations

import difflib
import functools
import inspect
import sys
import types
from typing import Any

import jax
import numpy as np

SPELT: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("lr", "step_size", "eta", "base_lr"), ("learning_rate",)),
    **dict.fromkeys(("beta1", "beta_1", "b_1", "adam_beta1"), ("b1", "beta", "decay")),
    **dict.fromkeys(("beta2", "beta_2", "b_2", "adam_beta2"), ("b2", "decay_rate")),
    **dict.fromkeys(("beta3", "beta_3"), ("b3",)),
    "beta": ("b1", "decay"),
    **dict.fromkeys(("epsilon", "adam_epsilon", "eps1"), ("eps",)),
    **dict.fromkeys(("weight_decay_rate", "wd", "l2", "weight_decay", "decoupled_weight_decay"), ("weight_decay",)),
    **dict.fromkeys(("momentum", "momentum_decay", "mu"), ("momentum", "decay", "b1", "beta")),
    **dict.fromkeys(("rho", "alpha", "smoothing", "discounting_factor"), ("rho", "decay", "decay_rate")),
    "decay": ("momentum", "decay_rate"),
    **dict.fromkeys(("use_nesterov", "nesterov_momentum"), ("nesterov",)),
    **dict.fromkeys(("mask", "exclude_from_weight_decay", "apply_decay_param_fun"), ("mask", "weight_decay_mask")),
    "clip": ("max_norm", "max_delta"),
    **dict.fromkeys(("max_grad_norm", "clip_norm"), ("max_norm",)),
    "clip_value": ("max_delta",),
}
"""How others spell an argument, and which of ours it is: the first that a function has."""

PARAMETERS = {"params", "parameters", "parameter_list", "model_parameters", "var_list", "model"}
INSTEAD: dict[str, str] = {
    **dict.fromkeys(("lr", "learning_rate", "step_size"), "gx.chain(tx, gx.scale_by_learning_rate(rate)) steps"),
    **dict.fromkeys(
        ("weight_decay", "weight_decay_rate", "wd", "l2", "decoupled_weight_decay"),
        "gx.with_weight_decay(tx, rate) adds decoupled decay",
    ),
    **dict.fromkeys(("momentum", "momentum_decay"), "gx.chain(gx.trace(decay), tx) adds momentum"),
    "decay": "a rate that falls is a schedule, and gx.with_weight_decay(tx, rate) adds decoupled decay",
    "clipnorm": "gx.chain(gx.clip_by_norm(x), tx) clips each array",
    **dict.fromkeys(
        ("global_clipnorm", "max_grad_norm", "clip_norm", "grad_clip", "gradient_clipping"),
        "gx.chain(gx.clip_by_global_norm(x), tx) clips all gradients together",
    ),
    **dict.fromkeys(("clipvalue", "clip_value"), "gx.chain(gx.clip(x), tx) clips each element"),
    "amsgrad": "gx.amsgrad is an optimizer by itself",
    "maximize": "gx.chain(gx.scale(-1.0), tx) goes uphill",
    "loss_scale": "gx.dynamic_loss_scale(tx) or gx.static_loss_scale(tx, scale) scales the loss",
    **dict.fromkeys(("gradient_accumulation_steps", "accumulation_steps"), "gx.accumulate(tx, every) accumulates"),
    **dict.fromkeys(("use_ema", "ema_momentum"), "gx.chain(tx, gx.ema_of_params(decay)) keeps an average"),
    **dict.fromkeys(("foreach", "fused", "capturable", "differentiable", "jit_compile"), "leave it out, jit compiles"),
    **dict.fromkeys(("mask", "exclude_from_weight_decay", "apply_decay_param_fun"), "gx.masked(tx, mask) chooses"),
}
"""What does the job of an argument that a function has under no name."""

NUMBERS = ("Schedule", "Hyper", "Beta", "float", "int")
"""What a hyperparameter is annotated with."""
HELD = "parameters are not given when it is made: state = tx.init(params), then tx.update(grads, state, params)"


def answered(f: Any) -> Any:
    """The same function, which answers an argument of another spelling with ours; what is no function as it is."""
    return _public(f) if inspect.isfunction(f) and not hasattr(f, "spelt_here") else f


@functools.cache
def _public(f: Any) -> Any:
    takes = inspect.signature(f).parameters
    first = next(iter(takes.values()), None)
    begins_with_number = first is not None and any(x in str(first.annotation) for x in NUMBERS)

    @functools.wraps(f)
    def public(*args: Any, **kwargs: Any) -> Any:
        try:
            if begins_with_number and args and _is_model(args[0]):
                raise TypeError
            return f(*args, **kwargs)
        except (TypeError, ValueError):
            given = begins_with_number and args and _are_parameters(args[0])
            strange = [] if any(p.kind == p.VAR_KEYWORD for p in takes.values()) else [*kwargs.keys() - takes.keys()]
            if given or PARAMETERS.intersection(strange):
                raise TypeError(f"{f.__name__}: {HELD}") from None
            if strange:
                words = [_ours(name, kwargs[name], list(takes)) for name in kwargs if name in strange]
                raise TypeError(f"{f.__name__} {' and '.join(words)}") from None
            raise

    public.spelt_here = True  # type: ignore[attr-defined]
    setattr(sys.modules[f.__module__], f.__name__, public)  # where pickle looks for it
    return public


def _ours(name: str, x: Any, takes: list[str]) -> str:
    """What a function with these arguments has for one of another name."""
    if name == "betas" and "b1" in takes:
        given = x if isinstance(x, tuple | list) else ("...",) * 3
        pairs = zip((b for b in ("b1", "b2", "b3") if b in takes), given, strict=False)
        return f"takes {', '.join(f'{b}={value}' for b, value in pairs)}, not betas={x}"
    ours = next((known for known in SPELT.get(name, ()) if known in takes), None)
    if ours is None and name not in INSTEAD:
        ours = next(iter(difflib.get_close_matches(name, takes, n=1, cutoff=0.75)), None)
    if ours is not None:
        return f"takes {ours!r}, not {name!r}"
    return f"has no {name!r}: {INSTEAD.get(name, 'it takes ' + (', '.join(takes) or 'nothing'))}"


def _is_model(x: Any) -> bool:
    """Whether something is a model of torch, paddle or keras, which as a function would pass for a schedule."""
    return callable(x) and (hasattr(x, "parameters") or hasattr(x, "trainable_variables"))


def _are_parameters(x: Any) -> bool:
    """Whether something is a model, its parameters, or a tree of arrays."""
    if isinstance(x, types.GeneratorType):
        return x.gi_code.co_name in ("parameters", "named_parameters")
    return _is_model(x) or (
        isinstance(x, dict | list | tuple) and any(np.ndim(leaf) > 0 for leaf in jax.tree.leaves(x))
    )
