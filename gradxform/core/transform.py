"""The noun for a tree: the pair `(init, update)`, as a value."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core.arithmetic import cast, compute_dtype
from gradxform.core.hyper import Slots
from gradxform.core.rows import Rows, is_row_leaf
from gradxform.core.tree import arrays_only, filled, is_inexact, without_functions
from gradxform.core.types import Gradient, OptState, Param, Params, Shaped, Taken, Transformation, Updates
from gradxform.core.unjitted import Unjitted, are_arrays, is_traced, kinds_of
from gradxform.core.value import Value, is_hashable
from gradxform.core.walk import kept


class GradientTransformation(Value):
    """A pure pair over pytrees, as a value: `init: params -> state` and `update: updates, state -> updates, state`.

    `update(updates, state, params=None, **extra)`; the parameters where a stage needs them.
    A value: it prints as one would write it, compares and hashes by content, goes through `jit` as a pytree of its
    numbers, and unpacks as the pair. Un-jitted `update` dispatches compiled code; under a trace it inlines.
    """

    needs_params: ClassVar[bool] = False
    sees_whole: ClassVar[bool] = False
    """As a stage it is handed the parameters of all leaves too, as `whole`: it evaluates the objective itself."""
    wraps: ClassVar[tuple[str, ...]] = ()
    """The fields with transformations whose states its own keeps under these names."""
    renews: ClassVar[bool] = False
    """`update` also makes their states anew, for which schedules are read at step 0."""

    holds: ClassVar[bool] = False
    """Whether `_update` takes `ok`, whether the step is taken, and itself keeps the state as it was where it is not."""

    @property
    def name(self) -> str:
        """The key of its state in a chain's."""
        return "transformation"

    def _init(self, params: Params) -> OptState:
        raise NotImplementedError

    def _update(
        self, updates: Updates, state: OptState, params: Params, extra: dict[str, Any]
    ) -> tuple[Updates, OptState]:
        raise NotImplementedError

    def _evaluate(self, state: OptState, params: Params) -> Params:
        return params

    def advance(
        self, updates: Updates, state: OptState, params: Params, extra: dict[str, Any], ok: Taken
    ) -> tuple[Updates, OptState]:
        """One update inside another transformation; where not `ok` the state stays as it was, and updates are void."""
        if ok is None:
            return self.update(updates, state, params, **extra)
        update: Callable[..., tuple[Updates, OptState]] = self._update
        if self.holds:
            return update(updates, state, params, extra, ok)
        new, after = update(updates, state, params, extra)
        return new, kept(ok, after, state)

    def _take_out(self, slots: Slots) -> Self:
        """The transformation without the numbers that compiled code takes as data."""
        slots = Slots(slots.order, None) if self.renews else slots
        inner = {name: getattr(self, name)._take_out(slots.inside(name)) for name in self.wraps}
        return self.with_fields(**inner) if inner else self

    @property
    def init(self) -> Init:
        return _pair(self)[0]

    @property
    def update(self) -> Update:
        return _pair(self)[1]

    def __iter__(self) -> Iterator[Init | Update]:
        return iter(_pair(self))


class Half:
    """One function of the pair: equal and of equal hash for equal transformations."""

    __slots__ = ("__weakref__", "tx")
    __name__: str

    def __init__(self, tx: GradientTransformation) -> None:
        self.tx = tx

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and (self is other or self.tx == other.tx)

    def __hash__(self) -> int:
        return hash((type(self), self.tx if is_hashable(self.tx) else id(self.tx)))

    def __repr__(self) -> str:
        return f"{self.tx!r}.{self.__name__}"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.tx,)


class Init(Half):
    """`params -> state`."""

    __slots__ = ()
    __name__ = "init"

    def __call__(self, params: Params) -> OptState:
        params = without_functions(params)
        if not _has_shapes(params):
            return self.tx._init(params)
        with jax.ensure_compile_time_eval():
            zeros = filled(params, 0.0)
        if _has_shapes(zeros):
            return jax.tree.map(_as_struct, self.tx._init(params))
        return _begun(self.tx, params, zeros)


class Update(Half):
    """`updates, state, params=None, **extra -> updates, state`."""

    __slots__ = ("unjitted",)
    __name__ = "update"

    def __init__(self, tx: GradientTransformation) -> None:
        super().__init__(tx)
        self.unjitted: Unjitted | None = None

    def __call__(
        self, updates: Updates, state: OptState, params: Params = None, **extra: Any
    ) -> tuple[Updates, OptState]:
        args = (updates, state, params, extra)
        kinds = kinds_of(args)
        if not are_arrays(kinds) and not are_arrays(kinds_of(params)):
            args = (updates, state, arrays_only(params, updates), extra)
            kinds = kinds_of(args)
        if is_traced(kinds) or not (self.unjitted or is_hashable(self.tx)):
            return self.tx._update(*args)
        self.unjitted = self.unjitted or Unjitted(self.tx)
        return self.unjitted(args, kinds)


@functools.lru_cache(maxsize=1024)
def _kept(tx: GradientTransformation) -> tuple[Init, Update]:
    return Init(tx), Update(tx)


def _pair(tx: GradientTransformation) -> tuple[Init, Update]:
    if is_hashable(tx):
        return _kept(tx)
    if "_made" not in tx.__dict__:
        object.__setattr__(tx, "_made", (Init(tx), Update(tx)))
    made: tuple[Init, Update] = tx.__dict__["_made"]
    return made


def _has_shapes(params: Params) -> bool:
    return any(isinstance(x, jax.ShapeDtypeStruct) for x in jax.tree.leaves(params))


def _begun(tx: GradientTransformation, params: Params, zeros: Params) -> OptState:
    """A state of arrays for variables that hold shapes alone, refused where it begins at the parameters' values."""
    with jax.ensure_compile_time_eval(), jax.debug_nans(False):
        state, unknown = tx._init(zeros), tx._init(filled(params, math.nan))
        known = jax.tree.leaves(state)
        for (path, x), y in zip(jax.tree_util.tree_leaves_with_path(unknown), known, strict=True):
            if is_inexact(x) and not jnp.array_equal(x, y, equal_nan=True):
                raise ValueError(
                    f"the state begins at values of parameters at {jax.tree_util.keystr(path)}, and these are shapes "
                    "alone; call init with the parameters"
                )
    return state


def _as_struct(x: Shaped) -> jax.ShapeDtypeStruct:
    return x if isinstance(x, jax.ShapeDtypeStruct) else jax.ShapeDtypeStruct(x.shape, x.dtype)


def refuse_stranger(tx: Transformation) -> None:
    """Refuse what is no transformation of this library."""
    if not isinstance(tx, GradientTransformation):
        raise TypeError(f"tx must be a gradient transformation, got {tx!r} of type {type(tx).__name__}")


def apply_updates(params: Params, updates: Updates) -> Params:
    """Add updates to parameters: `p <- round(p + u)`, summed in float32 or wider, rounded once to p's dtype.

    A leaf whose update is None stays as it is; sparse rows are added row by row.
    Raises: ValueError if the trees or the shapes differ.
    """

    def add(u: Gradient, p: Param) -> Param:
        if u is None or p is None:
            return p
        p = p if isinstance(p, jax.Array) else jnp.asarray(p)
        if np.shape(u) != p.shape:
            raise ValueError(f"an update has shape {np.shape(u)}, its parameter {p.shape}")
        if isinstance(u, Rows):
            return p + u
        wide = compute_dtype(p.dtype)
        return cast(jax.lax.add(cast(p, wide), cast(u, wide)), p.dtype)

    return jax.tree.map(add, updates, params, is_leaf=is_row_leaf)


def eval_params(tx: GradientTransformation, state: OptState, params: Params) -> Params:
    """The parameters to evaluate with: averaged ones where a stage keeps an average, else `params` themselves.

    Through chains, groups and wrappers; in the dtypes of `params`. Where several stages keep one, the last wins.
    """
    refuse_stranger(tx)
    arrays = without_functions(params)
    better = tx._evaluate(state, arrays)
    if arrays is params:
        return better
    return jax.tree.map(lambda x, p: p if x is None else x, better, params, is_leaf=is_row_leaf)


def make_step(tx: GradientTransformation) -> Callable[..., tuple[Params, OptState]]:
    """One compiled training step: `params, state = step(params, state, grads, **extra)`.

    `params` and `state` are donated: their memory is reused, so use what the step returns.
    Raises: TypeError for anything but a transformation.
    """
    if not (hasattr(tx, "init") and hasattr(tx, "update")):
        refuse_stranger(tx)
    return _step(tx) if is_hashable(tx) else _step.__wrapped__(tx)


@functools.lru_cache(maxsize=1024)
def _step(tx: GradientTransformation) -> Callable[..., tuple[Params, OptState]]:
    def step(params: Params, state: OptState, grads: Updates, **extra: Any) -> tuple[Params, OptState]:
        updates, state = tx.update(grads, state, params, **extra)
        return apply_updates(params, updates), state

    return jax.jit(step, donate_argnums=(0, 1), keep_unused=True)
