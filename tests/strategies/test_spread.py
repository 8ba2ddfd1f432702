from __future__ import annotations

import collections
import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import gradxform as gx
from tests.compiler import FAST
from tests.core.test_stacks import FUSED, STACKED, WHITEN, arrays
from tests.strategies.meshes import at_hand, line, plane

P = PartitionSpec
LAYERS, D = 3, 16
BLOCK = {"q": (D, D), "k": (D, D), "v": (D, D), "o": (D, D), "fc": (D, 4 * D), "proj": (4 * D, D)}
PARAMS = arrays(**{f"{name}{i}": shape for name, shape in BLOCK.items() for i in range(LAYERS)})
"""12 matrices of one shape and twice 3 of another: none of them divides by eight."""
MUON = gx.chain(gx.trace(0.95), gx.orthogonalize(ns_steps=2), gx.sgd(0.1))
MIXED = arrays(stack=(3, D, 2 * D), qkv=(D, 12), plain=(D, 2 * D), alone=(8, D))
SPECS = {"stack": STACKED, "qkv": FUSED}


def collectives(program: str) -> collections.Counter[str]:
    """How often each collective runs in a step: those in the body of a loop as often as that goes round."""
    bodies, lines = {}, collections.defaultdict(list)
    name = ""
    for text in program.splitlines():
        if opened := re.match(r"(?:ENTRY )?%?([\w.\-]+) .*\{$", text):
            name = opened[1]
        if " while(" in text:
            trips = re.search(r'known_trip_count.*?"n":"(\d+)"', text)
            bodies[re.search(r"body=%?([\w.\-]+)", text)[1]] = int(trips[1])  # type: ignore[index]
        lines[name].append(text)
    kinds = r" (all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("
    found = collections.Counter()
    for name, body in lines.items():
        for kind in re.findall(kinds, "\n".join(body)):
            found[kind] += bodies.get(name, 1)
    return found


def laid(params: Any, mesh: Any, spec: PartitionSpec) -> Any:
    return {name: NamedSharding(mesh, P(*(None,) * (x.ndim - 2), *spec)) for name, x in params.items()}


def compiled(tx: Any, params: Any, shardings: Any) -> Any:
    """Parameters after two steps, as one program with arrays where they lie, and the program of a step."""

    def step(params: Any, state: Any) -> Any:
        updates, state = tx.update(jax.tree.map(jnp.sin, params), state, params)
        return gx.apply_updates(params, updates), state

    params = jax.device_put(params, shardings)
    mesh = next(iter(shardings.values())).mesh
    state = tx.init(params)
    lie = gx.state_shardings(tx, params, shardings, mesh)
    state = jax.device_put(state, lie)
    run = jax.jit(step, out_shardings=(shardings, lie)).lower(params, state).compile(FAST)
    for _ in range(2):
        params, state = run(params, state)
    return params, state, run.as_text()


def plain(tx: Any, params: Any) -> Any:
    state = tx.init(params)
    for _ in range(2):
        updates, state = jax.jit(tx.update)(jax.tree.map(jnp.sin, params), state, params)
        params = gx.apply_updates(params, updates)
    return params, state


@functools.cache
def alone() -> Any:
    """Of the step of Muon on one device."""
    return plain(MUON, PARAMS)


def close(ours: Any, theirs: Any, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    jax.tree.map(lambda a, b: np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol, atol), ours, theirs)


@pytest.mark.parametrize("spec", [P("data", None), P(None, "data"), P()], ids=["rows", "columns", "whole"])
def test_one_collective_for_all_matrices_of_a_shape_each_way(spec: PartitionSpec) -> None:
    mesh = line()
    shardings = laid(PARAMS, mesh, spec)
    tx = gx.spread(MUON, mesh, param_shardings=shardings)
    params, state, program = compiled(tx, PARAMS, shardings)
    assert sum(collectives(program).values()) <= 8
    close((params, state), alone())


def test_leaf_by_leaf_every_product_is_a_collective() -> None:
    shardings = laid(PARAMS, line(), P("data", None))
    params, _, program = compiled(MUON, PARAMS, shardings)
    assert sum(collectives(program).values()) > 4 * len(PARAMS)
    close(params, alone()[0])


@pytest.mark.parametrize(
    ("wrap", "kind"),
    [
        (lambda tx: tx, AxisType.Auto),
        (lambda tx: tx, AxisType.Explicit),
        (lambda tx: gx.stored_as("int8", tx, min_size=0), AxisType.Explicit),
        (gx.own_clock, AxisType.Auto),
        (gx.guard, AxisType.Auto),
    ],
    ids=["plain", "explicit", "int8", "own_clock", "guard"],
)
def test_stacks_unequal_parts_and_memory(wrap: Any, kind: AxisType) -> None:
    mesh = line(kind)
    shardings = laid(MIXED, mesh, P("data", None))
    tx = gx.matrices(gx.chain(WHITEN, gx.sgd(0.1)), SPECS)
    loose = 1e-2 if "int8" in repr(wrap(tx)) else 1e-4  # sums in another order may be the next of 255 codes
    with at_hand(mesh):
        params, _, _ = compiled(wrap(gx.spread(tx, mesh, param_shardings=shardings)), MIXED, shardings)
    close(params, plain(wrap(tx), MIXED)[0], loose, loose / 10)


@pytest.mark.parametrize("spec", [P(None, "model"), P("data", "model"), P("model", "data")], ids=str)
def test_over_one_axis_of_two_and_over_both(spec: PartitionSpec, capfd: Any) -> None:
    """Axis by axis the compiler knows exchanges; of what it does not know, every device would hold all matrices."""
    mesh = plane()
    shardings = laid(PARAMS, mesh, spec)
    for axis in ("data", ("data", "model")):
        tx = gx.spread(MUON, mesh, axis, param_shardings=shardings)
        params, _, program = compiled(tx, PARAMS, shardings)
        close(params, alone()[0])
    assert collectives(program)["all-to-all"] > 0
    assert collectives(program)["all-gather"] == (3 if spec == P(None, "model") else 0)  # what "data" does not split
    assert "full rematerialization" not in capfd.readouterr().err


def test_inside_sharded() -> None:
    mesh = line()
    shardings = laid(PARAMS, mesh, P())
    tx = gx.sharded(gx.spread(MUON, mesh, param_shardings=shardings), mesh)
    close(compiled(tx, PARAMS, shardings)[0], alone()[0])


def test_without_shardings_without_a_mesh_of_more_than_one_and_without_jit() -> None:
    params = {name: PARAMS[name] for name in ("q0", "k0", "fc0")}
    theirs = plain(MUON, params)[0]
    close(compiled(gx.spread(MUON, line()), params, laid(params, line(), P("data", None)))[0], theirs)
    one = jax.make_mesh((1,), ("data",), devices=jax.devices()[:1])
    close(plain(gx.spread(MUON, one), params)[0], theirs)
    tx = gx.spread(MUON, line(), together=D * D)
    updates, _ = tx.update(params, tx.init(params), params)
    close(updates, MUON.update(params, MUON.init(params), params)[0])


def test_specs_may_be_said_inside_or_outside() -> None:
    inside = gx.spread(gx.matrices(MUON, SPECS), line())
    assert inside == gx.matrices(gx.spread(MUON, line()), SPECS)
    with pytest.raises(ValueError, match="spread is for stages that are written for matrices"):
        gx.spread(gx.matrices(gx.lamb(0.1), SPECS), line())


def test_inside_shard_map_it_is_refused() -> None:
    mesh = line()
    tx = gx.spread(gx.orthogonalize(), mesh)

    def step(g: Any) -> Any:
        return tx.update(g, ())[0]

    run = jax.shard_map(step, mesh=mesh, in_specs=P(), out_specs=P())
    with pytest.raises(ValueError, match="run it under jit, not inside shard_map"):
        jax.jit(run)({"w": jnp.ones((8, 8))})
