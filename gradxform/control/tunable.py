"""Hyperparameters that one can read at a step, keep in the state, and change while training."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core.chain import Chain
from gradxform.core.hyper import Tunable, coerce, hyper_fields, is_beta, rebuild, resolve
from gradxform.core.rule import Rule
from gradxform.core.stage import Step
from gradxform.core.state import State, find_state, find_states, unused
from gradxform.core.transform import refuse_stranger
from gradxform.core.value import Pair


def tunable(value: Any) -> Any:
    """Make a hyperparameter one that lives in the state: `adamw(tunable(1e-3))`.

    value: a number or a schedule. The state gains one slot in `State.hyper` under the hyperparameter's name and no
    other key moves; `with_hyperparams` sets it without recompiling. A tunable factor gives the constant's result bit
    for bit; another hyperparameter to rounding.
    Raises: TypeError for anything but a number, a table or a schedule.
    """
    return Tunable(coerce("tunable", value))


def hyperparams(tx: Any, state: Any) -> dict[str, Any]:
    """All numeric hyperparameters as the next update will use them: `{"adam/b1": 0.9, "learning_rate": ...}`.

    Names are `[group/]stage/field`, also of what stands inside a wrapper; the second of one name gets `_2`. Constants
    are floats, schedules and tunables scalar arrays. Works inside `jit`.
    state: that of `tx`, also inside the tuples and dicts of wrappers.
    Raises: ValueError if the state holds none of ours.
    """
    refuse_stranger(tx)
    found: dict[str, Any] = {}
    owner: dict[str, Any] = {}
    for step, key, name, rule, field in _fields(tx, state):
        name = unused(name, [n for n, hyper in owner.items() if hyper is not step.hyper])
        owner[name] = step.hyper
        x, held = hyper_fields(rule)[field], step.hyper.get(key)
        x = x.initial if isinstance(x, Tunable) and held is None else x
        value = resolve(x, step.count, held, is_beta(rule, field))
        found[name] = value.value if isinstance(value, Pair) else value
    return found


def hyperparams_at(tx: Any, count: Any) -> dict[str, Any]:
    """`hyperparams` after so many updates, as the transformation is written: what is tunable has its initial value."""
    return hyperparams(tx, State(count, {}, {}, {}))


def _fields(tx: Any, state: Any, prefix: str = "") -> Iterator[tuple[Step, str, str, Rule, str]]:
    """Each hyperparameter of each rule, wrappers' rules included: step to read it at, key, name, rule and field."""
    if not isinstance(tx, Chain):
        if hasattr(tx, "inner"):
            yield from _fields(tx.inner, getattr(state, "inner", state), prefix)
        return
    held = find_state(state)
    for name, stage, step in tx.each(Step(held.count, None, held.tree, held.hyper, {}, None)):
        if stage.wrapped is not None:
            at = step.prefix + name
            yield from _fields(stage.wrapped, held.tree.get(at, held._replace(hyper={})), prefix + group_of(at))
        elif stage.only_rule is not None:
            for field, key in stage.names(name, step).items():
                yield step, key, prefix + key, stage.only_rule, field


def group_of(key: str) -> str:
    """What stands before the names inside a wrapper that `State.tree` keeps under this key: `group/`, or nothing."""
    return key[: key.rfind("/") + 1]


def with_hyperparams(state: Any, *, tx: Any = None, **values: Any) -> Any:
    """The state with tunable hyperparameters set: `with_hyperparams(state, learning_rate=3e-4)`; None clears one.

    Names as in `hyperparams`, or the bare field where it is unique; `**{"adam/b1": 0.95}` for names with a slash. A
    cleared one returns to its schedule, or to the number it began with. dtype, weak type and sharding stay, so nothing
    recompiles. tx: also check the range of the new values.
    Raises: ValueError for an unknown or ambiguous name (the names are listed), a value that is no scalar, or one out
    of range; TypeError for a value that is no number.
    """
    known = [prefix + key for prefix, held in _all_states(state) for key in held.hyper]
    new: dict[str, Any] = {}
    for name, value in values.items():
        new[_full_name(name, known)] = _number(name, value)
    if tx is not None:
        refuse_stranger(tx)
        _check_ranges(tx, new)

    return _replaced(state, "", new)


def _replaced(state: Any, prefix: str, new: dict[str, Any]) -> Any:
    def replace(node: Any) -> Any:
        if not isinstance(node, State):
            return node
        hyper = {k: _set(held, new[prefix + k]) if prefix + k in new else held for k, held in node.hyper.items()}
        inner = {k: _replaced(x, prefix + group_of(k), new) for k, x in node.tree.items()}
        return node._replace(hyper=hyper, tree=inner)

    return jax.tree.map(replace, state, is_leaf=lambda x: isinstance(x, State))


def _all_states(state: Any, prefix: str = "") -> Iterator[tuple[str, State]]:
    for held in find_states(state):
        yield prefix, held
        for key, inner in held.tree.items():
            yield from _all_states(inner, prefix + group_of(key))


def _full_name(name: str, known: list[str]) -> str:
    fits = [key for key in known if key == name] or [key for key in known if key.endswith("/" + name)]
    if len(fits) == 1:
        return fits[0]
    if len(set(fits)) == 1:
        raise ValueError(f"{name} is ambiguous: {len(fits)} states hold it; set it in one of them")
    what = f"ambiguous: {', '.join(fits)}" if fits else f"not tunable; tunable are: {', '.join(known) or 'none'}"
    raise ValueError(f"{name} is {what}")


def _number(name: str, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | np.generic | np.ndarray | jax.Array):
        raise TypeError(f"{name} must be a number or None, got {value!r} of type {type(value).__name__}")
    if np.shape(value) != ():
        raise ValueError(f"{name} must be a scalar, got an array of shape {np.shape(value)}")
    if isinstance(value, jax.core.Tracer):
        return value
    if math.isnan(value):
        raise ValueError(f"{name} must be a number, got nan; None clears it")
    return float(value)


def _set(held: Any, value: Any) -> Any:
    if value is None:
        value = math.nan
    if isinstance(held, Pair):
        return Pair(_like(held.value, value), _like(held.complement, 1 - value))
    return _like(held, value)


def _like(held: Any, value: Any) -> Any:
    """The value as an array of the held one's dtype and shape, on its devices if it is bound to any.

    Where the held one is a variable (flax's nnx), in such a variable.
    """

    def like(held: Any) -> Any:
        new = jnp.broadcast_to(jnp.asarray(value, held.dtype), held.shape)
        if isinstance(held, jax.core.Tracer | np.ndarray | np.generic) or isinstance(new, jax.core.Tracer):
            return new
        if not held.committed:
            return new
        return jax.device_put(new, held.sharding)

    return jax.tree.map(like, held)


def _check_ranges(tx: Any, new: dict[str, Any]) -> None:
    for _, _, key, rule, field in _fields(tx, State(0, {}, {}, {})):
        if isinstance(new.get(key), float):
            try:
                rebuild(rule, {field: new[key]})
            except ValueError as error:
                raise ValueError(f"{key} is out of range: {error}") from None
