"""States of optax as ours and back, so that a run goes on with the other library."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from gradxform.compat.optax.layout import COUNTS, FIRST, count_of, spelt
from gradxform.control.accumulate import Accumulate, AccumulateState
from gradxform.control.guard import Guard, GuardState
from gradxform.core.boxes import boxed_as, unboxed
from gradxform.core.plain import got
from gradxform.core.state import State
from gradxform.core.transform import GradientTransformation
from gradxform.core.tree import memory_structure, name_of, open_tree
from gradxform.core.types import Memory, OptState, Params, Path

HELD = "hyperparams"
"""The field in which optax's `inject_hyperparams` holds its values, and begins the one of their schedules' states."""


class Slot(NamedTuple):
    """Where an array of optax's state stands: its field, the parameter that it belongs to, and its state's place."""

    field: str
    path: Path | None
    owner: tuple[str, ...]


def state_from_optax(state: OptState, tx: GradientTransformation, params: Params) -> OptState:
    """optax's state as that of `tx`, for a run that goes on natively: statistics by parameter and name, and the count.

    tx: of the stages that made it, in their order, as `gx.adamw(...)` for `optax.adamw(...)`; `gx.accumulate(tx, k)`
    for a `MultiSteps` of means, in the middle of a window too; `gx.apply_if_finite`; `gx.tunable` for what
    `inject_hyperparams` holds, whose values it takes unless they follow a schedule. nnx variables are looked into.
    Raises: TypeError if tx is none of ours, ValueError if a statistic is missing, too many, or of another shape.
    """
    if not isinstance(tx, GradientTransformation):
        raise TypeError(f"state_from_optax takes a gradxform transformation, {got(tx)}")
    state, ours = unboxed(state), tx.init(params)
    if isinstance(tx, Accumulate) and isinstance(state, optax.MultiStepsState):
        return _window(ours, state, state_from_optax(state.inner_opt_state, tx.inner, params))
    if isinstance(tx, Guard) and isinstance(state, optax.ApplyIfFiniteState):
        return _guarded(ours, state, state_from_optax(state.inner_state, tx.inner, params))
    if not isinstance(ours, State):
        raise ValueError(f"the state of {tx!r} is no State of a chain: give the chain inside")
    return _chain_from(state, tx, ours, params)


def state_to_optax(state: OptState, theirs: OptState, params: Params) -> OptState:
    """Our state as optax's: the statistics and the count of `state` in the place of those of `theirs`.

    theirs: what `init` of optax's transformation gives for these parameters, with the wrappers that `state_from_optax`
    knows.
    Raises: ValueError if optax's state has no place for a statistic, or for a wrapper of ours.
    """
    plain = unboxed(theirs)
    if isinstance(state, AccumulateState) and isinstance(plain, optax.MultiStepsState):
        new = _to_window(state, plain, state_to_optax(state.inner, plain.inner_opt_state, params))
    elif isinstance(state, GuardState) and isinstance(plain, optax.ApplyIfFiniteState):
        new = plain._replace(
            inner_state=state_to_optax(state.inner, plain.inner_state, params), notfinite_count=state.consecutive,
            total_notfinite=state.nonfinite, last_finite=jnp.logical_not(state.last_skipped),
        )  # fmt: skip
    elif isinstance(state, State):
        new = _chain_to(state, plain, params)
    else:
        raise ValueError(f"{type(theirs).__name__} of optax has no place for {type(state).__name__}")
    return boxed_as(theirs, new)


def _window(ours: AccumulateState, state: optax.MultiStepsState, inner: OptState) -> AccumulateState:
    """optax keeps the mean of the window so far, ours the sum."""
    seen = jnp.array(state.mini_step, jnp.int32)
    like: Any = jax.tree.structure(ours.total)
    total = like.unflatten(
        [
            jnp.asarray(x * seen, t.dtype)
            for x, t in zip(*map(jax.tree.leaves, (state.acc_grads, ours.total)), strict=True)
        ]
    )
    steps, weight = jnp.array(state.gradient_step, jnp.int32), seen.astype(ours.weight.dtype)
    return ours._replace(inner=inner, total=total, weight=weight, seen=seen, steps=steps)


def _to_window(state: AccumulateState, theirs: optax.MultiStepsState, inner: OptState) -> optax.MultiStepsState:
    by = 1 / jnp.maximum(state.weight, 1) * (state.seen > 0)
    like: Any = jax.tree.structure(theirs.acc_grads)
    pairs = zip(*map(jax.tree.leaves, (state.total, theirs.acc_grads)), strict=True)
    mean = like.unflatten([jnp.asarray(x * by, t.dtype) for x, t in pairs])
    return theirs._replace(inner_opt_state=inner, acc_grads=mean, mini_step=state.seen, gradient_step=state.steps)


def _guarded(ours: GuardState, state: optax.ApplyIfFiniteState, inner: OptState) -> GuardState:
    found, row = (jnp.array(x, jnp.int32) for x in (state.total_notfinite, state.notfinite_count))
    last = jnp.logical_not(state.last_finite)
    return ours._replace(inner=inner, skipped=found, nonfinite=jnp.copy(found), consecutive=row, last_skipped=last)


def _chain_from(state: OptState, tx: GradientTransformation, ours: State, params: Params) -> State:
    values = dict(zip(slots(state, params), jax.tree.leaves(state), strict=True))
    used = set()

    def found(slot: Slot, like: Any) -> Any:
        used.add(slot)
        if jnp.shape(values[slot]) != like.shape:
            shapes = f"{jnp.shape(values[slot])}, where {tx!r} keeps {like.shape}"
            raise ValueError(f"optax's {slot.field!r} of {slot.path!r} has shape {shapes}")
        return jnp.array(values[slot], like.dtype)

    def memory(path: Path | None, wanted: Memory) -> dict[str, Memory]:
        return {name: type(m)(*map(found, places, m)) for name, m, places in _owned(path, wanted, values)}

    leaves = {path: memory(path, wanted) for path, wanted in _memories(ours, params)}
    tree = memory(None, ours.tree)
    surplus = [s for s, x in values.items() if s.path is not None and s not in used and jnp.shape(x) != (1,)]
    if surplus:
        raise ValueError(f"{tx!r} keeps no {surplus[0].field!r}, which optax's state has for {surplus[0].path!r}")
    rest = {slot: x for slot, x in values.items() if slot.path is None and slot not in used}
    count = count_of({slot.field: x for slot, x in reversed(rest.items())})
    return State(count, _closed(leaves, ours, params), tree, _held(ours.hyper, rest))


def _held(hyper: dict[str, Any], values: dict[Slot, Any]) -> dict[str, Any]:
    """The values of tunables: those that optax holds, where it has no schedule for them."""
    scheduled = {name for slot in values if f"{HELD}_states" in slot.owner for name in slot.owner}
    held = {s.field: x for s, x in values.items() if s.owner[-1:] == (HELD,) and s.field not in scheduled}
    return {name: jnp.array(held.get(name.rsplit("/")[-1], x), x.dtype) for name, x in hyper.items()}


def _chain_to(state: State, theirs: OptState, params: Params) -> OptState:
    places = slots(theirs, params)
    mine: dict[Slot, Any] = {}
    for path, memory in (*_memories(state, params), (None, state.tree)):
        for _, m, owned in _owned(path, memory, places):
            mine |= dict(zip(owned, m, strict=True))
    held = {name.rsplit("/")[-1]: x for name, x in state.hyper.items()}

    def renewed(slot: Slot, x: Any) -> Any:
        if slot in mine:
            return jnp.asarray(mine[slot], jnp.result_type(x))
        if slot.owner[-1:] == (HELD,) and slot.field in held:
            new = jnp.asarray(held[slot.field], jnp.result_type(x))
            return jnp.where(jnp.isnan(new), x, new)
        if slot.path is None and slot.field in COUNTS:
            return jnp.asarray(state.count, jnp.result_type(x))
        return state.count == 0 if slot.path is None and slot.field in FIRST else x

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
        if isinstance(key, jax.tree_util.GetAttrKey) and path in known and names[i] not in (*COUNTS, *FIRST):
            return Slot(names[i], path, tuple(names[:i]))
    return Slot(names[-1] if names else "", None, tuple(names[:-1]))


def _owned(path: Path | None, memory: Memory, known: Iterable[Slot]) -> Iterator[tuple[str, Any, list[Slot]]]:
    """Each stage's memory of a parameter, with its places in the first state of optax's, in order, that has them."""
    free: dict[tuple[str, ...], set[str]] = {}
    for slot in known if memory else ():
        if slot.path == path:
            free.setdefault(slot.owner, set()).add(slot.field)
    for name, m in (memory or {}).items():
        owner = next((o for o, names in free.items() if {spelt(f, names) for f in m._fields} <= names), None)
        if owner is None:
            where = "" if path is None else f" for {path!r}"
            raise ValueError(f"optax's state has no {', '.join(m._fields)}{where}, which {name} keeps")
        names = free.pop(owner)
        yield name, m, [Slot(spelt(f, names), path, owner) for f in m._fields]


def _memories(state: State, params: Params) -> Iterator[tuple[Path, Any]]:
    return zip(open_tree(params)[0], memory_structure(params).flatten_up_to(state.leaves), strict=True)


def _closed(leaves: dict[Path, Any], ours: State, params: Params) -> Any:
    """The memories in the parameters' places; an array in a box of flax's stays in it."""
    places = memory_structure(params)
    new = [leaves[path] if memory else memory for path, memory in _memories(ours, params)]
    return places.unflatten(new)
