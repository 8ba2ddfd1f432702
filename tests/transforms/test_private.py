from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh, PartitionSpec
from scipy import stats

import gradxform as gx
from gradxform.transforms.private import clip_factors

F32, BF16, F16 = jnp.float32, jnp.bfloat16, jnp.float16
SHAPES = {"kernel": (2, 3), "bias": (3,), "scale": ()}


def examples(n=6, seed=0, dtype=F32):
    rng = np.random.default_rng(seed)
    sizes = np.geomspace(0.1, 10, n)
    return {k: jnp.asarray((sizes * rng.normal(size=(*s, n))).T.reshape(n, *s), dtype) for k, s in SHAPES.items()}


def norms(grads):
    """The norm of every example's gradient, in double."""
    return np.sqrt(
        sum(np.sum(np.abs(np.asarray(g, np.complex128)) ** 2, tuple(range(1, g.ndim))) for g in grads.values())
    )


def aggregate(tx, grads, params=None):
    state = tx.init({k: jnp.zeros(g.shape[1:], g.dtype) for k, g in grads.items()} if params is None else params)
    return tx.update(grads, state, params)[0]


@pytest.mark.parametrize("bound", [0.0, 0.5, 2.0, 100.0, np.inf])
def test_global_norm_clip_bounds_every_example_and_adds(bound):
    grads = examples()
    total, cut = gx.per_example_global_norm_clip(grads, bound)
    factors = np.minimum(1, bound / norms(grads))
    assert cut == np.sum(factors < 1)
    for k, g in grads.items():
        np.testing.assert_allclose(total[k], np.tensordot(factors, np.asarray(g, np.float64), 1), rtol=2e-6, atol=1e-6)
    theirs, their_cut = optax.per_example_global_norm_clip(grads, bound)
    assert cut == their_cut
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-6), total, theirs)


@pytest.mark.parametrize("uniform", [True, False])
def test_layer_norm_clip_bounds_array_by_array(uniform):
    grads = examples()
    total, cut = gx.per_example_layer_norm_clip(grads, 2.0, uniform)
    shares = {"kernel": 6, "bias": 3, "scale": 1}
    for k, g in grads.items():
        bound = 2.0 * np.sqrt(1 / 3 if uniform else shares[k] / 10)
        factors = np.minimum(1, bound / norms({k: g}))
        np.testing.assert_allclose(total[k], np.tensordot(factors, np.asarray(g, np.float64), 1), rtol=2e-6, atol=1e-6)
        assert cut[k] == np.sum(factors < 1)
    theirs, their_cut = optax.per_example_layer_norm_clip(grads, 2.0, uniform)
    assert cut == their_cut
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-6), total, theirs)


def numbers(dtype):
    """Whatever a float of that dtype may be: huge, tiny, subnormal, infinite, NaN."""
    info = jnp.finfo(dtype)
    extremes = [float(x) for x in (info.max, info.tiny, info.smallest_subnormal, info.eps, 1.0, 0.0)]
    near = st.floats(-3, 3)
    spread = st.builds(lambda m, e: m * 10.0**e, st.floats(-9, 9), st.integers(-44, 38))
    special = st.sampled_from([*extremes, *(-x for x in extremes), np.inf, -np.inf, np.nan])
    return st.one_of(near, spread, special)


def gradients(dtype):
    leaf = st.lists(st.lists(numbers(dtype), min_size=4, max_size=4), min_size=3, max_size=3)
    return st.tuples(leaf, leaf)


@jax.jit
def one_by_one(grads, bound):
    """What each of three examples adds, and whether it was cut."""
    return jax.vmap(lambda g: gx.per_example_global_norm_clip(jax.tree.map(lambda x: x[None], g), bound))(grads)


def as_tree(drawn, dtype):
    with np.errstate(over="ignore"):
        a, b = (np.asarray(x, np.float64).astype(dtype) for x in drawn)
    return {"a": jnp.asarray(a), "b": jnp.asarray(b.reshape(3, 2, 2))}


@pytest.mark.parametrize("dtype", [F32, BF16, F16], ids=["float32", "bfloat16", "float16"])
@settings(max_examples=150, deadline=None)
@given(data=st.data(), bound=st.sampled_from([1e-30, 1e-6, 1.0, 3.7, 1e4, 1e30]))
def test_no_example_adds_more_than_the_bound(dtype, data, bound):
    grads = as_tree(data.draw(gradients(dtype)), dtype)
    bound = float(np.float32(bound))
    added, cut = jax.tree.map(lambda x: np.asarray(x, np.float64), one_by_one(grads, bound))
    for i, (before, size) in enumerate(zip(norms(grads), norms(added), strict=True)):
        # The norm is a float32 sum of 8 squares: 5 roundings; square root, quotients and the product add 4 more.
        assert size <= bound * (1 + 9 * 2.0**-24)
        if not np.isfinite(before):
            assert size == 0
            assert cut[i] == 1
        elif before <= bound * (1 - 1e-6):
            assert cut[i] == 0
            for k, g in grads.items():  # subnormal numbers may be flushed to 0
                np.testing.assert_allclose(added[k][i], np.asarray(g[i], np.float64), rtol=0, atol=1.2e-38)
        elif bound / before > 1e-37:  # below, the factor is subnormal and the example may be lost
            np.testing.assert_allclose(size, min(before, bound), rtol=1e-5, atol=1e-37)


@settings(max_examples=60, deadline=None)
@given(drawn=gradients(F32), other=st.lists(numbers(F32), min_size=4, max_size=4))
def test_exchanging_one_example_moves_the_sum_by_at_most_two_bounds(drawn, other):
    """What the noise must hide: with all that the aggregate does, noise off."""
    grads = as_tree(drawn, F32)
    bound, tx = 1.5, gx.differentially_private_aggregate(1.5, 0.0, key=0)
    with np.errstate(over="ignore"):
        row = np.asarray(other, np.float64).astype(F32)
    changed = {"a": grads["a"].at[1].set(jnp.asarray(row)), "b": grads["b"]}
    without = {k: g.at[1].set(0) for k, g in grads.items()}
    sums = [{k: 3 * np.asarray(x, np.float64) for k, x in aggregate(tx, x).items()} for x in (grads, changed, without)]
    moved = [norms({k: (sums[i][k] - sums[j][k])[None] for k in sums[0]})[0] for i, j in ((0, 1), (0, 2))]
    # Sums of three numbers of at most 1.5, rounded to float32 and divided by 3.
    assert moved[0] <= 2 * bound + 1e-5
    assert moved[1] <= bound + 1e-5


def test_a_norm_of_many_squares_is_kept_too():
    g = {"a": jnp.full((2, 100_000), 0.1, BF16)}
    total, _ = gx.per_example_global_norm_clip({"a": g["a"][:1]}, 1.0)
    # A float32 sum of 100 000 squares in any order that XLA takes; in bfloat16 it would stop at 32.
    np.testing.assert_allclose(np.linalg.norm(np.asarray(total["a"], np.float64)), 1.0, rtol=1e-5)


@pytest.mark.parametrize(("bound", "size"), [(1e-31, 1e-30), (1e-12, 1e-15), (1e-16, 1e-15), (1.0, 1e-30), (1.0, 1e30)])
def test_squares_may_vanish_or_overflow(bound, size):
    """Two examples of norms size and 3 size, and one of gradients of 0."""
    g = {"w": size * jnp.asarray([[0.6, 0.0], [0.0, 1.8], [0.0, 0.0]]), "b": size * jnp.asarray([[0.8], [2.4], [0.0]])}
    total, cut = gx.per_example_global_norm_clip(g, bound)
    first, second = (min(1.0, bound / (times * size)) for times in (1, 3))
    np.testing.assert_allclose(total["w"], [0.6 * size * first, 1.8 * size * second], rtol=1e-5)
    np.testing.assert_allclose(total["b"], [0.8 * size * first + 2.4 * size * second], rtol=1e-5)
    assert int(cut) == (first < 1) + (second < 1)


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_an_example_that_is_not_finite_adds_nothing(bad):
    grads = examples()
    broken = grads | {"bias": grads["bias"].at[2, 1].set(bad)}
    dropped = {k: g.at[2].set(0) for k, g in grads.items()}
    tx = gx.differentially_private_aggregate(1.0, 0.7, key=3)
    for a, b in zip(*(jax.tree.leaves(aggregate(tx, g)) for g in (broken, dropped)), strict=True):
        np.testing.assert_array_max_ulp(np.asarray(a), np.asarray(b), 4)  # the rare branch rounds twice more


def test_without_noise_it_is_the_mean_of_bounded_gradients():
    grads = examples()
    u = aggregate(gx.differentially_private_aggregate(1.0, 0.0, key=0), grads)
    total, _ = optax.per_example_global_norm_clip(grads, 1.0)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b / 6, rtol=2e-6, atol=1e-7), u, total)


@pytest.mark.parametrize(("bound", "sigma", "n"), [(1.0, 1.1, 1), (0.5, 4.0, 8)])
def test_the_noise_has_the_papers_deviation(bound, sigma, n):
    """Abadi et al. 2016, algorithm 1: N(0, sigma^2 C^2) on the sum, then divided by the number of examples."""
    grads = {"a": jnp.zeros((n, 60, 70)), "b": jnp.zeros((n, 3000))}
    tx = gx.differentially_private_aggregate(bound, sigma, key=5)
    state = tx.init({k: g[0] for k, g in grads.items()})
    draws = []
    for _ in range(2):
        u, state = tx.update(grads, state)
        draws += [np.ravel(u["a"]), np.ravel(u["b"])]
    for x in draws:
        square = np.sum(np.asarray(x, np.float64) ** 2) / (sigma * bound / n) ** 2
        assert 1e-4 < stats.chi2.cdf(square, x.size) < 1 - 1e-4
    assert stats.kstest(np.concatenate(draws) * n / (sigma * bound), "norm").pvalue > 1e-4
    assert len(np.unique(np.concatenate(draws))) > 0.99 * sum(map(len, draws))


def test_dpsgd_is_aggregate_momentum_and_rate():
    grads, params = examples(), {k: jnp.ones(s) for k, s in SHAPES.items()}
    ours = gx.dpsgd(0.1, 1.0, 0.0, 3, momentum=0.9, nesterov=True)
    theirs = optax.chain(
        optax.contrib.differentially_private_aggregate(1.0, 0.0, key=3),
        optax.trace(0.9, nesterov=True),
        optax.scale_by_learning_rate(0.1),
    )
    state, other = ours.init(params), theirs.init(params)
    for _ in range(3):
        (u, state), (v, other) = ours.update(grads, state, params), theirs.update(grads, other, params)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=3e-6, atol=1e-8), u, v)
    assert gx.dpsgd(0.1, 1.0, 1.0, 3).stages == (
        *gx.differentially_private_aggregate(1.0, 1.0, key=3).stages,
        *gx.sgd(0.1).stages,
    )


def test_it_goes_first_and_in_no_group():
    private = gx.differentially_private_aggregate(1.0, 1.0, key=0)
    for make in (
        lambda: gx.chain(gx.clip(1.0), private),
        lambda: gx.chain(gx.freeze("bias"), private),
        lambda: gx.chain(private, private),
        lambda: gx.groups([("bias", private)], gx.sgd(0.1)),
        lambda: gx.masked(private, gx.named("bias")),
    ):
        with pytest.raises(ValueError, match=r"differentially_private_aggregate.* must be the first stage"):
            make()


def test_gradients_without_examples_are_refused():
    tx = gx.dpsgd(0.1, 1.0, 1.0, 0)
    params = {k: jnp.ones(s) for k, s in SHAPES.items()}
    state = tx.init(params)
    with pytest.raises(ValueError, match=r"'bias' has shape \(3,\) .3 examples of shape \(\).*, its parameter \(3,\)"):
        tx.update(params, state, params)
    with pytest.raises(ValueError, match="needs at least one example, and 'bias' has none"):
        tx.update({k: g[:0] for k, g in examples().items()}, state, params)
    with pytest.raises(ValueError, match=r"leading axis of the same number of examples, got shapes .*\(5, 3\)"):
        tx.update(examples() | {"bias": jnp.ones((5, 3))}, state, params)


def test_frozen_parameters_take_no_part():
    grads, params = examples(), {k: jnp.ones(s) for k, s in SHAPES.items()}
    tx = gx.chain(gx.dpsgd(1.0, 1.0, 0.0, 0), gx.freeze("kernel"))
    u, _ = tx.update(grads, tx.init(params), params)
    assert u["kernel"].shape == (2, 3)
    assert not np.any(u["kernel"])
    rest = {k: g for k, g in grads.items() if k != "kernel"}
    total, _ = gx.per_example_global_norm_clip(rest, 1.0)
    np.testing.assert_allclose(u["bias"], -total["bias"] / 6, rtol=1e-6)


def test_decay_and_figures_stand_behind_it():
    grads, params = examples(), {k: jnp.ones(s) for k, s in SHAPES.items()}
    tx = gx.with_weight_decay(gx.dpsgd(0.5, 1.0, 0.0, 0), 0.1, "l2")
    u, _ = tx.update(grads, tx.init(params), params)
    total, _ = gx.per_example_global_norm_clip(grads, 1.0)
    # Mean and decay nearly cancel in some elements.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, -0.5 * (b / 6 + 0.1), rtol=1e-6, atol=3e-8), u, total)
    measured = gx.measure(gx.dpsgd(0.5, 1.0, 1.0, 0), update_norm=True)
    u, state = measured.update(grads, measured.init(params), params)
    np.testing.assert_allclose(gx.metrics(state)["update_norm"], gx.global_norm(u), rtol=1e-6)


def test_examples_may_lie_on_several_devices():
    """One sum over the axis, one draw of noise: as on one device. Without the axis it is refused."""
    grads, params = examples(8), {k: jnp.ones(s) for k, s in SHAPES.items()}
    alone = aggregate(gx.differentially_private_aggregate(1.0, 2.0, key=3), grads, params)
    tx = gx.differentially_private_aggregate(1.0, 2.0, key=3, axis_name="d")
    state = tx.init(params)
    parts = jax.tree.map(lambda g: g.reshape(4, 2, *g.shape[1:]), grads)
    found = jax.vmap(lambda g: tx.update(g, state, params)[0], axis_name="d")(parts)
    for k, x in found.items():
        np.testing.assert_allclose(x, np.broadcast_to(alone[k], x.shape), rtol=1e-6, atol=1e-7)

    mesh, part, whole = Mesh(jax.devices()[:1], "d"), PartitionSpec("d"), PartitionSpec()
    run = jax.jit(jax.shard_map(lambda g: tx.update(g, state, params)[0], mesh=mesh, in_specs=part, out_specs=whole))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7), run(grads), alone)
    bare = gx.differentially_private_aggregate(1.0, 2.0, key=3)
    with pytest.raises(ValueError, match="looks at more than one element"):
        jax.shard_map(lambda g: bare.update(g, state, params)[0], mesh=mesh, in_specs=part, out_specs=whole)(grads)


def test_momentum_behind_it_may_live_on_the_host():
    grads, params = examples(), {k: jnp.ones(s) for k, s in SHAPES.items()}
    tx = gx.dpsgd(0.5, 1.0, 1.0, 0, momentum=0.9)
    jax.tree.map(
        np.testing.assert_array_equal, aggregate(gx.offloaded(tx), grads, params), aggregate(tx, grads, params)
    )


def test_factors_are_numbers_for_gradients_of_mixed_dtypes():
    grads = [jnp.asarray([[3.0]], BF16), jnp.asarray([[4.0]], F32), jnp.asarray([0.0], F16)]
    np.testing.assert_allclose(clip_factors(grads, 1.0), [0.2], rtol=1e-6)


def test_it_compiles_once_for_bounds_that_change():
    tx = gx.differentially_private_aggregate([1.0, 0.5], 0.0, key=0)
    grads = {"a": jnp.full((2, 4), 3.0)}
    state = tx.init({"a": grads["a"][0]})
    for bound in (1.0, 0.5):
        u, state = tx.update(grads, state)
        np.testing.assert_allclose(np.linalg.norm(u["a"]), bound, rtol=1e-6)
