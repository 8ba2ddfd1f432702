"""Which dimension an axis splits, and what a statistic has of its parameter's layout."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import gradxform as gx
from gradxform.core.blocks import Blocks
from gradxform.core.clock import counted
from gradxform.strategies.layout import (
    Layout,
    check_mesh,
    laid_out,
    lay_memory,
    of_parameter,
    of_statistic,
    sharding,
    spec_of,
    specs_by_path,
    told,
    ways,
)
from tests.strategies.meshes import line, plane

P = PartitionSpec
MESH: Any = SimpleNamespace(shape={"data": 4, "model": 2})


def test_axes_split_into_the_product_of_their_sizes() -> None:
    assert [ways(MESH, axis) for axis in ("data", "model", ("data", "model"), None, ())] == [4, 2, 8, 1, 1]


@pytest.mark.parametrize(
    ("shape", "spec", "split", "state"),
    [
        ((8, 12), (), 0, ("data", None)),
        ((6, 8), (), 1, (None, "data")),
        ((8, 12), (None, "model"), 0, ("data", "model")),
        ((8, 12), ("data",), None, ("data", None)),
        ((6, 3), (), None, (None, None)),
        ((0, 8), (), 1, (None, "data")),
        ((), (), None, ()),
    ],
)
def test_the_first_free_dimension_that_divides_is_split(shape: Any, spec: Any, split: Any, state: Any) -> None:
    layout = laid_out(shape, spec, MESH, "data")
    assert (layout.split, layout.state) == (split, state)
    assert layout.param == (*spec, *[None] * (len(shape) - len(spec)))


@pytest.mark.parametrize(
    ("field", "expected"), [("left", ("data", None)), ("right_basis", ("model", None)), ("v", None)]
)
def test_a_square_of_a_side_lies_as_that_side(field: str, expected: Any) -> None:
    """A square parameter's sides have its shape, and are not laid out as it is."""
    n = 8 if field == "right_basis" else 12
    assert of_statistic((n, n), (12, 8), ("data", "model"), MESH, **told([field])) == expected
    square = of_statistic((8, 8), (8, 8), ("data", "model"), MESH, **told([field]))
    assert square == (expected or ("data", "model"))
    stack = of_statistic((3, n, n), (3, 12, 8), (None, "data", "model"), MESH, **told([field]))
    assert stack == (expected and (None, *expected))


def test_a_diagonal_of_a_side_lies_as_that_side() -> None:
    """Of a square parameter too, whose dimensions are alike."""
    for field, expected in (("left", ("data",)), ("right", ("model",))):
        assert of_statistic((8,), (8, 8), ("data", "model"), MESH, **told([field])) == expected
        assert of_statistic((3, 8), (3, 8, 8), (None, "data", "model"), MESH, **told([field])) == (None, *expected)
    assert of_statistic((), (8, 8), ("data", "model"), MESH, **told(["left_size"])) is None
    assert of_statistic((8, 8, 8, 8), (8, 8), ("data", "model"), MESH, **told(["left"])) == (
        None,
        None,
        "data",
        "model",
    )


@pytest.mark.parametrize(
    ("shape", "long", "short"), [((8, 4), "data", "model"), ((4, 8), "model", "data"), ((8, 8), "model", "data")]
)
def test_a_memory_says_which_sides_its_statistics_have(shape: Any, long: Any, short: Any) -> None:
    """GaLore's, whose rank divides the shorter side; codes with it, a counter beside it, a stack of matrices."""
    layout = Layout(shape, ("data", "model"), ("data", "model"), None)
    tx = gx.scale_by_galore(2)
    memory = tx.init({"w": jnp.zeros(shape)}).leaves["w"]["galore"]
    for m in (memory, counted(type(memory))(*memory, jnp.zeros((), jnp.int32)), gx.scale_by_apollo(2)):
        m = m.init({"w": jnp.zeros(shape)}).leaves["w"]["apollo"] if isinstance(m, gx.GradientTransformation) else m
        found = lay_memory(m, layout, MESH, lambda x, spec: spec)
        assert (found.mu, found.nu, found.basis) == (P(long, None), P(long, None), P(short, None))
    stored = memory._replace(mu=Blocks(memory.mu, memory.mu[:, :1], None))
    assert lay_memory(stored, layout, MESH, lambda x, spec: spec).mu.codes == P(long, None)
    said = told(["mu"], memory, (3, *shape))
    stack = of_statistic((3, *memory.mu.shape), (3, *shape), (None, "data", "model"), MESH, **said)
    assert stack == (None, long, None)


def test_one_part_is_no_split() -> None:
    assert laid_out((8,), (), SimpleNamespace(shape={"data": 1}), "data").split is None


@pytest.mark.parametrize(
    ("shape", "like", "spec", "last", "expected"),
    [
        ((8, 12), (8, 12), ("data", None), False, ("data", None)),
        ((8,), (8, 12), ("data", "model"), False, ("data",)),
        ((12,), (8, 12), ("data", "model"), False, ("model",)),
        ((8,), (8, 8), ("data", "model"), False, ("data",)),
        ((8,), (8, 8), ("data", "model"), True, ("model",)),
        ((8, 4), (8, 512), ("data", "model"), False, ("data", "model")),
        ((8, 1), (8, 12), ("data", "model"), False, ("data", None)),
        ((3, 8, 12), (8, 12), ("data", "model"), False, (None, "data", "model")),
        ((), (8, 12), ("data", "model"), False, None),
        ((5,), (8, 12), ("data", "model"), False, None),
    ],
)
def test_a_statistic_has_what_it_keeps_of_its_parameter(
    shape: Any, like: Any, spec: Any, last: bool, expected: Any
) -> None:
    assert of_statistic(shape, like, spec, MESH, last) == expected


def test_an_array_belongs_to_the_parameter_whose_path_its_own_ends_with() -> None:
    layouts = {p: laid_out((8, 12), spec, MESH, ()) for p, spec in (("w", ("data",)), ("dense/w", (None, "model")))}
    assert spec_of("0/mu/w", (8, 12), layouts, MESH, None) == P("data", None)
    assert spec_of("0/mu/dense/w", (8, 12), layouts, MESH, None) == P(None, "model")
    assert spec_of("0/mu/dense/w/value", (8, 12), layouts, MESH, None) == P(None, "model")
    assert spec_of("0/v_col/dense/w", (12,), layouts, MESH, None) == P("model")
    assert spec_of("0/flat", (16,), layouts, MESH, None) == P()
    assert spec_of("0/flat", (16,), layouts, MESH, "data") == P("data")
    assert spec_of("0/count", (), layouts, MESH, "data") == P()


def test_layouts_of_subtrees_hold_for_what_is_below() -> None:
    specs = specs_by_path({"dense": P("data"), "norm": NamedSharding(plane(), P("model")), "none": None}, "told")
    assert specs == {"dense": P("data"), "norm": P("model")}
    assert of_parameter("dense/kernel", (8, 4), specs) == P("data")
    assert of_parameter("other", (8, 4), specs) == P()
    with pytest.raises(ValueError, match=r"is no layout for the parameter 'norm' of shape \(\)"):
        of_parameter("norm", (), specs)
    with pytest.raises(TypeError, match="told must hold NamedSharding or PartitionSpec, got 3 of type int at 'a'"):
        specs_by_path({"a": 3}, "told")


def test_memory_is_laid_by_the_parameters_layout() -> None:
    layout = laid_out((8, 12), (None, "model"), MESH, "data")
    memory = {"mu": np.zeros((8, 12)), "row": np.zeros(8), "col": np.zeros(12), "seen": np.zeros(())}
    found = lay_memory(memory, layout, MESH, lambda x, spec: spec)
    assert found == {"mu": P("data", "model"), "row": P("data"), "col": P("model"), "seen": P()}
    assert lay_memory(memory, None, MESH, lambda x, spec: spec)["mu"] == P()


def test_a_layout_stays_in_the_memory_of_its_array() -> None:
    x = jnp.ones(8)
    assert sharding(line(), P("data"), x) == NamedSharding(line(), P("data"))
    host = jax.jit(lambda: jax.device_put(x, jax.memory.Space.Host))()
    if "Host" in str(jax.typeof(host).memory_space):
        assert sharding(line(), P("data"), host).memory_kind == "pinned_host"


def test_what_is_no_mesh_or_no_axis_of_it_is_refused() -> None:
    check_mesh(line(), None)
    check_mesh(plane(), ("data", "model"))
    with pytest.raises(TypeError, match=r"mesh must be a jax.sharding.Mesh, got 3"):
        check_mesh(3, None)
    with pytest.raises(ValueError, match=r"axis must be the name of an axis or a tuple of names, got \(\)"):
        check_mesh(line(), ())
    for axis in ("model", ("data", "model")):
        with pytest.raises(ValueError, match="axis must be of the mesh, which has data"):
            check_mesh(line(), axis)
