from __future__ import annotations

from typing import Any

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import gradxform as gx
from gradxform.control.train import _layout

X = jax.random.normal(jax.random.key(0), (16, 4))
Y = jnp.sin(X @ jnp.ones((4, 2)))
P = {"kernel": jnp.full((4, 2), 0.3, jnp.float32), "bias": jnp.zeros(2)}
TX = gx.adamw(1e-2)


def loss(p: Any, batch: Any) -> Any:
    x, y = batch
    return jnp.mean((x @ p["kernel"] + p["bias"] - y) ** 2)


def copied(tree: Any) -> Any:
    return jax.tree.map(jnp.copy, tree)


def train(step: Any, tx: Any, batch: Any = (X, Y), p: Any = P, n: int = 3) -> tuple[Any, Any, Any]:
    p = copied(p)
    state, metrics = tx.init(p), {}
    for _ in range(n):
        p, state, metrics = step(p, state, batch)
    return p, state, metrics


def by_hand(tx: Any, p: Any = P, n: int = 3, value_fn: Any = lambda p: loss(p, (X, Y))) -> Any:
    """The loop that the step stands for."""

    def step(_: Any, carry: Any) -> Any:
        p, state = carry
        value, grads = jax.value_and_grad(value_fn)(p)
        updates, state = tx.update(grads, state, p, value=value, grad=grads, value_fn=value_fn)
        return optax.apply_updates(p, updates), state

    return jax.jit(lambda p: jax.lax.fori_loop(0, n, step, (p, tx.init(p)))[0])(p)


def assert_same(found: Any, expected: Any, ulps: int = 4) -> None:
    """To some roundings of the largest parameters, which are below 1: sums of parts are added in another order."""
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=0, atol=ulps * 2.0**-24), found, expected)


@pytest.mark.parametrize("accumulate", [1, 4])
def test_a_step_is_value_and_grad_update_and_apply(accumulate: int) -> None:
    p, _, metrics = train(gx.make_train_step(loss, TX, accumulate=accumulate), TX)
    assert_same(p, by_hand(TX))
    assert metrics == {}


def test_it_compiles_once() -> None:
    traces = []

    def counted(p: Any, batch: Any) -> Any:
        traces.append(1)
        return loss(p, batch)

    step = gx.make_train_step(counted, TX, metrics=("loss", "learning_rate"))
    weak = {"kernel": jnp.full((4, 2), 0.3), "bias": P["bias"]}
    assert weak["kernel"].weak_type
    p, *_ = train(step, TX, p=weak, n=4)
    assert_same(p, by_hand(TX, n=4))
    assert len(traces) == 1
    assert "dot" in step.lower(P, TX.init(P), (X, Y)).as_text()


def test_metrics_are_those_of_the_step() -> None:
    tx = gx.static_loss_scale(gx.adam(gx.linear_schedule(0.1, 0.0, 10)), 64.0)
    step = gx.make_train_step(loss, tx, metrics=["loss", "grad_norm", "update_norm", "learning_rate"])
    before, *_ = train(step, tx, n=2)
    after, _, metrics = train(step, tx, n=3)
    value, grads = jax.value_and_grad(loss)(before, (X, Y))
    expected = {
        "loss": value,
        "grad_norm": gx.global_norm(grads),
        "update_norm": gx.global_norm(jax.tree.map(jnp.subtract, after, before)),
        "learning_rate": 0.08,
    }
    # The updates are read off differences of parameters near 1, whose roundings are 1e-6 of a step of 0.1.
    for name, x in expected.items():
        np.testing.assert_allclose(metrics[name], x, rtol=1e-5, err_msg=name)
    with pytest.raises(ValueError, match=r"metrics has 'learning_rate', and scale_by_adam.* has none"):
        train(gx.make_train_step(loss, gx.scale_by_adam(), metrics="learning_rate"), gx.scale_by_adam())


def test_donation() -> None:
    p = copied(P)
    state, step = TX.init(p), gx.make_train_step(loss, TX)
    new, after, _ = step(p, state, (X, Y))
    assert all(x.is_deleted() for x in jax.tree.leaves((p, state)))
    with pytest.raises(ValueError, match=r"the parameter 'bias' was donated to an earlier step: .* donate=False"):
        step(p, after, (X, Y))
    kept = gx.make_train_step(loss, TX, donate=False)
    kept(new, after, (X, Y))
    assert not any(x.is_deleted() for x in jax.tree.leaves((new, after)))


@pytest.mark.filterwarnings("ignore")
def test_a_batch_that_is_donated_with_the_parameters_is_named() -> None:
    p = {"w": jnp.ones(3)}
    step = gx.make_train_step(lambda p, x: jnp.sum(p["w"] * x), gx.sgd(0.1))
    with pytest.raises(ValueError, match=r"the batch '' is itself a parameter or in the state, .* copy it"):
        step(p, gx.sgd(0.1).init(p), p["w"])


class Flip(nn.Module):
    @nn.compact
    def __call__(self, x: Any) -> Any:
        x = nn.BatchNorm(use_running_average=False, momentum=0.5)(nn.Dense(2)(x))
        return nn.Dropout(0.5, deterministic=False)(x)


def test_linen_with_batch_statistics_and_keys() -> None:
    model, key = Flip(), jax.random.key(1)
    variables = model.init({"params": key, "dropout": key}, X)

    def noisy(p: Any, batch: Any, stats: Any, key: Any) -> Any:
        now, later = jax.random.split(key)
        out, new = model.apply({"params": p} | stats, batch[0], rngs={"dropout": now}, mutable="batch_stats")
        return jnp.mean((out - batch[1]) ** 2), (new, later)

    p, stats = variables["params"], {"batch_stats": variables["batch_stats"]}
    state, step = TX.init(p), gx.make_train_step(noisy, TX, has_aux=True, metrics=("loss",), donate=False)
    for _ in range(2):
        _, (expected, later) = noisy(p, (X, Y), stats, key)
        p, state, metrics = step(p, state, (X, Y), stats, key)
        stats, key = metrics["aux"]
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-6), stats, expected)
        assert key == later


def test_nnx_with_its_other_variables() -> None:
    net = nnx.BatchNorm(2, rngs=nnx.Rngs(0))
    graph, p, rest = nnx.split(net, nnx.Param, ...)

    def with_rest(p: Any, batch: Any, rest: Any) -> Any:
        model = nnx.merge(graph, p, rest)
        value = jnp.mean((model(batch) - 1.0) ** 2)
        return value, nnx.split(model, nnx.Param, ...)[2]

    state, step = TX.init(p), gx.make_train_step(with_rest, TX, has_aux=True, donate=False)
    new, state, metrics = step(p, state, Y, rest)
    assert float(jnp.abs(metrics["aux"]["mean"][...]).max()) > 0
    assert not rest["mean"][...].any()
    np.testing.assert_allclose(new["bias"][...], p["bias"][...] + 1e-2, rtol=1e-5)


def test_an_equinox_model_is_given_whole() -> None:
    """Its functions, flags and plain numbers stay what they are: a rate of dropout is not trained."""

    class Net(eqx.Module):
        body: eqx.nn.MLP
        drop: eqx.nn.Dropout
        calls: jax.Array

        def __call__(self, x: Any, key: Any) -> Any:
            return self.drop(self.body(x), key=key)

    net = Net(eqx.nn.MLP(4, 2, 8, 1, key=jax.random.key(0)), eqx.nn.Dropout(0.5), jnp.zeros((), jnp.int32))

    def of(model: Net, batch: Any, key: Any) -> Any:
        return jnp.mean((jax.vmap(lambda x: model(x, key))(batch[0]) - batch[1]) ** 2)

    state, key = TX.init(eqx.filter(net, eqx.is_inexact_array)), jax.random.key(2)
    grads = eqx.filter_grad(of)(net, (X, Y), key)
    updates, _ = TX.update(grads, state, net)
    expected = gx.apply_updates(net, updates)
    step = gx.make_train_step(of, TX, donate=False)
    new, state, _ = step(net, state, (X, Y), key)
    assert_same(eqx.filter(new, eqx.is_array), eqx.filter(expected, eqx.is_array))
    assert new.body.activation is net.body.activation
    assert new.drop.p == 0.5
    assert new.drop.inference is False
    step(new, state, (X, Y), key)
    assert step.jitted._cache_size() == 1


def test_a_tree_without_functions_trains_its_plain_numbers() -> None:
    p = {"w": 2.0, "n": jnp.arange(3), "none": None}
    step = gx.make_train_step(lambda p, x: p["w"] * x + p["n"].sum(), gx.sgd(0.5))
    new, _, _ = step(p, gx.sgd(0.5).init(p), jnp.float32(3.0))
    assert float(new["w"]) == 0.5
    assert new["n"].tolist() == [0, 1, 2]
    assert new["none"] is None


def test_a_scaled_loss_gives_the_steps_of_the_loss() -> None:
    tx = gx.dynamic_loss_scale(TX, init=256.0)
    p, state, metrics = train(gx.make_train_step(loss, tx, metrics=("loss",), accumulate=2), tx)
    assert_same(p, by_hand(TX))
    assert float(state.scale) == 256.0
    np.testing.assert_allclose(metrics["loss"], loss(by_hand(TX, n=2), (X, Y)), rtol=1e-6)
    both = (tx.init(P), tx.init(P))
    with pytest.raises(ValueError, match="the state must hold one loss scale, it holds 2"):
        gx.make_train_step(loss, tx)(P, both, (X, Y))


@pytest.mark.parametrize(
    "tx",
    [
        gx.chain(gx.sgd(1.0), gx.scale_by_zoom_linesearch(4)),
        optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(4)),
        gx.polyak_sgd(),
    ],
    ids=["zoom", "optax", "polyak"],
)
def test_line_searches_are_given_the_objective(tx: Any) -> None:
    expected = by_hand(tx)
    assert_same(train(gx.make_train_step(loss, tx, accumulate=2), tx)[0], expected, 16)
    if isinstance(tx, gx.GradientTransformation):
        batch = jax.tree.map(lambda x: x.reshape(4, 4, -1), (X, Y))
        step = gx.make_train_step(loss, tx, axis_name="d")
        across = jax.pmap(step, axis_name="d", in_axes=(None, None, 0), out_axes=None)
        assert_same(train(across, tx, batch)[0], expected, 16)


def test_sam_asks_for_gradients_of_its_own() -> None:
    rise = gx.chain(gx.normalize_by_update_norm(eps=0.0), gx.sgd(0.1))
    tx = gx.sam(gx.sgd(0.05), rise, opaque_mode=True)
    grads = jax.grad(loss)(P, (X, Y))
    norm = gx.global_norm(grads)
    near = jax.tree.map(lambda p, g: p + 0.1 * g / norm, P, grads)
    expected = jax.tree.map(lambda p, g: p - 0.05 * g, P, jax.grad(loss)(near, (X, Y)))
    assert_same(train(gx.make_train_step(loss, tx), tx, n=1)[0], expected)


def test_averages_are_read_by_eval_params() -> None:
    tx = gx.schedule_free_adamw(1e-2)
    p, state, _ = train(gx.make_train_step(loss, tx), tx)
    assert_same(p, by_hand(tx))
    assert not np.array_equal(gx.eval_params(tx, state, p)["kernel"], p["kernel"])


def test_steps_of_accumulate_across_calls_and_of_another_library() -> None:
    waits = gx.accumulate(TX, every=2)
    assert_same(train(gx.make_train_step(loss, waits), waits, n=4)[0], by_hand(TX, n=2))
    theirs = optax.adamw(1e-2, weight_decay=1e-4)
    assert_same(train(gx.make_train_step(loss, theirs), theirs)[0], by_hand(theirs))
    inside = gx.accumulate(theirs, every=2)
    assert_same(train(gx.make_train_step(loss, inside), inside, n=2)[0], by_hand(theirs, n=1))


@pytest.mark.parametrize("how", ["pmap", "shard_map", "mean in the loss"])
def test_gradients_and_loss_are_averaged_over_devices(how: str) -> None:
    def mean(p: Any, batch: Any) -> Any:
        return jax.lax.pmean(loss(p, batch), "d") if how == "mean in the loss" else loss(p, batch)

    step = gx.make_train_step(mean, TX, axis_name="d", metrics=("loss",), accumulate=2)
    whole, part, batch = PartitionSpec(), PartitionSpec("d"), (X, Y)
    if how == "pmap":
        across = jax.pmap(step, axis_name="d", in_axes=(None, None, 0), out_axes=None)
        batch = jax.tree.map(lambda x: x.reshape(8, 2, -1), batch)
    else:
        mesh = jax.make_mesh((8,), ("d",), axis_types=(AxisType.Auto,))
        across = jax.jit(jax.shard_map(step, mesh=mesh, in_specs=(whole, whole, part), out_specs=whole))
    p, _, metrics = train(across, TX, batch)
    assert_same(p, by_hand(TX))
    np.testing.assert_allclose(metrics["loss"], loss(by_hand(TX, n=2), (X, Y)), rtol=1e-6)


@pytest.mark.parametrize(
    ("kind", "spec"), [(AxisType.Auto, PartitionSpec("m")), (AxisType.Explicit, None)], ids=["auto", "explicit"]
)
def test_a_mesh_splits_the_batch_and_leaves_parameters_as_they_are(kind: AxisType, spec: Any) -> None:
    mesh = jax.make_mesh((4, 2), ("d", "m"), axis_types=(kind, kind))
    traces = []

    def counted(p: Any, batch: Any) -> Any:
        traces.append(1)
        return loss(p, batch)

    p = P if spec is None else jax.device_put(P, NamedSharding(mesh, spec))
    step = gx.make_train_step(counted, TX, mesh=mesh)
    p, state, _ = train(step, TX, (np.asarray(X), np.asarray(Y)), p)
    assert_same(p, by_hand(TX))
    assert len(traces) == 1
    for x in jax.tree.leaves((p, gx.view(state, "mu"))):
        assert x.sharding.is_equivalent_to(NamedSharding(mesh, spec or PartitionSpec()), x.ndim)
    shapes = jax.eval_shape(lambda x: x, (X, Y))
    assert "sharding" in step.lower(p, state, shapes).as_text()
    with pytest.raises(ValueError, match=r"batch\[0\] has shape \(6, 4\), its axis 0 is not 4 equal parts .* 'd'"):
        step(p, state, (X[:6], Y[:6]))


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_a_mesh_may_be_of_one_device(kind: AxisType) -> None:
    mesh = jax.make_mesh((1,), ("d",), devices=jax.devices()[:1], axis_types=(kind,))
    traces = []

    def counted(p: Any, batch: Any) -> Any:
        traces.append(1)
        return loss(p, batch)

    p, _, _ = train(gx.make_train_step(counted, TX, mesh=mesh), TX, (X, Y))
    assert_same(p, by_hand(TX))
    assert len(traces) == 1


WRONG = {
    "a vector": (lambda p, b: p["bias"], False, ValueError, r"must be a scalar, .* shape \(2,\) .* loss\.mean\(\)"),
    "a pair": (lambda p, b: (loss(p, b), 1), False, TypeError, r"returned a tuple: \(loss, aux\) needs has_aux=True"),
    "no pair": (loss, True, TypeError, r"has_aux=True loss_fn must return the pair .* an array of shape \(\)"),
    "three": (lambda p, b: (loss(p, b), 1, 2), True, TypeError, "must return the pair .* it returned a tuple"),
    "nothing": (lambda p, b: None, False, TypeError, "it returned None: write `return loss`"),
    "nothing in the pair": (lambda p, b: (None, 3), True, TypeError, "it returned None"),
    "a dict": (lambda p, b: {"loss": 1.0}, False, TypeError, "a scalar, it returned a dict"),
    "a count": (lambda p, b: jnp.int32(3), False, TypeError, "real floating number, .* int32: .* has no gradient"),
    "a complex number": (lambda p, b: loss(p, b) + 0j, False, TypeError, r"complex64: take its \.real"),
}


@pytest.mark.parametrize(("loss_fn", "has_aux", "error", "words"), WRONG.values(), ids=WRONG)
def test_what_a_wrong_loss_returned_is_said(loss_fn: Any, has_aux: bool, error: Any, words: str) -> None:
    for accumulate in (1, 2):
        step = gx.make_train_step(loss_fn, TX, has_aux=has_aux, accumulate=accumulate)
        with pytest.raises(error, match=words):
            step.lower(P, TX.init(P), (X, Y))


def test_arguments_that_are_none_are_refused() -> None:
    with pytest.raises(TypeError, match=r"loss_fn must be a function .* got .*adam"):
        gx.make_train_step(TX, loss)
    with pytest.raises(ValueError, match=r"axis_name='d' is for pmap and shard_map, mesh .* give one"):
        gx.make_train_step(loss, TX, axis_name="d", mesh=jax.make_mesh((1,), ("d",), devices=jax.devices()[:1]))


def test_a_layout_is_that_of_an_array_that_a_mesh_splits_by_itself():
    assert _layout(1.0) is None
    assert _layout(jnp.ones(2)) is None
    for kind, kept in ((AxisType.Auto, True), (AxisType.Explicit, False)):
        mesh = jax.make_mesh((4,), ("d",), axis_types=(kind,))
        x = jax.device_put(jnp.ones((4, 2)), NamedSharding(mesh, PartitionSpec("d")))
        assert (_layout(x) == NamedSharding(mesh, PartitionSpec("d", None), memory_kind=x.sharding.memory_kind)) == kept
