"""The one shape of every chain's state."""

from __future__ import annotations

import itertools
from collections.abc import Container, Iterator
from typing import Any, NamedTuple

import jax

from gradxform.core.types import Count, Memory, Number, OptState, Tree

REMEDY = "gx.migrate(state, tx, params) makes one that fits"
"""What ends the refusal of a state."""


class State(NamedTuple):
    """What a transformation remembers.

    count: int32 scalar, updates done. leaves: shaped like the parameters, and at each parameter's place a dict
    `{stage: memory}`. tree: `{stage: memory}` of what sees the whole tree. hyper: `{name: value}` of tunables.
    """

    count: Count
    leaves: Tree
    tree: dict[str, Memory]
    hyper: dict[str, Number]


class EmptyState(NamedTuple):
    """The state of a pair of functions that remembers nothing."""


def is_memory(x: object) -> bool:
    """Whether a node of `State.leaves` is one parameter's memory: a dict of NamedTuples without dicts inside."""
    if not isinstance(x, dict) or not all(isinstance(v, tuple) and hasattr(v, "_fields") for v in x.values()):
        return False
    return not any(isinstance(y, dict) for v in x.values() for y in jax.tree.leaves(v, is_leaf=_is_dict))


def _is_dict(x: object) -> bool:
    return isinstance(x, dict)


def view(state: OptState, field: str) -> Tree:
    """All statistics of one name, as a tree like the parameters: `view(state, "mu")`.

    `field` is a field (`"mu"`), or stage and field (`"adam/mu"`) where two stages keep one of that name. A parameter
    without it holds None. States of wrappers (tuples, dicts around ours) are searched.
    Raises: ValueError if no parameter keeps it, or if it is ambiguous.
    """
    tree = statistic(find_state(state), field)
    if not jax.tree.leaves(tree):
        raise ValueError(f"no parameter keeps a statistic {field!r}")
    return tree


def statistic(state: State, field: str) -> Tree:
    """As `view`, of one state; None everywhere where no parameter keeps it."""

    def at(memory: Memory) -> Any:
        if not is_memory(memory):
            return None
        values = {f"{n}/{f}": v for n, m in memory.items() for f, v in _fields(m)}
        names = [n for n in values if n == field or n.split("/", 1)[1] == field or n.rsplit("/", 1)[1] == field]
        if len(names) > 1:
            raise ValueError(f"{field!r} is ambiguous: {', '.join(names)}")
        return values[names[0]] if names else None

    return jax.tree.map(at, state.leaves, is_leaf=is_memory)


def _fields(memory: Memory) -> Iterator[tuple[str, Any]]:
    """Every field with its value; of a memory inside a memory its own fields too."""
    for field, value in zip(memory._fields, memory, strict=True):
        yield field, value
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            yield from ((f"{field}/{inner}", x) for inner, x in _fields(value))


def find_state(state: OptState) -> State:
    """The first of our states inside tuples, dicts and wrappers.

    Raises: ValueError if there is none.
    """
    states = find_states(state)
    if not states:
        raise ValueError(f"no state of a gradxform transformation inside {type(state).__name__}")
    return states[0]


def find_states(state: OptState) -> list[State]:
    """All of our states inside tuples, dicts and wrappers, outermost first."""
    nodes = jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, State))
    return [x for x in nodes if isinstance(x, State)]


def renewed(fresh: OptState, old: OptState) -> OptState:
    """A fresh state with the tunable hyperparameters as they are set in the old one."""

    def keep(new: Any, old: Any) -> Any:
        return new._replace(hyper=old.hyper, tree=renewed(new.tree, old.tree)) if isinstance(new, State) else new

    return jax.tree.map(keep, fresh, old, is_leaf=lambda x: isinstance(x, State))


def unused(name: str, taken: Container[str]) -> str:
    """The name, or with the first suffix that makes it a new one: `name_2`, `name_3`, ..."""
    return next(n for i in itertools.count(1) if (n := name if i == 1 else f"{name}_{i}") not in taken)
