"""Functions of a parameter, as users write them for a framework."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from gradxform.core.types import Dtype
from gradxform.params.select import Selector


class Parameter(NamedTuple):
    """What a framework hands to a user's function of a parameter: its name, here its path, and the like."""

    name: str
    shape: tuple[int, ...]
    dtype: Dtype


class ByParameter(Selector):
    """The parameters for which a user's function of one holds; it may match nothing."""

    function: Callable[[Any], Any]
    by_name: bool = False

    def __repr__(self) -> str:
        return getattr(self.function, "__name__", repr(self.function))

    def matches(self, path: str, leaf: Any) -> bool:
        return bool(self.function(path if self.by_name else Parameter(path, tuple(leaf.shape), leaf.dtype)))
