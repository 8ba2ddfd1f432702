"""Stages of optax with our arithmetic: optax's type, state classes and dtypes around rules of ours."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gradxform.compat.optax.layout import UnlikeError, joined, ours_of, parted, shapes_of, theirs_of
from gradxform.core.chain import chain
from gradxform.core.state import State
from gradxform.core.transform import GradientTransformation
from gradxform.core.types import OptState, Params, Structure, Updates

STORED = ("mu_dtype", "accumulator_dtype")
"""Dtypes of memory that optax rounds after the step and ours before it: asked for one, optax's own code runs."""
REFUSALS = (TypeError, ValueError, LookupError)
SINGLE = (jnp.dtype("float32"), jnp.dtype("int32"), jnp.dtype("bool"))
"""Dtypes that optax's update has where all have them."""


def over(theirs: Callable[..., Any], ours: Callable[..., Any]) -> Callable[..., Any]:
    """optax's function, its transformation with the updates of ours on optax's state.

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
            tx = ours(*given.args, **given.kwargs)
        except REFUSALS:
            return stage
        return type(stage)(stage.init, Stage(stage, tx)) if isinstance(tx, GradientTransformation) else stage

    return made


class Stage:
    """The update of a stage of optax, by a transformation of ours."""

    def __init__(self, theirs: optax.GradientTransformation, tx: GradientTransformation) -> None:
        self.theirs, self.tx = optax.with_extra_args_support(theirs), tx
        self.memory = _memory(tx)
        self.run = Run((self,))

    def __call__(
        self, updates: Updates, state: OptState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, OptState]:
        updates, (state,) = self.run(updates, [state], params, extra)
        return updates, state


class Run:
    """Neighbouring stages as one chain of ours, which opens the trees once; where it refuses, each for itself."""

    def __init__(self, stages: tuple[Stage, ...]) -> None:
        self.stages = stages
        self.tx = stages[0].tx if len(stages) == 1 else _chained(stages)
        self.memory = stages[0].memory if len(stages) == 1 or self.tx is None else _memory(self.tx)
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
        if all(jnp.result_type(x) in SINGLE for x in jax.tree.leaves(given[:3])):
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
        old = [ours_of(stage.memory(shapes), state) for stage, state in zip(self.stages, states, strict=True)]
        if self.tx is None:
            raise UnlikeError
        fresh = self.memory(shapes)
        us, new = self.tx.update(gs, joined(fresh, old), ps, **extra)
        return structure.unflatten(us), list(map(theirs_of, parted(new, fresh, old), states))

    def _theirs(self) -> list[Callable[..., Any]]:
        return [stage.theirs.update for stage in self.stages]

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


def _chained(stages: tuple[Stage, ...]) -> GradientTransformation | None:
    """The chain of stages; None where ours refuse it."""
    try:
        return chain(*(stage.tx for stage in stages))
    except REFUSALS:
        return None


def _memory(tx: GradientTransformation) -> Callable[[tuple[Any, ...]], State]:
    """The shapes of a transformation's state, by those of a list of parameters."""

    @functools.lru_cache(maxsize=64)
    def memory(shapes: tuple[Any, ...]) -> State:
        kinds = list(dict.fromkeys(shapes))
        fresh = shapes_of(tx, [jax.ShapeDtypeStruct(*x) for x in kinds])
        return fresh._replace(leaves=[fresh.leaves[kinds.index(x)] for x in shapes])

    return memory
