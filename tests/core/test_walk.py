"""One leaf through several rules: dtypes, names in errors, shapes, and memory that keeps its form."""

from __future__ import annotations

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.core.barriers import BRIEF
from gradxform.core.tree import Leaf
from gradxform.core.walk import MANY, Pending, can_recompute, kept, like, run_pending
from gradxform.optimizers.adam import ScaleByAdam
from gradxform.transforms.scale import Identity, Scale
from tests.events import traced_and_compiled

P = {"a": jnp.ones(2), "b": jnp.ones(3)}


def test_arrays_reach_a_rule_in_float32_or_wider():
    seen = {}

    class Look(gx.Rule):
        facts = gx.Facts(needs_params=True)

        def update(self, g, s, p, k):
            seen.update(g=g.dtype, p=p.dtype)
            return g, s

    p = jnp.ones(2, jnp.bfloat16)
    tx = gx.lift(Look())
    assert tx.update(jnp.ones(2, jnp.float16), tx.init(p), p)[0].dtype == jnp.float32
    assert seen == {"g": jnp.float32, "p": jnp.float32}


def test_stored_params_reach_a_rule_as_they_are():
    seen = []

    class Look(gx.Rule):
        facts = gx.Facts(needs_params=True, stored_params=True)

        def update(self, g, s, p, k):
            seen.append(p.dtype)
            return g, s

    p = jnp.ones(2, jnp.bfloat16)
    tx = gx.lift(Look())
    tx.update(p, tx.init(p), p)
    assert seen == [jnp.bfloat16]


def test_errors_inside_a_rule_name_their_leaf():
    class Broken(gx.Rule):
        def update(self, g, s, p, k):
            raise RuntimeError("no")

    tx = gx.lift(Broken())
    with pytest.raises(RuntimeError) as caught:
        tx.update({"x": {"y": jnp.ones(1)}}, tx.init({"x": {"y": jnp.ones(1)}}))
    assert "at leaf 'x/y'" in caught.value.__notes__


def test_a_rule_may_not_change_the_shape():
    class Sum(gx.Rule):
        def update(self, g, s, p, k):
            return g.sum(), s

    tx = gx.lift(Sum())
    with pytest.raises(ValueError, match=r"sum turned an update of shape \(2,\) into one of shape \(\)"):
        tx.update(P["a"], tx.init(P["a"]))


class Counted(gx.Rule):
    """Tells whenever it is traced."""

    def update(self, g, s, p, k):
        TRACED.append(g.shape)
        return 2 * g, s


TRACED: list[tuple[int, ...]] = []


@pytest.mark.parametrize("n", [3, MANY])
def test_a_rule_is_traced_once_a_shape(n):
    TRACED.clear()
    tx = gx.chain(gx.lift(Counted()), gx.scale(0.5))
    grads = {f"{i}": jnp.full((2,) if i % 2 else (3,), float(i)) for i in range(n)}
    updates, _ = jax.jit(tx.update)(grads, tx.init(grads))
    jax.tree.map(np.testing.assert_array_equal, updates, grads)
    assert sorted(TRACED) == [(2,), (3,)]


def test_many_leaves_share_a_function_of_the_program():
    tx, calls = gx.scale(2.0), []
    for n in (MANY - 1, MANY):
        grads = {f"{i}": jnp.ones(2) for i in range(n)}
        program = jax.jit(tx.update).lower(grads, tx.init(grads)).as_text()
        calls.append(program.count("func.func private"))
    assert calls[0] == 0 < calls[1]


def chosen(tx, g, platform):
    """How many arrays a lowered program chooses by element."""
    traced = jax.jit(tx.update).trace(g, tx.init(g), g)
    return len(re.findall(r"stablehlo.select .*tensor<\d+xi1>", traced.lower(lowering_platforms=(platform,)).as_text()))


@pytest.mark.parametrize("platform", ["cpu", "cuda", "rocm", "tpu"])
@pytest.mark.parametrize("tx", [gx.sgd(0.0123), gx.packed(gx.sgd(0.0123), BRIEF + 1)], ids=["plain", "packed"])
def test_many_leaves_read_one_array_in_common_on_gpus(tx, platform):
    """There XLA makes one kernel of several that do."""
    g = {f"w{i}": jnp.full(3, 0.1) for i in range(MANY)}
    assert (chosen(tx, g, platform) > 0) == (platform in ("cuda", "rocm"))
    assert chosen(tx, {"w": g["w0"]}, platform) == 0
    assert chosen(tx, {k: jax.ShapeDtypeStruct((BRIEF + 1,), jnp.float32) for k in g}, platform) == 0


@pytest.mark.parametrize("tx", [gx.adam(0.0234), gx.packed(gx.adam(0.0234))], ids=["plain", "packed"])
def test_what_gpus_read_in_common_changes_no_result(tx, monkeypatch):
    rng = np.random.default_rng(0)
    g = {f"w{i}": jnp.asarray(rng.standard_normal(3), jnp.float32) for i in range(MANY)}
    g |= {"inf": jnp.full(3, jnp.inf), "nan": jnp.full(3, jnp.nan), "other": jnp.ones(4)}
    state, alone = tx.init(g), gx.adam(0.0234)
    wanted = {k: jax.jit(alone.update)({k: x}, alone.init({k: x}), {k: x})[0][k] for k, x in g.items()}
    asked = []

    def on_gpu(*args, cuda=None, default, **others):
        asked.append(cuda)
        return (cuda or default)(*args)

    monkeypatch.setattr(jax.lax, "platform_dependent", on_gpu)
    updates = jax.jit(tx.update)(g, state, g)[0]
    assert any(asked)
    # Another program: a multiplication and an addition are one operation in it, or two.
    jax.tree.map(lambda u, w: np.testing.assert_allclose(u, w, rtol=2.5e-7), updates, wanted)


def test_an_equal_rule_is_not_traced_again():
    g = jnp.ones(5)
    gx.lift(Counted()).update(g, gx.lift(Counted()).init(g))
    TRACED.clear()
    with traced_and_compiled() as found:
        gx.lift(Counted()).update(g, gx.lift(Counted()).init(g))
    assert TRACED == []
    assert found == []


def test_memory_is_kept_where_the_step_is_not_taken():
    new, old = {"x": jnp.ones(2)}, {"x": jnp.zeros(2)}
    assert kept(None, new, old) is new
    for ok, expected in ((True, 1.0), (False, 0.0)):
        np.testing.assert_array_equal(kept(jnp.asarray(ok), new, old)["x"], expected)


def test_memory_keeps_shape_and_dtype():
    old = {"x": jnp.zeros(2, jnp.bfloat16)}
    found = like({"x": np.array([1.0, 1.001])}, old)["x"]
    assert found.dtype == jnp.bfloat16
    np.testing.assert_array_equal(found, [1.0, 1.0])
    with pytest.raises(ValueError, match=r"the memory of mine has shape \(2,\), and the gradient would make it \(3,\)"):
        like({"x": jnp.ones(3)}, old, "mine")


def test_what_can_be_computed_a_second_time():
    """Where the update follows from the new memory, or costs little."""
    assert can_recompute(ScaleByAdam(), remembers=True)
    assert can_recompute(Scale(2.0), remembers=False)
    assert not can_recompute(Identity(), remembers=False)
    assert not can_recompute(ScaleByAdam(), remembers=False)


def test_a_gradient_is_read_once_no_rule_waits_for_it():
    leaf = Leaf("w", jnp.ones(2), jnp.ones(2), {})
    leaf.pending.append(Pending("scale", Scale(3.0), None))
    with pytest.raises(AssertionError, match="rules wait for the gradient of 'w': run_pending first"):
        _ = leaf.g
    run_pending([leaf])
    np.testing.assert_array_equal(leaf.g, 3.0)


def test_rules_behind_a_factor_run_too() -> None:
    tx = gx.chain(gx.scale(2.0), gx.clip(1.0), gx.scale(3.0), gx.scale(-1.0))
    updates, _ = tx.update(jnp.array([0.25, 4.0]), tx.init(jnp.ones(2)))
    np.testing.assert_array_equal(updates, [-1.5, -3.0])
