"""Functions that stand in a config as words."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any


def predicate(text: str) -> Callable[[Any], bool]:
    """A function of a parameter's name from words for it: `... none of 'bias','gamma'`, `... with 'bias','gamma'`."""
    words, negated = re.findall(r"'([^']+)'", text), "none of" in text

    def holds(parameter: Any) -> bool:
        name = getattr(parameter, "name", parameter)
        return any(word in name for word in words) != negated

    return holds


def function(text: str) -> Callable[[int], float]:
    """`lambda k: ...` as a function."""
    found: Callable[[int], float] = eval(text, {})
    return found
