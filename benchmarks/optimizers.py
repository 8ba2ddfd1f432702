"""What is measured: the same chain in the libraries' own words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# Functions that gradxform and optax share by name and arguments.
BOTH: dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]] = {
    "sgd": ("sgd", (1e-3,), {}),
    "momentum": ("sgd", (1e-3, 0.9), {}),
    "nesterov": ("sgd", (1e-3, 0.9, True), {}),
    "adam": ("adam", (1e-3,), {}),
    "adamw": ("adamw", (1e-3,), {}),
    "nadam": ("nadam", (1e-3,), {}),
    "nadamw": ("nadamw", (1e-3,), {}),
    "amsgrad": ("amsgrad", (1e-3,), {}),
    "adamax": ("adamax", (1e-3,), {}),
    "adamaxw": ("adamaxw", (1e-3,), {}),
    "adagrad": ("adagrad", (1e-3,), {}),
    "rmsprop": ("rmsprop", (1e-3,), {}),
    "rmsprop-centered": ("rmsprop", (1e-3,), {"centered": True, "momentum": 0.9}),
    "adadelta": ("adadelta", (1e-3,), {}),
    "lion": ("lion", (1e-3,), {}),
    "lamb": ("lamb", (1e-3,), {}),
    "lars": ("lars", (1e-3,), {}),
    "sign_sgd": ("sign_sgd", (1e-3,), {}),
    "signum": ("signum", (1e-3,), {}),
    "adabelief": ("adabelief", (1e-3,), {}),
    "adan": ("adan", (1e-3,), {}),
    "novograd": ("novograd", (1e-3,), {}),
    "optimistic": ("optimistic_gradient_descent", (1e-3,), {}),
    "radam": ("radam", (1e-3,), {}),
    "yogi": ("yogi", (1e-3,), {}),
}


# Stages that stand beside them in a chain.
STAGES: dict[str, tuple[str, tuple[Any, ...], dict[str, Any]]] = {
    "clip": ("clip_by_global_norm", (1.0,), {}),
    "centralize": ("centralize", (), {}),
    "decay": ("add_decayed_weights", (1e-4,), {}),
    "direction": ("scale_by_adam", (), {}),
    "rate": ("scale_by_learning_rate", (1e-3,), {}),
}

ACCUMULATE = {"gradxform": "accumulate", "optax": "MultiSteps"}
WINDOW = 4
"""Micro-batches of a step that accumulates; one of them is measured as their mean."""

# What stands around a chain; "bfloat16" changes the gradients alone.
AROUND: dict[str, Callable[[Any, Any], Any]] = {
    "bfloat16": lambda library, tx: tx,
    "finite": lambda library, tx: library.apply_if_finite(tx, 5),
    "accumulate": lambda library, tx: getattr(library, ACCUMULATE[library.__name__])(tx, WINDOW),
}

COMPOSED = [
    "bfloat16+clip+adamw",
    "decay+clip+momentum",
    "centralize+clip+adam",
    "direction+clip+rate",
    "clip+lamb",
    "finite+adamw",
    "finite+clip+adamw",
    "accumulate+adamw",
    "accumulate+clip+adamw",
]


def jax_chain(library: Any, name: str) -> Any:
    """`finite+clip+adamw` is `apply_if_finite(chain(clip_by_global_norm(1.0), adamw(1e-3)), 5)`, in either library."""
    first, *rest = name.split("+")
    if first in AROUND:
        return AROUND[first](library, jax_chain(library, "+".join(rest)))
    stages = [(BOTH | STAGES)[part] for part in (first, *rest)]
    return library.chain(*(getattr(library, function)(*args, **kwargs) for function, args, kwargs in stages))


TORCH: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {}),
    "momentum": ("SGD", {"momentum": 0.9}),
    "nesterov": ("SGD", {"momentum": 0.9, "nesterov": True}),
    "adam": ("Adam", {}),
    "adamw": ("AdamW", {"weight_decay": 1e-4}),
    "adagrad": ("Adagrad", {}),
}
