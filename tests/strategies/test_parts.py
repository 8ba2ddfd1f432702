"""A device's part of an array and the whole of the parts, by the compiler and by hand."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding

import gradxform as gx
from gradxform.core.tree import Leaf
from gradxform.strategies.layout import laid_out
from gradxform.strategies.parts import ByCompiler, ByHand, is_explicit, is_manual, spec_at_hand
from tests.devices.layout import P
from tests.strategies.meshes import at_hand, line, plane

X = np.random.default_rng(0).normal(size=(3, 16)).astype(np.float32)
LAYOUT = laid_out(X.shape, (), line(), "data")
SMALL = laid_out((3,), (), line(), "data")


def by_hand(f: Any, out: Any, *args: Any) -> Any:
    way = ByHand(line(), "data")
    run = jax.shard_map(lambda *xs: f(way, *xs), mesh=line(), in_specs=P(), out_specs=out, check_vma=False)
    return jax.jit(run)(*args)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=["auto", "explicit"])
def test_the_compiler_makes_parts_and_puts_them_together(kind: AxisType) -> None:
    mesh = line(kind)
    way = ByCompiler(mesh, "data", True)
    with at_hand(mesh):
        x = jax.device_put(X, NamedSharding(mesh, P()))
        part = jax.jit(lambda x: way.part(x, LAYOUT))(x)
        whole = jax.jit(lambda x: way.whole(x, LAYOUT))(part)
    assert part.sharding.is_equivalent_to(NamedSharding(mesh, P(None, "data")), 2)
    assert whole.sharding.is_fully_replicated
    np.testing.assert_array_equal(part, X)
    np.testing.assert_array_equal(whole, X)


def test_the_compiler_tells_the_layout_of_shapes() -> None:
    found = ByCompiler(line(), "data", True).part(jax.ShapeDtypeStruct(X.shape, jnp.float32), LAYOUT)
    assert found.sharding == NamedSharding(line(), P(None, "data"))


def test_rows_are_not_split_by_the_compiler() -> None:
    rows = gx.Rows(jnp.array([1]), jnp.ones((1, 16)), X.shape)
    assert ByCompiler(line(), "data", True).gradient(rows, LAYOUT) is rows


def test_a_part_is_cut_by_hand() -> None:
    np.testing.assert_array_equal(by_hand(lambda way, x: way.part(x, LAYOUT), P(None, "data"), X), X)
    np.testing.assert_array_equal(by_hand(lambda way, x: way.part(x[:, 0], SMALL), P(), X), X[:, 0])
    assert ByHand(line(), "data").part(None, LAYOUT) is None


def test_by_hand_a_gradient_is_a_part_of_the_mean() -> None:
    def device(way: ByHand, x: Any) -> Any:
        mine = x * (1 + jax.lax.axis_index("data"))
        return way.gradient(mine, LAYOUT), way.gradient(mine[:, 0], SMALL)

    part, small = by_hand(device, (P(None, "data"), P()), X)
    np.testing.assert_allclose(part, 4.5 * X, rtol=1e-6)
    np.testing.assert_allclose(small, 4.5 * X[:, 0], rtol=1e-6)


def test_by_hand_updates_are_gathered() -> None:
    found = by_hand(lambda way, x: way.whole(way.part(x, LAYOUT), LAYOUT), P(), X)
    np.testing.assert_array_equal(found, X)


def test_where_the_trace_is_and_what_layouts_are() -> None:
    assert not is_manual("data")
    assert by_hand(lambda way, x: jnp.asarray(is_manual("data")), P(), X)
    assert is_explicit(line(AxisType.Explicit), "data")
    assert not is_explicit(line(), "data")


def test_the_layout_of_an_array_that_is_there() -> None:
    mesh = plane()
    x = jax.device_put(np.ones((8, 4), np.float32), NamedSharding(mesh, P("data", "model")))
    assert spec_at_hand(Leaf("w", None, x, {}), False) == P("data", "model")
    assert spec_at_hand(Leaf("w", None, np.ones(3), {}), False) is None
    seen = []
    jax.jit(lambda p: seen.append(spec_at_hand(Leaf("w", None, p, {}), False)))(x)
    assert seen == [None]


def test_a_part_of_a_shape_is_told_by_hand() -> None:
    cube = laid_out((2, 16, 3), (), line(), "data")
    part = ByHand(line(), "data").part(jax.ShapeDtypeStruct((2, 16, 3), jnp.float32), cube)
    assert part == jax.ShapeDtypeStruct((2, 2, 3), jnp.float32)
