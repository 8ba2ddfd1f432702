"""Stages of optax with our arithmetic: optax's type, state classes and dtypes around rules of ours."""

from __future__ import annotations

import abc
import functools
import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import optax

from gradxform.compat.optax.layout import UnlikeError, counts, joined, ours_of, parted, shapes_of, theirs_of
from gradxform.compat.optax.rates import untyped
from gradxform.compat.optax.remade import Remade
from gradxform.core.chain import chain
from gradxform.core.state import State
from gradxform.core.transform import GradientTransformation
from gradxform.core.types import OptState, Params, Structure, Updates

STORED = ("mu_dtype", "accumulator_dtype")
"""Dtypes of memory that optax rounds after the step and ours before it: asked for one, optax's own code runs."""
REFUSALS = (TypeError, ValueError, LookupError)
SINGLE = (jnp.dtype("float32"), jnp.dtype("int32"), jnp.dtype("bool"))
"""Dtypes that optax's update has where all have them."""
Shapes: TypeAlias = tuple[tuple[tuple[int, ...], Any], ...]
"""Shape and dtype of each parameter of a list."""
NONE: Mapping[str, Any] = MappingProxyType({})


def over(
    theirs: Callable[..., Any], ours: Callable[..., Any], alike: Mapping[str, Any] = NONE, besides: Sequence[str] = ()
) -> Callable[..., Any]:
    """optax's function, its transformation with the updates of ours on optax's state.

    alike: the only values of arguments that mean the same there. besides: arguments that ours has not.

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
            if any(given.arguments[name] != value for name, value in alike.items()):
                return stage
            for name in besides:
                del given.arguments[name]
            tx = ours(*map(untyped, given.args), **{name: untyped(x) for name, x in given.kwargs.items()})
        except REFUSALS:
            return stage
        return type(stage)(stage.init, Stage(stage, tx)) if isinstance(tx, GradientTransformation) else stage

    return made


class Stage(Remade):
    """The update of a stage of optax, by a transformation of ours."""

    def __init__(self, made: optax.GradientTransformation, tx: GradientTransformation) -> None:
        self.made, self.tx = optax.with_extra_args_support(made), tx
        self.run = Run((self,))

    def __call__(
        self, updates: Updates, state: OptState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, OptState]:
        updates, (state,) = self.run(updates, [state], params, extra)
        return updates, state

    def at(self, places: Iterable[int]) -> GradientTransformation:
        """The transformation of some of the parameters of the list."""
        return self.tx

    def chooses(self, place: int) -> bool:
        return True

    def counts(self, state: OptState) -> bool:
        """Whether its state has a counter."""
        return counts(state)

    def memory(self, shapes: Shapes) -> State:
        """The shapes of our state, by those of a list of parameters."""
        return self.run.memory(shapes)

    def ours(self, shapes: Shapes, state: OptState) -> State:
        return ours_of(self.memory(shapes), state)

    def theirs(self, new: State, state: OptState) -> OptState:
        return theirs_of(new, state)


class ByLeaf(Remade, abc.ABC):
    """The update of a stage of ours that depends on the leaf, as is known with the first updates."""

    def __init__(self, made: optax.GradientTransformation) -> None:
        self.made = optax.with_extra_args_support(made)

    def __call__(
        self, updates: Updates, state: OptState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, OptState]:
        result: tuple[Updates, OptState] = (self.at(updates) or self.made.update)(updates, state, params, **extra)
        return result

    @abc.abstractmethod
    def at(self, updates: Updates) -> Stage | None:
        """The stage at these leaves; None for what ours do not know."""


class Run(Remade):
    """Neighbouring stages as one chain of ours, which opens the trees once; where it refuses, each for itself."""

    def __init__(self, stages: tuple[Stage, ...]) -> None:
        self.stages = stages
        self.memory = functools.lru_cache(maxsize=64)(self._memory)
        self.dtypes = functools.lru_cache(maxsize=64)(self._dtypes)

    def __call__(
        self, updates: Updates, states: list[OptState], params: Params | None, extra: dict[str, Any]
    ) -> tuple[Updates, list[OptState]]:
        given = updates, states, params, extra
        try:
            result = self._ours(*given)
        except REFUSALS:
            steps = self._theirs() if len(self.stages) == 1 else self.stages
            return _in_order(steps, *given)
        if are_single(given[:3]):
            return result
        cast: tuple[Updates, list[OptState]] = jax.tree.map(jnp.asarray, result, self._like(*given))
        return cast

    def _ours(
        self, updates: Updates, states: list[OptState], params: Params | None, extra: dict[str, Any]
    ) -> tuple[Updates, list[OptState]]:
        structure: Structure = jax.tree.structure(updates)
        gs = jax.tree.leaves(updates)
        ps = None if params is None else jax.tree.leaves(params)
        shapes = tuple((jnp.shape(x), jnp.result_type(x)) for x in (gs if ps is None else ps))
        old = [stage.ours(shapes, state) for stage, state in zip(self.stages, states, strict=True)]
        fresh = self.memory(shapes)
        us, new = self._tx.update(gs, joined(fresh, old), ps, **extra)
        if any(u is None for u in us):  # of an integer: optax's passes it on where a mask leaves it out
            raise UnlikeError
        members = zip(self.stages, parted(new, fresh, old), states, strict=True)
        return structure.unflatten(us), [stage.theirs(part, state) for stage, part, state in members]

    @functools.cached_property
    def _tx(self) -> GradientTransformation:
        return chain(*(stage.tx for stage in self.stages))

    def _memory(self, shapes: Shapes) -> State:
        """The shapes of the chain's state, by those of a list of parameters; leaves of one kind keep the same."""
        kinds = [(x, tuple(stage.chooses(i) for stage in self.stages)) for i, x in enumerate(shapes)]
        places = {kind: i for i, kind in enumerate(kinds)}
        tx = chain(*(stage.at(places.values()) for stage in self.stages))
        fresh = shapes_of(tx, [jax.ShapeDtypeStruct(*shape) for shape, _ in places])
        leaves = dict(zip(places, fresh.leaves, strict=True))
        return fresh._replace(leaves=[leaves[kind] for kind in kinds])

    def _theirs(self) -> list[Callable[..., Any]]:
        return [stage.made.update for stage in self.stages]

    def _like(self, *given: Any) -> Any:
        """The dtypes of optax's own update."""
        leaves, structure = jax.tree.flatten(given)
        try:
            return self.dtypes(structure, tuple(map(jax.typeof, leaves)))
        except TypeError:  # a function, or what is no array, is among the extra arguments
            return _dtypes_of(lambda: _in_order(self._theirs(), *given))

    def _dtypes(self, structure: Structure, kinds: tuple[Any, ...]) -> Any:
        structs = [jax.ShapeDtypeStruct(x.shape, x.dtype, weak_type=x.weak_type) for x in kinds]
        return _dtypes_of(functools.partial(_in_order, self._theirs()), *structure.unflatten(structs))


def are_single(*trees: Any) -> bool:
    """Whether all arrays have dtypes that optax's update has then."""
    numbers = (x for x in jax.tree.leaves(trees) if hasattr(x, "dtype") or isinstance(x, int | float | complex))
    return all(jnp.result_type(x) in SINGLE for x in numbers)


def in_dtypes_of(theirs: Callable[..., Any], result: Any, *given: Any, **extra: Any) -> Any:
    """A result in the dtypes of what optax's own function gives."""
    if are_single(given, extra):
        return result
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it is ours that runs
        return jax.tree.map(jnp.asarray, result, _dtypes_of(lambda: theirs(*given, **extra)))


def _dtypes_of(step: Callable[..., Any], *given: Any) -> Any:
    return jax.tree.map(lambda x: x.dtype, jax.eval_shape(step, *given))


def _in_order(
    steps: Sequence[Callable[..., Any]], updates: Updates, states: list[OptState], params: Params | None, extra: Any
) -> tuple[Updates, list[OptState]]:
    news = []
    for step, state in zip(steps, states, strict=True):
        updates, new = step(updates, state, params, **extra)
        news.append(new)
    return updates, news
