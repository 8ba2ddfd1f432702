"""Under `jit` with sharded parameters: what one device gives, from a state that lies where the parameters lie."""

from __future__ import annotations

from typing import Any

import jax
import pytest
from jax.sharding import AxisType, NamedSharding

import gradxform as gx
from tests.catalogue import Entry, entries, own
from tests.compiler import FAST
from tests.devices.layout import (
    SPECS,
    STACKED,
    P,
    alone,
    assert_same,
    at_hand,
    gradients,
    mesh,
    numbers,
    parameters,
    walk,
)

kinds = pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=["auto", "explicit"])


def laid_out(tree: Any, kind: AxisType = AxisType.Auto, specs: Any = SPECS) -> Any:
    return jax.tree.map(lambda x, spec: jax.device_put(x, NamedSharding(mesh(kind), spec)), tree, specs)


def assert_state_lies_with(params: Any, state: Any) -> None:
    """Everything of a parameter's shape is laid out as it is."""
    for p, memory in zip(jax.tree.leaves(params), jax.tree.structure(params).flatten_up_to(state.leaves), strict=True):
        for x in jax.tree.leaves(memory):
            same = p.sharding.with_memory_kind(x.sharding.memory_kind)
            assert x.shape != p.shape or x.sharding.is_equivalent_to(same, p.ndim), (x.sharding, p.sharding)


@kinds
@entries(lambda e: e.axis is None)
def test_every_transformation_as_on_one_device(entry: Entry, kind: AxisType) -> None:
    if entry.packs and kind == AxisType.Explicit:
        pytest.skip("leaves that are sharded by type stay alone, and the state has another form")
    with at_hand(kind):
        params, grads = laid_out(parameters(), kind), laid_out(gradients(), kind, STACKED)
        state = entry.tx.init(params)
        assert_state_lies_with(params, own(state))
        after, state = jax.jit(lambda p, s, g: walk(entry, p, s, g), compiler_options=FAST)(params, state, grads)
        assert_state_lies_with(params, own(state))
    assert_same((after, state), alone(entry.name), entry.narrow)


@kinds
def test_a_compiled_init_is_laid_out_by_the_shapes_that_init_gives(kind: AxisType) -> None:
    """A compiler that makes zeros has no reason to lay them out; the shapes of the state say how."""
    tx = gx.chain(gx.clip_by_global_norm(1.0), gx.adam(gx.tunable(0.1)))
    with at_hand(kind):
        params = laid_out(parameters(), kind)
        shapes = tx.init(jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), params))
        everywhere = NamedSharding(mesh(kind), P())
        state = jax.jit(tx.init, out_shardings=jax.tree.map(lambda x: x.sharding or everywhere, shapes))(params)
        assert_state_lies_with(params, state)
        assert state.leaves["dense"]["kernel"]["adam"].mu.sharding.spec == P("x", "y")


def test_parameters_without_a_mesh_at_hand() -> None:
    """Committed arrays carry their layout: no context is needed, also where `update` is not compiled by the user."""
    params, grads = laid_out(parameters()), laid_out(numbers(1))
    tx = gx.chain(gx.clip_by_global_norm(0.7), gx.lamb(0.1))
    updates, state = tx.update(grads, tx.init(params), params)
    assert_state_lies_with(params, state)
    assert_same((updates, state), tx.update(numbers(1), tx.init(parameters()), parameters()))


def collectives(tx: Any) -> set[str]:
    params = laid_out(parameters())
    program = jax.jit(tx.update).lower(laid_out(numbers(1)), tx.init(params), params).compile(FAST).as_text()
    return {name for name in ("all-reduce", "all-gather", "all-to-all", "collective-permute") if f" {name}(" in program}


def test_elementwise_steps_send_nothing_between_devices() -> None:
    assert collectives(gx.adamw(0.1)) == set()
    assert collectives(gx.chain(gx.clip_by_global_norm(1.0), gx.adamw(0.1))) == {"all-reduce"}


def test_the_norm_of_many_small_leaves_gathers_none() -> None:
    """Small leaves are joined before they are summed; those that devices share must not be."""
    with at_hand(AxisType.Explicit):
        put = NamedSharding(mesh(AxisType.Explicit), P("x"))
        tree = {str(i): jax.device_put(numbers(i)["dense"]["kernel"], put) for i in range(20)}
        program = jax.jit(gx.global_norm).lower(tree).compile(FAST).as_text()
    assert "all-gather" not in program
    assert_same(jax.jit(gx.global_norm)(tree), jax.jit(gx.global_norm)(jax.tree.map(jax.device_get, tree)))
