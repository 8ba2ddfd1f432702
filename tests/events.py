"""What JAX traces and compiles inside a block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax

EVENTS: list[str] = []


def _listen(event: str, duration: float, **kwargs: Any) -> None:
    if event.endswith(("jaxpr_trace_duration", "backend_compile_duration")):
        EVENTS.append(event.rsplit("/", 1)[1])


jax.monitoring.register_event_duration_secs_listener(_listen)


@contextmanager
def traced_and_compiled() -> Iterator[list[str]]:
    EVENTS.clear()
    found: list[str] = []
    yield found
    found += EVENTS
