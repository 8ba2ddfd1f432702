"""optax's states as ours, and ours in the place of optax's: fields by name, arrays by their order."""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Container, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gradxform.core.state import State
from gradxform.core.transform import GradientTransformation
from gradxform.core.types import Count, Memory, OptState, Structure

COUNTS = ("count", "step", "t", "count_m2")
"""What states of optax call the number of updates done."""
FIRST = ("is_initial_step", "is_init_step")
"""What tells in place of a count whether there were any."""
GIVEN = ("ns_coeffs",)
"""What states of optax hold of the arguments."""
RENAMED = {
    "step_size": "step_sizes", "prev": "prev_updates", "mu": "exp_avg", "nu": "exp_avg_sq", "max_lr": "estim_lr",
}  # fmt: skip
"""Our statistics that some states of optax have by another name."""


class UnlikeError(ValueError):
    """Our rule keeps what optax's state has no place for, or the other way round."""


def counts(state: OptState) -> bool:
    """Whether a state of optax has a counter."""
    return not set(fields_of(state)).isdisjoint((*COUNTS, *FIRST))


def fields_of(state: OptState) -> dict[str, Any]:
    return state._asdict() if hasattr(state, "_asdict") else {}


def spelt(field: str, theirs: Container[str]) -> str:
    """What optax calls a statistic of ours, among the names of a state."""
    return field if field in theirs else RENAMED.get(field, field)


def count_of(fields: dict[str, Any]) -> Count:
    """The number of updates done as the state tells it, 0 where it needs none."""
    first = next((fields[name] for name in FIRST if name in fields), None)
    if first is not None:
        return 1 - jnp.asarray(first, jnp.int32)
    return jnp.array(next((fields[name] for name in COUNTS if name in fields), 0), jnp.int32)


def shapes_of(tx: GradientTransformation, params: Sequence[jax.ShapeDtypeStruct]) -> State:
    """The shapes of a transformation's state, its memory in the order of its stages."""
    seen: list[State] = []
    jax.eval_shape(lambda ps: seen.append(tx.init(ps)), list(params))
    fresh = seen[0]
    if not isinstance(fresh, State) or fresh.hyper or any(jnp.shape(x) for x in jax.tree.leaves(fresh.tree)):
        raise UnlikeError
    as_struct = functools.partial(jax.tree.map, lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype))
    *leaves, tree = [{name: as_struct(m) for name, m in (x or {}).items()} for x in (*fresh.leaves, fresh.tree)]
    return State(None, leaves, tree, {})


def ours_of(fresh: State, state: OptState) -> State:
    """optax's state as ours, without a count where it has none. fresh: the shapes of ours for a list of parameters."""
    fields = fields_of(state)
    figures = _by_field(fresh.tree, fields)
    likes = [_by_field(memory, fields) for memory in fresh.leaves]
    columns = {
        f: _column(x, [like.get(f) for like in likes])
        for f, x in fields.items()
        if f not in (*COUNTS, *FIRST, *GIVEN, *figures)
    }

    def memory(wanted: dict[str, Memory], at: dict[str, Any], *i: int) -> dict[str, Memory]:
        def taken(f: str, like: Any) -> Any:
            return jax.tree.map(_shaped, like, functools.reduce(operator.getitem, i, at[spelt(f, at)]))

        return {n: type(m)(*(taken(f, like) for f, like in zip(m._fields, m, strict=True))) for n, m in wanted.items()}

    leaves = [memory(wanted, columns, i) for i, wanted in enumerate(fresh.leaves)]
    idle = [x for f, column in columns.items() for x, like in zip(column, likes, strict=False) if f not in like]
    if any(jnp.size(x) > 1 or jnp.ndim(x) == 0 for x in idle):  # optax keeps one zero for a side that it has not
        raise UnlikeError
    return State(count_of(fields) if counts(state) else None, leaves, memory(fresh.tree, fields), {})


def theirs_of(new: State, state: OptState) -> OptState:
    """The new memory in the place of the one before it."""
    fields = fields_of(state)
    *kept, figures = [_by_field(memory, fields) for memory in (*new.leaves, new.tree)]

    def renewed(field: str, x: Any) -> Any:
        if field in figures:
            return figures[field]
        if field in COUNTS:
            return jnp.asarray(new.count, jnp.result_type(x))
        if field in FIRST:
            return jnp.zeros_like(x)
        if field in GIVEN:
            return x
        structure: Structure = jax.tree.structure(x)
        old = _column(x, [m.get(field) for m in kept])
        return structure.unflatten(jax.tree.leaves([m.get(field, x) for m, x in zip(kept, old, strict=True)]))

    return state._replace(**{field: renewed(field, x) for field, x in fields.items()}) if fields else state


def joined(fresh: State, members: Sequence[State]) -> State:
    """The states of stages as that of their chain, whose memory has the names of `fresh`, in their order.

    At most one of them counts.
    """
    count = next((m.count for m in members if m.count is not None), jnp.zeros((), jnp.int32))
    *leaves, tree = [_joined(*column) for column in zip(*map(_places, (fresh, *members)), strict=True)]
    return State(count, leaves, tree, {})


def parted(new: State, fresh: State, members: Sequence[State]) -> list[State]:
    """A chain's state as those of its stages, which kept what `members` had."""
    columns = [map(memory.__getitem__, names) for memory, names in zip(_places(new), _places(fresh), strict=True)]

    def part(member: State) -> State:
        *leaves, tree = [{n: next(c) for n in names} for names, c in zip(_places(member), columns, strict=True)]
        return State(new.count, leaves, tree, {})

    return list(map(part, members))


def _places(state: State) -> list[dict[str, Memory]]:
    """Where memory stands: at each parameter, and once for the whole tree."""
    return [*state.leaves, state.tree]


def _joined(names: dict[str, Memory], *memories: dict[str, Memory]) -> dict[str, Memory]:
    return dict(zip(names, (x for memory in memories for x in memory.values()), strict=True))


def _by_field(memory: dict[str, Memory], theirs: Container[str]) -> dict[str, Any]:
    """What stages keep, by the names of optax's fields."""
    return {spelt(f, theirs): x for m in memory.values() for f, x in zip(m._fields, m, strict=True)}


def _column(tree: Any, likes: Sequence[Any]) -> list[Any]:
    """A field of optax's, parameter by parameter, each with the structure of what ours keeps there."""
    leaves = jax.tree.leaves(tree)
    structures: list[Structure] = [jax.tree.structure(0 if like is None else like) for like in likes]
    if len(leaves) not in (0, sum(x.num_leaves for x in structures)):
        raise UnlikeError
    rest = iter(leaves)
    return [x.unflatten(itertools.islice(rest, x.num_leaves)) for x in structures] if leaves else []


def _shaped(like: jax.ShapeDtypeStruct, x: Any) -> Any:
    if jnp.shape(x) != like.shape:
        raise UnlikeError
    return x if getattr(x, "dtype", None) == like.dtype else jnp.asarray(x, like.dtype)
