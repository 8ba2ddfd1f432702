"""What schedulers that wait for a metric share: the rates that they lower stand in the optimizer's state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.control.tunable import all_states, with_hyperparams
from gradxform.core.plain import got
from gradxform.core.types import Array, ArrayLike, Number, OptState

S = TypeVar("S", bound=OptState)


class PlateauState(NamedTuple):
    """best: scalar, real. num_bad_epochs, cooldown_counter, last_epoch: scalars, int32."""

    best: Array
    num_bad_epochs: Array
    cooldown_counter: Array
    last_epoch: Array


def begun(worst: float) -> PlateauState:
    """What is known before the first metric."""
    return PlateauState(jnp.asarray(worst, float), *(jnp.zeros((), jnp.int32) for _ in range(3)))


def number(name: str, x: ArrayLike, like: Array) -> Array:
    """A metric. Raises: TypeError for what is no number, or no array of one."""
    if not isinstance(x, int | float | np.generic | np.ndarray | jax.Array) or np.size(x) != 1:
        raise TypeError(f"{name} must be a number, {got(x)}")
    return jnp.asarray(x, like.dtype).reshape(())


def refuse_other_dict(state_dict: object, rates: str) -> None:
    """Raises: TypeError or ValueError for what is no state dict of such a scheduler, its rates under this key."""
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"state_dict must be a dict, {got(state_dict)}")
    if absent := [name for name in (*PlateauState._fields, rates) if name not in state_dict]:
        raise ValueError(f"state_dict has no {absent[0]!r}, only {sorted(state_dict)}")


def rate_in(state: OptState) -> Array:
    """The tunable rate; one number, in however many groups it stands. Raises: ValueError if the state holds none."""
    return next(iter(rates_in(state).values()))


def with_rate(state: S, rate: Number) -> S:
    """The state with that rate."""
    new: S = with_hyperparams(state, **dict.fromkeys(rates_in(state), rate))
    return new


def rates_in(state: OptState) -> dict[str, Array]:
    """The tunable rates by name, in the order of their groups. Raises: ValueError if the state holds none."""
    found = {prefix + key: x for prefix, inner in all_states(state) for key, x in inner.hyper.items()}
    rates = {key: found[key] for key in sorted(found, key=_in_order) if key.split("/")[-1] == "learning_rate"}
    if not rates:
        raise ValueError("state must hold a tunable rate: give the optimizer the scheduler, or gx.tunable, as its rate")
    return rates


def _in_order(name: str) -> tuple[int, str]:
    """`group10` behind `group9`."""
    return len(name), name
