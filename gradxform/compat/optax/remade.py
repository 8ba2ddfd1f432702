"""What is pickled as the call that made it, so that a transformation reaches another process."""

from __future__ import annotations

from typing import Any, Self


class Remade:
    """Leaves out what it keeps for speed."""

    arguments: tuple[Any, ...]

    def __new__(cls, *args: Any) -> Self:
        self = object.__new__(cls)
        self.arguments = args
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.arguments
