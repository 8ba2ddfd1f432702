"""What is inside: tables, bytes and pictures."""

from typing import Any

__all__ = ["plot"]


def __getattr__(name: str) -> Any:
    if name == "plot":
        from gradxform.inspect.plots import plot

        return plot
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
