"""flax's linen: `TrainState`, and its serialisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import chex
import flax.linen as linen
import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.training.train_state import TrainState

import gradxform as gx

X = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
Y = np.sin(X @ np.ones((3, 2), np.float32))


class Net(linen.Module):
    @linen.compact
    def __call__(self, x: Any) -> Any:
        return linen.Dense(2)(linen.LayerNorm()(jnp.tanh(linen.Dense(4)(x))))


NET = Net()


def create(tx: Any) -> TrainState:
    return TrainState.create(apply_fn=NET.apply, params=NET.init(jax.random.key(0), X), tx=tx)


@jax.jit
def step(state: TrainState) -> TrainState:
    def loss(params: Any) -> Any:
        return ((NET.apply(params, X) - Y) ** 2).mean()

    return state.apply_gradients(grads=jax.grad(loss)(state.params))


def ours() -> Any:
    schedule = gx.cosine_decay_schedule(0.1, 10)
    return gx.chain(gx.clip_by_global_norm(0.5), gx.adamw(schedule, weight_decay=0.1, mask=gx.named("kernel")))


def theirs() -> Any:
    def kernels(params: Any) -> Any:
        return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key == "kernel", params)

    schedule = optax.cosine_decay_schedule(0.1, 10)
    return optax.chain(optax.clip_by_global_norm(0.5), optax.adamw(schedule, weight_decay=0.1, mask=kernels))


def test_train_state_trains_as_with_optax() -> None:
    """To 2e-5, of which optax's float32 bias correction at b2 = 0.999 takes 1e-5."""
    ends = []
    for tx in (ours(), theirs()):
        state = create(tx)
        for _ in range(5):
            state = step(state)
        assert state.step == 5
        ends.append(state.params)
    chex.assert_trees_all_close(*ends, rtol=2e-5, atol=2e-6)


def test_rebuilt_train_states_trace_once() -> None:
    counted = jax.jit(chex.assert_max_traces(step.__wrapped__, n=1))
    for _ in range(2):
        state = create(gx.adamw(0.1))
        for _ in range(2):
            state = counted(state)


def through_dict(state: TrainState, fresh: TrainState) -> TrainState:
    return flax.serialization.from_state_dict(fresh, flax.serialization.to_state_dict(state))


def through_bytes(state: TrainState, fresh: TrainState) -> TrainState:
    return flax.serialization.from_bytes(fresh, flax.serialization.to_bytes(state))


@pytest.mark.parametrize("trip", [through_dict, through_bytes])
@pytest.mark.parametrize(
    "make",
    [
        ours,
        lambda: gx.momentum(gx.tunable(0.1), 0.5),
        lambda: gx.chain(gx.freeze("Dense_0"), gx.lion(0.1, mu_dtype=jnp.bfloat16), gx.ema_of_params(0.5)),
        lambda: gx.groups([("kernel", gx.adam(0.1))], default=gx.sgd(gx.tunable(0.1))),
        lambda: gx.measure(gx.sgd(0.1, 0.9), grad_norm=True, update_ratio="per_leaf"),
        lambda: gx.chain(gx.trace(0.5), optax.adam(0.1), gx.trace(0.5)),
    ],
    ids=["clipped adamw", "tunable momentum", "averaged lion", "groups", "measured", "with optax"],
)
def test_a_restored_train_state_goes_on_as_if_nothing_had_happened(
    make: Callable[[], Any], trip: Callable[..., TrainState]
) -> None:
    state = create(make())
    for _ in range(2):
        state = step(state)
    restored = trip(state, create(make()))
    assert jax.tree.structure(restored.opt_state) == jax.tree.structure(state.opt_state)
    chex.assert_trees_all_equal_shapes_and_dtypes(restored.opt_state, state.opt_state)
    for _ in range(2):
        state, restored = step(state), step(restored)
    chex.assert_trees_all_equal((restored.params, restored.opt_state), (state.params, state.opt_state))


def test_a_state_dict_is_read_by_name() -> None:
    """What a checkpoint holds: the parameter's own path, the stage, the statistic."""
    saved = flax.serialization.to_state_dict(step(create(ours())).opt_state)
    assert sorted(saved) == ["count", "hyper", "leaves", "tree"]
    assert saved["count"] == 1
    assert list(saved["leaves"]["params"]["Dense_1"]["kernel"]) == ["adam"]
    assert sorted(saved["leaves"]["params"]["Dense_1"]["kernel"]["adam"]) == ["mu", "nu"]


def test_a_checkpoint_loads_after_stages_without_memory_were_added() -> None:
    before = step(create(gx.adam(0.1)))
    after = create(gx.chain(gx.clip_by_global_norm(1e6), gx.adamw(gx.linear_schedule(0.1, 0.1, 5), weight_decay=0.0)))
    restored = through_bytes(before, after)
    for _ in range(2):
        before, restored = step(before), step(restored)
    chex.assert_trees_all_close(restored.params, before.params, rtol=1e-6, atol=1e-7)
