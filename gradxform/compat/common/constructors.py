"""Constructor calls as they are written in a framework, but for the parameters, which `init` takes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import ParamSpec, TypeVar

import jax

from gradxform.compat.common.groups import flags
from gradxform.core.rows import Rows
from gradxform.core.value import Value

P = ParamSpec("P")
R = TypeVar("R")


def constructor(
    name: str,
    without_effect: frozenset[str] = frozenset(),
    written: str = "...",
    ahead: bool = False,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """An optimizer that takes the framework's call as it is written there, and says where its parameters go.

    name: what the framework calls them. without_effect: flags that change no number; None leaves them out. written: its
    arguments, for the sentence. ahead: they come before all others there, and may be an iterator.
    """

    def decorate(make: Callable[P, R]) -> Callable[P, R]:
        first = next(iter(inspect.signature(make).parameters))

        @functools.wraps(make)
        def made(*args: P.args, **kwargs: P.kwargs) -> R:
            pushed = args and first in kwargs
            passed = any(map(holds_parameters, args[:1] if ahead else args))
            if name in kwargs or pushed or passed or (ahead and any(isinstance(x, Iterator) for x in args[:1])):
                raise TypeError(
                    f"{name}: {make.__name__} takes the parameters at init: tx = {make.__name__}({written}), "
                    "state = tx.init(params); where they are groups: groups=[...]"
                )
            flags(**{flag: kwargs[flag] for flag in without_effect & kwargs.keys() if kwargs[flag] is not None})
            return make(*args, **{key: x for key, x in kwargs.items() if key not in without_effect})  # type: ignore[arg-type]

        return made

    return decorate


def holds_parameters(x: object) -> bool:
    """Whether it is a network, a tree of arrays, or a list of arrays or of groups."""
    if isinstance(x, Value | Rows):
        return False
    groups = isinstance(x, list | tuple) and any(isinstance(part, Mapping) for part in x)
    tree = not jax.tree_util.all_leaves([x]) and any(getattr(leaf, "shape", ()) != () for leaf in jax.tree.leaves(x))
    return groups or tree or hasattr(x, "parameters") or hasattr(x, "trainable_params")
