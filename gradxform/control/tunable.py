"""Hyperparameters that one can read at a step, keep in the state, and change while training."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core.chain import Chain
from gradxform.core.hyper import Tunable, coerce, hyper_fields, is_beta, replace_hyper, resolve
from gradxform.core.lift import Lifted, Step
from gradxform.core.opaque import Opaque
from gradxform.core.state import State, find_states
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

    Names are `[group/]stage/field`. Constants are floats, schedules and tunables scalar arrays. Works inside `jit`.
    state: that of `tx`, also inside the tuples and dicts of wrappers.
    Raises: ValueError if the state holds none of ours.
    """
    found: dict[str, Any] = {}
    _collect(tx, state, found)
    return found


def _collect(tx: Any, state: Any, found: dict[str, Any]) -> None:
    if not isinstance(tx, Chain):
        if hasattr(tx, "inner") and hasattr(state, "inner"):
            _collect(tx.inner, state.inner, found)
        return
    held = state if isinstance(state, State) else (find_states(state) or [state])[0]
    if not isinstance(held, State):
        raise ValueError(f"no state of a gradxform transformation inside {type(state).__name__}")
    for name, stage, step in tx.each(_step_of(held)):
        if isinstance(stage, Opaque):
            _collect(stage.inner, held.tree.get(step.prefix + name), found)
        elif isinstance(stage, Lifted):
            names = stage.names(name, step)
            for field, x in hyper_fields(stage.rule).items():
                value = resolve(x, step.count, step.hyper.get(names[field]), is_beta(stage.rule, field))
                found[names[field]] = value.value if isinstance(value, Pair) else value


def _step_of(state: State) -> Step:
    return Step(state.count, None, state.tree, state.hyper, {}, None)


def with_hyperparams(state: Any, *, tx: Any = None, **values: Any) -> Any:
    """The state with tunable hyperparameters set: `with_hyperparams(state, learning_rate=3e-4)`; None clears one.

    Names as in `hyperparams`, or the bare field where it is unique; `**{"adam/b1": 0.95}` for names with a slash. A
    cleared one returns to its schedule, or to the number it began with. dtype, weak type and sharding stay, so nothing
    recompiles. tx: also check the range of the new values.
    Raises: ValueError for an unknown or ambiguous name (the names are listed), a value that is no scalar, or one out
    of range; TypeError for a value that is no number.
    """
    states = find_states(state)
    known = sorted({key for s in states for key in s.hyper})
    new: dict[str, Any] = {}
    for name, value in values.items():
        new[_full_name(name, known)] = _number(name, value)
    if tx is not None:
        _check_ranges(tx, new)

    def replace(node: Any) -> Any:
        if not isinstance(node, State):
            return node
        inner = jax.tree.map(replace, node.tree, is_leaf=lambda x: isinstance(x, State))
        hyper = {key: _set(held, new[key]) if key in new else held for key, held in node.hyper.items()}
        return node._replace(hyper=hyper, tree=inner)

    return jax.tree.map(replace, state, is_leaf=lambda x: isinstance(x, State))


def _full_name(name: str, known: list[str]) -> str:
    if name in known:
        return name
    fits = [key for key in known if key.endswith("/" + name)]
    if len(fits) == 1:
        return fits[0]
    what = f"ambiguous: {', '.join(fits)}" if fits else f"not tunable; tunable are: {', '.join(known) or 'none'}"
    raise ValueError(f"{name} is {what}")


def _number(name: str, value: Any) -> Any:
    if value is None or isinstance(value, jax.core.Tracer):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | np.generic | np.ndarray | jax.Array):
        raise TypeError(f"{name} must be a number or None, got {value!r} of type {type(value).__name__}")
    if np.shape(value) != ():
        raise ValueError(f"{name} must be a scalar, got an array of shape {np.shape(value)}")
    return float(value)


def _set(held: Any, value: Any) -> Any:
    if value is None:
        value = math.nan
    if isinstance(held, Pair):
        return Pair(_like(held.value, value), _like(held.complement, 1 - value))
    return _like(held, value)


def _like(held: Any, value: Any) -> Any:
    """The value as an array of the held one's dtype and on its devices."""
    new = jnp.asarray(value, held.dtype)
    if isinstance(held, jax.core.Tracer) or isinstance(new, jax.core.Tracer):
        return new
    return jax.device_put(new, held.sharding)


def _check_ranges(tx: Any, new: dict[str, Any]) -> None:
    if not isinstance(tx, Chain):
        return
    for name, stage, step in tx.each(Step(None, None, {}, {}, {}, None)):
        if not isinstance(stage, Lifted):
            continue
        names = stage.names(name, step)
        given = {f: new[key] for f, key in names.items() if isinstance(new.get(key), float)}
        if given:
            replace_hyper(stage.rule, given).check()
