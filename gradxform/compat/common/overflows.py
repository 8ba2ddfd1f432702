"""Rules that overflow as their framework's do."""

from __future__ import annotations

from typing import Any

from gradxform.core.chain import Chain, lift
from gradxform.core.clock import OwnClock
from gradxform.core.lens import Wrapper
from gradxform.core.rows import Rows
from gradxform.core.rule import Keep, Rule
from gradxform.core.sizes import overflowing
from gradxform.core.types import Array, Factors, Memory, Param, Scalars


class Overflows(Wrapper):
    """A rule in which no size is bounded: squares of large gradients are infinite."""

    def __repr__(self) -> str:
        return repr(self.rule)

    def advance(
        self, g: Array | Rows, factors: Factors, s: Memory, p: Param, k: Scalars, keep: Keep
    ) -> tuple[Any, Memory]:
        with overflowing():
            return self.rule.advance(g, factors, s, p, k, keep)


def clocked(rule: Rule) -> Chain:
    """A framework's rule as a stage: it overflows, and each parameter counts its own steps."""
    return lift(Overflows(OwnClock(rule)))
