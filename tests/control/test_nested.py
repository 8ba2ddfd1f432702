"""Controls inside each other, in groups, in scans and on several devices."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

import gradxform as gx

P = {"w": jnp.asarray([1.0, -2.0, 0.5]), "b": jnp.asarray([0.25])}
G = {"w": jnp.asarray([0.5, 0.1, -3.0]), "b": jnp.asarray([2.0])}


def test_all_of_them_in_a_scan():
    tx = gx.dynamic_loss_scale(gx.accumulate(gx.guard(gx.adam(0.1), spike=6.0), 2), init=4.0, window=3)

    def body(carry, times):
        params, state = carry
        scaled = jax.tree.map(lambda g: g * times * state.scale, G)
        updates, state = tx.update(scaled, state, params)
        return (gx.apply_updates(params, updates), state), None

    times = jnp.asarray([1.0, np.nan, 3.0, 2.0, 2.0])
    (params, state), _ = jax.lax.scan(body, (P, tx.init(P)), times)
    found = {name: float(x) for name, x in gx.counters(state).items()}
    assert (found["loss_scale/skipped"], found["loss_scale/scale"]) == (1, 4.0)
    assert (found["accumulate/steps"], found["accumulate/left_out"], found["guard/skipped"]) == (2, 0, 0)
    expected, inner = P, gx.adam(0.1).init(P)
    for _ in range(2):
        updates, inner = gx.adam(0.1).update(jax.tree.map(lambda g: 2.0 * g, G), inner, expected)
        expected = gx.apply_updates(expected, updates)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), params, expected)


def test_each_group_decides_for_itself():
    tx = gx.groups([("b", gx.guard(gx.sgd(1.0)))], default=gx.guard(gx.sgd(1.0)))
    updates, state = tx.update({**G, "b": jnp.asarray([np.nan])}, tx.init(P), P)
    np.testing.assert_array_equal(updates["b"], [0.0])
    np.testing.assert_array_equal(updates["w"], -G["w"])
    found = gx.counters(state)
    assert [int(found[f"{name}/skipped"]) for name in ("guard", "guard_2")] == [1, 0]


TX = gx.dynamic_loss_scale(
    gx.accumulate(gx.guard(gx.chain(gx.mean_across("d"), gx.adam(0.1)), axis_name="d"), 1, axis_name="d"),
    init=1.0,
    axis_name="d",
)


def test_devices_decide_together_in_pmap():
    grads = jnp.ones((4, 3)).at[1, 0].set(np.inf)
    state = TX.init(jnp.ones(3))
    updates, after = jax.pmap(lambda g: TX.update(g, state, jnp.ones(3)), axis_name="d")(grads)
    np.testing.assert_array_equal(updates, np.zeros((4, 3)))
    np.testing.assert_array_equal(after.skipped, [1, 1, 1, 1])


@pytest.mark.parametrize("bad", [False, True])
def test_devices_decide_together_in_shard_map(bad):
    mesh = jax.make_mesh((4,), ("d",), axis_types=(AxisType.Auto,))
    split, whole = PartitionSpec("d"), PartitionSpec()
    grads = jnp.arange(12.0).reshape(4, 3).at[2, 1].set(np.nan if bad else 1.0)
    state = TX.init(jnp.ones(3))

    def device(g):
        updates, after = TX.update(g[0], state, jnp.ones(3))
        return updates, after.skipped

    updates, skipped = jax.jit(jax.shard_map(device, mesh=mesh, in_specs=split, out_specs=whole))(grads)
    assert int(skipped) == bad
    np.testing.assert_allclose(updates, np.zeros(3) if bad else np.full(3, -0.1), rtol=1e-6)


def test_inside_shard_map_an_axis_is_asked_for():
    mesh = jax.make_mesh((4,), ("d",), axis_types=(AxisType.Auto,))
    for tx in (gx.guard(gx.sgd(0.1)), gx.dynamic_loss_scale(gx.sgd(0.1)), gx.accumulate(gx.sgd(0.1), 2)):

        def device(g, tx=tx):
            return tx.update(g, tx.init(g), g)[0]

        with pytest.raises(ValueError, match=f"{tx.name} sees one device's part .* give axis_name"):
            jax.eval_shape(
                jax.shard_map(device, mesh=mesh, in_specs=PartitionSpec("d"), out_specs=PartitionSpec("d")),
                jnp.ones((4, 3)),
            )
