"""Updates outside of any trace: hyperparameters are read from the state, the rest is compiled code."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core.hyper import Slot, Slots, giving
from gradxform.core.types import Number, OptState, Tree, Updates

if TYPE_CHECKING:
    from gradxform.core.transform import GradientTransformation

ZERO = np.float32(0)
NUMPYS = (np.ndarray, np.generic)
ARRAYS = (jax.Array, jax.core.Tracer, *NUMPYS)
NEEDS_NUMBERS = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)
"""What a function raises that asks for a number while it is being traced."""


class Program:
    """The compiled update of all transformations that are one without their numbers."""

    def __init__(self, tx: GradientTransformation) -> None:
        def run(numbers: list[Number], *args: Any) -> tuple[Updates, OptState]:
            with giving(numbers):
                return tx._update(*args)

        self.run, self.compiles = jax.jit(run), True


_program = functools.lru_cache(maxsize=1024)(Program)


class Unjitted:
    """The update of one transformation outside of any trace: compiled where it can be, else op by op."""

    def __init__(self, tx: GradientTransformation) -> None:
        order: dict[Slot, int] = {}
        self.tx, self.program, self.slots = tx, _program(tx._take_out(Slots(order))), tuple(order)

    def __call__(self, args: tuple[Any, ...], kinds: set[type]) -> tuple[Updates, OptState]:
        compiles = self.program.compiles and not jax.config.jax_disable_jit  # type: ignore[attr-defined]
        numbers = self._numbers(args[1]) if compiles and are_arrays(kinds, int, float, complex) else None
        if numbers is not None:
            try:
                updates: tuple[Updates, OptState] = self.program.run(numbers, *args)
                return updates
            except NEEDS_NUMBERS:
                self.program.compiles = False
        return self.tx._update(*as_arrays(args, kinds))

    def _numbers(self, state: OptState) -> list[Number] | None:
        """What has been taken out, at the step of the state; None where the state is not the one it must be."""
        numbers: list[Number] = []
        for slot in self.slots:
            inner = slot.state(state) if slot.moves else None
            if slot.moves and inner is None:
                return None
            numbers.append(slot.x if inner is None else slot.now(inner))
        return numbers


def kinds_of(args: Tree) -> set[type]:
    return set(map(type, jax.tree.leaves(args)))


def as_arrays(args: tuple[Any, ...], kinds: set[type]) -> tuple[Any, ...]:
    """Arguments of `update` as compiled code takes them: NumPy's arrays as JAX's, in the dtypes that JAX has.

    A state comes back from a checkpoint like that. Extra arguments, the last, are the user's own.
    """
    if not any(issubclass(kind, NUMPYS) for kind in kinds):
        return args
    *trees, extra = args
    return *jax.tree.map(lambda x: jnp.asarray(x) if isinstance(x, NUMPYS) else x, trees), extra


def are_arrays(kinds: set[type], *others: type) -> bool:
    return all(issubclass(kind, (*ARRAYS, *others)) for kind in kinds)


def is_traced(kinds: set[type]) -> bool:
    """Whether a trace is under way, or some of these kinds belong to one."""
    return isinstance(jax.lax.neg(ZERO), jax.core.Tracer) or any(issubclass(kind, jax.core.Tracer) for kind in kinds)
