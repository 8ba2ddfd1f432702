"""Numbers that a framework takes as they are."""

from __future__ import annotations

from typing import Any

from gradxform.core.hyper import coerce_fields
from gradxform.core.rule import Rule


def unchecked(rule: Rule, **fields: Any) -> Rule:
    """The rule with hyperparameters that the framework takes as they are: coerced, and not checked."""
    new = rule.with_fields(**fields)
    coerce_fields(new)
    return new
