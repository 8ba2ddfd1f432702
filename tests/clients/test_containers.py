"""Every container that people keep parameters in: the same names at `init` and at `update`, the same steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import flax.core
import flax.linen as linen
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradxform as gx


class Case(NamedTuple):
    """Parameters as `init` gets them and as `update` gets them, and the paths of their leaves in order."""

    at_init: Any
    at_update: Any
    paths: list[str]


class Layer(NamedTuple):
    kernel: Any
    bias: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Registered:
    kernel: Any
    bias: Any
    width: int = dataclasses.field(default=2, metadata={"static": True})


@flax.struct.dataclass
class Struct:
    kernel: Any
    bias: Any


class LinenNet(linen.Module):
    @linen.compact
    def __call__(self, x: Any) -> Any:
        return linen.Dense(2, name="out")(linen.LayerNorm()(linen.Dense(4)(x)))


class NnxNet(nnx.Module):
    def __init__(self) -> None:
        layers = [nnx.Linear(3, 4, rngs=nnx.Rngs(0)), nnx.Linear(4, 2, rngs=nnx.Rngs(1))]
        self.layers = getattr(nnx, "List", list)(layers)
        self.norm = nnx.LayerNorm(4, rngs=nnx.Rngs(2))
        self.calls = nnx.Variable(jnp.zeros((), jnp.int32))


class EqxNet(eqx.Module):
    layers: list[Any]
    scale: Any
    name: str = eqx.field(static=True)

    def __init__(self) -> None:
        keys = jax.random.split(jax.random.key(0))
        self.layers = [eqx.nn.Linear(3, 4, key=keys[0]), jnp.tanh, eqx.nn.Linear(4, 2, use_bias=False, key=keys[1])]
        self.scale, self.name = jnp.array(0.5), "net"


def kernel() -> Any:
    return jnp.asarray(np.linspace(-1, 1, 6).reshape(3, 2), jnp.float32)


def bias() -> Any:
    return jnp.array([0.5, -0.25])


def same(tree: Any, *paths: str) -> Case:
    return Case(tree, tree, list(paths))


def pure(tree: Any) -> Any:
    """The arrays that nnx's variables hold, in their place."""
    return jax.tree.map(lambda x: x[...], tree, is_leaf=lambda x: isinstance(x, nnx.Variable))


def linen_case() -> Case:
    params = LinenNet().init(jax.random.key(0), jnp.ones((1, 3)))
    names = ("Dense_0/bias", "Dense_0/kernel", "LayerNorm_0/bias", "LayerNorm_0/scale", "out/bias", "out/kernel")
    return same(params, *(f"params/{name}" for name in names))


def nnx_case() -> Case:
    params = nnx.state(NnxNet(), nnx.Param)
    names = ["layers/0/bias", "layers/0/kernel", "layers/1/bias", "layers/1/kernel", "norm/bias", "norm/scale"]
    return Case(params, pure(params), names)


def equinox_case() -> Case:
    params = eqx.filter(EqxNet(), eqx.is_inexact_array)
    return same(params, "layers/0/weight", "layers/0/bias", "layers/2/weight", "scale")


CASES: dict[str, Callable[[], Case]] = {
    "dict": lambda: same({"b": {"kernel": kernel()}, "a": {"bias": bias()}}, "a/bias", "b/kernel"),
    "dict of numbers": lambda: same({0: kernel(), 1: {"bias": bias()}}, "0", "1/bias"),
    "list": lambda: same([kernel(), {"bias": bias()}], "0", "1/bias"),
    "tuple": lambda: same((kernel(), (bias(), bias())), "0", "1/0", "1/1"),
    "NamedTuple": lambda: same({"in": Layer(kernel(), bias())}, "in/kernel", "in/bias"),
    "dataclass": lambda: same([Registered(kernel(), bias())], "0/kernel", "0/bias"),
    "flax.struct": lambda: same(Struct(kernel(), bias()), "kernel", "bias"),
    "FrozenDict": lambda: same(flax.core.freeze({"in": {"kernel": kernel(), "bias": bias()}}), "in/bias", "in/kernel"),
    "linen": linen_case,
    "nnx": nnx_case,
    "equinox": equinox_case,
}

cases = pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in CASES.items()])


def gradients(params: Any, step: int) -> Any:
    return jax.tree.map(lambda p: jnp.sin(p * step) + 0.25, params)


@cases
def test_a_leaf_has_one_name(make: Callable[[], Case]) -> None:
    case = make()
    seen: list[str] = []

    def look(path: str, leaf: Any) -> bool:
        seen.append(path)
        return True

    tx = gx.groups([(look, gx.adam(0.1), "all")])
    state = tx.init(case.at_init)
    assert list(dict.fromkeys(seen)) == case.paths
    seen.clear()
    tx.update(gradients(case.at_update, 1), state, case.at_update)
    assert list(dict.fromkeys(seen)) == case.paths


@cases
def test_steps_are_those_of_a_flat_dict(make: Callable[[], Case]) -> None:
    """Frozen biases, decayed kernels, Adam: bit for bit what the same leaves in a dict from path to array give."""
    case = make()
    ends = {path.rsplit("/", 1)[-1] for path in case.paths}
    held = gx.named(*({"bias", "1"} & ends))
    decayed = gx.named(*({"kernel", "weight", "0"} & ends)) & ~held
    tx = gx.chain(gx.clip_by_global_norm(1.0), gx.freeze(held), gx.adamw(0.1, mask=decayed))
    flat = dict(zip(case.paths, jax.tree.leaves(case.at_update), strict=True))
    params, state = case.at_update, tx.init(case.at_init)
    flat_state = tx.init(flat)
    for step in (1, 2, 3):
        updates, state = tx.update(gradients(params, step), state, params)
        params = gx.apply_updates(params, updates)
        updates, flat_state = tx.update(gradients(flat, step), flat_state, flat)
        flat = gx.apply_updates(flat, updates)
    assert jax.tree.structure(params) == jax.tree.structure(case.at_update)
    for path, x, start in zip(case.paths, jax.tree.leaves(params), jax.tree.leaves(case.at_update), strict=True):
        np.testing.assert_array_equal(x, flat[path], err_msg=path)
        assert np.array_equal(x, start) == (path.rsplit("/", 1)[-1] in ("bias", "1")), path


@cases
def test_the_state_keeps_its_structure(make: Callable[[], Case]) -> None:
    """Under `lax.scan`, from the state as `init` made it."""
    case = make()
    tx = gx.chain(gx.momentum(0.1, 0.5), gx.clip_by_global_norm(1.0))

    @jax.jit
    def walk(state: Any, params: Any) -> Any:
        def step(carry: Any, i: Any) -> Any:
            state, params = carry
            updates, state = tx.update(gradients(params, i), state, params)
            return (state, gx.apply_updates(params, updates)), None

        return jax.lax.scan(step, (state, params), jnp.arange(1.0, 4.0))[0]

    state, _ = walk(tx.init(case.at_init), case.at_update)
    assert state.count == 3
    assert jax.tree.structure(state) == jax.tree.structure(tx.init(case.at_update))


def test_variables_at_every_call() -> None:
    """nnx's variables as gradients and parameters too, as `nnx.grad` and `nnx.state` give them."""
    case = nnx_case()
    tx = gx.adam(0.1)
    state, plain_state = tx.init(case.at_init), tx.init(case.at_update)
    params, plain = case.at_init, case.at_update
    for step in (1, 2):
        updates, state = tx.update(gradients(params, step), state, params)
        params = gx.apply_updates(params, updates)
        updates, plain_state = tx.update(gradients(plain, step), plain_state, plain)
        plain = gx.apply_updates(plain, updates)
    assert jax.tree.structure(params) == jax.tree.structure(case.at_init)
    assert jax.tree.structure(state) == jax.tree.structure(plain_state)
    jax.tree.map(np.testing.assert_array_equal, jax.tree.leaves(params), jax.tree.leaves(plain))
    jax.tree.map(np.testing.assert_array_equal, state, plain_state)
