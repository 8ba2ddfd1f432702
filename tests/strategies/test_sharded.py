"""`sharded`: each device has its part of the state alone, and the step is the one of whole state."""

from __future__ import annotations

import inspect
import re
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
from jax.sharding import AxisType, NamedSharding

import gradxform as gx
from gradxform.core.walk import MANY
from tests.compiler import FAST
from tests.devices.layout import P, assert_same, walk
from tests.strategies.meshes import SPECS, assert_lies, at_hand, bytes_here, line, numbers, plane, put

"""All but 7 numbers of 14,471 divide by 8."""
kinds = pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=["auto", "explicit"])


GATHERS = "to" in inspect.signature(jax.lax.all_gather).parameters


def stacked(specs: Any) -> Any:
    return jax.tree.map(lambda s: P(None, *s), specs)


def gathers(program: str) -> list[int]:
    """The number of elements that each all-gather of a compiled program makes."""
    shapes = re.findall(r"= \(?\w+\[([\d,]*)\][^=]* all-gather(?:-start)?\(", program)
    return [int(np.prod([int(n) for n in shape.split(",")])) for shape in shapes]


TRANSFORMATIONS = {
    "clipped": gx.chain(gx.clip_by_global_norm(0.7), gx.adamw(0.1)),
    "prodigy": gx.prodigy(estim_lr0=1e-2),
    "mechanized": gx.mechanize(gx.sgd(0.1), s_init=0.1),
    "lamb": gx.lamb(0.1),
    "groups": gx.groups([(gx.named("bias"), gx.momentum(0.1))], default=gx.adam(gx.tunable(0.1))),
    "codes": gx.stored_as("bfloat16", gx.adam(0.1), min_size=0),
    "average": gx.chain(gx.sgd(0.1), gx.ema_of_params(0.9)),
    "measured": gx.measure(gx.adam(0.1), grad_norm=True),
    "optax": gx.chain(optax.adam(0.1)),
}


EVERY = [(name, AxisType.Auto) for name in TRANSFORMATIONS]
SOME = [(name, AxisType.Explicit) for name in ("clipped", "groups", "codes", "average", "optax")]


@pytest.mark.parametrize(("name", "kind"), EVERY + SOME, ids=lambda x: str(x).lower())
def test_the_walk_is_that_of_whole_state(name: str, kind: AxisType) -> None:
    tx, mesh = TRANSFORMATIONS[name], line(kind)
    sharded = gx.sharded(tx, mesh)
    with at_hand(mesh):
        params, grads = put(numbers(0), mesh), put(numbers(1, 3), mesh)
        state = jax.jit(sharded.init)(params)
        after, state = jax.jit(lambda p, s, g: walk(sharded, p, s, g))(params, state, grads)
        assert_lies(state, gx.state_shardings(sharded, params, P()))
        found = gx.eval_params(sharded, state, after)
        assert_lies(after, jax.tree.map(lambda x: x.sharding, params))
    expected, whole = jax.jit(lambda p, g: walk(gx.chain(tx), p, gx.chain(tx).init(p), g))(numbers(0), numbers(1, 3))
    assert_same((after, state), (expected, whole), narrow=name == "codes")
    assert_same(found, gx.eval_params(gx.chain(tx), whole, expected))


@kinds
@pytest.mark.parametrize("told", [True, False])
def test_parameters_that_lie_over_another_axis(kind: AxisType, told: bool) -> None:
    """State is split over both axes; parameters and updates stay as they are."""
    mesh, whole = plane(kind), numbers(0)
    tx = gx.sharded(gx.adamw(0.1), mesh, param_shardings=SPECS if told else None)
    with at_hand(mesh):
        params, grads = put(whole, mesh, SPECS), put(numbers(1, 3), mesh, stacked(SPECS))
        state = jax.jit(tx.init)(params)
        after, state = jax.jit(lambda p, s, g: walk(tx, p, s, g))(params, state, grads)
    assert_lies(after, jax.tree.map(lambda x: x.sharding, params))
    if told or kind == AxisType.Explicit:
        mu = gx.view(state, "mu")
        assert mu["embed"].sharding.spec == P("model", "data")
        assert mu["dense"]["kernel"].sharding.spec == P("data", "model")
        assert mu["dense"]["bias"].sharding.is_equivalent_to(NamedSharding(mesh, P("model")), 1)
        assert_lies(state, gx.state_shardings(tx, params, SPECS))
    plain = gx.adamw(0.1)
    assert_same((after, state), jax.jit(lambda p, g: walk(plain, p, plain.init(p), g))(whole, numbers(1, 3)))


@pytest.mark.parametrize("by_hand", [False, True])
def test_an_extra_tree_is_split_as_gradients_are(by_hand: bool) -> None:
    """Inside `shard_map` each device may have an estimate of its own; their mean counts."""
    mesh, plain = line(), gx.scale_by_sophia(update_interval=1)
    tx = gx.sharded(plain, mesh)
    params, grads, hessian = numbers(0), numbers(1), jax.tree.map(jnp.abs, numbers(2))

    def step(p: Any, g: Any, h: Any) -> Any:
        if by_hand:
            h = jax.tree.map(lambda x: x * jax.lax.axis_index("data") / 3.5, h)
        return tx.update(g, tx.init(p), p, hessian=h)[0]

    run = jax.shard_map(step, mesh=mesh, in_specs=P(), out_specs=P(), check_vma=False) if by_hand else step
    expected = plain.update(grads, plain.init(params), params, hessian=hessian)[0]
    assert_same(jax.jit(run)(params, grads, hessian), expected)


def test_a_layout_that_would_be_lost_is_asked_for() -> None:
    mesh = plane()
    with pytest.raises(ValueError, match=r"sharded sees 'dense/bias' laid out as .*model.*give param_shardings"):
        gx.sharded(gx.adam(0.1), mesh).init(put(numbers(0), mesh, SPECS))


@kinds
def test_bytes_and_gathers_of_a_step(kind: AxisType) -> None:
    """An eighth of the state on each device, with 2 % for what does not divide; only updates are gathered."""
    mesh, whole = line(kind), numbers(0)
    tx, plain = gx.sharded(gx.adamw(0.1), mesh), gx.adamw(0.1)
    replicated = sum(x.nbytes for x in jax.tree.leaves(plain.init(whole)))
    with at_hand(mesh):
        params = put(whole, mesh)
        for state in (jax.jit(tx.init)(params), tx.init(params)):
            assert_lies(state.leaves, gx.state_shardings(tx, params, P()).leaves)
            assert bytes_here(state) <= (1 / 8 + 0.02) * replicated
        compiled = gx.make_step(tx).lower(params, state, params).compile(FAST)
        lies = jax.tree.map(lambda x: x.sharding, (params, state))
        after = gx.make_step(tx)(params, state, put(numbers(1), mesh))
    assert_lies(after, lies)
    assert sorted(gathers(compiled.as_text())) == [128, 6144, 8192]
    memory = compiled.memory_analysis()
    assert memory.temp_size_in_bytes <= 2 * sum(x.nbytes for x in jax.tree.leaves(whole))


GATHERED = {
    "plain": lambda tx: tx,
    "guard": gx.guard,
    "accumulate": lambda tx: gx.accumulate(tx, every=2),
    "loss scale": gx.dynamic_loss_scale,
    "groups": lambda tx: gx.groups([("bias", gx.sgd(0.1))], default=tx),
}


@pytest.mark.parametrize("name", GATHERED)
def test_new_parameters_are_gathered_in_their_dtype_and_no_update(name: str) -> None:
    """Where `apply_updates` follows; another library's finds the update gathered, in float32."""
    tx = GATHERED[name](gx.sharded(gx.adamw(0.1), line()))
    params = put(jax.tree.map(lambda x: x.astype(jnp.bfloat16), numbers(0)), line())

    def made(apply: Any) -> Any:
        def step(params: Any, state: Any, grads: Any) -> Any:
            updates, state = tx.update(grads, state, params)
            return apply(params, updates)["embed"], state

        args = params, tx.init(params), params
        last = next(e for e in jax.make_jaxpr(step)(*args).eqns[::-1] if e.outvars[0].aval.shape == (96, 64))
        after, _ = jax.jit(step)(*args)
        assert_lies(after, params["embed"].sharding)
        return after, (last.primitive.name, last.invars[0].aval.dtype)

    (ours, gathered), (theirs, added) = made(gx.apply_updates), made(optax.apply_updates)
    assert gathered == ("sharding_constraint", jnp.bfloat16)
    assert added != gathered
    np.testing.assert_array_equal(ours, theirs)


ELEMENTWISE = {
    "adamw": gx.adamw(0.1),
    "lion": gx.lion(0.1),
    "average": gx.chain(gx.adamw(0.1), gx.ema_of_params(0.9)),
    "schedule-free": gx.schedule_free_adamw(0.1),
    "master": gx.master_weights(gx.adamw(0.1)),
}


@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_parts_of_elementwise_steps_are_exact(name: str, dtype: Any) -> None:
    """Norms are sums in another order; what looks at one element has the bits that it has alone."""
    steps = [jax.tree.map(lambda x: x.astype(dtype), numbers(t)) for t in range(4)]

    def walked(tx: Any, place: Any) -> Any:
        step, params, *grads = gx.make_step(tx), *map(place, steps)
        state = tx.init(params)
        for g in grads:
            params, state = step(params, state, g)
        return params

    parts = walked(gx.sharded(ELEMENTWISE[name], line()), partial(put, mesh=line()))
    jax.tree.map(np.testing.assert_array_equal, parts, walked(ELEMENTWISE[name], partial(jax.tree.map, jnp.asarray)))


def test_norms_of_updates_gather_none() -> None:
    mesh, whole = line(), numbers(0)
    tx, plain = (gx.measure(x, update_norm=True) for x in (gx.sharded(gx.adamw(0.1), mesh), gx.adamw(0.1)))
    params, grads = put(whole, mesh), put(numbers(1), mesh)
    step = gx.make_step(tx, donate=False)
    assert sorted(gathers(step.lower(params, tx.init(params), grads).compile(FAST).as_text())) == [128, 6144, 8192]
    found, expected = (step(*args)[1].metrics for step, args in (
        (step, (params, tx.init(params), grads)),
        (gx.make_step(plain, donate=False), (whole, plain.init(whole), numbers(1))),
    ))  # fmt: skip
    assert_same(found, expected)


@pytest.mark.parametrize("apply", [gx.apply_updates, optax.apply_updates], ids=["ours", "optax"])
def test_parameters_stay_whole_in_loops(apply: Any) -> None:
    """Each device has use for all of them in the next step: what it adds to is cut from the whole."""
    mesh = line()
    tx, params = gx.sharded(gx.adamw(0.1), mesh), put(numbers(0), mesh)

    def step(carry: Any, g: Any) -> Any:
        updates, state = tx.update(g, carry[1], carry[0])
        return (apply(carry[0], updates), state), None

    run = jax.jit(lambda p, s, g: jax.lax.scan(step, (p, s), g)[0])
    compiled = run.lower(params, jax.jit(tx.init)(params), put(numbers(1, 3), mesh)).compile(FAST)
    assert all(x.is_fully_replicated for x in jax.tree.leaves(compiled.output_shardings[0]))
    assert sorted(gathers(compiled.as_text())) == [128, 6144, 8192]


def test_many_leaves_that_another_axis_splits() -> None:
    """So many that they share a function of the program, where a device does not know which one it is."""
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    lies = {f"w{i}": NamedSharding(mesh, P(None, "model")) for i in range(MANY + 2)}
    params = jax.device_put({name: jnp.full((8, 4), 1.0 + i) for i, name in enumerate(lies)}, lies)
    tx = gx.sharded(gx.adamw(0.1), mesh, param_shardings=lies)
    where = gx.state_shardings(tx, params, lies)

    def step(tx: Any, params: Any) -> Any:
        updates, state = tx.update(params, tx.init(params), params)
        return gx.apply_updates(params, updates), state

    after, state = jax.jit(partial(step, tx), out_shardings=(lies, where), compiler_options=FAST)(params)
    assert gx.view(state, "mu")["w3"].sharding.shard_shape((8, 4)) == (2, 2)
    assert_same(after, jax.jit(partial(step, gx.adamw(0.1)), compiler_options=FAST)(params)[0])


def test_other_parameters_than_those_of_the_update() -> None:
    """The update is added to what it is added to, elementwise in any dtype; outside of a trace too."""
    mesh, fast, slow = line(), numbers(0), numbers(2)
    tx, plain = gx.sharded(gx.adamw(0.1), mesh), gx.adamw(0.1)

    def step(tx: Any, fast: Any, slow: Any, grads: Any) -> Any:
        updates, _ = tx.update(grads, tx.init(fast), fast)
        return gx.apply_updates(slow, updates), updates

    found = jax.jit(partial(step, tx))(*(put(x, mesh) for x in (fast, slow, numbers(1))))
    assert_same(found, jax.jit(partial(step, plain))(fast, slow, numbers(1)))
    assert_same(step(tx, *(put(x, mesh) for x in (fast, slow, numbers(1)))), found)


@kinds
def test_no_device_ever_holds_the_whole_state(kind: AxisType) -> None:
    """The program of `init` makes parts, and nothing else: results of an eighth, and no temporaries."""
    mesh, whole = line(kind), numbers(0)
    tx = gx.sharded(gx.adamw(0.1), mesh)
    with at_hand(mesh):
        params = put(whole, mesh)
        program = jax.jit(tx.init).lower(params).compile(FAST)
    memory, replicated = program.memory_analysis(), 2 * sum(x.nbytes for x in jax.tree.leaves(whole))
    assert memory.output_size_in_bytes <= (1 / 8 + 0.02) * replicated
    assert memory.temp_size_in_bytes <= 0.02 * replicated
    assert not re.search(r"f32\[(96,64|64,128)\]\S* (broadcast|all-gather)", program.as_text())


def device_walk(tx: Any, mesh: Any, grads_spec: Any, **kwargs: Any) -> Any:
    specs = jax.tree.map(lambda s: s.spec, gx.state_shardings(tx, numbers(0), P(), mesh, "data"))

    def device(params: Any, grads: Any) -> Any:
        grads = jax.tree.map(lambda g: g[0], grads) if grads_spec != P() else grads
        return walk(tx, params, tx.init(params), grads)

    return jax.shard_map(device, mesh=mesh, in_specs=(P(), grads_spec), out_specs=(P(), specs), **kwargs)


@pytest.mark.parametrize("check", [True, False], ids=["checked", "unchecked"])
@pytest.mark.parametrize("own", [True, False], ids=["own gradients", "averaged"])
def test_shard_map(own: bool, check: bool) -> None:
    """Multiples of one gradient whose mean is exactly the whole, or the whole itself on every device."""
    mesh, tx, plain = line(), gx.sharded(gx.adamw(0.1), line()), gx.adamw(0.1)
    grads = numbers(1, 3)
    weights = np.array([0.5, 1.5, 0.25, 1.75, 1.0, 1.0, 2.0, 0.0], np.float32)
    seen = jax.tree.map(lambda g: weights.reshape(8, *(1,) * g.ndim) * g, grads) if own else grads
    run = jax.jit(device_walk(tx, mesh, P("data") if own else P(), check_vma=check))
    after, state = run(numbers(0), seen)
    assert bytes_here(state) <= (1 / 8 + 0.02) * sum(x.nbytes for x in jax.tree.leaves(state))
    assert_same((after, state), jax.jit(lambda p, g: walk(plain, p, plain.init(p), g))(numbers(0), grads))


def test_shard_map_gathers_updates_alone() -> None:
    tx, mesh = gx.sharded(gx.adamw(0.1), line()), line()
    specs = jax.tree.map(lambda s: s.spec, gx.state_shardings(tx, numbers(0), P()))
    run = jax.shard_map(
        lambda g, s, p: tx.update(g, s, p), mesh=mesh, in_specs=(P(), specs, P()), out_specs=(P(), specs)
    )
    state = jax.eval_shape(tx.init, numbers(0))
    program = jax.jit(run).lower(numbers(1), state, numbers(0)).compile(FAST).as_text()
    # Older JAX has no gather whose result is known to be the same everywhere: a sum stands for it.
    assert sorted(gathers(program)) == ([128, 6144, 8192] if GATHERS else [])


@pytest.mark.parametrize(
    ("tx", "stage"), [(gx.lamb(0.1), "trust_ratio"), (gx.clip_by_global_norm(1.0), "clip_by_global_norm")]
)
@pytest.mark.parametrize("check", [True, False], ids=["checked", "unchecked"])
def test_what_looks_farther_is_refused_inside_shard_map(tx: Any, stage: str, check: bool) -> None:
    words = rf"sharded cannot split 'dense/bias' inside shard_map: {stage} looks at .*run it under jit, or leave"
    with pytest.raises(ValueError, match=words):
        jax.eval_shape(device_walk(gx.sharded(tx, line()), line(), P(), check_vma=check), numbers(0), numbers(1, 3))


def test_a_norm_before_it() -> None:
    tx = gx.chain(gx.clip_by_global_norm(0.7), gx.sharded(gx.adamw(0.1), line()))
    after, _ = jax.jit(device_walk(tx, line(), P()))(numbers(0), numbers(1, 3))
    plain = gx.chain(gx.clip_by_global_norm(0.7), gx.adamw(0.1))
    assert_same(after, jax.jit(lambda p, g: walk(plain, p, plain.init(p), g)[0])(numbers(0), numbers(1, 3)))


def test_sparse_rows() -> None:
    """Under `jit` they stay rows; by hand a part of the table would need a part of the rows."""
    mesh, tx, plain = line(), gx.sharded(gx.lazy(gx.adam(0.1)), line()), gx.lazy(gx.adam(0.1))
    table = np.ones((64, 3), np.float32)
    rows = gx.Rows(np.array([3, 7, 3]), np.ones((3, 3), np.float32), table.shape)
    updates, state = jax.jit(tx.update)(put(rows, mesh), jax.jit(tx.init)(put(table, mesh)), put(table, mesh))
    assert isinstance(updates, gx.Rows)
    assert_lies(state, gx.state_shardings(tx, table, P()))
    assert_same((updates, state), plain.update(rows, plain.init(table), table))
    specs = jax.tree.map(lambda s: s.spec, gx.state_shardings(tx, table, P()))
    run = jax.shard_map(tx.update, mesh=mesh, in_specs=(P(), specs, P()), out_specs=(P(), specs))
    with pytest.raises(ValueError, match=r"sharded takes dense gradients inside shard_map, and '' has Rows"):
        jax.eval_shape(run, rows, jax.eval_shape(tx.init, table), table)


def test_rows_of_a_table_that_devices_share_by_type() -> None:
    mesh, plain = line(AxisType.Explicit), gx.lazy(gx.adam(0.1))
    table = np.ones((64, 3), np.float32)
    rows = gx.Rows(np.array([3, 7, 3]), np.ones((3, 3), np.float32), table.shape)
    tx = gx.sharded(plain, mesh)
    with at_hand(mesh):
        updates, state = jax.jit(tx.update)(put(rows, mesh), jax.jit(tx.init)(put(table, mesh)), put(table, mesh))
    assert gx.view(state, "mu").sharding.spec[0] == "data"
    assert_same((updates, state), plain.update(rows, plain.init(table), table))


def test_parameters_that_are_parts_already() -> None:
    """Inside `shard_map`, split over the same axis: told so they stay as they are, otherwise it is asked."""
    mesh, specs = line(), {"w": P("data")}
    params, grads = ({"w": x} for x in np.random.default_rng(0).normal(size=(2, 64, 8)).astype(np.float32))

    def run(tx: Any) -> Any:
        def device(p: Any, g: Any) -> Any:
            return tx.update(g, tx.init(p), p)[0]

        return jax.shard_map(device, mesh=mesh, in_specs=(specs, specs), out_specs=specs)

    with pytest.raises(ValueError, match="cannot split 'w', which is split over 'data' already; give param_shardings"):
        jax.eval_shape(run(gx.sharded(gx.adam(0.1), mesh)), params, grads)
    found = jax.jit(run(gx.sharded(gx.adam(0.1), mesh, param_shardings=specs)))(params, grads)
    assert_same(found, gx.adam(0.1).update(grads, gx.adam(0.1).init(params))[0])


def test_orbax_takes_it_to_another_number_of_devices(tmp_path: Any) -> None:
    """Saved from eight devices, restored to two in their layout, and the walk goes on as one."""
    mesh, few = line(), jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    tx, plain = gx.sharded(gx.adamw(0.1), mesh), gx.adamw(0.1)
    grads = numbers(1, 4)
    half = [jax.tree.map(lambda g, part=part: g[part], grads) for part in (slice(2), slice(2, 4))]
    first = jax.jit(lambda p, g: walk(tx, p, tx.init(p), g))(put(numbers(0), mesh), put(half[0], mesh))
    again = gx.sharded(gx.adamw(0.1), few)
    lies = (NamedSharding(few, P()), gx.state_shardings(again, numbers(0), P()))
    lies = (jax.tree.map(lambda x: lies[0], numbers(0)), lies[1])
    wanted = jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), first, lies)
    with ocp.StandardCheckpointer() as checkpoints:
        checkpoints.save(tmp_path / "saved", first)
        checkpoints.wait_until_finished()
        held = checkpoints.restore(tmp_path / "saved", wanted)
    assert_lies(held, lies)
    found = jax.jit(lambda p, s, g: walk(again, p, s, g))(*held, put(half[1], few))
    assert_same(found, jax.jit(lambda p, g: walk(plain, p, plain.init(p), g))(numbers(0), grads))


def test_strategies_outside_and_inside() -> None:
    mesh = line()
    grads = numbers(1, 3)
    makes = {
        "packed": lambda tx: gx.packed(gx.sharded(tx, mesh), max_size=200),
        "codes inside": lambda tx: gx.sharded(gx.stored_as("int8", tx, min_size=0), mesh),
        "codes outside": lambda tx: gx.stored_as("int8", gx.sharded(tx, mesh), min_size=0),
        "accumulated": lambda tx: gx.sharded(gx.accumulate(tx, every=2), mesh),
    }
    if jax.jit(lambda: jax.device_put(1.0, jax.memory.Space.Host))().sharding.memory_kind == "pinned_host":
        makes["host"] = lambda tx: gx.sharded(gx.offloaded(tx), mesh)
    for name, make in makes.items():
        tx = make(gx.adam(0.1))
        shapes, lies = jax.eval_shape(tx.init, numbers(0)), gx.state_shardings(tx, numbers(0), P(), mesh)
        assert jax.tree.structure(shapes) == jax.tree.structure(lies)
        state = jax.jit(tx.init, out_shardings=lies)(put(numbers(0), mesh))
        assert_lies(jax.jit(tx.init)(put(numbers(0), mesh)), lies)
        after = jax.jit(lambda p, s, g, tx=tx: walk(tx, p, s, g))(put(numbers(0), mesh), state, put(grads, mesh))
        assert_lies(after[1], lies)
        if name not in ("codes inside", "codes outside"):
            plain = gx.accumulate(gx.adam(0.1), every=2) if name == "accumulated" else gx.adam(0.1)
            assert_same(after[0], jax.jit(lambda p, g, tx=plain: walk(tx, p, tx.init(p), g)[0])(numbers(0), grads))
    with pytest.raises(ValueError, match=r"write packed\(sharded\(\.\.\.\)\)"):
        gx.sharded(gx.packed(gx.adam(0.1)), mesh)
    with pytest.raises(ValueError, match="is sharded already"):
        gx.sharded(gx.sharded(gx.adam(0.1), mesh), mesh)


def test_bad_arguments() -> None:
    mesh, params = line(), numbers(0)
    with pytest.raises(TypeError, match=r"mesh must be a jax.sharding.Mesh, got 'data'"):
        gx.sharded(gx.adam(0.1), "data")
    with pytest.raises(ValueError, match=r"axis must be of the mesh, which has data; got 'model'"):
        gx.sharded(gx.adam(0.1), mesh, "model")
    words = "param_shardings has no layout for any parameter; the paths are: dense/bias"
    with pytest.raises(ValueError, match=words):
        gx.sharded(gx.adam(0.1), mesh, param_shardings={}).init(params)
    with pytest.raises(ValueError, match=words):
        gx.state_shardings(gx.adam(0.1), params, {}, mesh)
    gx.sharded(gx.adam(0.1), mesh, param_shardings={}).init({})
    with pytest.raises(ValueError, match="state_shardings needs a mesh"):
        gx.state_shardings(gx.adam(0.1), params, P())
    with pytest.raises(ValueError, match=r"axis must be of the mesh"):
        gx.state_shardings(gx.adam(0.1), params, P(), mesh, "model")
    with pytest.raises(
        TypeError, match="param_shardings must hold NamedSharding or PartitionSpec, got 3 of type int at 'embed'"
    ):
        gx.state_shardings(gx.adam(0.1), params, {"embed": 3}, mesh)
    with pytest.raises(ValueError, match=r"is no layout for the parameter 'dense/bias' of shape \(128,\)"):
        gx.state_shardings(gx.adam(0.1), params, P(None, "data"), mesh)
    stray = {"embed": P(), "dense": {"kernal": P(None, "data")}}
    words = "param_shardings has a layout at 'dense/kernal', where no parameter is; the paths are: dense/bias"
    with pytest.raises(ValueError, match=words):
        gx.state_shardings(gx.adam(0.1), params, stray, mesh)
    with pytest.raises(ValueError, match=words):
        gx.sharded(gx.adam(0.1), mesh, param_shardings=stray).init(params)
    with pytest.raises(TypeError, match="tx must be a gradient transformation"):
        gx.state_shardings(3, params, P(), mesh)


def test_it_is_a_value() -> None:
    tx = gx.sharded(gx.adam(0.1), line())
    assert tx == gx.sharded(gx.adam(0.1), line()) != gx.sharded(gx.adam(0.1), plane())
    assert hash(tx) == hash(gx.sharded(gx.adam(0.1), line()))
    assert repr(tx).startswith("sharded(chain(")
    assert repr(tx).endswith("), mesh(data=8), 'data')")
