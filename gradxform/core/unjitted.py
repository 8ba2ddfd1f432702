"""Updates outside of any trace: hyperparameters are read from the state, the rest is compiled code."""

from __future__ import annotations

import functools
from typing import Any

import jax
import numpy as np

from gradxform.core.hyper import Slot, Slots, giving

ZERO = np.float32(0)
ARRAYS = (jax.Array, np.ndarray, np.generic, int, float, complex)
NEEDS_NUMBERS = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)
"""What a function raises that asks for a number while it is being traced."""


class Program:
    """The compiled update of all transformations that are one without their numbers."""

    def __init__(self, tx: Any) -> None:
        def run(numbers: list[Any], *args: Any) -> tuple[Any, Any]:
            with giving(numbers):
                return tx._update(*args)  # type: ignore[no-any-return]

        self.run, self.compiles = jax.jit(run), True


_program = functools.lru_cache(maxsize=1024)(Program)


class Unjitted:
    """The update of one transformation outside of any trace: compiled where it can be, else op by op."""

    def __init__(self, tx: Any) -> None:
        found: dict[Slot, int] = {}
        self.tx, self.program, self.slots = tx, _program(tx._take_out(Slots(found))), tuple(found)

    def __call__(self, args: tuple[Any, ...], kinds: set[type]) -> tuple[Any, Any]:
        compiles = self.program.compiles and not jax.config.jax_disable_jit  # type: ignore[attr-defined]
        numbers = self._numbers(args[1]) if compiles and all(issubclass(kind, ARRAYS) for kind in kinds) else None
        if numbers is not None:
            try:
                return self.program.run(numbers, *args)  # type: ignore[no-any-return]
            except NEEDS_NUMBERS:
                self.program.compiles = False
        return self.tx._update(*args)  # type: ignore[no-any-return]

    def _numbers(self, state: Any) -> list[Any] | None:
        """What has been taken out, at the step of the state; None where the state is not the one it must be."""
        numbers: list[Any] = []
        for slot in self.slots:
            held = slot.state(state) if slot.moves else None
            if slot.moves and held is None:
                return None
            numbers.append(slot.x if held is None else slot.now(held))
        return numbers


def kinds_of(args: Any) -> set[type]:
    return set(map(type, jax.tree.leaves(args)))


def is_traced(kinds: set[type]) -> bool:
    """Whether a trace is under way, or some of these kinds belong to one."""
    return isinstance(jax.lax.neg(ZERO), jax.core.Tracer) or any(issubclass(kind, jax.core.Tracer) for kind in kinds)
