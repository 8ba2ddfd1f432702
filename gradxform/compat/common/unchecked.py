"""Numbers that a framework takes as they are."""

from __future__ import annotations

from gradxform.core.hyper import Hyper, coerce_fields
from gradxform.core.rule import Rule


def unchecked(rule: Rule, **fields: Hyper) -> Rule:
    """The rule with hyperparameters that the framework takes as they are: coerced, and not checked."""
    new = rule.with_fields(**fields)
    coerce_fields(new)
    return new
