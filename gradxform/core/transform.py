"""The noun for a tree: the pair `(init, update)`, as a value."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Self, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core.arithmetic import cast, compute_dtype
from gradxform.core.donated import refuse_deleted
from gradxform.core.hyper import Slots
from gradxform.core.rows import Rows, is_row_leaf
from gradxform.core.tree import filled, is_inexact
from gradxform.core.types import Gradient, OptState, Param, Params, Shaped, Taken, Transformation, Updates
from gradxform.core.unjitted import Unjitted, as_arrays, is_traced, kinds_of
from gradxform.core.value import Value, got, is_hashable
from gradxform.core.walk import kept


class GradientTransformation(Value):
    """A pure pair over pytrees, as a value: `init: params -> state` and `update: updates, state -> updates, state`.

    `update(updates, state, params=None, **extra)`; the parameters where a stage needs them.
    `GradientTransformation(init, update)` makes one of two pure functions; update may do without params and extras.
    A value: it prints as one would write it, compares and hashes by content, goes through `jit` as a pytree of its
    numbers, and unpacks as the pair. Un-jitted `update` dispatches compiled code; under a trace it inlines.
    Raises: TypeError for anything but two functions with these arguments.
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

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        return object.__new__(Foreign if cls is GradientTransformation else cls)  # type: ignore[return-value]

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


GradientTransformationExtraArgs: TypeAlias = GradientTransformation
"""Every transformation takes extra arguments, and passes over those that it has no use for."""


class Foreign(GradientTransformation):
    """A pair of functions `(init, update)`, as it is."""

    pair: tuple[Callable[..., OptState], Callable[..., tuple[Updates, OptState]]]

    def __init__(self, init: Any, update: Any) -> None:
        _check_takes("init", init, "init(params)", [1])
        _check_takes("update", update, "update(updates, state, params=None)", [2, 3])
        super().__init__((init, update))

    @property
    def name(self) -> str:
        return "foreign"

    def __repr__(self) -> str:
        return repr(self.pair)

    def _init(self, params: Params) -> OptState:
        return self.pair[0](params)

    def _update(
        self, updates: Updates, state: OptState, params: Params, extra: dict[str, Any]
    ) -> tuple[Updates, OptState]:
        update = self.pair[1]
        takes = _parameters(update)
        if all(p.kind != p.VAR_KEYWORD for p in takes):
            extra = {p.name: extra[p.name] for p in takes if p.name in extra}
        args = (updates, state, params) if _fits(update, 3) else (updates, state)
        out = update(*args, **extra)
        if not isinstance(out, Sequence) or len(out) != 2:
            raise TypeError(f"update must return a pair (updates, state), got {out!r} from {update!r}")
        return out[0], out[1]


def _parameters(f: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return [*inspect.signature(f).parameters.values()]
    except ValueError:
        return [inspect.Parameter("args", inspect.Parameter.VAR_POSITIONAL)]


def _fits(f: Callable[..., Any], number: int) -> bool:
    """Whether a function can be called with so many arguments by position; those by keyword are another matter."""
    takes = _parameters(f)
    by_position = [p for p in takes if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    most = math.inf if any(p.kind == p.VAR_POSITIONAL for p in takes) else len(by_position)
    return sum(p.default is p.empty for p in by_position) <= number <= most


def _check_takes(name: str, f: object, words: str, numbers: list[int]) -> None:
    if not callable(f):
        raise TypeError(f"{name} must be a function {words}, {got(f)}")
    if not any(_fits(f, number) for number in numbers):
        raise TypeError(f"{name} must be a function {words}, got {f!r} with the arguments {inspect.signature(f)}")


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
        refuse_deleted(parameter=params)
        if not _has_shapes(params):
            return self.tx._init(params)
        if _has_shapes(filled(params, 0.0)):
            return jax.tree.map(_as_struct, self.tx._init(params))
        return _of_shapes(self.tx, params)


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
        try:
            if is_traced(kinds) or not (self.unjitted or is_hashable(self.tx)):
                return self.tx._update(*as_arrays(args, kinds))
            self.unjitted = self.unjitted or Unjitted(self.tx)
            return self.unjitted(args, kinds)
        except (RuntimeError, ValueError):
            refuse_deleted(gradient=updates, state=state, parameter=params, extra=extra)
            raise


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


def _of_shapes(tx: GradientTransformation, params: Params) -> OptState:
    """A state of arrays for variables that hold shapes alone, refused where it begins at the parameters' values."""
    with jax.ensure_compile_time_eval(), jax.debug_nans(False):
        state, unknown = tx._init(filled(params, 0.0)), tx._init(filled(params, math.nan))
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
        raise TypeError(f"tx must be a gradient transformation, {got(tx)}")


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


def eval_params(tx: GradientTransformation, state: OptState, params: Params) -> Params:
    """The parameters to evaluate with: averaged ones where a stage keeps an average, else `params` themselves.

    Through chains, groups and wrappers; in the dtypes of `params`. Where several stages keep one, the last wins.
    """
    refuse_stranger(tx)
    refuse_deleted(parameter=params, state=state)
    return tx._evaluate(state, params)
