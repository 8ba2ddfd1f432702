from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

import gradxform as gx
from tests.compiler import FAST
from tests.trajectories import double

P = {"a": {"w": jnp.arange(6.0).reshape(2, 3)}, "b": jnp.array([3.0, -4.0]), "zero": jnp.zeros(2)}
G = jax.tree.map(lambda p: 0.5 * p + 1.0, P)
ALL = {"grad_norm": True, "update_norm": True, "param_norm": True, "update_ratio": "per_leaf", "clip_fraction": True}


def norm(tree):
    return np.sqrt(sum(np.sum(np.square(np.asarray(x, np.float64))) for x in jax.tree.leaves(tree)))


def clipped(bound=1.0, **what):
    return gx.measure(gx.chain(gx.clip_by_global_norm(bound), gx.sgd(0.1)), **what)


def test_the_figures_of_a_step():
    tx = clipped(**ALL)
    updates, state = tx.update(G, tx.init(P), P)
    found = {k: float(v) for k, v in gx.metrics(state).items()}
    ratios = {
        "update_ratio/a/w": norm(updates["a"]) / norm(P["a"]),
        "update_ratio/b": norm(updates["b"]) / 5.0,
        "update_ratio/zero": norm(updates["zero"]),
    }
    expected = {"grad_norm": norm(G), "update_norm": 0.1, "param_norm": norm(P), **ratios, "clip_fraction": 1.0}
    assert found == pytest.approx(expected, rel=1e-6)


def test_the_updates_and_the_inner_state_are_the_inner_ones():
    inner = gx.chain(gx.clip_by_global_norm(1.0), gx.adam(0.1))
    tx = gx.measure(inner, grad_norm=True)
    a, s = tx.update(G, tx.init(P), P)
    b, t = inner.update(G, inner.init(P), P)
    jax.tree.map(np.testing.assert_array_equal, (a, s.inner), (b, t))


def test_clip_fraction_is_the_share_of_the_steps():
    tx = gx.measure(gx.chain(gx.clip_by_global_norm([1.0, 1.0, 100.0, 100.0]), gx.sgd(0.1)), clip_fraction=True)
    state, update, found = tx.init(P), jax.jit(tx.update), []
    for scale in (1.0, 0.01, 1.0, 100.0):
        _, state = update(jax.tree.map(lambda g, s=scale: s * g, G), state, P)
        found.append(float(gx.metrics(state)["clip_fraction"]))
    np.testing.assert_allclose(found, [1.0, 1 / 2, 1 / 3, 2 / 4], rtol=1e-6)


def test_a_tunable_bound_counts_as_it_is_set():
    tx = gx.measure(gx.chain(gx.clip_by_global_norm(gx.tunable(1e3)), gx.sgd(0.1)), clip_fraction=True)
    state = tx.init(P)
    assert float(gx.metrics(tx.update(G, state, P)[1])["clip_fraction"]) == 0.0
    state = gx.with_hyperparams(state, max_norm=1e-3)
    assert float(gx.metrics(tx.update(G, state, P)[1])["clip_fraction"]) == 1.0


def test_update_ratio_of_the_whole_and_what_takes_no_part():
    tx = gx.measure(gx.sgd(0.1), update_ratio="global")
    state = tx.update({**G, "b": None}, tx.init(P), P)[1]
    expected = 0.1 * norm({**G, "b": jnp.zeros(2)}) / norm(P)
    np.testing.assert_allclose(gx.metrics(state)["update_ratio"], expected, rtol=1e-6)
    tx = gx.measure(gx.sgd(0.1), update_ratio="per_leaf", param_norm=True)
    p = {**P, "step": jnp.array(3)}
    found = gx.metrics(tx.update({**G, "b": None, "step": None}, tx.init(p), p)[1])
    assert set(found) == {"param_norm", "update_ratio/a/w", "update_ratio/b", "update_ratio/zero"}
    assert float(found["update_ratio/b"]) == 0.0
    np.testing.assert_allclose(found["param_norm"], norm(P), rtol=1e-6)


def test_sparse_rows_count_as_the_dense_gradient():
    p = {"table": jnp.ones((5, 2))}
    rows = gx.Rows(jnp.array([1, 3, 1]), jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), (5, 2))
    tx = gx.measure(gx.sgd(0.1), grad_norm=True)
    state = tx.update({"table": rows}, tx.init(p), p)[1]
    np.testing.assert_allclose(gx.metrics(state)["grad_norm"], norm(rows.dense()), rtol=1e-6)


@pytest.mark.parametrize(
    ("params", "grads"), [("float64", "float32"), ("bfloat16", "float32"), ("float32", "bfloat16")]
)
def test_the_state_is_a_fixed_point(params, grads):
    with double():
        p, g = (jax.tree.map(lambda x, d=d: x.astype(d), t) for t, d in ((P, params), (G, grads)))
        tx = clipped(**ALL)
        state = tx.init(p)
        new = jax.jit(tx.update)(g, state, p)[1]
        assert jax.tree.structure(new) == jax.tree.structure(state)
        assert [(x.shape, x.dtype, x.weak_type) for x in jax.tree.leaves(new)] == [
            (x.shape, x.dtype, x.weak_type) for x in jax.tree.leaves(state)
        ]


def reductions(tx):
    """How many reductions the compiled update makes."""
    p = {"w": jnp.ones((256, 256))}
    return len(re.findall(r" reduce\(", jax.jit(tx.update).lower(p, tx.init(p), p).compile(FAST).as_text()))


def test_clipping_and_measuring_share_one_reduction():
    inner = gx.chain(gx.clip_by_global_norm(1.0), gx.sgd(0.1))
    alone = reductions(inner)
    assert alone > 0
    assert reductions(gx.measure(inner, grad_norm=True, clip_fraction=True)) == alone
    assert reductions(gx.measure(inner, grad_norm=True, update_norm=True)) > alone


@pytest.mark.parametrize(
    "around", [lambda tx: tx, lambda tx: gx.chain(tx, gx.scale(2.0))], ids=["itself", "in-a-chain"]
)
def test_metrics_finds_its_state(around):
    tx = around(gx.measure(gx.sgd(0.1), grad_norm=True))
    state = tx.update(G, tx.init(P), P)[1]
    np.testing.assert_allclose(gx.metrics((state, {"other": 1}))["grad_norm"], norm(G), rtol=1e-6)


def test_metrics_without_a_measure_is_refused():
    with pytest.raises(ValueError, match=r"wrap the transformation in measure\(...\)"):
        gx.metrics(gx.sgd(0.1).init(P))


def test_it_works_on_shapes_alone():
    shapes = jax.eval_shape(lambda: P)
    found = clipped(**ALL).init(shapes)
    assert [(x.shape, x.dtype) for x in jax.tree.leaves(found)] == [
        (x.shape, x.dtype) for x in jax.tree.leaves(clipped(**ALL).init(P))
    ]


@pytest.mark.parametrize(
    ("what", "error", "words"),
    [
        ({"update_ratio": "leaf"}, ValueError, "update_ratio must be one of None, 'global', 'per_leaf', got 'leaf'"),
        ({"grad_norm": 1}, TypeError, "grad_norm must be True or False"),
        ({"clip_fraction": True}, ValueError, "clip_fraction needs clip_by_global_norm as the first stage of"),
    ],
)
def test_bad_arguments_are_refused(what, error, words):
    with pytest.raises(error, match=words):
        gx.measure(gx.chain(gx.centralize(), gx.clip_by_global_norm(1.0), gx.sgd(0.1)), **what)


def test_missing_parameters_are_refused():
    tx = gx.measure(gx.sgd(0.1), param_norm=True)
    with pytest.raises(ValueError, match="measure needs the parameters"):
        tx.update(G, tx.init(P))


def test_inside_shard_map():
    mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
    p, g = jnp.arange(8.0), jnp.arange(8.0) + 1.0

    def run(axis_name):
        tx = gx.measure(gx.chain(gx.clip_by_global_norm(1.0, axis_name=axis_name), gx.sgd(0.1)), grad_norm=True,
                        clip_fraction=axis_name is not None, axis_name=axis_name)  # fmt: skip

        def device(p, g):
            return gx.metrics(tx.update(g, tx.init(p), p)[1])["grad_norm"]

        spec = PartitionSpec("data")
        return jax.shard_map(device, mesh=mesh, in_specs=(spec, spec), out_specs=PartitionSpec())(p, g)

    np.testing.assert_allclose(run("data"), norm(g), rtol=1e-6)
    tx = gx.measure(gx.sgd(0.1), grad_norm=True)
    spec = PartitionSpec("data")
    with pytest.raises(ValueError, match="inside shard_map: give axis_name"):
        jax.shard_map(lambda p, g: tx.update(g, tx.init(p), p)[0], mesh=mesh, in_specs=(spec, spec), out_specs=spec)(
            p, g
        )
    tx = gx.measure(gx.sgd(0.1), axis_name="fast")
    state = tx.init(P)
    with pytest.raises(ValueError, match="axis_name 'fast' is no axis here"):
        tx.update(P, state, P)
    with pytest.raises(ValueError, match="must take one axis_name"):
        gx.measure(gx.clip_by_global_norm(1.0, axis_name="data"), clip_fraction=True)


def test_it_prints_as_it_is_written():
    tx = gx.measure(gx.chain(gx.clip_by_global_norm(1.0), gx.sgd(0.1)), grad_norm=True, update_ratio="global")
    assert eval(repr(tx), {name: getattr(gx, name) for name in gx.__all__}) == tx
    assert repr(tx).endswith("grad_norm=True, update_ratio='global')")


def test_of_several_none_is_left_out():
    tx = gx.measure(gx.guard(gx.measure(gx.sgd(0.5), grad_norm=True, update_norm=True)), grad_norm=True)
    _, state = tx.update({"a": jnp.asarray([3.0, 4.0])}, tx.init({"a": jnp.zeros(2)}))
    assert {k: float(x) for k, x in gx.metrics(state).items()} == {
        "grad_norm": 5.0, "grad_norm_2": 5.0, "update_norm": 2.5,
    }  # fmt: skip
