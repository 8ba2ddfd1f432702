from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx
from tests.compiler import FAST

PARAMS = {"w": jnp.linspace(-1.0, 1.0, 12).reshape(3, 4), "b": jnp.ones(4, jnp.bfloat16)}


def gradients(step: int) -> Any:
    rng = np.random.default_rng(step)
    return jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), p.dtype), PARAMS)


def kinds(state: Any) -> Any:
    return jax.tree.map(lambda x: x.sharding.memory_kind, state)


def same(kind: str, tree: Any) -> Any:
    return jax.tree.map(lambda x: kind, tree)


HERE = jnp.ones(()).sharding.memory_kind
HOST = jax.jit(lambda: jax.device_put(jnp.ones(()), jax.memory.Space.Host))().sharding.memory_kind
pytestmark = pytest.mark.skipif(HOST != "pinned_host", reason="this JAX has one memory on CPU")
TRANSFORMATIONS = {
    "adam": gx.adam(0.1),
    "momentum": gx.momentum(0.1),
    "clipped": gx.chain(gx.clip_by_global_norm(1.0), gx.adamw(0.1)),
    "groups": gx.groups([("b", gx.sgd(0.1))], default=gx.adagrad(0.1)),
    "tunable": gx.adam(gx.tunable(0.1)),
    "lazy": gx.lazy(gx.adam(0.1)),
}


@pytest.mark.parametrize(("donating", "compute_on"), [(True, "device"), (False, "device"), (True, "host")])
@pytest.mark.parametrize("tx", TRANSFORMATIONS.values(), ids=TRANSFORMATIONS)
def test_memory_stays_on_the_host_and_numbers_stay_equal(tx: Any, donating: bool, compute_on: str) -> None:
    if compute_on == "host":
        tx = {TRANSFORMATIONS["groups"]: gx.lamb(0.1)}.get(tx, tx)
    host = gx.offloaded(tx, compute_on=compute_on)

    def step(host: Any, p: Any, s: Any, g: Any) -> Any:
        if donating:
            return gx.make_step(host)(p, s, g)
        updates, s = host.update(g, s, p)
        return gx.apply_updates(p, updates), s

    ends = []
    for one in (tx, host):
        params = jax.tree.map(jnp.copy, PARAMS)
        state = one.init(params)
        for t in range(3):
            wanted = "pinned_host" if one is host else HERE
            assert kinds(state.leaves) == same(wanted, state.leaves)
            assert kinds((state.count, state.hyper)) == same(HERE, (state.count, state.hyper))
            params, state = step(one, params, state, gradients(t))
        assert kinds(params) == same(HERE, params)
        ends.append((params, state))
    jax.tree.map(np.testing.assert_array_equal, *ends)


def test_the_program_takes_and_gives_host_memory() -> None:
    """`S(5)` is host memory in XLA's entry layout: the state is there, and no copy of it in the device's memory."""
    tx = gx.offloaded(gx.adam(0.1))
    params = {"w": jnp.ones((64, 64))}
    state = tx.init(params)
    compiled = gx.make_step(tx).lower(params, state, params).compile(FAST)
    layout = compiled.as_text().split("entry_computation_layout=", 1)[1].split("}, allow_spmd", 1)[0]
    arguments, results = layout.split("->")
    for side, on_device in ((arguments, 2), (results, 1)):
        assert side.count("f32[64,64]{1,0:S(5)}") == 2
        assert side.count("f32[64,64]") == 2 + on_device
    assert compiled.memory_analysis().temp_size_in_bytes <= 1024


def test_the_host_computes() -> None:
    """The update's arithmetic is marked for the host's processor, and nothing that the device computes with is."""
    params = {"w": jnp.ones((64, 64))}
    for compute_on in ("device", "host"):
        tx = gx.offloaded(gx.adam(0.1), compute_on=compute_on)
        text = jax.jit(tx.update).lower(params, tx.init(params), params).as_text()
        assert ('_xla_compute_type = "host"' in text) == (compute_on == "host")
    some = gx.offloaded(gx.adam(0.1), fields="nu", compute_on="host")
    updates, state = jax.jit(some.update)(params, some.init(params), params)
    assert kinds(state.leaves["w"]["adam"]) == (HERE, "pinned_host")
    assert kinds(updates) == same(HERE, updates)


def test_what_the_host_cannot_compute_is_refused() -> None:
    """A choice between an array in host memory and a constant, which JAX makes on the device."""
    tx = gx.offloaded(gx.adagrad(0.1, eps=0.0), compute_on="host")
    with pytest.raises(ValueError, match=r"rss cannot be computed on the host: .*leave compute_on='device'"):
        tx.update(gradients(0), tx.init(PARAMS), PARAMS)


@pytest.mark.parametrize("what", ["parameter", "gradient", "memory of adam"])
def test_what_the_device_cannot_reach_is_told(what: str) -> None:
    """A state of `offloaded` under the transformation without it, restored from a checkpoint for one."""
    tx = gx.adamw(0.1)
    away = jax.jit(lambda tree: jax.device_put(tree, jax.memory.Space.Host))
    args = {"parameter": PARAMS, "memory of adam": tx.init(PARAMS), "gradient": gradients(0)}
    try:
        jax.jit(jnp.add)(jnp.ones(3), away(jnp.ones(3)))
    except ValueError:
        remedy = "gx.offloaded" if "memory" in what else "jax.device_put"
        with pytest.raises(ValueError, match=rf"the {what} at '[wb]' is in host memory .*: {remedy}"):
            gx.make_step(tx, donate=False)(*(args | {what: away(args[what])}).values())
    moved = jax.device_put(away(args[what]), jax.memory.Space.Device)
    assert kinds(moved) == same("device", moved)
    gx.make_step(tx, donate=False)(*(args | {what: moved}).values())


def test_some_parameters_and_some_statistics() -> None:
    by_path = gx.offloaded(gx.adam(0.1), gx.named("w")).init(PARAMS)
    assert kinds(by_path.leaves["w"]["adam"]) == ("pinned_host", "pinned_host")
    assert kinds(by_path.leaves["b"]["adam"]) == (HERE, HERE)
    by_field = gx.offloaded(gx.adam(0.1), fields="nu").init(PARAMS)
    assert kinds(by_field.leaves["w"]["adam"]) == (HERE, "pinned_host")
    nested = gx.offloaded(gx.offloaded(gx.adam(0.1), "w", fields=("mu",)), "b", fields=("nu",)).init(PARAMS)
    assert kinds(nested.leaves["w"]["adam"]) == ("pinned_host", HERE)
    assert kinds(nested.leaves["b"]["adam"]) == (HERE, "pinned_host")


@pytest.mark.parametrize("where", [gx.named("w"), "w$", lambda path, leaf: leaf.ndim == 2])
def test_some_parameters_after_updates(where: Any) -> None:
    tx, plain = gx.offloaded(gx.adam(0.1), where), gx.adam(0.1)
    state, expected = tx.init(PARAMS), plain.init(PARAMS)
    for t in range(2):
        u, state = tx.update(gradients(t), state, PARAMS)
        v, expected = plain.update(gradients(t), expected, PARAMS)
        jax.tree.map(np.testing.assert_array_equal, u, v)
    assert kinds(state.leaves["w"]["adam"]) == ("pinned_host", "pinned_host")
    assert kinds(state.leaves["b"]["adam"]) == (HERE, HERE)


def test_averages_are_read_from_the_host() -> None:
    tx = gx.offloaded(gx.chain(gx.sgd(0.5), gx.ema_of_params(0.5)))
    plain = gx.chain(gx.sgd(0.5), gx.ema_of_params(0.5))
    found = []
    for one in (tx, plain):
        _, state = one.update(gradients(0), one.init(PARAMS), PARAMS)
        found.append(gx.eval_params(one, state, PARAMS))
    jax.tree.map(np.testing.assert_array_equal, *found)


def test_sharded_state_keeps_its_layout() -> None:
    mesh = jax.make_mesh((4,), ("x",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:4])
    layout = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("x"))
    p = jax.device_put(jnp.ones((8, 2)), layout)
    tx = gx.offloaded(gx.adam(0.1))
    state = tx.init(p)
    for _ in range(2):
        mu = gx.view(state, "mu")
        assert mu.sharding.is_equivalent_to(layout.with_memory_kind("pinned_host"), 2)
        _, state = jax.jit(tx.update)(p, state, p)


def test_the_third_step_compiles_nothing() -> None:
    """The second one does: JAX commits arrays with a memory kind to their device, and what is computed with them."""
    tx = gx.offloaded(gx.adam(0.1))
    step = jax.jit(lambda p, s, g: tx.update(g, s, p))
    params, state = PARAMS, tx.init(PARAMS)
    for t in range(4):
        updates, state = step(params, state, gradients(t))
        params = gx.apply_updates(params, updates)
        if t == 1:
            compiled = step._cache_size()
    assert step._cache_size() == compiled


def test_bad_arguments() -> None:
    with pytest.raises(TypeError, match="offloaded works on transformations made of rules"):
        gx.offloaded(optax.adam(0.1))
    with pytest.raises(ValueError, match="named\\('x'\\) matches no parameter; the paths are: b, w"):
        gx.offloaded(gx.adam(0.1), gx.named("x")).init(PARAMS)
    with pytest.raises(ValueError, match="memory_kind must be one of"):
        gx.offloaded(gx.adam(0.1), memory_kind="disk")
    with pytest.raises(ValueError, match="compute_on must be one of"):
        gx.offloaded(gx.adam(0.1), compute_on="disk")
    with pytest.raises(TypeError, match="a selector, a regular expression"):
        gx.offloaded(gx.adam(0.1), 3)
    assert gx.offloaded(gx.adam(0.1), memory_kind="device") == gx.adam(0.1)


def test_it_is_a_value() -> None:
    assert gx.offloaded(gx.adam(0.1), "w") == gx.offloaded(gx.adam(0.1), "w") != gx.offloaded(gx.adam(0.1), "b")
    assert repr(gx.offloaded(gx.trace(0.9), "w")).endswith(", matching('w'))")


def test_what_is_measured_at_each_step_stays():
    with pytest.raises(TypeError, match="offloaded cannot hold what prodigy remembers"):
        gx.offloaded(gx.prodigy())
