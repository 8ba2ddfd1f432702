"""optax's states as ours, and ours in the place of optax's: fields by name, arrays by their order."""

from __future__ import annotations

import functools
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
    figures = {spelt(f, fields) for m in fresh.tree.values() for f in m._fields}
    statistics = {f: _column(x, len(fresh.leaves)) for f, x in fields.items() if f not in (*COUNTS, *FIRST, *figures)}
    used = set()

    def taken(at: dict[str, Any], f: str, like: jax.ShapeDtypeStruct, i: int | None = None) -> Any:
        f = spelt(f, at)
        used.add((f, i))
        x = at[f] if i is None else at[f][i]
        if jnp.shape(x) != like.shape:
            raise UnlikeError
        return x if getattr(x, "dtype", None) == like.dtype else jnp.asarray(x, like.dtype)

    def memory(at: dict[str, Any], wanted: dict[str, Memory], i: int | None = None) -> dict[str, Memory]:
        return {n: type(m)(*(taken(at, f, x, i) for f, x in zip(m._fields, m, strict=True))) for n, m in wanted.items()}

    leaves = [memory(statistics, wanted, i) for i, wanted in enumerate(fresh.leaves)]
    idle = [x for f, column in statistics.items() for i, x in enumerate(column) if (f, i) not in used]
    if any(jnp.size(x) > 1 or jnp.ndim(x) == 0 for x in idle):  # optax keeps one zero for a side that it has not
        raise UnlikeError
    return State(count_of(fields) if counts(state) else None, leaves, memory(fields, fresh.tree), {})


def theirs_of(new: State, state: OptState) -> OptState:
    """The new memory in the place of the one before it."""
    fields = fields_of(state)
    *kept, figures = [
        {spelt(f, fields): x for m in memory.values() for f, x in zip(m._fields, m, strict=True)}
        for memory in (*new.leaves, new.tree)
    ]

    def renewed(field: str, x: Any) -> Any:
        if field in COUNTS:
            return jnp.asarray(new.count, jnp.result_type(x))
        if field in FIRST:
            return jnp.zeros_like(x)
        if field in figures:
            return figures[field]
        structure: Structure = jax.tree.structure(x)
        return structure.unflatten([m.get(field, x) for m, x in zip(kept, jax.tree.leaves(x), strict=True)])

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


def _column(tree: Any, n: int) -> list[Any]:
    leaves = jax.tree.leaves(tree)
    if len(leaves) not in (0, n):
        raise UnlikeError
    return leaves
