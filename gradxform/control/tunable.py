"""Hyperparameters that one can read at a step, keep in the state, and change while training."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core.bounds import as_numbers
from gradxform.core.chain import Chain
from gradxform.core.hyper import Hyper, Tunable, coerce, hyper_fields, is_beta, rebuild, resolve
from gradxform.core.plain import fitting, got, is_array, number_in
from gradxform.core.rule import Rule
from gradxform.core.stage import Step
from gradxform.core.state import REMEDY, State, find_state, find_states, unused
from gradxform.core.transform import refuse_stranger
from gradxform.core.types import Array, Count, Number, OptState, Transformation, Tree
from gradxform.core.value import Pair


def tunable(value: Hyper) -> Tunable:
    """Make a hyperparameter one that lives in the state: `adamw(tunable(1e-3))`.

    value: a number or a schedule. The state gains one slot in `State.hyper` under the hyperparameter's name and no
    other key moves; `with_hyperparams` sets it without recompiling. A tunable factor gives the constant's result bit
    for bit; another hyperparameter to rounding.
    Raises: TypeError for anything but a number, a table or a schedule.
    """
    if isinstance(value, Tunable):
        raise TypeError(f"tunable takes a number or a schedule, {got(value)}")
    return Tunable(coerce("tunable", value))


def hyperparams(tx: Transformation, state: OptState) -> dict[str, Number]:
    """All numeric hyperparameters as the next update will use them: `{"adam/b1": 0.9, "learning_rate": ...}`.

    Names are `[group/]stage/field`, also of what stands inside a wrapper; the second of one name gets `_2`. Constants
    are floats, schedules and tunables scalar arrays, bounds as they were given. Works inside `jit`.
    state: that of `tx`, also inside the tuples and dicts of wrappers.
    Raises: ValueError if the state holds none of ours.
    """
    refuse_stranger(tx)
    for step, key, _, rule, field in _fields(tx, state):
        if isinstance(hyper_fields(rule)[field], Tunable) and key not in step.hyper:
            raise ValueError(f"the state holds no tunable {key!r}, and {tx!r} has one; {REMEDY}")
    return _hyperparams(tx, state)


def _hyperparams(tx: Transformation, state: OptState) -> dict[str, Number]:
    values: dict[str, Number] = {}
    owner: dict[str, Any] = {}
    for step, key, name, rule, field in _fields(tx, state):
        name = unused(name, [n for n, hyper in owner.items() if hyper is not step.hyper])
        owner[name] = step.hyper
        x, in_slot = hyper_fields(rule)[field], step.hyper.get(key)
        x = x.initial if isinstance(x, Tunable) and in_slot is None else x
        value = resolve(x, step.count, in_slot, is_beta(rule, field), name)
        values[name] = value.value if isinstance(value, Pair) else as_numbers(value)
    return values


def hyperparams_at(tx: Transformation, count: Count) -> dict[str, Number]:
    """`hyperparams` after so many updates, as the transformation is written: what is tunable has its initial value."""
    refuse_stranger(tx)
    return _hyperparams(tx, State(count, {}, {}, {}))


def _fields(tx: Transformation, state: OptState, prefix: str = "") -> Iterator[tuple[Step, str, str, Rule, str]]:
    """Each hyperparameter of each rule, wrappers' rules included: step to read it at, key, name, rule and field."""
    if not isinstance(tx, Chain):
        if hasattr(tx, "inner"):
            yield from _fields(tx.inner, getattr(state, "inner", state), prefix)
        return
    at_hand = find_state(state)
    for name, stage, step in tx.each(Step(at_hand.count, None, at_hand.tree, at_hand.hyper, {}, None)):
        if stage.wrapped is not None:
            at = step.prefix + name
            inner = at_hand.tree.get(at, at_hand._replace(hyper={}))
            yield from _fields(stage.wrapped, inner, prefix + group_of(at))
        elif stage.only_rule is not None:
            for field, key in stage.names(name, step).items():
                yield step, key, prefix + key, stage.only_rule, field


def group_of(key: str) -> str:
    """What stands before the names inside a wrapper that `State.tree` keeps under this key: `group/`, or nothing."""
    return key[: key.rfind("/") + 1]


def with_hyperparams(state: OptState, *, tx: Transformation | None = None, **values: Number | None) -> OptState:
    """The state with tunable hyperparameters set: `with_hyperparams(state, learning_rate=3e-4)`; None clears one.

    Names as in `hyperparams`, or the bare field where it is unique; `**{"adam/b1": 0.95}` for names with a slash. A
    cleared one returns to its schedule, or to the number it began with. dtype, weak type and sharding stay, so nothing
    recompiles. A state made under `vmap` takes one number for all members, or an array of one for each.
    tx: also check the range of the new values.
    Raises: ValueError for an unknown or ambiguous name (the names are listed), a value that is no scalar, or one out
    of range; TypeError for a value that is no number.
    """
    known = [(prefix + key, slot) for prefix, inner in all_states(state) for key, slot in inner.hyper.items()]
    new: dict[str, Number] = {}
    for name, value in values.items():
        full = _full_name(name, [key for key, _ in known])
        new[full] = _number(name, value, np.shape(jax.tree.leaves(dict(known)[full])[0]))
    if tx is not None:
        refuse_stranger(tx)
        _check_ranges(tx, new)

    return _replaced(state, "", new)


def _replaced(state: OptState, prefix: str, new: dict[str, Number]) -> OptState:
    def replace(node: Any) -> Any:
        if not isinstance(node, State):
            return node
        hyper = {k: _set(x, new[prefix + k]) if prefix + k in new else x for k, x in node.hyper.items()}
        inner = {k: _replaced(x, prefix + group_of(k), new) for k, x in node.tree.items()}
        return node._replace(hyper=hyper, tree=inner)

    return jax.tree.map(replace, state, is_leaf=lambda x: isinstance(x, State))


def all_states(state: OptState, prefix: str = "") -> Iterator[tuple[str, State]]:
    """Our states inside tuples, dicts, wrappers and one another, each with what stands before its names."""
    for outer in find_states(state):
        yield prefix, outer
        for key, inner in outer.tree.items():
            yield from all_states(inner, prefix + group_of(key))


def _full_name(name: str, known: list[str]) -> str:
    fits = [key for key in known if key == name] or [key for key in known if key.endswith("/" + name)]
    if len(fits) == 1:
        return fits[0]
    if len(set(fits)) == 1:
        raise ValueError(f"{name} is ambiguous: {len(fits)} states hold it; set it in one of them")
    what = f"ambiguous: {', '.join(fits)}" if fits else f"not tunable; tunable are: {', '.join(known) or 'none'}"
    raise ValueError(f"{name} is {what}")


def _number(name: str, value: object, members: tuple[int, ...]) -> Number | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | np.generic | np.ndarray | jax.Array):
        raise TypeError(f"{name} must be a number or None, {got(value)}")
    if np.shape(value) not in ((), members):
        what = f"a scalar, or an array of shape {members}, one for each member" if members else "a scalar"
        raise ValueError(f"{name} must be {what}, got an array of shape {np.shape(value)}")
    if members and np.shape(value):
        return value if isinstance(value, jax.core.Tracer) else _numbers(name, value)
    number = number_in(name, value) if is_array(value) else fitting(name, value)
    if isinstance(number, float) and math.isnan(number):
        raise ValueError(f"{name} must be a number, got nan; None clears it")
    return number


def _numbers(name: str, values: Any) -> Number:
    """An array of numbers, each looked at as one alone is."""
    return np.reshape([_number(name, x, ()) for x in np.ravel(values)], np.shape(values))


def _set(old: Number, value: Number | None) -> Number:
    if value is None:
        value = math.nan
    if isinstance(old, Pair):
        return Pair(_like(old.value, value), _like(old.complement, 1 - value))
    return _like(old, value)


def _like(old: Tree, value: Number) -> Tree:
    """The value as an array of the old one's dtype and shape, on its devices if it is bound to any.

    Where the old one is a variable (flax's nnx), in such a variable.
    """

    def like(old: Array) -> Array:
        new = jnp.broadcast_to(jnp.asarray(value, old.dtype), old.shape)
        if isinstance(old, jax.core.Tracer | np.ndarray | np.generic) or isinstance(new, jax.core.Tracer):
            return new
        if not old.committed:
            return new
        placed: Array = jax.device_put(new, old.sharding)
        return placed

    return jax.tree.map(like, old)


def _check_ranges(tx: Transformation, new: dict[str, Number]) -> None:
    for _, _, key, rule, field in _fields(tx, State(0, {}, {}, {})):
        given = new.get(key)
        for x in [] if given is None or isinstance(given, jax.core.Tracer) else np.ravel(given).tolist():
            try:
                rebuild(rule, {field: x})
            except ValueError as error:
                raise ValueError(f"{key} is out of range: {error}") from None
