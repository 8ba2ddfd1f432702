"""A compiled step of an accumulation, where the window does not close: parameters and inner state are not touched."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import gradxform as gx
from tests.compiler import FAST, sums_in_place

P = {"w": jnp.linspace(-1.0, 2.0, 24).reshape(8, 3), "b": jnp.linspace(0.5, 1.0, 8)}
CLIPPED = gx.chain(gx.clip_by_global_norm(1.0), gx.adamw(gx.linear_schedule(0.1, 0.0, 50)))
WRAPPED = {
    "accumulate": gx.accumulate(CLIPPED, 3),
    "schedule": gx.accumulate(CLIPPED, lambda step: jnp.where(step < 1, 2, 3)),
    "guard": gx.guard(gx.accumulate(gx.guard(CLIPPED, spike=6.0), 3)),
    "loss scale": gx.dynamic_loss_scale(gx.guard(gx.accumulate(CLIPPED, 3)), init=4.0),
    "int8": gx.accumulate(gx.stored_as("int8", gx.adamw(0.1)), 3),
    "kahan": gx.accumulate(gx.chain(gx.adamw(0.1), gx.round_updates("kahan")), 3),
    "accumulate in accumulate": gx.accumulate(gx.accumulate(gx.lamb(0.1), 2), 2),
    "another library's": gx.accumulate(gx.GradientTransformation(lambda p: p, lambda g, s, p: (g, p)), 3),
}
BAD = 4
"""The micro-batch that is not finite."""


def micro_batches(n: int, dtype: Any = jnp.float32) -> Any:
    rng = np.random.default_rng(0)
    grads = jax.tree.map(lambda p: rng.normal(size=(n, *p.shape)), P)
    grads["b"][BAD, 1] = np.inf
    return jax.tree.map(lambda g: jnp.asarray(g, dtype), grads)


def at(grads: Any, i: int) -> Any:
    return jax.tree.map(lambda g: g[i], grads)


def run(step: Any, tx: Any, p: Any, grads: Any) -> list[Any]:
    """Parameters and state after every micro-batch."""
    state, after = tx.init(p), []
    for i in range(len(grads["b"])):
        p, state = step(p, state, at(grads, i))
        after.append((p, state))
    return after


def updated(tx: Any) -> Any:
    @jax.jit
    def step(params: Any, state: Any, grads: Any) -> Any:
        updates, state = tx.update(grads, state, params)
        return gx.apply_updates(params, updates), state

    return step


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("tx", WRAPPED.values(), ids=WRAPPED)
def test_it_is_update_and_apply(tx: Any, dtype: Any) -> None:
    p, grads = jax.tree.map(lambda x: x.astype(dtype), P), micro_batches(9, dtype)
    found, expected = (run(step, tx, p, grads) for step in (gx.make_step(tx, donate=False), updated(tx)))
    for one, other in zip(found, expected, strict=True):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-6, atol=1e-6), one, other)
        assert jax.tree.map(jax.typeof, one) == jax.tree.map(jax.typeof, other)
    assert any((x != y).any() for x, y in zip(*map(jax.tree.leaves, (found[-1][0], p)), strict=True))


def eqns(jaxpr: Any) -> Any:
    """The operations that run at every call: not those in loops."""
    for eqn in jaxpr.eqns if hasattr(jaxpr, "eqns") else jaxpr.jaxpr.eqns:
        inner = [x for x in eqn.params.values() if hasattr(x, "eqns") or hasattr(x, "jaxpr")]
        if eqn.primitive.name != "while":
            yield from itertools.chain([eqn], *map(eqns, inner))


@pytest.mark.parametrize("name", ["accumulate", "guard", "loss scale"])
def test_between_steps_nothing_of_the_inner_transformation_runs(name: str) -> None:
    """Its root of nu; what is left are the sum and the norm that decides whether to add to it."""
    tx, (p, grads) = WRAPPED[name], (P, at(micro_batches(5), 0))
    roots = {}
    for way, step in {"loop": gx.make_step(tx), "choice": updated(tx)}.items():
        found = eqns(jax.make_jaxpr(lambda *args, step=step: step(*args))(p, tx.init(p), grads))
        roots[way] = [e for e in found if e.primitive.name == "sqrt" and e.outvars[0].aval.shape]
    assert len(roots["choice"]) == len(P)
    assert not roots["loop"]


@sums_in_place
def test_the_loop_writes_in_place() -> None:
    p = {"w": jnp.ones(100_000), "v": jnp.ones(100_001)}
    for tx in (gx.accumulate(gx.adamw(0.1), 4), gx.guard(gx.accumulate(CLIPPED, 4))):
        memory = gx.make_step(tx).lower(p, tx.init(p), p).compile(FAST).memory_analysis()
        assert memory.temp_size_in_bytes < 2000
        assert memory.alias_size_in_bytes > 4 * 4 * 200_000


def expected_of(tx: Any, grads: Any) -> Any:
    return run(gx.make_step(tx, donate=False), tx, P, grads)[-1]


def equal(one: Any, other: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, other)


def test_in_a_scan() -> None:
    tx, grads = WRAPPED["guard"], micro_batches(8)
    step = gx.make_step(tx)
    body = jax.jit(lambda carry, grads: jax.lax.scan(lambda c, g: (step(*c, g), None), carry, grads)[0])
    equal(body((P, tx.init(P)), grads), expected_of(tx, grads))


def test_under_vmap_windows_close_at_different_calls() -> None:
    tx, grads = WRAPPED["accumulate"], micro_batches(8)
    step, waiting = gx.make_step(tx, donate=False), tx.init(P)
    late = step(P, waiting, at(grads, 0))
    both = jax.tree.map(lambda x, y: jnp.stack([x, y]), (P, waiting), late)
    two = jax.jit(jax.vmap(step))
    for i in range(1, 8):
        now = at(grads, i)
        both = two(*both, jax.tree.map(lambda g: jnp.stack([g, g]), now))
    for lane, seen in enumerate((jax.tree.map(lambda g: g[1:], grads), grads)):
        found, expected = at(both, lane), expected_of(tx, seen)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-7), found, expected)


def test_without_jit() -> None:
    tx, grads = WRAPPED["accumulate"], micro_batches(6)
    with jax.disable_jit():
        found = expected_of(tx, grads)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-7), found, expected_of(tx, grads))


ACROSS = gx.accumulate(gx.chain(gx.mean_across("d"), CLIPPED), 3, axis_name="d")
"""Each device with its own gradients, and parameters that are the same on all."""


def apart(grads: Any) -> Any:
    """The micro-batches of four devices; those that average to `grads`."""
    return jax.tree.map(lambda g: jnp.stack([g + d for d in (-0.5, -0.25, 0.25, 0.5)]), grads)


def test_in_pmap_devices_step_together() -> None:
    grads = micro_batches(7)
    step = jax.pmap(gx.make_step(ACROSS), axis_name="d")
    p, state = jax.tree.map(lambda x: jnp.stack([x] * 4), (P, ACROSS.init(P)))
    for i in range(7):
        p, state = step(p, state, apart(at(grads, i)))
    alone, expected = expected_of(gx.accumulate(CLIPPED, 3), grads)
    for device in range(4):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), at(p, device), alone)
    assert int(state.steps[3]) == int(expected.steps) == 2


def test_in_shard_map_devices_step_together() -> None:
    mesh = jax.make_mesh((4,), ("d",), axis_types=(AxisType.Auto,))
    split, whole = PartitionSpec("d"), PartitionSpec()
    grads, step = micro_batches(7), gx.make_step(ACROSS)

    @jax.jit
    @functools.partial(jax.shard_map, mesh=mesh, in_specs=split, out_specs=whole)
    def device(grads: Any) -> Any:
        mine = at(grads, 0)
        p, state = P, ACROSS.init(P)
        for i in range(7):
            p, state = step(p, state, at(mine, i))
        return p, state.steps

    p, steps = device(apart(grads))
    alone, expected = expected_of(gx.accumulate(CLIPPED, 3), grads)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5), p, alone)
    assert int(steps) == int(expected.steps) == 2


def test_in_shard_map_a_device_may_hold_its_part() -> None:
    mesh = jax.make_mesh((4,), ("d",), axis_types=(AxisType.Auto,))
    tx, split, whole = gx.accumulate(gx.adamw(0.1), 3, axis_name="d"), PartitionSpec("d"), PartitionSpec()
    grads = micro_batches(7)
    state = tx.init(P)
    specs = (split, jax.tree.map(lambda x: split if x.ndim else whole, state), split)
    step = jax.shard_map(gx.make_step(tx), mesh=mesh, in_specs=specs, out_specs=specs[:2])
    assert "while" in str(jax.make_jaxpr(step)(P, state, at(grads, 0)))
    found, expected = run(jax.jit(step), tx, P, grads)[-1], expected_of(gx.accumulate(gx.adamw(0.1), 3), grads)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-7), found, expected)


def test_over_a_mesh() -> None:
    """Parameters whole and the state split, under one jit."""
    mesh = jax.make_mesh((4,), ("d",), axis_types=(AxisType.Auto,))
    tx = gx.accumulate(gx.sharded(CLIPPED, mesh, "d"), 3)
    p = jax.device_put(P, NamedSharding(mesh, PartitionSpec()))
    found = run(gx.make_step(tx, donate=False), tx, p, micro_batches(7))[-1]
    expected = expected_of(gx.accumulate(CLIPPED, 3), micro_batches(7))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-7), found[0], expected[0])


def test_leaves_that_take_no_part_stay() -> None:
    tx, n = gx.accumulate(gx.sgd(1.0), 2), jnp.arange(3)
    p = {**P, "n": n, "rests": jnp.ones(2), "nothing": None}
    step, state = gx.make_step(tx, donate=False), tx.init(p)
    grads = {**P, "n": np.zeros(3, jax.dtypes.float0), "rests": None, "nothing": None}
    for _ in range(2):
        p, state = step(p, state, grads)
    assert p["nothing"] is None
    equal({k: p[k] for k in ("w", "b", "n", "rests")}, {"w": 0 * P["w"], "b": 0 * P["b"], "n": n, "rests": jnp.ones(2)})
