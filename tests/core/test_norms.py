"""What sums over a computed array computes it for itself: nothing as large as the tree is written for it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.core.barriers import SMALL, TOGETHER
from gradxform.core.norms import TINY, norms_of_two, sum_of_squares
from gradxform.core.walk import MANY
from tests.compiler import FAST, sums_in_place

SHAPES = {"a": (300, 400), "b": (300, 400), "c": (400, 500), "d": (400, 500)}
BYTES = sum(4 * np.prod(shape) for shape in SHAPES.values())


def clipped(*more):
    return gx.chain(gx.clip_by_global_norm(0.1), gx.adamw(1e-3), *more)


COMPOSED = {
    "clip, adamw": (clipped, jnp.float32),
    "clip, adamw, bfloat16 gradients": (clipped, jnp.bfloat16),
    "decay, clip, momentum": (
        lambda: gx.chain(gx.add_decayed_weights(1e-2), gx.clip_by_global_norm(0.1), gx.sgd(0.1, 0.9)),
        jnp.float32,
    ),
    "scheduled decay, clip, sgd": (
        lambda: gx.chain(
            gx.add_decayed_weights(gx.linear_schedule(1e-2, 0.0, 9)), gx.clip_by_global_norm(0.1), gx.sgd(0.1)
        ),
        jnp.float32,
    ),
    "unscale, clip, adamw": (lambda: gx.chain(gx.unscale(128.0), clipped()), jnp.bfloat16),
    "centralize, normalize, adam": (
        lambda: gx.chain(gx.centralize(), gx.normalize_by_update_norm(), gx.adam(1e-3)),
        jnp.float32,
    ),
    "adam, clip": (
        lambda: gx.chain(gx.scale_by_adam(), gx.clip_by_global_norm(0.1), gx.scale_by_learning_rate(0.1)),
        jnp.float32,
    ),
    "adam with nesterov, clip": (
        lambda: gx.chain(gx.scale_by_adam(nesterov=True), gx.clip_by_global_norm(0.1), gx.scale(-0.1)),
        jnp.float32,
    ),
    "momentum with nesterov, clip": (
        lambda: gx.chain(gx.trace(0.9, nesterov=True), gx.clip_by_global_norm(0.1), gx.scale(-0.1)),
        jnp.float32,
    ),
    "lion, clip": (lambda: gx.chain(gx.scale_by_lion(), gx.clip_by_global_norm(0.1), gx.scale(-0.1)), jnp.bfloat16),
    "lamb": (lambda: gx.lamb(1e-3, weight_decay=0.1), jnp.float32),
    "clip, lamb": (lambda: gx.chain(gx.clip_by_global_norm(0.1), gx.lamb(1e-3)), jnp.bfloat16),
    "lars": (lambda: gx.lars(1e-3), jnp.float32),
    "adam, a norm for each array": (
        lambda: gx.chain(gx.scale_by_adam(), gx.clip_by_block_rms(0.5), gx.scale(-0.1)),
        jnp.float32,
    ),
    "guard": (lambda: gx.guard(gx.adamw(1e-3)), jnp.float32),
    "guard against spikes": (lambda: gx.guard(gx.adamw(1e-3), spike=6.0), jnp.float32),
    "guard against spikes, momentum": (lambda: gx.guard(gx.sgd(0.1, 0.9), spike=6.0), jnp.float32),
    "guard, momentum": (lambda: gx.guard(gx.sgd(0.1, 0.9)), jnp.float32),
    "guard, clip": (lambda: gx.guard(clipped()), jnp.bfloat16),
    "loss scale": (lambda: gx.dynamic_loss_scale(gx.adamw(1e-3)), jnp.float32),
    "loss scale, momentum": (lambda: gx.dynamic_loss_scale(gx.sgd(0.1, 0.9)), jnp.float32),
    "loss scale, clip": (lambda: gx.dynamic_loss_scale(clipped()), jnp.bfloat16),
    "accumulate, clip": (lambda: gx.accumulate(clipped(), 4), jnp.float32),
    "metrics": (lambda: gx.measure(gx.adamw(1e-3), grad_norm=True), jnp.float32),
}


def trees(dtype):
    rng = np.random.default_rng(0)
    params = {k: jnp.asarray(rng.standard_normal(s), jnp.float32) for k, s in SHAPES.items()}
    return params, {k: jnp.asarray(rng.standard_normal(s), dtype) for k, s in SHAPES.items()}


@sums_in_place
@pytest.mark.parametrize("name", COMPOSED)
def test_no_temporaries_as_large_as_a_leaf(name):
    make, dtype = COMPOSED[name]
    (params, grads), tx = trees(dtype), make()
    compiled = gx.make_step(tx).lower(params, tx.init(params), grads).compile(FAST)
    assert compiled.memory_analysis().temp_size_in_bytes < 0.01 * BYTES


@sums_in_place
@pytest.mark.parametrize("name", ["guard", "guard, clip", "loss scale, clip", "accumulate, clip", "lamb"])
def test_nor_with_so_many_leaves_that_they_share_a_function(name):
    params = {f"w{i}": jnp.ones((100, 400)) for i in range(MANY + 2)}
    tx = COMPOSED[name][0]()
    compiled = gx.make_step(tx).lower(params, tx.init(params), params).compile(FAST)
    assert compiled.memory_analysis().temp_size_in_bytes < 0.01 * 4 * 40_000 * len(params)


def test_one_norm_serves_user_clip_and_loss_scale():
    params, grads = trees(jnp.float32)
    tx = clipped()

    def sums(f, *args):
        return jax.jit(f).lower(*args).compile(FAST).as_text().count(" reduce(")

    alone = sums(tx.update, grads, tx.init(params), params)
    assert sums(lambda g, s, p: (gx.global_norm(g), tx.update(g, s, p)), grads, tx.init(params), params) == alone
    scaled = gx.dynamic_loss_scale(tx)
    assert sums(scaled.update, grads, scaled.init(params), params) == alone


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(
    "before",
    [
        gx.identity(),
        gx.add_decayed_weights(1e-2),
        gx.unscale(128.0),
        gx.centralize(),
        gx.scale_by_adam(),
        gx.scale_by_adam(nesterov=True),
    ],
    ids=str,
)
def test_the_norm_is_that_of_what_goes_on(before, dtype):
    """Computed twice, the same twice: what comes out of the clipping has the length that it allows."""
    params, grads = trees(dtype)
    tx = gx.chain(before, gx.clip_by_global_norm(0.1))
    updates, _ = jax.jit(tx.update)(grads, tx.init(params), params)
    # The stage adds 640,000 squares in float32.
    np.testing.assert_allclose(_norm(updates), 0.1, rtol=2e-6)


def _norm(tree):
    return np.sqrt(sum(np.sum(np.asarray(x, np.float64) ** 2) for x in tree.values()))


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_two_norms_together(platform, monkeypatch):
    """Whatever the platform sums in one: arrays alike, of other dtypes and shapes, complex, rows, and none."""
    rng = np.random.default_rng(0)
    wide = [rng.standard_normal((300, 400)).astype(np.float32) for _ in range(4)]
    xs = [*map(jnp.asarray, wide), None, jnp.ones(7), gx.Rows(jnp.array([1, 1]), jnp.ones((2, 90)), (500, 90))]
    ys = [jnp.asarray(wide[1], jnp.bfloat16), jnp.asarray(wide[2] * 1j), None, jnp.ones((100, 200)), jnp.ones(3), None]
    ys.append(jnp.full((500, 90), 0.5))

    def chosen(*args, default, **by_platform):
        return by_platform.get(platform, default)(*args)

    monkeypatch.setattr(jax.lax, "platform_dependent", chosen)
    for got, arrays in zip(jax.jit(norms_of_two)(xs, ys), (xs, ys), strict=True):
        dense = [np.asarray(x.summed().values if isinstance(x, gx.Rows) else x) for x in arrays if x is not None]
        expected = np.sqrt(sum(np.sum(np.abs(x.astype(complex)) ** 2) for x in dense))
        np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_two_norms_have_derivatives_and_maps():
    x = jnp.linspace(-1.0, 1.0, 20_000)
    f = jax.jit(jax.grad(lambda x: norms_of_two([x], [3 * x])[1]))
    np.testing.assert_allclose(f(x), 3 * x / np.linalg.norm(x), rtol=1e-5)
    both = jax.vmap(lambda x: norms_of_two([x], [2 * x]))(jnp.stack([x, 5 * x]))
    np.testing.assert_allclose(both, np.outer([1, 2], [1, 5]) * np.linalg.norm(x), rtol=1e-6)


def test_one_reduction_reads_updates_and_parameters_on_gpus():
    params, grads = trees(jnp.float32)
    tx = gx.measure(gx.adamw(1e-3), update_norm=True, param_norm=True)
    traced = jax.jit(tx.update).trace(grads, tx.init(params), params)
    sums = {on: traced.lower(lowering_platforms=(on,)).as_text().count("stablehlo.reduce(") for on in ("cuda", "cpu")}
    # One for each leaf, and one for each tree that adds these.
    assert sums == {"cuda": len(params) + 2, "cpu": 2 * len(params) + 2}


def test_zero_eps_and_zero_gradients_do_not_poison_the_norm():
    params = {"a": jnp.ones((300, 400)), "b": jnp.ones(7)}
    grads = {"a": jnp.zeros((300, 400)), "b": jnp.arange(7.0)}
    tx = gx.chain(gx.scale_by_adam(eps=0.0), gx.clip_by_global_norm(1.0))
    updates, _ = jax.jit(tx.update)(grads, tx.init(params), params)
    np.testing.assert_allclose(_norm(updates), 1.0, rtol=1e-6)
    np.testing.assert_array_equal(updates["a"], 0.0)


def test_a_number_that_takes_a_name_of_the_users():
    """The stage that a loss scale puts first has a name that moves no other."""
    params, grads = trees(jnp.float32)
    tx = gx.dynamic_loss_scale(gx.named_chain(("times", gx.trace(0.9)), ("by", gx.scale(gx.tunable(0.5)))))
    state = tx.init(params)
    updates, new = jax.jit(tx.update)(grads, state, params)
    assert jax.tree.structure(new) == jax.tree.structure(state)
    np.testing.assert_allclose(updates["a"], 0.5 / 2**15 * grads["a"], rtol=1e-6)


@pytest.mark.parametrize("size", [1, TINY, TINY + 1, SMALL])
@pytest.mark.parametrize("count", [4, 5, TOGETHER, TOGETHER + 1, 2 * TOGETHER + 3])
def test_every_one_of_many_leaves_of_one_shape_counts(size: int, count: int) -> None:
    """In whatever parts they are added: the squares of 1, 2, ..., one in each leaf, are whole numbers."""
    leaves = [jnp.zeros(size).at[-1].set(i + 1.0) for i in range(count)]
    assert float(sum_of_squares(leaves)) == sum((i + 1) ** 2 for i in range(count))


def test_what_has_no_gradient_counts_nothing() -> None:
    none = np.zeros(2, jax.dtypes.float0)
    assert gx.global_norm({"a": jnp.array([3.0, 4.0]), "b": none, "c": None}) == 5.0
