"""optax's states as ours, and ours in the place of optax's: fields by name, arrays by their order."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gradxform.core.state import State
from gradxform.core.transform import GradientTransformation
from gradxform.core.types import Count, Memory, OptState, Structure

COUNTS = ("count", "step", "t", "count_m2")
"""What states of optax call the number of updates done."""
FIRST = "is_initial_step"
"""What tells in place of a count whether there were any."""
RENAMED = {"step_size": "step_sizes", "prev": "prev_updates"}
"""Our statistics that optax has by another name."""


class UnlikeError(ValueError):
    """Our rule keeps what optax's state has no place for, or the other way round."""


def counts(state: OptState) -> bool:
    """Whether a state of optax has a counter."""
    return not set(fields_of(state)).isdisjoint((*COUNTS, FIRST))


def fields_of(state: OptState) -> dict[str, Any]:
    return state._asdict() if hasattr(state, "_asdict") else {}


def count_of(fields: dict[str, Any]) -> Count:
    """The number of updates done as the state tells it, 0 where it needs none."""
    if FIRST in fields:
        return 1 - jnp.asarray(fields[FIRST], jnp.int32)
    return jnp.array(next((fields[name] for name in COUNTS if name in fields), 0), jnp.int32)


def ours_of(fresh: State, state: OptState) -> State:
    """optax's state as ours, without a count where it has none. fresh: the shapes of ours for a list of parameters."""
    n, fields = len(fresh.leaves), fields_of(state)
    columns = {field: _column(x, n) for field, x in fields.items() if field not in (*COUNTS, FIRST)}
    used = set()

    def taken(field: str, i: int, like: jax.ShapeDtypeStruct) -> Any:
        field = RENAMED.get(field, field)
        used.add((field, i))
        x = columns[field][i]
        if jnp.shape(x) != like.shape:
            raise UnlikeError
        return x if getattr(x, "dtype", None) == like.dtype else jnp.asarray(x, like.dtype)

    leaves = [
        {
            name: type(m)(*(taken(f, i, x) for f, x in zip(m._fields, m, strict=True)))
            for name, m in (memory or {}).items()
        }
        for i, memory in enumerate(fresh.leaves)
    ]
    idle = [x for f, column in columns.items() for i, x in enumerate(column) if (f, i) not in used]
    if any(jnp.size(x) > 1 or jnp.ndim(x) == 0 for x in idle):  # optax keeps one zero for a side that it has not
        raise UnlikeError
    return State(count_of(fields) if counts(state) else None, leaves, {}, {})


def theirs_of(new: State, state: OptState) -> OptState:
    """The new memory in the place of the one before it."""
    if not hasattr(state, "_fields"):
        return state
    kept = [{f: x for m in memory.values() for f, x in zip(m._fields, m, strict=True)} for memory in new.leaves]
    ours = {theirs: mine for mine, theirs in RENAMED.items()}

    def renewed(field: str, x: Any) -> Any:
        if field in COUNTS:
            return jnp.asarray(new.count, jnp.result_type(x))
        if field == FIRST:
            return jnp.zeros_like(x)
        before = jax.tree.leaves(x)
        structure: Structure = jax.tree.structure(x)
        name = ours.get(field, field)
        return structure.unflatten([m.get(name, x) for m, x in zip(kept, before, strict=True)])

    return state._replace(**{field: renewed(field, x) for field, x in fields_of(state).items()})


def shapes_of(tx: GradientTransformation, params: Sequence[jax.ShapeDtypeStruct]) -> State:
    """The shapes of a transformation's state, its memory in the order of its stages."""
    seen: list[State] = []
    jax.eval_shape(lambda ps: seen.append(tx.init(ps)), list(params))
    fresh = seen[0]
    if not isinstance(fresh, State) or fresh.tree or fresh.hyper:
        raise UnlikeError
    as_struct = functools.partial(jax.tree.map, lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype))
    return State(None, [{name: as_struct(m) for name, m in (memory or {}).items()} for memory in fresh.leaves], {}, {})


def joined(fresh: State, members: Sequence[State]) -> State:
    """The states of stages as that of their chain, whose memory has the names of `fresh`, in their order.

    At most one of them counts.
    """
    count = next((m.count for m in members if m.count is not None), jnp.zeros((), jnp.int32))
    columns = zip(fresh.leaves, *(m.leaves for m in members), strict=True)
    return State(count, [_joined(*column) for column in columns], {}, {})


def _joined(names: dict[str, Memory], *memories: dict[str, Memory]) -> dict[str, Memory]:
    return dict(zip(names, (x for memory in memories for x in memory.values()), strict=True))


def parted(new: State, fresh: State, members: Sequence[State]) -> list[State]:
    """A chain's state as those of its stages, which kept what `members` had."""
    columns = [map(memory.__getitem__, names) for memory, names in zip(new.leaves, fresh.leaves, strict=True)]
    return [
        State(new.count, [{n: next(c) for n in names} for names, c in zip(m.leaves, columns, strict=True)], {}, {})
        for m in members
    ]


def _column(tree: Any, n: int) -> list[Any]:
    leaves = jax.tree.leaves(tree)
    if len(leaves) not in (0, n):
        raise UnlikeError
    return leaves
