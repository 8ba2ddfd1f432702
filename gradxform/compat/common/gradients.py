"""Which gradients an optimizer takes, where its framework has a rule for dense ones alone, or for sparse rows alone."""

from __future__ import annotations

from typing import Any

from gradxform.core.facts import Facts, Station
from gradxform.core.rows import Rows
from gradxform.core.rule import Rule
from gradxform.core.types import Array, Memory, Param, Scalars


class TakesDense(Rule):
    """First in the chain of an optimizer that has no rule for sparse gradients; no memory."""

    optimizer: str
    refusal: type[Exception] = RuntimeError
    facts = Facts(station=Station.CLEANSE)

    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Any, Memory]:
        return g, s

    def update_rows(self, g: Rows, s: Memory, p: Param, k: Scalars) -> tuple[Any, Memory]:
        raise self.refusal(f"{self.optimizer} takes dense gradients, got Rows of shape {g.shape}")


class TakesRows(Rule):
    """First in the chain of an optimizer that has no rule for dense gradients; no memory."""

    optimizer: str
    facts = Facts(station=Station.CLEANSE)

    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Any, Memory]:
        raise RuntimeError(f"{self.optimizer} takes sparse gradients, Rows, got a dense one of shape {g.shape}")

    def update_rows(self, g: Rows, s: Memory, p: Param, k: Scalars) -> tuple[Any, Memory]:
        return g, s
