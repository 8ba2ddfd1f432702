"""optax's `masked` around a stage of ours, which runs with its neighbours all the same."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, cast

import jax
import optax

from gradxform.compat.optax.stages import REFUSALS, ByLeaf, Shapes, Stage
from gradxform.core.state import State
from gradxform.core.transform import GradientTransformation
from gradxform.core.types import Mask, OptState, Structure, Updates
from gradxform.params.groups import masked as selected


def masked(
    inner: optax.GradientTransformation, mask: Mask, *, mask_compatible_extra_args: bool = False
) -> optax.GradientTransformationExtraArgs:
    """Transform the updates of some parameters, and let the others pass."""
    made = optax.masked(inner, mask, mask_compatible_extra_args=mask_compatible_extra_args)
    if mask_compatible_extra_args or not isinstance(inner.update, Stage):
        return made
    return optax.GradientTransformationExtraArgs(made.init, Masked(made, inner.update, mask))


def maskable(stage: Callable[..., optax.GradientTransformation]) -> Callable[..., optax.GradientTransformation]:
    """A stage's function whose `mask` is a `masked` around what it gives without one."""
    signature = inspect.signature(stage)

    @functools.wraps(stage)
    def made(*args: Any, **kwargs: Any) -> optax.GradientTransformation:
        given = signature.bind(*args, **kwargs)
        mask = given.arguments.pop("mask", None)
        inner = stage(*given.args, **given.kwargs)
        return inner if mask is None else masked(inner, mask)

    return made if "mask" in signature.parameters else stage


class Masked(ByLeaf):
    """The update of a stage of ours at the parameters of a mask."""

    def __init__(self, made: optax.GradientTransformation, stage: Stage, mask: Mask) -> None:
        super().__init__(made)
        self.mask = mask
        self.selected = functools.lru_cache(maxsize=16)(functools.partial(Selected, made, stage))

    def at(self, updates: Updates) -> Selected | None:
        try:
            mask = self.mask(updates) if callable(self.mask) else self.mask
            flags, structure = jax.tree.leaves(mask), cast(Structure, jax.tree.structure(mask))
            parts = zip(flags, structure.flatten_up_to(updates), strict=True)
            return self.selected(tuple(bool(flag) for flag, part in parts for _ in jax.tree.leaves(part)))
        except REFUSALS:
            return None


class Selected(Stage):
    """A stage at some leaves of a list."""

    def __init__(self, made: optax.GradientTransformation, stage: Stage, chosen: tuple[bool, ...]) -> None:
        super().__init__(made, selected(stage.tx, list(chosen)))
        self.stage, self.chosen = stage, chosen

    def at(self, places: Iterable[int]) -> GradientTransformation:
        return selected(self.stage.tx, [self.chosen[i] for i in places])

    def chooses(self, place: int) -> bool:
        return self.chosen[place]

    def counts(self, state: OptState) -> bool:
        return self.stage.counts(state.inner_state)

    def memory(self, shapes: Shapes) -> State:
        return self._spread(self.stage.memory(self._of(shapes)))

    def ours(self, shapes: Shapes, state: OptState) -> State:
        return self._spread(self.stage.ours(self._of(shapes), state.inner_state))

    def theirs(self, new: State, state: OptState) -> OptState:
        part = new._replace(leaves=self._of(new.leaves))
        return state._replace(inner_state=self.stage.theirs(part, state.inner_state))

    def _of(self, leaves: Any) -> Any:
        return type(leaves)(x for x, chosen in zip(leaves, self.chosen, strict=True) if chosen)

    def _spread(self, state: State) -> State:
        """The memory of the chosen leaves at their places among all of them."""
        rest = iter(state.leaves)
        return state._replace(leaves=[next(rest) if chosen else {} for chosen in self.chosen])
