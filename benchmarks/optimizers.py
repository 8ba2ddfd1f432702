"""What is measured: the same chain in the libraries' own words."""

from __future__ import annotations

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


def jax_chain(library: Any, name: str) -> Any:
    """`clip+adamw` is `chain(clip_by_global_norm(1.0), adamw(1e-3))`, in either library."""
    stages = []
    for part in name.split("+"):
        if part == "clip":
            stages.append(library.clip_by_global_norm(1.0))
        else:
            function, args, kwargs = BOTH[part]
            stages.append(getattr(library, function)(*args, **kwargs))
    return library.chain(*stages)


TORCH: dict[str, tuple[str, dict[str, Any]]] = {
    "sgd": ("SGD", {}),
    "momentum": ("SGD", {"momentum": 0.9}),
    "nesterov": ("SGD", {"momentum": 0.9, "nesterov": True}),
    "adam": ("Adam", {}),
    "adamw": ("AdamW", {"weight_decay": 1e-4}),
    "adagrad": ("Adagrad", {}),
}
