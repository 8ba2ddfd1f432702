"""One training step, compiled: update and apply, in the memory of what they replace."""

from __future__ import annotations

import functools
from typing import Any

import jax

from gradxform.core import check
from gradxform.core.donated import refuse_deleted
from gradxform.core.rule import Rule
from gradxform.core.transform import GradientTransformation, apply_updates, refuse_stranger
from gradxform.core.tree import name_of
from gradxform.core.types import OptState, Params, Transformation, Tree, Updates
from gradxform.core.value import is_hashable


def make_step(tx: Transformation, *, donate: bool = True) -> CompiledStep:
    """One compiled training step: `params, state = step(params, state, grads, **extra)`.

    `params` and `state` are donated: their memory is reused, so use what the step returns.
    donate: False leaves them as they are, to start several runs from one tree, for their memory once more.
    Raises: TypeError for anything but a transformation; a step ValueError for an array that was donated before.
    """
    if isinstance(tx, Rule | type) or not (hasattr(tx, "init") and hasattr(tx, "update")):
        refuse_stranger(tx)
    check.boolean(donate=donate)
    return _step(tx, donate) if is_hashable(tx) else CompiledStep(tx, donate)


class CompiledStep:
    """What `make_step` makes: a jitted function (`lower` and the rest are there) that names arrays that are gone."""

    def __init__(self, tx: GradientTransformation, donate: bool) -> None:
        def step(params: Params, state: OptState, grads: Updates, **extra: Any) -> tuple[Params, OptState]:
            updates, state = tx.update(grads, state, params, **extra)
            return apply_updates(params, updates), state

        self.jitted = jax.jit(step, donate_argnums=(0, 1) if donate else (), keep_unused=True)

    def __call__(self, params: Params, state: OptState, grads: Updates, **extra: Any) -> tuple[Params, OptState]:
        try:
            new: tuple[Params, OptState] = self.jitted(params, state, grads, **extra)
        except (RuntimeError, ValueError):
            refuse_deleted(parameter=params, state=state, gradient=grads, extra=extra)
            _refuse_shared((params, state), gradient=grads, extra=extra)
            raise
        return new

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "jitted"), name)


_step = functools.lru_cache(maxsize=1024)(CompiledStep)


def _refuse_shared(donated: Tree, **trees: Tree) -> None:
    """Refuse what is donated and read in one call."""
    given = {id(x) for x in jax.tree.leaves(donated)}
    for what, tree in trees.items():
        for key, x in jax.tree_util.tree_leaves_with_path(tree):
            if id(x) in given:
                raise ValueError(
                    f"the {what} {'/'.join(map(name_of, key))!r} is itself a parameter or in the state, whose memory "
                    "the step reuses: copy it, or gx.make_step(tx, donate=False)"
                )
