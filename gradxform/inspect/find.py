"""One thing of a state by its name, wherever it stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from gradxform.core.plain import got
from gradxform.core.state import State, statistic
from gradxform.core.tree import name_of
from gradxform.core.types import OptState
from gradxform.core.value import Pair

Keys: TypeAlias = tuple[Any, ...]
DictKey, GetAttrKey = jax.tree_util.DictKey, jax.tree_util.GetAttrKey


def tree_get(
    tree: OptState, key: str, default: Any = None, filtering: Callable[[Keys, Any], bool] | None = None
) -> Any:
    """Find one thing of a state by name: `tree_get(state, "count")`, `"mu"`, `"trace"`, `"learning_rate"`.

    The number of updates done; a statistic as a tree like the parameters, as `view` gives it; a tunable hyperparameter;
    a field of a wrapper, or of another library's state. In wrappers the state of what is wrapped goes before the rest.
    key: `stage/field` where two stages keep one of that name. filtering: `(path, value) -> bool`, which of those found.
    Raises: ValueError if several are found, or a hyperparameter that follows its schedule, which no state holds.
    """
    if not isinstance(key, str):
        raise TypeError(f"key must be a name, {got(key)}")
    if filtering is not None and not callable(filtering):
        raise TypeError(f"filtering must be a function (path, value) -> bool, {got(filtering)}")
    for search in (_in_states, _anywhere):
        found = [(path, x) for path, x in search(tree, key) if filtering is None or filtering(path, x)]
        if len(found) > 1:
            places = ", ".join(jax.tree_util.keystr(path) for path, _ in found)
            raise ValueError(f"{key!r} is found {len(found)} times, say which by filtering: {places}")
        if found:
            return found[0][1]
    return default


def _in_states(tree: OptState, key: str) -> Iterator[tuple[Keys, Any]]:
    for path, state in _states(tree, ()):
        if key == "count":
            yield (*path, GetAttrKey(key)), state.count
            continue
        kept = statistic(state, key)
        if jax.tree.leaves(kept):
            yield (*path, GetAttrKey("leaves"), DictKey(key)), kept
        for name, x in state.hyper.items():
            if f"/{name}".endswith(f"/{key}"):
                yield (*path, GetAttrKey("hyper"), DictKey(name)), _set(name, x)


def _states(node: Any, path: Keys) -> Iterator[tuple[Keys, State]]:
    if isinstance(node, State):
        yield path, node
        return
    children = _children(node)
    wrapped = [(k, x) for k, x in children if hasattr(node, "_fields") and k.name == "inner"]
    for k, x in wrapped or children:
        yield from _states(x, (*path, k))


def _anywhere(node: Any, key: str, path: Keys = ()) -> Iterator[tuple[Keys, Any]]:
    """Whatever has this name: a field, a key, or a NamedTuple's type."""
    for k, x in _children(node):
        if key in (name_of(k), type(x).__name__):
            yield (*path, k), x
        yield from _anywhere(x, key, (*path, k))


def _children(node: Any) -> list[tuple[Any, Any]]:
    keyed = jax.tree_util.tree_flatten_with_path(node, is_leaf=lambda x: x is not node)[0]
    return [(path[0], x) for path, x in keyed if path]


def _set(name: str, x: Any) -> Any:
    x = x.value if isinstance(x, Pair) else x
    if not isinstance(x, jax.core.Tracer) and bool(jnp.isnan(x)):
        raise ValueError(f"{name} follows its schedule, which no state holds: gx.hyperparams(tx, state)[{name!r}]")
    return x
