"""Constructor calls as they are written in a framework, but for the parameters, which `init` takes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import ParamSpec, TypeVar

import jax

from gradxform.compat.common.groups import flags

P = ParamSpec("P")
R = TypeVar("R")


def constructor(name: str, without_effect: frozenset[str] = frozenset()) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """An optimizer that takes the framework's call as it is written there, and says where its parameters go.

    name: what the framework calls them. without_effect: flags that change no number.
    """

    def decorate(make: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(make)
        def made(*args: P.args, **kwargs: P.kwargs) -> R:
            if name in kwargs or any(map(holds_parameters, args)):
                raise TypeError(
                    f"{name}: {make.__name__} takes the parameters at init: tx = {make.__name__}(...), "
                    "state = tx.init(params); where they are groups: groups=[...]"
                )
            flags(**{flag: kwargs[flag] for flag in without_effect & kwargs.keys()})
            return make(*args, **{key: x for key, x in kwargs.items() if key not in without_effect})  # type: ignore[arg-type]

        return made

    return decorate


def holds_parameters(x: object) -> bool:
    """Whether it is a network, a tree of arrays, or a list of arrays or of groups."""
    if isinstance(x, list | tuple | Mapping):
        groups = not isinstance(x, Mapping) and any(isinstance(part, Mapping) for part in x)
        return groups or any(getattr(leaf, "shape", ()) != () for leaf in jax.tree.leaves(x))
    return hasattr(x, "parameters") or hasattr(x, "trainable_params")
