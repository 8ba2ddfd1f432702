"""flax's nnx: `nnx.Optimizer`, which gives variables at `init` and plain trees at `update`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import gradxform as gx

X = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
Y = np.sin(X @ np.ones((3, 2), np.float32))


class Net(nnx.Module):
    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.body, self.head = nnx.Linear(3, 4, rngs=rngs), nnx.Linear(4, 2, rngs=rngs)
        self.calls = nnx.Variable(jnp.zeros((), jnp.int32))

    def __call__(self, x: Any) -> Any:
        self.calls[...] += 1
        return self.head(jnp.tanh(self.body(x)))


def loss(net: Net) -> Any:
    return ((net(X) - Y) ** 2).mean()


@nnx.jit
def step(net: Net, optimizer: nnx.Optimizer) -> None:
    optimizer.update(net, nnx.grad(loss)(net))


def params(net: Net) -> Any:
    return nnx.to_pure_dict(nnx.state(net, nnx.Param))


def pure(tree: Any) -> Any:
    """The arrays that variables hold, in their place."""
    return jax.tree.map(
        lambda x: x[...] if isinstance(x, nnx.Variable) else x, tree, is_leaf=lambda x: isinstance(x, nnx.Variable)
    )


def train(tx: Any, steps: int = 4, compiled: bool = True) -> tuple[Net, nnx.Optimizer]:
    net = Net()
    optimizer = nnx.Optimizer(net, tx, wrt=nnx.Param)
    for _ in range(steps):
        (step if compiled else step.__wrapped__)(net, optimizer)
    assert optimizer.step[...] == steps
    return net, optimizer


def by_hand(tx: Any, steps: int = 4) -> tuple[Any, Any]:
    """Plain dictionaries from beginning to end."""

    def loss(p: Any) -> Any:
        hidden = jnp.tanh(X @ p["body"]["kernel"] + p["body"]["bias"])
        return ((hidden @ p["head"]["kernel"] + p["head"]["bias"] - Y) ** 2).mean()

    @jax.jit
    def once(p: Any, state: Any) -> Any:
        updates, state = tx.update(jax.grad(loss)(p), state, p)
        return gx.apply_updates(p, updates), state

    p = params(Net())
    state = tx.init(p)
    for _ in range(steps):
        p, state = once(p, state)
    return p, state


MAKERS: dict[str, Callable[[], Any]] = {
    "sgd": lambda: gx.sgd(0.1),
    "clipped adamw": lambda: gx.chain(
        gx.clip_by_global_norm(0.5),
        gx.adamw(gx.cosine_decay_schedule(0.1, 10), weight_decay=0.1, mask=gx.named("kernel")),
    ),
    "tunable momentum": lambda: gx.momentum(gx.tunable(0.1), gx.tunable(0.5)),
    "frozen body": lambda: gx.chain(gx.freeze(gx.under("body")), gx.lamb(0.1)),
    "groups": lambda: gx.groups([(r"head/.*", gx.adam(0.1), "head")], default=gx.sgd([0.1, 0.2])),
    "measured": lambda: gx.measure(gx.momentum(0.1), grad_norm=True),
    "averaged": lambda: gx.chain(gx.sgd(0.1), gx.ema_of_params(0.5)),
    "with optax": lambda: gx.chain(gx.trace(0.5), optax.adam(0.1)),
}


@pytest.mark.parametrize("name", MAKERS)
def test_the_same_as_by_hand(name: str) -> None:
    """To 1 ulp of the largest weight: the two programs differ in what the compiler fuses with the step."""
    net, optimizer = train(MAKERS[name]())
    p, state = by_hand(MAKERS[name]())
    chex.assert_trees_all_close(params(net), p, rtol=0, atol=2e-6)
    held = pure(optimizer.opt_state)
    held = held.inner if name == "measured" else held
    state = state.inner if name == "measured" else state
    assert held.count == 4
    chex.assert_trees_all_close(jax.tree.leaves(held.leaves), jax.tree.leaves(state.leaves), rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("compiled", [True, False])
def test_the_same_as_with_optax(compiled: bool) -> None:
    """To 2e-5, of which optax's float32 bias correction at b2 = 0.999 takes 1e-5."""
    net, _ = train(gx.adam(0.1), compiled=compiled)
    expected, _ = train(optax.adam(0.1), compiled=compiled)
    chex.assert_trees_all_close(params(net), params(expected), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", MAKERS)
def test_the_optimizer_keeps_its_structure(name: str) -> None:
    """What `nnx.jit` compiles for the first step serves for all that follow."""
    net = Net()
    optimizer = nnx.Optimizer(net, MAKERS[name](), wrt=nnx.Param)
    before = jax.tree.structure(nnx.state(optimizer)), nnx.graphdef(optimizer)
    shapes = jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), pure(nnx.state(optimizer)))
    step(net, optimizer)
    assert (jax.tree.structure(nnx.state(optimizer)), nnx.graphdef(optimizer)) == before
    assert jax.tree.map(lambda x: (x.shape, x.dtype, x.weak_type), pure(nnx.state(optimizer))) == shapes


def test_rebuilt_optimizers_trace_once() -> None:
    counted = nnx.jit(chex.assert_max_traces(step.__wrapped__, n=1))
    for _ in range(2):
        net = Net()
        optimizer = nnx.Optimizer(net, gx.adamw(0.1), wrt=nnx.Param)
        for _ in range(2):
            counted(net, optimizer)


def test_statistics_under_their_names() -> None:
    _, optimizer = train(gx.adam(0.1), steps=1)
    saved = nnx.to_pure_dict(nnx.state(optimizer.opt_state))
    assert list(saved["leaves"]["head"]["kernel"]) == ["adam"]
    mu = gx.view(pure(optimizer.opt_state), "mu")
    grads = nnx.to_pure_dict(nnx.grad(loss)(Net()))
    chex.assert_trees_all_close(nnx.to_pure_dict(mu), jax.tree.map(lambda g: 0.1 * g, grads), rtol=1e-6, atol=1e-8)


def test_tunables_are_set_between_steps() -> None:
    """With a rate of 0 nothing moves, and nothing is compiled again."""
    counted = nnx.jit(chex.assert_max_traces(step.__wrapped__, n=1))
    net, tx = Net(), gx.momentum(gx.tunable(0.1), gx.tunable(0.5))
    optimizer = nnx.Optimizer(net, tx, wrt=nnx.Param)
    counted(net, optimizer)
    before = params(net)
    optimizer.opt_state = gx.with_hyperparams(optimizer.opt_state, learning_rate=0.0, decay=0.25)
    counted(net, optimizer)
    chex.assert_trees_all_equal(params(net), before)
    now = gx.hyperparams(tx, pure(optimizer.opt_state))
    assert (now["learning_rate"], now["trace/decay"]) == (0.0, 0.25)
    optimizer.opt_state = gx.with_hyperparams(optimizer.opt_state, learning_rate=None)
    counted(net, optimizer)
    assert not np.array_equal(params(net)["head"]["bias"], before["head"]["bias"])
