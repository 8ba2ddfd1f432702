"""Named device axes, on eight devices and without any."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradxform.core.devices import (
    axes_to_sum,
    axis_names,
    gathered,
    in_host_memory,
    mean_over,
    varying_axes,
    varying_of,
)
from tests.devices.layout import P, line

ALONG = P("devices")
X = np.arange(16.0, dtype=np.float32).reshape(8, 2)


def on_devices(f: Any, out: Any = ALONG, check: bool = True) -> Any:
    """`f` of each device's row of X."""
    return jax.jit(jax.shard_map(f, mesh=line(), in_specs=ALONG, out_specs=out, check_vma=check))(X)


def test_names_of_axes_are_a_tuple() -> None:
    assert axis_names("x") == ("x",)
    assert axis_names(("x", "y")) == ("x", "y")
    assert axis_names(None) == axis_names(()) == ()


def test_outside_of_shard_map_nothing_varies() -> None:
    assert varying_axes({"a": X, "b": jnp.ones(3), "c": None}) == frozenset()
    assert varying_of(jax.typeof(jnp.ones(3))) == frozenset()


def test_arrays_and_their_types_tell_of_host_memory() -> None:
    host = jax.jit(lambda: jax.device_put(jnp.ones(3), jax.memory.Space.Host))()
    assert in_host_memory(host)
    assert in_host_memory(jax.typeof(host))
    assert not in_host_memory(jnp.ones(3))
    assert not in_host_memory(jax.typeof(jnp.ones(3)))


def test_inside_what_is_split_varies_and_what_is_whole_does_not() -> None:
    seen = {}

    def device(x: Any) -> Any:
        whole = jnp.ones(3)
        seen.update(part=varying_axes(x), whole=varying_axes(whole), tree=varying_axes([whole, x]))
        seen.update(sums=axes_to_sum(x, ("devices",)), none=axes_to_sum(whole, ("devices",)))
        return x

    on_devices(device)
    assert seen == {
        "part": {"devices"}, "whole": frozenset(), "tree": {"devices"}, "sums": ("devices",), "none": (),
    }  # fmt: skip


@pytest.mark.parametrize("check", [True, False], ids=["checked", "unchecked"])
def test_means_over_devices(check: bool) -> None:
    np.testing.assert_allclose(
        on_devices(lambda x: mean_over(x, "devices"), P(), check), X.mean(0, keepdims=True), rtol=1e-6
    )


def test_what_all_devices_know_to_be_equal_is_its_own_mean() -> None:
    np.testing.assert_array_equal(on_devices(lambda x: mean_over(jnp.float32(0.1), "devices"), P()), np.float32(0.1))


@pytest.mark.parametrize("check", [True, False], ids=["checked", "unchecked"])
@pytest.mark.parametrize("dimension", [0, 1])
def test_parts_are_gathered_side_by_side(dimension: int, check: bool) -> None:
    expected = X if dimension == 0 else X.reshape(1, 16)
    found = on_devices(lambda x: gathered(x, "devices", dimension), P(), check)
    np.testing.assert_array_equal(found, expected)
