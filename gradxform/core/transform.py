"""The noun for a tree: the pair `(init, update)`, as a value."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Self, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core.admit import admitted_by_path, of_kind
from gradxform.core.donated import refuse_deleted
from gradxform.core.hyper import Slots
from gradxform.core.plain import got
from gradxform.core.rows import is_row_leaf
from gradxform.core.tree import arrays_only, filled, is_inexact, with_others, without_functions
from gradxform.core.types import OptState, Params, Shaped, Taken, Transformation, Updates
from gradxform.core.unjitted import Unjitted, are_arrays, as_arrays, is_traced, kinds_of
from gradxform.core.value import Value, is_hashable
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

    scales_loss: ClassVar[bool] = False
    """Whether the gradients that it takes are those of a scaled loss."""
    turns: ClassVar[bool] = False
    """Whether it is an optimizer by itself: takes a gradient, and gives a step downhill."""
    guards: ClassVar[bool] = False
    """Whether it is asked to keep what is not finite from what stands inside."""

    @property
    def takes(self) -> list[str] | None:
        """The arguments of a user's own update, by name; None where it takes any."""
        return []

    @property
    def own_gradients(self) -> bool:
        """Whether it asks for gradients that nothing around it sees."""
        return False

    @property
    def between(self) -> str | None:
        """What it gives at calls that are no steps, in words; None where every call is one."""
        return None

    def inside(self) -> Iterator[GradientTransformation]:
        """Itself, and all transformations inside it."""
        yield self
        for name in self.wraps:
            yield from getattr(self, name).inside()

    together: ClassVar[tuple[str, ...]] = ()
    """The fields of its own state that mean something together alone."""

    holds: ClassVar[bool] = False
    """Whether `_update` takes `ok`, whether the step is taken, and itself keeps the state as it was where it is not."""

    @property
    def lands(self) -> bool:
        """Whether `_update` takes `land`, and then gives where the parameters land in place of updates: it does not
        touch them between its steps."""
        return False

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        if cls is not GradientTransformation:
            return object.__new__(cls)
        from gradxform.core.foreign import Foreign

        return object.__new__(Foreign)  # type: ignore[return-value]

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

    def inner_params(self, state: Any, params: Params) -> Params:
        """The parameters that the transformations inside see."""
        return params

    def advance(
        self, updates: Updates, state: OptState, params: Params, extra: dict[str, Any], ok: Taken, land: bool = False
    ) -> tuple[Updates, OptState]:
        """One update inside another transformation; where not `ok` the state stays as it was, and updates are void."""
        update: Callable[..., tuple[Updates, OptState]] = self._update
        if land:
            return update(updates, state, params, extra, ok, land)
        if ok is None:
            return self.update(updates, state, params, **extra)
        if self.holds:
            return update(updates, state, params, extra, ok)
        new, after = update(updates, state, params, extra)
        return new, kept(ok, after, state)

    def _admitted(self, state: OptState, params: Params, updates: Updates = None) -> Any:
        """The state of a wrapper, once it is what `init` would make; the states inside are asked where they are used.

        Raises: ValueError naming what is there and what is wanted.
        """
        bare, whole = self.with_fields(**dict.fromkeys(self.wraps, INSIDE)), updates if params is None else params
        wanted: list[OptState] = []
        structs = jax.tree.map(_shape, whole, is_leaf=is_row_leaf)
        jax.eval_shape(lambda: wanted.append(jax.tree.map(_as_struct, bare._init(structs))))
        of_kind(state, type(wanted[0]), self)
        pairs = zip(state._fields, state, wanted[0], strict=True)
        own = {f: (have, want) for f, have, want in pairs if f not in self.wraps}
        loose = params is None
        return state._replace(**{f: admitted_by_path(*pair, f"{self.name}/{f}", loose) for f, pair in own.items()})

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


class Inside(GradientTransformation):
    """What stands in a wrapper where only its own state is asked for."""

    def _init(self, params: Params) -> OptState:
        return ()


INSIDE = Inside()


def _shape(x: Any) -> jax.ShapeDtypeStruct | None:
    """What is known of a parameter, or of a gradient in its place."""
    if x is None or getattr(x, "dtype", None) == jax.dtypes.float0:
        return None
    return jax.ShapeDtypeStruct(np.shape(x), jnp.result_type(x) if np.isscalar(x) else x.dtype)


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
        raise TypeError(f"tx must be a gradient transformation, {got(tx)}")


def eval_params(tx: GradientTransformation, state: OptState, params: Params) -> Params:
    """The parameters to evaluate with: averaged ones where a stage keeps an average, else `params` themselves.

    Through chains, groups and wrappers; in the dtypes of `params`. Where several stages keep one, the last wins.
    """
    refuse_stranger(tx)
    refuse_deleted(parameter=params, state=state)
    arrays = without_functions(params)
    better = tx._evaluate(state, arrays)
    return better if arrays is params else with_others(better, params)
