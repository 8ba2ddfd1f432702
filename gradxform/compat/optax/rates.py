"""Schedules of ours that give values of optax's types: numbers, and weakly typed arrays, where optax's are."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gradxform.compat.optax.remade import Remade
from gradxform.core.hyper import Schedule
from gradxform.core.types import Array


class Typed(Remade):
    """A schedule of ours in the types of optax's; equal where ours are. Stages of ours take `ours` itself."""

    def __init__(self, ours: Schedule, theirs: Callable[[Any], Any]) -> None:
        self.ours, self.theirs = ours, theirs
        self.like = functools.lru_cache(maxsize=64)(self._like)

    def __call__(self, count: Any) -> Any:
        try:
            kind: Any = type(count) if isinstance(count, int | float) else jax.typeof(count)
            like = self.like(kind)
        except (TypeError, ValueError, ArithmeticError):  # a function of the user's is in it, or optax refuses
            return self.theirs(count)
        if not isinstance(like, jax.ShapeDtypeStruct):
            return like
        value = jnp.asarray(self.ours(count), like.dtype)
        return weakly_typed(value) if like.weak_type else value

    def _like(self, kind: Any) -> Any:
        """The type of optax's value, or the value where it is a plain number."""
        values: list[Any] = []

        def value(count: Any) -> Any:
            values.append(self.theirs(count))
            return values[0]

        kind = jax.typeof(jnp.asarray(kind(0))) if isinstance(kind, type) else kind
        like = jax.eval_shape(value, jax.ShapeDtypeStruct(kind.shape, kind.dtype, weak_type=kind.weak_type))
        return values[0] if isinstance(values[0], int | float) else like

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Typed) and self.ours == other.ours

    def __hash__(self) -> int:
        return hash(self.ours)

    def __repr__(self) -> str:
        return repr(self.ours)


def weakly_typed(x: Array) -> Array:
    """The same numbers, which give way to the dtype of what they meet."""
    return jnp.full(x.shape, 0.0).at[...].set(x)


def untyped(x: Any) -> Any:
    """What our stages take for what optax's take: the schedules in it as they are."""
    if isinstance(x, list | tuple) and not hasattr(x, "_fields"):
        return type(x)(map(untyped, x))
    return x.ours if isinstance(x, Typed) else x
