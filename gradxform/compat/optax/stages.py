"""One stage of optax with our arithmetic: optax's type, state classes and dtypes around a rule of ours."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gradxform.core.state import State
from gradxform.core.transform import GradientTransformation
from gradxform.core.types import Count, OptState, Params, Structure, Updates

COUNTS = ("count", "step", "t", "count_m2")
"""What states of optax call the number of updates done."""
FIRST = "is_initial_step"
"""What tells in place of a count whether there were any."""
RENAMED = {"step_size": "step_sizes", "prev": "prev_updates"}
"""Our statistics that optax has by another name."""
STORED = ("mu_dtype", "accumulator_dtype")
"""Dtypes of memory that optax rounds after the step and ours before it: asked for one, optax's own code runs."""
REFUSALS = (TypeError, ValueError, LookupError)


class UnlikeError(ValueError):
    """Our rule keeps what optax's state has no place for, or the other way round."""


def over(theirs: Callable[..., Any], ours: Callable[..., Any]) -> Callable[..., Any]:
    """optax's function, its transformation with the updates of ours on optax's state.

    Where ours refuses an argument, a parameter or a gradient that optax takes, or keeps what optax's state has no place
    for, optax's own code makes the step, from the same state.
    """
    signature = inspect.signature(theirs)

    @functools.wraps(theirs)
    def made(*args: Any, **kwargs: Any) -> Any:
        stage = theirs(*args, **kwargs)
        given = signature.bind(*args, **kwargs)
        given.apply_defaults()  # where the numbers differ, optax's
        if any(given.arguments.get(name) is not None for name in STORED):
            return stage
        try:
            tx = ours(*given.args, **given.kwargs)
        except REFUSALS:
            return stage
        return type(stage)(stage.init, _update(stage, tx)) if isinstance(tx, GradientTransformation) else stage

    return made


def _update(stage: optax.GradientTransformation, tx: GradientTransformation) -> Callable[..., Any]:
    @functools.lru_cache(maxsize=64)
    def memory(shapes: tuple[Any, ...]) -> State:
        fresh: State = jax.eval_shape(tx.init, [jax.ShapeDtypeStruct(*x) for x in shapes])
        return fresh

    def update(updates: Updates, state: OptState, params: Params | None = None, **extra: Any) -> Any:
        theirs = functools.partial(stage.update, updates, state, params, **extra)
        structure: Structure = jax.tree.structure(updates)
        gs = jax.tree.leaves(updates)
        ps = None if params is None else jax.tree.leaves(params)
        try:
            fresh = memory(tuple((jnp.shape(x), jnp.result_type(x)) for x in (gs if ps is None else ps)))
            us, new = tx.update(gs, _ours(fresh, state), ps, **extra)
            result = structure.unflatten(us), _theirs(new, state)
        except REFUSALS:
            return theirs()
        if all(jnp.result_type(x) in SINGLE for x in jax.tree.leaves((gs, ps, state))):
            return result
        return jax.tree.map(lambda x, like: jnp.asarray(x, like.dtype), result, jax.eval_shape(theirs))

    return update


SINGLE = (jnp.dtype("float32"), jnp.dtype("int32"), jnp.dtype("bool"))
"""Dtypes that optax's update has where all have them."""


def _ours(fresh: State, state: OptState) -> State:
    """optax's state as ours. fresh: the shapes of ours for a list of parameters."""
    if not isinstance(fresh, State) or fresh.tree or fresh.hyper:
        raise UnlikeError
    n, fields = len(fresh.leaves), _fields(state)
    columns = {field: _column(x, n) for field, x in fields.items() if field not in (*COUNTS, FIRST)}
    used = set()

    def taken(field: str, i: int, like: jax.ShapeDtypeStruct) -> Any:
        field = RENAMED.get(field, field)
        used.add((field, i))
        x = columns[field][i]
        if jnp.shape(x) != like.shape:
            raise UnlikeError
        return jnp.asarray(x, like.dtype)

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
    return State(count_of(fields), leaves, {}, {})


def _theirs(new: State, state: OptState) -> OptState:
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

    return state._replace(**{field: renewed(field, x) for field, x in _fields(state).items()})


def _fields(state: OptState) -> dict[str, Any]:
    return state._asdict() if hasattr(state, "_asdict") else {}


def _column(tree: Any, n: int) -> list[Any]:
    leaves = jax.tree.leaves(tree)
    if len(leaves) not in (0, n):
        raise UnlikeError
    return leaves


def count_of(fields: dict[str, Any]) -> Count:
    """The number of updates done as the state tells it, 0 where it needs none."""
    if FIRST in fields:
        return 1 - jnp.asarray(fields[FIRST], jnp.int32)
    return jnp.array(next((fields[name] for name in COUNTS if name in fields), 0), jnp.int32)
