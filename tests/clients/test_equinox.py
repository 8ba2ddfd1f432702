"""equinox: modules filtered to their arrays, `None` elsewhere, and updates added with `eqx.apply_updates`."""

from __future__ import annotations

from typing import Any

import chex
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx

X = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
Y = np.sin(X @ np.ones((3, 2), np.float32))


class Net(eqx.Module):
    layers: tuple[Any, ...]
    activation: Any
    rounds: Any
    gain: float

    def __init__(self, dtype: Any = jnp.float32) -> None:
        a, b = jax.random.split(jax.random.key(0))
        body = eqx.nn.Linear(3, 4, key=a, dtype=dtype)
        self.layers = (body, eqx.nn.Linear(4, 2, use_bias=False, key=b, dtype=dtype))
        self.activation, self.rounds, self.gain = jnp.tanh, jnp.array(2), 1.5

    def __call__(self, x: Any) -> Any:
        return self.gain * self.layers[1](self.activation(self.layers[0](x)))


def loss(net: Net) -> Any:
    return ((jax.vmap(net)(X) - Y) ** 2).mean()


def train(tx: Any, net: Any, steps: int = 4) -> tuple[Any, Any]:
    @eqx.filter_jit
    def step(net: Any, state: Any, tx: Any) -> tuple[Any, Any]:
        grads = eqx.filter_grad(loss)(net)
        updates, state = tx.update(grads, state, eqx.filter(net, eqx.is_inexact_array))
        return eqx.apply_updates(net, updates), state

    state = tx.init(eqx.filter(net, eqx.is_inexact_array))
    for _ in range(steps):
        net, state = step(net, state, tx)
    return net, state


def test_the_same_as_with_optax() -> None:
    """To 2e-5, of which optax's float32 bias correction at b2 = 0.999 takes 1e-5."""

    def weights(params: Any) -> Any:
        return jax.tree.map(lambda x: x.ndim > 1, params)

    ours = gx.chain(gx.clip_by_global_norm(0.5), gx.adamw(0.1, weight_decay=0.1, mask=gx.named("weight")))
    theirs = optax.chain(optax.clip_by_global_norm(0.5), optax.adamw(0.1, weight_decay=0.1, mask=weights))
    net, state = train(ours, Net())
    expected, _ = train(theirs, Net())
    chex.assert_trees_all_close(eqx.filter(net, eqx.is_array), eqx.filter(expected, eqx.is_array), rtol=2e-5, atol=2e-6)
    assert net.activation is jnp.tanh
    assert (int(net.rounds), net.gain) == (2, 1.5)
    assert state.leaves.layers[0].weight["adam"].mu.shape == (4, 3)
    assert (state.leaves.rounds, state.leaves.gain, state.leaves.layers[1].bias) == (None, None, None)


def test_an_optimizer_goes_through_filter_jit_as_a_value() -> None:
    """Its numbers are structure, as floats are in equinox: a rebuilt one compiles nothing, another rate does."""
    traces = []

    @eqx.filter_jit
    def step(net: Any, state: Any, tx: Any) -> Any:
        traces.append(tx)
        params = eqx.filter(net, eqx.is_inexact_array)
        updates, state = tx.update(jax.tree.map(jnp.ones_like, params), state, params)
        return eqx.apply_updates(net, updates), state

    net = Net()
    state = gx.adam(0.1).init(eqx.filter(net, eqx.is_inexact_array))
    for tx in (gx.adam(0.1), gx.adam(0.1), gx.adam(0.1)):
        net, state = step(net, state, tx)
    assert len(traces) == 1
    step(net, state, gx.adam(0.2))
    assert len(traces) == 2


def test_frozen_parts_by_partition() -> None:
    """Trained and kept parts as equinox splits them: the kept ones are `None` in the tree that is trained."""
    net = Net()
    spec = eqx.tree_at(lambda n: n.layers[1].weight, jax.tree.map(lambda _: False, net), replace=True)
    trained, kept = eqx.partition(net, spec)
    tx = gx.adam(0.1)
    state = tx.init(trained)

    @eqx.filter_jit
    def step(trained: Any, state: Any) -> Any:
        grads = eqx.filter_grad(lambda t: loss(eqx.combine(t, kept)))(trained)
        updates, state = tx.update(grads, state, trained)
        return eqx.apply_updates(trained, updates), state

    for _ in range(3):
        trained, state = step(trained, state)
    by_freezing, _ = train(gx.chain(gx.freeze("layers/0"), tx), Net(), steps=3)
    assert len(jax.tree.leaves(state)) == 3
    chex.assert_trees_all_close(
        eqx.filter(eqx.combine(trained, kept), eqx.is_array), eqx.filter(by_freezing, eqx.is_array), rtol=1e-6
    )


def test_gradients_that_are_none_leave_their_parameter_alone() -> None:
    net = Net()
    params = eqx.filter(net, eqx.is_inexact_array)
    grads = eqx.tree_at(lambda n: n.layers[0].bias, jax.tree.map(jnp.ones_like, params), replace=None)
    tx = gx.momentum(0.1)
    updates, state = tx.update(grads, tx.init(params), params)
    assert updates.layers[0].bias is None
    new = eqx.apply_updates(net, updates)
    np.testing.assert_array_equal(new.layers[0].bias, net.layers[0].bias)
    np.testing.assert_allclose(new.layers[1].weight, net.layers[1].weight - 0.1, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(state.leaves.layers[0].bias["trace"].trace, np.zeros(4))


@pytest.mark.parametrize(("add", "dtype"), [(gx.apply_updates, jnp.bfloat16), (eqx.apply_updates, jnp.float32)])
def test_who_rounds_to_the_dtype_of_the_parameter(add: Any, dtype: Any) -> None:
    """Updates are float32 or wider; equinox adds without rounding back, `gx.apply_updates` rounds."""
    params = eqx.filter(Net(jnp.bfloat16), eqx.is_inexact_array)
    tx = gx.sgd(0.1)
    updates, _ = tx.update(jax.tree.map(jnp.ones_like, params), tx.init(params), params)
    assert {x.dtype for x in jax.tree.leaves(updates)} == {jnp.dtype(jnp.float32)}
    assert {x.dtype for x in jax.tree.leaves(add(params, updates))} == {jnp.dtype(dtype)}


UNFILTERED = {
    "adamw": lambda: gx.adamw(0.1, weight_decay=0.1, mask=gx.weights_only),
    "clipped momentum": lambda: gx.chain(gx.clip_by_global_norm(0.5), gx.freeze("layers/0/bias"), gx.momentum(0.1)),
    "groups": lambda: gx.groups([("layers/1", gx.sgd(0.1))], default=gx.lamb(0.01)),
    "averaged": lambda: gx.chain(gx.sgd(0.1), gx.ema_of_params(0.5)),
    "guarded": lambda: gx.guard(gx.accumulate(gx.momentum(0.1), 2)),
    "measured": lambda: gx.measure(gx.sgd(0.1), param_norm=True, update_ratio="per_leaf"),
    "masters": lambda: gx.master_weights(gx.momentum(0.1)),
    "with optax": lambda: gx.chain(gx.trace(0.5), optax.adam(0.1)),
    "masked": lambda: gx.masked(gx.sgd(0.1), lambda tree: jax.tree.map(lambda x: jnp.ndim(x) > 1, tree)),
}


@pytest.mark.parametrize("jit", [eqx.filter_jit, lambda f: f], ids=["jitted", "unjitted"])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=str)
@pytest.mark.parametrize("name", UNFILTERED)
def test_the_whole_model_serves_as_its_arrays_do(name: str, dtype: Any, jit: Any) -> None:
    """`update` and `gx.apply_updates` with the unfiltered model: bit for bit as with the filtered one."""
    tx = UNFILTERED[name]()

    def step(net: Any, state: Any, whole: bool) -> Any:
        grads = eqx.filter_grad(loss)(net)
        params = net if whole else eqx.filter(net, eqx.is_inexact_array)
        updates, state = tx.update(grads, state, params)
        return (gx.apply_updates(net, updates) if whole else eqx.combine(gx.apply_updates(params, updates), net)), state

    ends = []
    for whole in (True, False):
        net = Net(dtype)
        state = tx.init(eqx.filter(net, eqx.is_inexact_array))
        for _ in range(3):
            net, state = jit(step)(net, state, whole)
        assert net.layers[0].weight.dtype == dtype
        assert (net.activation, int(net.rounds), net.gain) == (jnp.tanh, 2, 1.5)
        ends.append((eqx.filter(net, eqx.is_array), state))
    chex.assert_trees_all_equal(*ends)


@pytest.mark.parametrize("donate", [True, False])
@pytest.mark.parametrize("name", UNFILTERED)
def test_make_step_takes_the_whole_model(name: str, donate: bool) -> None:
    """Bit for bit the arrays of the filtered one; functions, numbers and integers stay what they are."""
    step, tx = gx.make_step(UNFILTERED[name](), donate=donate), UNFILTERED[name]()
    ends = []
    for whole in (True, False):
        net = Net()
        state = tx.init(eqx.filter(net, eqx.is_inexact_array))
        for _ in range(3):
            grads = eqx.filter_grad(loss)(net)
            arrays, others = eqx.partition(net, eqx.is_inexact_array)
            net, state = step(net if whole else arrays, state, grads)
            net = net if whole else eqx.combine(net, others)
        assert (net.activation, int(net.rounds), net.gain) == (jnp.tanh, 2, 1.5)
        assert type(net.gain) is float
        ends.append((eqx.filter(net, eqx.is_array), state))
    chex.assert_trees_all_equal(*ends)


def test_a_donated_model_is_told_of_and_what_is_no_function_of_ours_is_raised() -> None:
    tx, net = gx.sgd(0.1), Net()
    state, grads = tx.init(eqx.filter(net, eqx.is_inexact_array)), eqx.filter_grad(loss)(net)
    gx.make_step(tx)(net, state, grads)
    with pytest.raises(ValueError, match="the parameter 'layers/0/weight' was donated to an earlier step"):
        gx.make_step(tx)(net, state, grads)
    with pytest.raises(TypeError, match=r"gain"):
        gx.make_step(tx, donate=False)(Net(), tx.init(Net()), grads, gain=jnp.tanh)


def test_functions_keep_no_memory() -> None:
    state = gx.adam(0.1).init(Net())
    assert state.leaves.activation is None
    assert state.leaves.rounds == {}
    assert state.leaves.layers[0].weight["adam"].mu.shape == (4, 3)
