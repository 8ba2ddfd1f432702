"""States of optax as ours and back, so that a run goes on with the other library."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradxform.compat.optax.layout import COUNTS, FIRST, RENAMED, count_of
from gradxform.core.plain import got
from gradxform.core.state import State
from gradxform.core.transform import GradientTransformation
from gradxform.core.tree import memory_structure, name_of, open_tree
from gradxform.core.types import OptState, Params, Path


class Slot(NamedTuple):
    """Where an array of optax's state stands: its field, the parameter that it belongs to, and its state's place."""

    field: str
    path: Path | None
    owner: tuple[str, ...]


def state_from_optax(state: OptState, tx: GradientTransformation, params: Params) -> State:
    """optax's state as that of `tx`, for a run that goes on natively: statistics by parameter and name, and the count.

    tx: of the stages that made it, in their order, as `gx.adamw(...)` for `optax.adamw(...)`; what optax's wrappers
    (`MultiSteps`, `apply_if_finite`, `inject_hyperparams`) add to it begins anew.
    Raises: TypeError if tx is none of ours, ValueError if a statistic is missing, too many, or of another shape.
    """
    ours = _init(tx, params)
    values = dict(zip(slots(state, params), jax.tree.leaves(state), strict=True))
    count = count_of({slot.field: x for slot, x in reversed(values.items()) if slot.path is None})
    used = set()

    def found(slot: Slot, like: Any) -> Any:
        used.add(slot)
        if jnp.shape(values[slot]) != like.shape:
            shapes = f"{jnp.shape(values[slot])}, where {tx!r} keeps {like.shape}"
            raise ValueError(f"optax's {slot.field!r} of {slot.path!r} has shape {shapes}")
        return jnp.array(values[slot], like.dtype)

    leaves = {
        path: {
            name: type(m)(*(found(Slot(RENAMED.get(f, f), path, owner), x) for f, x in zip(m._fields, m, strict=True)))
            for name, m, owner in _owned(path, memory, values)
        }
        for path, memory in _memories(ours, params)
    }
    surplus = [s for s, x in values.items() if s.path is not None and s not in used and jnp.shape(x) != (1,)]
    if surplus:
        raise ValueError(f"{tx!r} keeps no {surplus[0].field!r}, which optax's state has for {surplus[0].path!r}")
    return ours._replace(count=count, leaves=_closed(leaves, ours, params))


def state_to_optax(state: State, theirs: OptState, params: Params) -> OptState:
    """Our state as optax's: the statistics and the count of `state` in the place of those of `theirs`.

    theirs: what `init` of optax's transformation gives for these parameters.
    Raises: ValueError if optax's state has no place for a statistic.
    """
    places = slots(theirs, params)
    mine: dict[Slot, Any] = {}
    for path, memory in _memories(state, params):
        for _, m, owner in _owned(path, memory, dict.fromkeys(places)):
            mine |= {Slot(RENAMED.get(f, f), path, owner): x for f, x in zip(m._fields, m, strict=True)}

    def renewed(slot: Slot, x: Any) -> Any:
        if slot.path is None and slot.field in COUNTS:
            return jnp.asarray(state.count, jnp.result_type(x))
        if slot.path is None and slot.field == FIRST:
            return state.count == 0
        return jnp.asarray(mine[slot], jnp.result_type(x)) if slot in mine else x

    leaves = [renewed(slot, x) for slot, x in zip(places, jax.tree.leaves(theirs), strict=True)]
    return jax.tree.unflatten(jax.tree.structure(theirs), leaves)


def slots(state: OptState, params: Params) -> list[Slot]:
    """Where each array of optax's state stands."""
    known = set(open_tree(params)[0])
    return [_slot(path, known) for path, _ in jax.tree_util.tree_leaves_with_path(state)]


def _slot(keys: tuple[Any, ...], known: set[Path]) -> Slot:
    names = [name_of(key) for key in keys]
    for i, key in enumerate(keys):
        path = "/".join(names[i + 1 :])
        path = path if path in known else path.removesuffix("/value")  # a variable of flax's nnx
        if isinstance(key, jax.tree_util.GetAttrKey) and path in known and names[i] not in (*COUNTS, FIRST):
            return Slot(names[i], path, tuple(names[:i]))
    return Slot(names[-1] if names else "", None, tuple(names[:-1]))


def _owned(path: Path, memory: Any, values: dict[Slot, Any]) -> Iterator[tuple[str, Any, tuple[str, ...]]]:
    """Each stage's memory of a parameter, with the first state of optax's, in order, that has its fields."""
    free = list(dict.fromkeys(slot.owner for slot in values if slot.path == path))
    for name, m in (memory or {}).items():
        fields = [RENAMED.get(f, f) for f in m._fields]
        owner = next((o for o in free if all(Slot(f, path, o) in values for f in fields)), None)
        if owner is None:
            raise ValueError(f"optax's state has no {', '.join(fields)} for {path!r}, which {name} keeps")
        free.remove(owner)
        yield name, m, owner


def _init(tx: GradientTransformation, params: Params) -> State:
    if not isinstance(tx, GradientTransformation):
        raise TypeError(f"state_from_optax takes a gradxform transformation, {got(tx)}")
    ours = tx.init(params)
    if not isinstance(ours, State):
        raise ValueError(f"the state of {tx!r} is no State of a chain: give the chain inside")
    return ours


def _memories(state: State, params: Params) -> Iterator[tuple[Path, Any]]:
    return zip(open_tree(params)[0], memory_structure(params).flatten_up_to(state.leaves), strict=True)


def _closed(leaves: dict[Path, Any], ours: State, params: Params) -> Any:
    """The memories in the parameters' places; an array in a box of flax's stays in it."""
    places = memory_structure(params)
    new = [leaves[path] if memory else memory for path, memory in _memories(ours, params)]
    return places.unflatten(new)
