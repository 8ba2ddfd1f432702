"""One training step, compiled: update and apply, in the memory of what they replace."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core import check
from gradxform.core.arithmetic import cast, compute_dtype
from gradxform.core.donated import refuse_deleted, refuse_shared
from gradxform.core.plain import got
from gradxform.core.rows import Rows, is_row_leaf
from gradxform.core.rule import Rule
from gradxform.core.shares import share_of
from gradxform.core.transform import GradientTransformation, refuse_stranger
from gradxform.core.tree import arrays_only, with_others
from gradxform.core.types import Gradient, OptState, Param, Params, Transformation, Updates
from gradxform.core.unjitted import are_arrays, as_arrays, kinds_of
from gradxform.core.value import is_hashable


def make_step(tx: Transformation, *, donate: bool = True) -> CompiledStep:
    """One compiled training step: `params, state = step(params, state, grads, **extra)`.

    `params` and `state` are donated: their memory is reused, so use what the step returns. Functions among the
    parameters (an unfiltered equinox model) stay what they are. Between the steps of `accumulate` neither parameters
    nor the state inside are read or written; that is a loop, of which JAX has no reverse derivative.
    donate: False leaves them as they are, to start several runs from one tree, for their memory once more.
    Raises: TypeError for anything but a transformation; a step ValueError for an array that was donated before.
    """
    tx = as_transformation(tx)
    check.boolean(donate=donate)
    return _step(tx, donate) if is_hashable(tx) else CompiledStep(tx, donate)


def as_transformation(tx: Transformation) -> GradientTransformation:
    """A transformation, or another library's pair of functions as one, with the state that the pair makes."""
    if isinstance(tx, Rule | type) or not (hasattr(tx, "init") and hasattr(tx, "update")):
        refuse_stranger(tx)
    return tx if isinstance(tx, GradientTransformation) else GradientTransformation(tx.init, tx.update)


def landed(
    tx: GradientTransformation, params: Params, state: OptState, grads: Updates, extra: dict[str, Any]
) -> tuple[Params, OptState]:
    """Where one step lands, and the state after it."""
    if tx.lands:
        args = (grads, state, params, extra)
        grads, state, params, extra = as_arrays(args, kinds_of(args))
        return tx.advance(grads, state, params, extra, None, land=True)
    updates, state = tx.update(grads, state, params, **extra)
    return apply_updates(params, updates), state


class CompiledStep:
    """What `make_step` makes: a jitted function (`lower` and the rest are there) that names arrays that are gone."""

    def __init__(self, tx: GradientTransformation, donate: bool) -> None:
        def step(params: Params, state: OptState, grads: Updates, **extra: Any) -> tuple[Params, OptState]:
            return landed(tx, params, state, grads, extra)

        self.donates = donate
        self.met_functions = False
        """Whether to look for functions among the parameters: what has met none finds them when JAX refuses them."""
        self.jitted = jax.jit(step, donate_argnums=(0, 1) if donate else (), keep_unused=True)

    def __call__(self, params: Params, state: OptState, grads: Updates, **extra: Any) -> tuple[Params, OptState]:
        try:
            return self._run(params, state, grads, extra)
        except (RuntimeError, ValueError):
            refuse_deleted(parameter=params, state=state, gradient=grads, extra=extra)
            if self.donates:
                refuse_shared((params, state), gradient=grads, extra=extra)
            raise

    def _run(self, params: Params, state: OptState, grads: Updates, extra: dict[str, Any]) -> tuple[Params, OptState]:
        if self.met_functions and _has_functions(params):
            moved, state = self.jitted(arrays_only(params, grads), state, grads, **extra)
            return with_others(moved, params), state
        try:
            new: tuple[Params, OptState] = self.jitted(params, state, grads, **extra)
            return new
        except TypeError:
            if self.met_functions or not _has_functions(params):
                raise
        self.met_functions = True
        return self._run(params, state, grads, extra)

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "jitted"), name)


_step = functools.lru_cache(maxsize=1024)(CompiledStep)


def _has_functions(params: Params) -> bool:
    return not are_arrays(kinds_of(params), int, float, complex)


def apply_updates(params: Params, updates: Updates) -> Params:
    """Add updates to parameters: `p <- round(p + u)`, summed in float32 or wider, rounded once to p's dtype.

    A leaf whose update is None stays as it is; sparse rows are added row by row, a plain number to every element.
    Raises: ValueError if the trees or the shapes differ, TypeError for an update that is no array and no number.
    """

    def add(u: Gradient, p: Param) -> Param:
        if u is None or p is None:
            return p
        p = p if isinstance(p, jax.Array) else jnp.asarray(p)
        if not hasattr(u, "dtype") or isinstance(u, np.generic):
            u = jnp.full(p.shape, _plain_update(u), compute_dtype(p.dtype))
        if np.shape(u) != p.shape:
            raise ValueError(f"an update has shape {np.shape(u)}, its parameter {p.shape}")
        if isinstance(u, Rows):
            return p + u
        if (share := share_of(u)) is not None:
            return share.whole(add(share.update, share.of(p)))
        wide = compute_dtype(p.dtype)
        return cast(jax.lax.add(cast(p, wide), cast(u, wide)), p.dtype)

    try:
        return jax.tree.map(add, updates, params, is_leaf=is_row_leaf)
    except (RuntimeError, ValueError):
        refuse_deleted(parameter=params, update=updates)
        raise


def _plain_update(u: Any) -> Any:
    if isinstance(u, bool) or not isinstance(u, int | float | np.number):
        raise TypeError(f"an update must be an array, a number or None, {got(u)}")
    return u
