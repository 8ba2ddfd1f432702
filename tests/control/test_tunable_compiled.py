"""Setting a hyperparameter, sweeping over one, or passing it through `jit` compiles nothing again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import gradxform as gx

EVENTS: list[str] = []


def listen(event: str, duration: float, **kwargs: Any) -> None:
    if event.endswith(("jaxpr_trace_duration", "backend_compile_duration")):
        EVENTS.append(event.rsplit("/", 1)[1])


@pytest.fixture(scope="module", autouse=True)
def _listening() -> None:
    jax.monitoring.register_event_duration_secs_listener(listen)


@contextmanager
def compiled() -> Iterator[list[str]]:
    """What JAX traces and compiles inside the block."""
    EVENTS.clear()
    found: list[str] = []
    yield found
    found += EVENTS


def tree(place):
    return {"w": jax.device_put(jnp.arange(8.0), place), "b": jax.device_put(jnp.ones(8), place)}


def mesh_place():
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    return NamedSharding(mesh, PartitionSpec("data"))


PLACES = {"one device": lambda: jax.devices()[0], "another device": lambda: jax.devices()[1], "mesh": mesh_place}
TX = gx.chain(gx.clip_by_global_norm(gx.tunable(1.0)), gx.adamw(gx.tunable(0.1), b1=gx.tunable(0.9)))


@pytest.mark.parametrize("made", ["jitted", "plain"])
@pytest.mark.parametrize("place", PLACES, ids=str)
def test_setting_and_clearing_traces_nothing(place, made):
    p, g = tree(PLACES[place]()), tree(PLACES[place]())
    state = (jax.jit(TX.init) if made == "jitted" else TX.init)(p)
    step = jax.jit(lambda p, s, g: TX.update(g, s, p))
    _, state = step(p, state, g)
    _, state = step(p, state, g)
    with compiled():
        gx.with_hyperparams(state, b1=0.5)
    for values in ({"learning_rate": 0.5}, {"b1": 0.1, "max_norm": 2.0}, {"learning_rate": None, "b1": None}):
        state = gx.with_hyperparams(state, **values)
        with compiled() as found:
            _, state = step(p, state, g)
        assert found == []


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_a_fresh_state_can_be_set_wherever_the_parameters_are(place):
    p, g = tree(PLACES[place]()), tree(PLACES[place]())
    state = gx.with_hyperparams(TX.init(p), learning_rate=0.0, b1=0.3)
    updates, _ = jax.jit(TX.update)(g, state, p)
    assert not any(map(np.any, jax.tree.leaves(updates)))


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_dtype_weak_type_sharding_and_memory_stay(place):
    p = tree(PLACES[place]())
    where = PLACES[place]()
    if place == "mesh":
        where = NamedSharding(where.mesh, PartitionSpec())
    state = jax.device_put(TX.init(p), where)
    new = gx.with_hyperparams(state, learning_rate=2, b1=np.float64(0.25), max_norm=jnp.asarray(3))
    for old, now in zip(jax.tree.leaves(state.hyper), jax.tree.leaves(new.hyper), strict=True):
        assert (now.dtype, now.weak_type, now.sharding, now.committed) == (
            old.dtype, old.weak_type, old.sharding, old.committed,
        )  # fmt: skip


def test_it_runs_under_donation_and_scan():
    state = TX.init({"w": jnp.ones(3)})
    step = gx.make_step(TX)
    p, state = step({"w": jnp.ones(3)}, gx.with_hyperparams(state, learning_rate=0.0), {"w": jnp.ones(3)})
    np.testing.assert_array_equal(p["w"], np.ones(3))

    def body(state, rate):
        updates, state = TX.update(
            {"w": jnp.ones(3)}, gx.with_hyperparams(state, learning_rate=rate), {"w": jnp.ones(3)}
        )
        return state, updates["w"]

    rates = jnp.array([0.0, 0.5, 0.0])
    _, us = jax.lax.scan(body, TX.init({"w": jnp.ones(3)}), rates)
    assert np.any(us[1])
    assert not np.any(us[0])
    assert not np.any(us[2])


RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.2, 0.3)


def sweep_data():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(64, 5)), jnp.float32)
    return x, x @ jnp.arange(5.0) + 1.0


def test_a_sweep_of_eight_rates_compiles_once_and_equals_eight_runs():
    x, y = sweep_data()
    p = {"w": jnp.zeros(5), "b": jnp.zeros(())}
    traces = []

    def train(tx, p):
        traces.append(None)

        def step(carry, _):
            p, state = carry
            g = jax.grad(lambda p: jnp.mean((x @ p["w"] + p["b"] - y) ** 2))(p)
            updates, state = tx.update(g, state, p)
            return (gx.apply_updates(p, updates), state), None

        return jax.lax.scan(step, (p, tx.init(p)), None, length=20)[0][0]

    def make(rate):
        return gx.chain(gx.clip_by_global_norm(1.0), gx.adamw(rate, weight_decay=0.01))

    once = jax.jit(train)
    first = once(make(RATES[0]), p)
    with compiled() as found:
        rest = [once(make(rate), p) for rate in RATES[1:]]
    assert (len(traces), found) == (1, [])
    for rate, swept in zip(RATES, [first, *rest], strict=True):
        alone = jax.jit(lambda p, rate=rate: train(make(rate), p))(p)
        # A rate that is data is rounded as the constant is; the two programs fuse differently, which 20 steps add up.
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=2e-6 * float(jnp.abs(b).max())), swept, alone
        )
    assert len({float(s["w"][0]) for s in [first, *rest]}) == len(RATES)
