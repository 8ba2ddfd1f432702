"""optax's chains: neighbouring stages of ours are one chain of ours."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import optax

from gradxform.compat.optax.remade import Remade
from gradxform.compat.optax.stages import ByLeaf, Run, Stage
from gradxform.core.types import OptState, Params, Updates


def chain(*args: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Run transformations one after another; the state is the tuple of theirs."""
    return _chain(args, None)


def named_chain(*args: tuple[str, optax.GradientTransformation]) -> optax.GradientTransformationExtraArgs:
    """`chain` of pairs of a name and a transformation; the state is an `OrderedDict` by the names.

    Raises: ValueError for a name given twice.
    """
    names = tuple(name for name, _ in args)
    if len(set(names)) < len(names):
        raise ValueError(f"named_chain needs unique names, got {list(names)}")
    return _chain([tx for _, tx in args], names)


def _chain(
    transforms: Sequence[optax.GradientTransformation], names: tuple[str, ...] | None
) -> optax.GradientTransformationExtraArgs:
    members = [
        tx if isinstance(tx.update, Stage | ByLeaf | Chained) else optax.with_extra_args_support(tx)
        for tx in transforms
    ]
    made = Chained([tx.update for tx in members], names)
    inits = [tx.init for tx in members]
    return optax.GradientTransformationExtraArgs(lambda params: made.closed([init(params) for init in inits]), made)


class Chained(Remade):
    """The update of a chain, and of the chains in it, as far as one counter goes at a time."""

    def __init__(self, updates: Sequence[Callable[..., Any]], names: tuple[str, ...] | None) -> None:
        self.updates, self.names = updates, names
        self.run = functools.lru_cache(maxsize=64)(lambda *stages: Run(stages))

    def __call__(
        self, updates: Updates, state: OptState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, OptState]:
        news: list[OptState] = []
        for steps, states in self._runs(state, updates):
            if isinstance(steps[0], Stage):
                updates, new = self.run(*steps)(updates, states, params, extra)
            else:
                updates, *new = steps[0](updates, states[0], params, **extra)
            news += new
        rest = iter(news)
        return updates, self.nested(rest)

    def _runs(self, state: OptState, updates: Updates) -> Iterator[tuple[list[Any], list[OptState]]]:
        """Stages that run together, with their states."""
        steps: list[Any] = []
        states: list[OptState] = []
        counted = False
        for step, s in self.flat(state):
            step = (step.at(updates) if isinstance(step, ByLeaf) else None) or step
            counts = isinstance(step, Stage) and step.counts(s)
            if steps and not (isinstance(step, Stage) and isinstance(steps[-1], Stage) and not (counts and counted)):
                yield steps, states
                steps, states, counted = [], [], False
            steps, states, counted = [*steps, step], [*states, s], counted or counts
        if steps:
            yield steps, states

    def flat(self, state: OptState) -> Iterator[tuple[Callable[..., Any], OptState]]:
        """Each step of the chain and of those inside it, with its state."""
        if len(state) != len(self.updates):
            raise ValueError(f"a chain of {len(self.updates)} got a state of {len(state)}: make it by its own init")
        states = state if self.names is None else [state[name] for name in self.names]
        for step, s in zip(self.updates, states, strict=True):
            if isinstance(step, Chained):
                yield from step.flat(s)
            else:
                yield step, s

    def nested(self, states: Iterator[OptState]) -> OptState:
        """The states of `flat`, in the shape that they had."""
        return self.closed([u.nested(states) if isinstance(u, Chained) else next(states) for u in self.updates])

    def closed(self, states: list[OptState]) -> OptState:
        return tuple(states) if self.names is None else OrderedDict(zip(self.names, states, strict=True))
