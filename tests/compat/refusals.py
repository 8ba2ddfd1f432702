"""Calls that a framework refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Kinds = type[Exception] | tuple[type[Exception], ...]


def refusals(calls: Mapping[str, tuple[Callable[[], Any], Kinds]]) -> Iterator[tuple[str, str]]:
    """Each by name, and nothing where it is refused here with the same kind of error, else what it does instead."""
    for name, (call, kinds) in calls.items():
        try:
            call()
        except Exception as error:
            yield name, "" if isinstance(error, kinds) else f"raises {type(error).__name__}: {error}"
        else:
            yield name, "passes"
