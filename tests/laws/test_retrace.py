"""Nothing is traced or compiled twice: not for an equal transformation, not for the next step, not for another rate."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests.catalogue import Entry, entries, moved, tree

EVENTS: list[str] = []


def listen(event: str, duration: float, **kwargs: Any) -> None:
    if event.endswith(("jaxpr_trace_duration", "backend_compile_duration")):
        EVENTS.append(event.rsplit("/", 1)[1])


@pytest.fixture(scope="session", autouse=True)
def _listening() -> None:
    jax.monitoring.register_event_duration_secs_listener(listen)


@contextmanager
def traced_and_compiled() -> Iterator[list[str]]:
    """What JAX traces and compiles inside the block."""
    EVENTS.clear()
    found: list[str] = []
    yield found
    found += EVENTS


def test_the_count_sees_a_trace_and_a_compilation():
    with traced_and_compiled() as found:
        jax.jit(lambda x: x + 1)(1.0)
    assert sorted(found) == ["backend_compile_duration", "jaxpr_trace_duration"]


@entries(lambda e: e.axis is None)
def test_two_jits_of_equal_transformations_trace_once(entry: Entry):
    g, state, p = moved(entry.name)
    jax.jit(entry.make().update)(g, state, p)
    with traced_and_compiled() as found:
        jax.jit(entry.tx.update)(g, state, p)
        jax.jit(entry.make().update)(g, state, p)
        jax.jit(entry.make().update)(g, state, p)
    assert found == []


@entries(lambda e: e.axis is None)
def test_unjitted_updates_of_equal_transformations_compile_once(entry: Entry):
    g, state, p = moved(entry.name)
    entry.make().update(g, state, p)
    with traced_and_compiled() as found:
        entry.make().update(g, state, p)
    assert found == []


# JAX commits to their device what has a memory kind, and everything computed with it: offloaded compiles twice.
@entries(lambda e: e.axis is None and e.function != "offloaded")
def test_the_second_step_of_a_training_loop_compiles_nothing(entry: Entry):
    p, g = tree(0), tree(1)
    state = entry.tx.init(p)
    p, state = gx.make_step(entry.tx)(p, state, g)
    with traced_and_compiled() as found:
        for _ in range(2):
            p, state = gx.make_step(entry.make())(p, state, g)
    assert found == []


SWEEPS = {
    "sgd": gx.sgd,
    "momentum": gx.momentum,
    "adamw": lambda rate: gx.adamw(rate, weight_decay=0.1),
    "decay": lambda decay: gx.adamw(0.1, weight_decay=decay),
    "lamb": gx.lamb,
    "clipped": lambda rate: gx.chain(gx.clip_by_global_norm(1.0), gx.adam(rate)),
    "tunable": lambda rate: gx.adam(gx.tunable(rate)),
}


@pytest.mark.parametrize("make", SWEEPS.values(), ids=SWEEPS)
def test_a_sweep_with_the_transformation_as_argument_compiles_once(make: Any):
    p, g = tree(0), tree(1)

    @jax.jit
    def train(tx: Any) -> Any:
        state = tx.init(p)
        updates, state = tx.update(g, state, p)
        return gx.apply_updates(p, updates), state

    train(make(0.5))
    with traced_and_compiled() as found:
        runs = [train(make(rate)) for rate in (0.4, 0.3, 0.2)]
    assert found == []
    assert not np.array_equal(runs[0][0]["scale"], runs[2][0]["scale"])


def test_a_schedule_is_evaluated_inside_the_program():
    tx = gx.sgd(gx.cosine_decay_schedule(0.1, 10))
    p = tree(0)
    state = tx.init(p)
    _, state = jax.jit(tx.update)(p, state)
    with traced_and_compiled() as found:
        jax.jit(tx.update)(p, state._replace(count=jnp.asarray(7, jnp.int32)))
    assert found == []
