from __future__ import annotations

import pickle
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.core.stacks import each, parts_class
from tests.compiler import FAST

D = np.random.default_rng(0).standard_normal
STACKED = gx.Matrix("layer in out", rows="in", columns="out")
FUSED = gx.Matrix("in (q + k + v)", rows="in", columns="q k v", q=6, k=3)


def arrays(**shapes: tuple[int, ...]) -> dict[str, Any]:
    return {name: jnp.asarray(D(shape), jnp.float32) for name, shape in shapes.items()}


class Memory(NamedTuple):
    mean: Any
    left: Any


class Clip(gx.Rule):
    """A rule that reads figures of the whole array."""

    most: gx.OwnFigures = "most"
    facts = gx.Facts(reach=gx.Reach.ARRAY)

    def update(self, g: Any, s: Any, p: Any, k: Any) -> Any:
        return g * self.most.max(), s


class Whiten(gx.Halves):
    """A rule for one matrix with a memory of its own shape and one of its rows."""

    b: gx.Beta = 0.5
    facts = gx.Facts(reach=gx.Reach.ARRAY, matrix=True, needs_params=True)

    def init(self, p: Any) -> Memory:
        return Memory(0 * p, jnp.eye(p.shape[0], dtype=p.dtype))

    def remember(self, g: Any, s: Memory, p: Any, k: Any) -> Memory:
        return Memory(self.b * s.mean + (1 - self.b) * g, self.b * s.left + (1 - self.b) * g @ g.T)

    def emit(self, g: Any, s: Memory, p: Any, k: Any) -> Any:
        return s.left @ s.mean / jnp.trace(s.left) + 0.1 * p


WHITEN = gx.lift(Whiten())


def run(tx: Any, params: Any, steps: int = 3) -> Any:
    state = tx.init(params)
    for i in range(steps):
        grads = jax.tree.map(lambda p, i=i: jnp.sin(p + i), params)
        updates, state = tx.update(grads, state, params)
        params = gx.apply_updates(params, updates)
    return params, state


@pytest.mark.parametrize(
    "tx",
    [
        gx.lamb(0.1, weight_decay=0.1),
        gx.novograd(0.1, weight_decay=0.1),
        gx.chain(gx.clip_by_norm(0.7), gx.sgd(0.1)),
        gx.chain(gx.clip_by_block_rms(0.3), gx.sgd(0.1)),
        gx.chain(gx.adaptive_grad_clip(0.1), gx.sgd(0.1)),
        gx.chain(gx.centralize(), gx.sgd(0.1)),
        gx.chain(gx.orthogonalize_gradient(), gx.sgd(0.1)),
        gx.chain(gx.sgd(0.1), gx.proximal_group_l1(0.5)),
        gx.cautious(gx.novograd(0.1)),
        gx.chain(WHITEN, gx.sgd(0.1)),
        gx.stored_as("bfloat16", gx.novograd(0.1), min_size=0),
        gx.stored_as("int8", gx.chain(WHITEN, gx.sgd(0.1)), min_size=0),
        gx.own_clock(gx.novograd(0.1)),
        gx.offloaded(gx.novograd(0.1)),
        gx.guard(gx.novograd(0.1)),
        gx.accumulate(gx.novograd(0.1), every=2),
    ],
    ids=lambda tx: repr(tx)[:40],
)
def test_a_stack_goes_the_way_of_its_matrices_one_by_one(tx: Any) -> None:
    params = arrays(kernel=(3, 16, 17))  # codes of smaller ones have one scale a matrix in a stack, and one a row alone
    inside = tx.inner if hasattr(tx, "inner") else tx
    stacked = gx.matrices(inside, {"kernel": STACKED})
    stacked = tx.with_fields(inner=stacked) if hasattr(tx, "inner") else stacked
    whole = run(stacked, params)[0]["kernel"]
    loose = 1e-2 if "bfloat16" in repr(tx) else 2e-5  # sums in another order are stored as the next number of 8 bits
    for i in range(3):
        alone = run(tx, {"kernel": params["kernel"][i]})[0]["kernel"]
        np.testing.assert_allclose(whole[i], alone, rtol=loose, atol=loose / 10)


@pytest.mark.parametrize("tx", [gx.lamb(0.1), gx.chain(WHITEN, gx.sgd(0.1))], ids=["lamb", "whiten"])
def test_a_stack_is_the_same_with_and_without_jit(tx: Any) -> None:
    params = arrays(kernel=(3, 4, 5))
    stacked = gx.matrices(tx, {"kernel": STACKED})
    state = stacked.init(params)
    (eager, _), (jitted, _) = (update(params, state, params) for update in (stacked.update, jax.jit(stacked.update)))
    np.testing.assert_allclose(eager["kernel"], jitted["kernel"], 1e-6, 1e-7)


def test_without_a_spec_lamb_takes_one_ratio_for_all_layers() -> None:
    """A stack of layers whose parameters differ in size: each moves by a share of its own."""
    sizes = np.array([0.1, 1.0, 10.0])[:, None, None]
    params = {"kernel": jnp.asarray(D((3, 8, 8)) * sizes, jnp.float32)}
    grads = {"kernel": jnp.asarray(D((3, 8, 8)), jnp.float32)}

    def ratios(tx: Any) -> Any:
        updates, _ = tx.update(grads, tx.init(params), params)
        return jnp.linalg.norm(updates["kernel"], axis=(1, 2)) / jnp.linalg.norm(params["kernel"], axis=(1, 2))

    np.testing.assert_allclose(ratios(gx.matrices(gx.lamb(0.1), {"kernel": STACKED})), 0.1, rtol=1e-5)
    assert ratios(gx.lamb(0.1))[0] > 50 * ratios(gx.lamb(0.1))[2]


def test_unequal_parts_go_each_its_way_and_keep_their_own() -> None:
    params = arrays(qkv=(4, 12))
    parts = {"q": params["qkv"][:, :6], "k": params["qkv"][:, 6:9], "v": params["qkv"][:, 9:]}
    tx = gx.chain(WHITEN, gx.sgd(0.1))
    fused = gx.matrices(tx, {"qkv": FUSED})
    (whole, state), (apart, states) = run(fused, params), run(tx, parts)
    np.testing.assert_allclose(whole["qkv"], jnp.concatenate([apart[name] for name in parts], 1), rtol=1e-5, atol=1e-6)
    kept = state.leaves["qkv"]["whiten"]
    for name in parts:
        theirs = states.leaves[name]["whiten"]
        np.testing.assert_allclose(getattr(kept, name).left[0], theirs.left, rtol=1e-5, atol=1e-6)
    assert jax.tree.structure(pickle.loads(pickle.dumps(state))) == jax.tree.structure(state)
    assert gx.view(state, "q/left")["qkv"].shape == (1, 4, 4)


def test_classes_of_parts_are_one() -> None:
    assert parts_class(("a", "b")) is parts_class(("a", "b"))


def test_memory_is_made_for_every_matrix_and_has_its_shapes() -> None:
    params = arrays(kernel=(3, 4, 5), plain=(4, 5))
    tx = gx.matrices(WHITEN, {"kernel": STACKED})
    state = tx.init(params)
    assert jax.tree.map(jnp.shape, state.leaves) == {
        "kernel": {"whiten": Memory((3, 4, 5), (3, 4, 4))},
        "plain": {"whiten": Memory((4, 5), (4, 4))},
    }
    structs = tx.init(jax.eval_shape(lambda: params))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), structs) == jax.tree.map(lambda x: (x.shape, x.dtype), state)


def test_a_rule_for_matrices_refuses_other_arrays_by_name() -> None:
    with pytest.raises(ValueError, match=r"orthogonalize works on .* 'a' has shape \(2, 3, 4\); .*gx.matrices"):
        gx.orthogonalize().init(arrays(a=(2, 3, 4)))
    with pytest.raises(ValueError, match=r"orthogonalize works on .* 'a' has shape \(3,\); .*gx.groups"):
        gx.orthogonalize().init(arrays(a=(3,)))
    with pytest.raises(ValueError, match="works on matrices"):
        gx.orthogonalize().update(arrays(a=(3,)), ())


def test_what_does_not_train_is_not_refused() -> None:
    params = arrays(kernel=(3, 4), bias=(4,)) | {"ids": jnp.arange(3), "none": None, "empty": jnp.zeros((0, 2, 2))}
    grads = arrays(kernel=(3, 4), bias=(4,)) | {"ids": None, "none": None, "empty": jnp.zeros((0, 2, 2))}
    tx = gx.chain(gx.freeze("bias"), gx.orthogonalize())
    updates, _ = tx.update(grads, tx.init(params), params)
    assert not updates["bias"].any()
    assert updates["kernel"].any()


def test_a_spec_that_does_not_fit_is_refused_with_the_path() -> None:
    tx = gx.matrices(gx.lamb(0.1), {"kernel|bias": STACKED})
    with pytest.raises(ValueError, match=r"'bias' has shape \(4,\), and Matrix\('layer in out'.* is for 3 axes"):
        tx.init(arrays(kernel=(2, 3, 4), bias=(4,)))
    with pytest.raises(ValueError, match=r"matching\('kernle'\) matches no parameter"):
        gx.matrices(gx.lamb(0.1), {"kernle": STACKED}).init(arrays(kernel=(2, 3, 4)))


def test_the_first_spec_counts_and_inner_ones_come_first() -> None:
    params = arrays(kernel=(2, 3, 4))
    other = gx.Matrix("row in out", rows="row in", columns="out")
    inner = gx.matrices(gx.matrices(WHITEN, {"kernel": other}), {"kernel": STACKED})
    assert inner.init(params).leaves["kernel"]["whiten"].left.shape == (1, 6, 6)
    assert repr(inner) == f"matrices({WHITEN!r}, {{matching('kernel'): {other!r}, matching('kernel'): {STACKED!r}}})"


def test_elementwise_and_treewise_stages_stay_as_they_are() -> None:
    noisy = gx.chain(gx.clip_by_global_norm(1.0), gx.add_noise(0.1, 0.5, key=1))
    tx = gx.chain(noisy, gx.adamw(0.1), gx.round_updates("stochastic"))
    assert gx.matrices(tx, {"kernel": STACKED}) == tx


def test_each_matrix_draws_numbers_of_its_own() -> None:
    class Shake(gx.Rule):
        key: gx.OwnKey = 0
        facts = gx.Facts(reach=gx.Reach.ARRAY, matrix=True)

        def update(self, g: Any, s: Any, p: Any, k: Any) -> Any:
            return jax.random.normal(self.key, g.shape), s

    tx = gx.matrices(gx.lift(Shake()), {"kernel": STACKED})
    drawn = tx.update(arrays(kernel=(4, 8, 8)), tx.init(arrays(kernel=(4, 8, 8))))[0]["kernel"]
    assert np.abs(np.corrcoef(drawn.reshape(4, -1)) - np.eye(4)).max() < 0.5


def test_what_happens_at_some_steps_alone_stays_a_conditional() -> None:
    """The compiled step of a stack has a conditional with the work inside, not a choice between two results."""

    class Sometimes(gx.Rule):
        facts = gx.Facts(reach=gx.Reach.ARRAY, matrix=True)

        def scalars(self, t: Any) -> Any:
            return t % 10 == 0

        def update(self, g: Any, s: Any, p: Any, k: Any) -> Any:
            return jax.lax.cond(k, lambda g: jnp.linalg.qr(g)[0], lambda g: g, g), s

    params = arrays(a=(3, 8, 8), b=(8, 8), c=(8, 8))
    tx = gx.matrices(gx.lift(Sometimes()), {"a": STACKED}, together=10**6)
    text = jax.jit(tx.update).lower(params, tx.init(params)).compile(FAST).as_text()
    assert " conditional(" in text


@pytest.mark.parametrize("spec", [STACKED, gx.Matrix("a (head in) out", rows="in", columns="a out", head=2)], ids=repr)
def test_factors_are_numbers_laid_out_over_the_leaf(spec: Any) -> None:
    params = arrays(kernel=(3, 4, 5))
    tx = gx.matrices(gx.clip_by_norm(0.5), {"kernel": spec})
    updates, _ = tx.update(params, tx.init(params))
    for x in spec.fold(updates["kernel"]):
        np.testing.assert_allclose(jnp.linalg.norm(x, axis=(1, 2)), 0.5, rtol=1e-6)


def test_bfloat16_none_scan_and_averages() -> None:
    params = {"kernel": jnp.ones((3, 4, 5), jnp.bfloat16), "rests": jnp.ones((4, 5)), "bias": jnp.ones(5)}
    still = gx.matrices(gx.masked(WHITEN, "kernel|rests"), {"kernel": STACKED})
    tx = gx.chain(still, gx.sgd(0.1), gx.ema_of_params(0.5))
    state = tx.init(params)

    def step(carry: Any, _: Any) -> Any:
        params, state = carry
        updates, state = tx.update(params, state, params)
        return (gx.apply_updates(params, updates), state), None

    (params, state), _ = jax.lax.scan(step, (params, state), length=3)
    assert gx.eval_params(tx, state, params)["kernel"].dtype == jnp.bfloat16
    before = still.init(params)
    updates, after = still.update(params | {"rests": None}, before, params)
    assert updates["rests"] is None
    assert jax.tree.all(jax.tree.map(jnp.array_equal, before.leaves["rests"], after.leaves["rests"]))


def test_rows_are_made_dense() -> None:
    g = gx.Rows(jnp.array([0, 2]), jnp.ones((2, 4, 5)), (3, 4, 5))
    params = arrays(kernel=(3, 4, 5))
    for tx in (gx.clip_by_norm(0.5), gx.centralize(), gx.novograd(0.1)):
        stacked = gx.matrices(tx, {"kernel": STACKED})
        sparse, _ = stacked.update({"kernel": g}, stacked.init(params), params)
        dense, _ = stacked.update({"kernel": g.dense()}, stacked.init(params), params)
        np.testing.assert_array_equal(sparse["kernel"], dense["kernel"])


def test_ninety_leaves_are_one_called_function() -> None:
    params = arrays(**{f"k{i}": (2, 4, 5) for i in range(90)})
    tx = gx.matrices(gx.chain(WHITEN, gx.sgd(0.1)), {"k": STACKED})
    text = jax.jit(tx.update).lower(params, tx.init(params), params).as_text()
    assert text.count("dot_general") < 10


def test_figures_of_a_whole_leaf_are_not_parted() -> None:
    """Not even where they have as many axes as the leaf; a rule of which places count stays outside."""
    params = arrays(stack=(2, 3, 4))
    tx = gx.matrices(gx.lift(Clip()), {"stack": STACKED})
    with pytest.raises(
        ValueError, match=r"clip reads 'most' of all of 'stack', and Matrix.* one by one: .*placed=True"
    ):
        tx.init(params)
    tx, most = gx.matrices(gx.qk_clip(1.0, axis=0), {"stack": STACKED}), {"stack": jnp.asarray([4.0, 0.5])}
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params, max_logits=most)
    np.testing.assert_allclose(updates["stack"], params["stack"] * jnp.asarray([-0.5, 0.0])[:, None, None], rtol=1e-6)


def test_matrices_of_several_leaves_join_where_the_rule_says_how_many() -> None:
    class Matrix(gx.Rule):
        facts = gx.Facts(reach=gx.Reach.ARRAY, matrix=True)

        def update(self, g: Any, s: Any, p: Any, k: Any) -> Any:
            return g, s

    assert each(Matrix(), None, 100, None).joins is True
    assert each(Matrix(), None, 0, None).joins is False
