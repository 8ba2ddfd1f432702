"""How a state lies, told before there is one: by the parameters, and by what `sharded` splits."""

from __future__ import annotations

from typing import Any

import jax
import optax
import pytest

import gradxform as gx
from tests.devices.layout import P
from tests.strategies.meshes import SPECS, assert_lies, bytes_here, line, numbers, plane, put


def test_one_stage_of_two_with_one_name() -> None:
    """What stands outside is not split, in the state or in what is told of it."""
    mesh = line()
    tx = gx.chain(gx.trace(0.9), gx.groups([("bias", gx.sharded(gx.trace(0.5), mesh))], default=gx.sgd(0.1)))
    lies = gx.state_shardings(tx, numbers(0), P())
    assert_lies(jax.jit(tx.init)(put(numbers(0), mesh)).leaves["dense"], lies.leaves["dense"])
    bias = lies.leaves["dense"]["bias"]
    assert (bias["trace"].trace.spec, bias["trace_2"].trace.spec) == (P(None), P("data"))


FOREIGN = {
    "adam": optax.adam(0.1),
    "masked": optax.masked(optax.adam(0.1), {"embed": True, "dense": False, "norm": True, "scale": False}),
    "multi": optax.multi_steps(optax.adam(0.1), 2) if hasattr(optax, "multi_steps") else optax.chain(optax.trace(0.9)),
    "adafactor": optax.adafactor(0.1, min_dim_size_to_factor=32),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_the_state_of_another_library(name: str) -> None:
    tx, mesh = FOREIGN[name], line()
    shapes = jax.eval_shape(tx.init, numbers(0))
    lies = gx.state_shardings(tuple(tx), jax.eval_shape(lambda: numbers(0)), P(), mesh, "data")
    assert jax.tree.structure(shapes) == jax.tree.structure(lies)
    state = jax.jit(tx.init, out_shardings=lies)(put(numbers(0), mesh))
    if name == "adafactor":
        rows, columns = state[0].v_row, state[0].v_col
        split = {rows["embed"].sharding.spec, columns["embed"].sharding.spec}
        assert split == {P("data"), P(None)}
    else:
        assert bytes_here(state) <= (1 / 8 + 0.02) * sum(x.nbytes for x in jax.tree.leaves(state))


def test_layouts_follow_the_parameters() -> None:
    """Without an axis: the parameter's own layout, what is left of it for rows, columns and blocks."""
    mesh, structs = plane(), jax.eval_shape(lambda: numbers(0))

    def specs(tree: Any) -> Any:
        return jax.tree.map(lambda s: P(*s.spec[: max((i + 1 for i, e in enumerate(s.spec) if e), default=0)]), tree)

    found = specs(gx.state_shardings(gx.adam(gx.tunable(0.1)), structs, SPECS, mesh))
    assert gx.view(found, "mu") == gx.view(found, "nu") == SPECS
    assert (found.count, found.hyper["learning_rate"]) == (P(), P())
    factored = specs(gx.state_shardings(tuple(optax.adafactor(0.1, min_dim_size_to_factor=32)), structs, SPECS, mesh))[
        0
    ]
    assert {factored.v_row["dense"]["kernel"], factored.v_col["dense"]["kernel"]} == {P(), P("model")}
    codes = specs(
        gx.view(gx.state_shardings(gx.stored_as("int8", gx.adam(0.1), min_size=0), structs, SPECS, mesh), "mu")
    )
    assert codes["embed"].codes == codes["embed"].scales == P("model")
    kernel = codes["dense"]["kernel"]
    assert (kernel.codes, kernel.scales, kernel.largest) == (P(None, "model"), P(), P())  # one a row
    split = specs(gx.view(gx.state_shardings(gx.adam(0.1), structs, SPECS, mesh, "data"), "mu"))
    dense = {"kernel": P("data", "model"), "bias": P("model")}
    assert split == {"embed": P("model", "data"), "dense": dense, "norm": P(), "scale": P()}
    prefix = {"embed": P("model"), "dense": P("data"), "norm": P(), "scale": P()}
    by_prefix = specs(gx.view(gx.state_shardings(gx.adam(0.1), structs, prefix, mesh), "nu"))
    assert by_prefix == {**prefix, "dense": {"kernel": P("data"), "bias": P("data")}}
