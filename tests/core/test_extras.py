"""Extra arguments that are trees: each leaf gets its array, by path."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx


class Sum(NamedTuple):
    total: Any


class TimesSum(gx.Halves):
    """The gradient times what it has seen of an extra tree; nothing is seen of None."""

    curvature: gx.OwnExtra = "curvature"

    def init(self, p: Any) -> Sum:
        return Sum(jnp.zeros_like(p))

    def remember(self, g: Any, s: Any, p: Any, k: Any) -> Sum:
        return s if self.curvature is None else Sum(s.total + self.curvature)

    def emit(self, g: Any, s: Any, p: Any, k: Any) -> Any:
        return g * s.total


P = {"a": jnp.ones((4, 6)), "b": {"c": jnp.ones(4)}, "none": None}
G = jax.tree.map(lambda p: 2.0 * p, P)
X = jax.tree.map(lambda p: jnp.arange(p.size, dtype=jnp.bfloat16).reshape(p.shape), P)
WANTED = jax.tree.map(lambda x: 2.0 * x.astype(jnp.float32), X)


def same(tx: Any, wanted: Any = WANTED, **extra: Any) -> None:
    state = tx.init(P)
    for update in (tx.update, jax.jit(tx.update)):
        found, _ = update(G, state, P, **{"curvature": X, **extra})
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, 1e-6), found, wanted)


def test_every_leaf_gets_its_array_through_whatever_is_around_its_rule() -> None:
    tx = gx.lift(TimesSum())
    mesh = jax.make_mesh((1,), ("data",), devices=jax.devices()[:1])
    assert repr(gx.chain(tx, gx.lift(TimesSum("other")))) == f"chain({tx!r}, times_sum(curvature='other'))"
    wrapped = (
        tx, gx.packed(tx), gx.sharded(tx, mesh), gx.own_clock(tx), gx.guard(tx), gx.stored_as("bfloat16", tx),
        gx.groups([("a", tx)], default=gx.accumulate(tx, 1, extras={"curvature": ("mean", X)})),
        gx.chain(tx, gx.clip_by_global_norm(1e9)),
    )  # fmt: skip
    for around in wrapped:
        same(around)
    same(gx.lift(TimesSum("other")), other=X, curvature=None)


def test_many_leaves_share_one_function() -> None:
    tx, p = gx.lift(TimesSum()), [jnp.full(2, float(i)) for i in range(70)]
    found, _ = tx.update(p, tx.init(p), curvature=p)
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x, y * y), found, p)


def test_matrices_get_theirs() -> None:
    class OfArray(gx.Rule):
        curvature: gx.OwnExtra = "curvature"
        facts = gx.Facts(reach=gx.Reach.ARRAY)

        def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
            return g * self.curvature.sum(), s

    tx = gx.matrices(gx.lift(OfArray()), {"w": gx.Matrix("layer in out", rows="in", columns="out")})
    x = jnp.arange(12.0).reshape(2, 3, 2)
    found, _ = tx.update({"w": jnp.ones((2, 3, 2))}, tx.init({"w": x}), curvature={"w": x})
    np.testing.assert_allclose(found["w"], jnp.ones((2, 3, 2)) * x.sum((1, 2), keepdims=True))


def test_the_mean_of_a_window_reaches_the_rule() -> None:
    tx = gx.accumulate(gx.lift(TimesSum()), 2, extras={"curvature": ("mean", P)})
    state = tx.init(P)
    for i in (0.0, 1.0):
        found, state = tx.update(G, state, P, curvature=jax.tree.map(lambda x, i=i: 2 * i * x, X))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, 1e-6), found, WANTED)
    with pytest.raises(ValueError, match="'curvature' of each micro-batch"):
        gx.accumulate(gx.lift(TimesSum()), 2).update(G, gx.accumulate(gx.lift(TimesSum()), 2).init(P), P, curvature=X)


def test_what_a_tree_leaves_out_is_none() -> None:
    wanted = {**WANTED, "a": 0 * WANTED["a"]}
    same(gx.lift(TimesSum()), wanted, curvature={"b": X["b"]})
    same(gx.lift(TimesSum()), jax.tree.map(jnp.zeros_like, WANTED), curvature=None)


def refused(curvature: Any, error: type[Exception], match: str, tx: Any = None, **beside: Any) -> None:
    tx = gx.lift(TimesSum()) if tx is None else tx
    with pytest.raises(error, match=match):
        tx.update(G, tx.init(P), P, **({"curvature": curvature} | beside if curvature is not Ellipsis else beside))


def test_a_tree_that_does_not_fit_is_refused_by_path() -> None:
    refused(..., ValueError, r"times_sum needs 'curvature': call update\(updates, state, params, curvature=\.\.\.\)")
    refused({"b": {"d": X["b"]["c"]}}, ValueError, "'curvature' has an array at 'b/d', where there is no parameter")
    refused({"a": X["a"].T}, ValueError, r"'curvature', which has shape \(6, 4\) at 'a', its leaf \(4, 6\)")
    refused({"a": 1j * jnp.ones((4, 6))}, ValueError, "'curvature', which is complex at 'a', its leaf is not")
    refused({"a": "text"}, TypeError, "'curvature' at 'a' must be an array")
    refused(
        {"b": X["b"]},
        ValueError,
        "packed needs 'curvature' for every leaf.*'a' has none",
        gx.packed(gx.lift(TimesSum())),
    )
    with pytest.raises(ValueError, match="lazy moves rows alone, and times_sum reads curvature of the whole leaf"):
        gx.lazy(gx.lift(TimesSum()))
    with pytest.raises(TypeError, match="curvature must be the name of an extra argument, got 3 of type int"):
        TimesSum(3)


def test_figures_have_shapes_of_their_own() -> None:
    class Scaled(gx.Rule):
        heads: gx.OwnFigures = "heads"

        def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
            return g * self.heads.sum(), s

    tx = gx.lift(Scaled())
    found, _ = tx.update(G, tx.init(P), heads={"a": jnp.ones(3), "b": {"c": 2.0}})
    np.testing.assert_array_equal(found["a"], 3 * G["a"])
    np.testing.assert_array_equal(found["b"]["c"], 2 * G["b"]["c"])
