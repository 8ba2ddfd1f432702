"""flax's partition names, in linen's boxes and nnx's variables: found on the statistics, which are split with them."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.training.train_state import TrainState
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import gradxform as gx
from tests.strategies.meshes import at_hand

P = PartitionSpec
INIT = nnx.initializers.lecun_normal()
X = np.random.default_rng(0).normal(size=(4, 8)).astype(np.float32)


class Net(nnx.Module):
    """Both kernels are split over the devices, biases are whole."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.a = nnx.Linear(8, 16, kernel_init=nnx.with_partitioning(INIT, (None, "d")), rngs=rngs)
        self.b = nnx.Linear(16, 8, kernel_init=nnx.with_partitioning(INIT, ("d", None)), rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return self.b(jnp.tanh(self.a(x)))


class LinenNet(linen.Module):
    """The same, with the second kernel's names logical ones, and a norm that has none."""

    @linen.compact
    def __call__(self, x: Any) -> Any:
        x = linen.Dense(16, name="a", kernel_init=linen.with_partitioning(INIT, (None, "d")))(x)
        x = linen.LayerNorm(name="norm")(jnp.tanh(x))
        return linen.Dense(8, name="b", kernel_init=linen.with_logical_partitioning(INIT, ("wide", None)))(x)


SPECS = {"a": P(None, "d"), "b": P("d", None)}
MAKERS: dict[str, tuple[Any, int]] = {
    "adam": (lambda: gx.adam(0.01), 2),
    "clipped adamw": (lambda: gx.chain(gx.clip_by_global_norm(1.0), gx.adamw(0.01, mask=gx.weights_only)), 2),
    "momentum": (lambda: gx.chain(gx.freeze(gx.named("bias")), gx.momentum(0.1)), 1),
    "averaged lion": (lambda: gx.chain(gx.lion(0.01, mu_dtype=jnp.bfloat16), gx.ema_of_params(0.9)), 2),
    "accumulated adam": (lambda: gx.accumulate(gx.adam(0.01), 2), 3),
    "adam in bfloat16": (lambda: gx.stored_as("bfloat16", gx.adam(0.01), min_size=0), 2),
    "groups": (lambda: gx.groups([("a/", gx.adam(0.01))], default=gx.adam(0.02)), 2),
    "optax": (lambda: optax.adam(0.01), 2),
}
"""With how many statistics each keeps of a kernel."""

makers = pytest.mark.parametrize("name", MAKERS)


@functools.cache
def devices() -> Any:
    return jax.make_mesh((8,), ("d",), axis_types=(AxisType.Auto,))


def kernels(state: Any) -> list[tuple[str, Any]]:
    """What a flat state has of kernels, with the name of the layer."""
    return [("a" if "a" in path else "b", x) for path, x in state if "kernel" in path and x is not None]


@makers
def test_nnx_finds_the_specs_of_parameters_on_their_statistics(name: str) -> None:
    make, count = MAKERS[name]
    with at_hand(devices()):
        state = nnx.state(nnx.Optimizer(Net(nnx.Rngs(0)), make(), wrt=nnx.Param))
    found = kernels(nnx.to_flat_state(nnx.get_partition_spec(state)))
    assert len(found) == 2 * count
    assert all(spec.get_value() == SPECS[layer] for layer, spec in found)


@makers
def test_after_nnxs_sharded_init_no_device_holds_a_whole_statistic(name: str) -> None:
    """The recipe of flax's guide "Scale up on multiple devices"."""
    make, count = MAKERS[name]

    @nnx.jit
    def create() -> tuple[Net, nnx.Optimizer]:
        net = Net(nnx.Rngs(0))
        optimizer = nnx.Optimizer(net, make(), wrt=nnx.Param)
        for node in (net, optimizer):
            state = nnx.state(node)
            nnx.update(node, jax.lax.with_sharding_constraint(state, nnx.get_partition_spec(state)))
        return net, optimizer

    @nnx.jit
    def step(net: Net, optimizer: nnx.Optimizer) -> None:
        optimizer.update(net, nnx.grad(lambda net: (net(X) ** 2).mean())(net))

    with at_hand(devices()):
        net, optimizer = create()
        before = nnx.graphdef(optimizer), jax.tree.structure(nnx.state(optimizer))
        for _ in range(2):
            found = kernels(nnx.to_flat_state(nnx.state(optimizer)))
            assert len(found) == 2 * count
            for _, x in found:
                assert x[...].addressable_shards[0].data.size * 8 == x[...].size
            step(net, optimizer)
    assert (nnx.graphdef(optimizer), jax.tree.structure(nnx.state(optimizer))) == before


@makers
def test_linen_finds_the_specs_of_parameters_on_their_statistics(name: str) -> None:
    """Names that are logical too; after `logical_to_mesh_sharding` and a step each device holds its part."""
    make, count = MAKERS[name]
    net = LinenNet()

    def create() -> TrainState:
        return TrainState.create(apply_fn=net.apply, params=net.init(jax.random.key(0), X)["params"], tx=make())

    names = linen.get_partition_spec(jax.eval_shape(create))
    shardings = linen.logical_to_mesh_sharding(names, devices(), [("wide", "d"), ("d", "d")])

    @functools.partial(jax.jit, out_shardings=shardings)
    def step(state: TrainState) -> TrainState:
        grads = jax.grad(lambda p: (net.apply({"params": p}, X) ** 2).mean())(state.params)
        return state.apply_gradients(grads=grads)

    state = jax.jit(create, out_shardings=shardings)()
    after = step(step(state))
    assert jax.tree.structure(after) == jax.tree.structure(state)
    flat = jax.tree_util.tree_leaves_with_path(after.opt_state)
    found = [(jax.tree_util.keystr(path), x) for path, x in flat if "'kernel'" in jax.tree_util.keystr(path)]
    assert len(found) == 2 * count
    for path, x in found:
        assert x.sharding.is_equivalent_to(NamedSharding(devices(), SPECS["a" if "'a'" in path else "b"]), 2), path


class Sums(NamedTuple):
    rows: Any
    whole: Any


class SumOfRows(gx.Rule):
    def init(self, p: Any) -> Sums:
        return Sums(jnp.zeros(p.shape[:1]), jnp.zeros_like(p))

    def update(self, g: Any, s: Sums, p: Any, k: Any) -> tuple[Any, Sums]:
        return g, Sums(s.rows + g.sum(range(1, g.ndim)), s.whole + g)


def test_statistics_of_another_shape_carry_no_names() -> None:
    with at_hand(devices()):
        optimizer = nnx.Optimizer(Net(nnx.Rngs(0)), gx.lift(SumOfRows()), wrt=nnx.Param)
    found = dict(nnx.to_flat_state(nnx.get_partition_spec(nnx.state(optimizer))))
    place = ("opt_state", "leaves", "a", "kernel", "sum_of_rows")
    assert found[*place, "whole"].get_value() == SPECS["a"]
    assert found[*place, "rows"].get_value() == P()


def ghost() -> Any:
    """Shapes alone, split over the devices by their type."""
    split = functools.partial(INIT, out_sharding=P(None, "d"))
    return jax.eval_shape(lambda: nnx.Linear(8, 16, kernel_init=split, rngs=nnx.Rngs(0)))


GHOSTS = {
    "adam": lambda library: library.adam(0.01),
    "adagrad": lambda library: library.adagrad(0.01, initial_accumulator_value=0.5),
    "clipped momentum": lambda library: library.chain(library.clip_by_global_norm(1.0), library.sgd(0.1, 0.9)),
}


@pytest.mark.parametrize("name", GHOSTS)
def test_an_optimizer_of_an_abstract_model_trains_another_model(name: str) -> None:
    """flax's cookbook, "Sharding optimization state differently from parameters": as with optax, to 2e-5."""
    mesh = jax.make_mesh((8,), ("d",), axis_types=(AxisType.Explicit,))

    @nnx.jit
    def step(net: nnx.Linear, optimizer: nnx.Optimizer) -> None:
        optimizer.update(net, nnx.grad(lambda net: (net(X) ** 2).mean())(net))

    ends = []
    with at_hand(mesh):
        for library in (gx, optax):
            optimizer = nnx.Optimizer(ghost(), GHOSTS[name](library), wrt=nnx.Param)
            net = nnx.Linear(8, 16, rngs=nnx.Rngs(0))
            for _ in range(3):
                step(net, optimizer)
                whole = jax.tree.map(lambda x: jax.sharding.reshard(x, P()), nnx.state(net))
                nnx.update(net, whole)
            statistics = kernels(nnx.to_flat_state(nnx.state(optimizer)))
            assert statistics
            assert all(jax.typeof(x[...]).sharding.spec == P(None, "d") for _, x in statistics)
            ends.append(nnx.to_pure_dict(nnx.state(net)))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-6), *ends)


@pytest.mark.parametrize(
    "make", [lambda: gx.chain(gx.sgd(0.1), gx.ema_of_params(0.9)), lambda: gx.schedule_free_sgd(gx.tunable(0.1))]
)
def test_a_state_that_begins_at_the_parameters_is_refused_where_they_are_shapes(make: Any) -> None:
    with pytest.raises(ValueError, match=r"begins at values of parameters at .*bias.*these are shapes alone"):
        nnx.Optimizer(jax.eval_shape(lambda: nnx.Linear(8, 16, rngs=nnx.Rngs(0))), make(), wrt=nnx.Param)


def test_shapes_stay_shapes_where_nothing_is_set_in_place() -> None:
    """linen's boxes of shapes give boxes of shapes; a model of shapes can be explained, and nothing is allocated."""
    params = jax.eval_shape(LinenNet().init, jax.random.key(0), X)["params"]
    state = gx.adam(0.1).init(params)
    assert {type(x) for x in jax.tree.leaves(state)} == {jax.ShapeDtypeStruct}
    assert state.leaves["a"]["kernel"]["adam"].mu.names == (None, "d")
    huge = nnx.state(jax.eval_shape(lambda: nnx.Linear(2**20, 2**20, rngs=nnx.Rngs(0))), nnx.Param)
    assert gx.explain(gx.adam(0.1), huge).state_bytes == 4 + 2 * 4 * (2**40 + 2**20)
