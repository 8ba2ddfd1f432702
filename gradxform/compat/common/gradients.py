"""Which gradients an optimizer takes, where its framework has a rule for dense ones alone, or for sparse rows alone."""

from __future__ import annotations

from typing import Any

from gradxform.core.facts import Facts, Station
from gradxform.core.rows import Rows
from gradxform.core.rule import Rule


class TakesDense(Rule):
    """First in the chain of an optimizer that has no rule for sparse gradients."""

    optimizer: str
    facts = Facts(station=Station.CLEANSE)

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        return g, s

    def update_rows(self, g: Rows, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        raise RuntimeError(f"{self.optimizer} takes dense gradients, got Rows of shape {g.shape}")


class TakesRows(Rule):
    """First in the chain of an optimizer that has no rule for dense gradients."""

    optimizer: str
    facts = Facts(station=Station.CLEANSE)

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        raise RuntimeError(f"{self.optimizer} takes sparse gradients, Rows, got a dense one of shape {g.shape}")

    def update_rows(self, g: Rows, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        return g, s
