from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx

P, G = jnp.ones(3), jnp.asarray([0.5, -1.0, 2.0])
SCALAR = jax.ShapeDtypeStruct((), jnp.float32)
RULES = {"mean": "mean", "sum": "sum", "max": "max", "last": "last", "all": ("all", SCALAR)}
XS, WEIGHTS = [1.0, 3.0, 8.0], [1.0, 1.0, 2.0]
GOT = {"mean": (1 + 3 + 16) / 4, "sum": 12.0, "max": 8.0, "last": 8.0, "all": XS}


class Reads(gx.Rule):
    """The extra argument x is its update."""

    facts = gx.Facts(needs=("x",))

    def scalars(self, t, x):
        x = jnp.asarray(x, jnp.float32)
        return [*x] if x.ndim else x

    def update(self, g, s, p, k):
        return jnp.broadcast_to(jnp.asarray(k), g.shape), s


READS = gx.lift(Reads())


def window(tx, xs, state=None, grads=(G, G, G), weights=WEIGHTS, jit=jax.jit):
    state = tx.init(P) if state is None else state
    for x, g, w in zip(xs, grads, weights, strict=True):
        updates, state = jit(tx.update)(g, state, P, x=x, weight=w)
    return updates, state


@pytest.mark.parametrize("jit", [jax.jit, lambda f: f], ids=["jitted", "un-jitted"])
@pytest.mark.parametrize("rule", RULES)
def test_the_step_gets_what_is_stated(rule, jit):
    tx = gx.accumulate(READS, 3, extras={"x": RULES[rule]})
    updates, state = window(tx, XS, jit=jit)
    np.testing.assert_allclose(updates, np.broadcast_to(GOT[rule], 3), rtol=1e-6)
    updates, after = window(tx, [2 * x for x in XS], state, jit=jit)
    np.testing.assert_allclose(updates, np.broadcast_to(2 * np.asarray(GOT[rule]), 3), rtol=1e-6)
    assert jax.tree.structure(after) == jax.tree.structure(tx.init(P))
    assert jax.tree.map(jax.typeof, after) == jax.tree.map(jax.typeof, tx.init(P))
    assert tx == gx.accumulate(READS, 3, extras={"x": RULES[rule]}) != gx.accumulate(READS, 3)


@pytest.mark.parametrize(
    ("rule", "got"), [("mean", (1 + 16) / 3), ("sum", 9.0), ("last", 8.0), ("all", [1.0, 3.0, 8.0])]
)
def test_a_micro_batch_that_is_left_out_counts_nowhere(rule, got):
    tx = gx.accumulate(READS, 3, extras={"x": RULES[rule]})
    updates, state = window(tx, XS, grads=(G, G * jnp.nan, G))
    np.testing.assert_allclose(updates, np.broadcast_to(got, 3), rtol=1e-6)
    assert int(state.left_out) == 1


def test_the_largest_is_that_of_what_counts():
    """Negative ones too, whatever stood there before, and integers of all 32 bits."""
    tx, least = gx.accumulate(READS, 3, extras={"x": ("max", jnp.int32(0))}), -(2**31)
    _, state = window(tx, [7, 5, 2])
    updates, state = window(tx, [9, least + 1, least], state, grads=(G * jnp.nan, G, G))
    assert int(state.value["x"]) == least + 1
    updates, state = window(gx.accumulate(READS, 3, extras={"x": "max"}), [-np.inf, -2.0, -8.0])
    np.testing.assert_array_equal(updates, -2.0)
    with pytest.raises(TypeError, match=r"extras\['x'\] = 'max' compares numbers, and its example is complex"):
        gx.accumulate(READS, 3, extras={"x": ("max", 1j)})


@pytest.mark.parametrize(("rule", "got"), [("mean", (1 + 16) / 3), ("sum", 9.0)])
def test_an_extra_that_is_not_finite_leaves_its_micro_batch_out(rule, got):
    updates, state = window(gx.accumulate(READS, 3, extras={"x": rule}), [1.0, np.inf, 8.0])
    np.testing.assert_allclose(updates, np.full(3, got), rtol=1e-6)
    assert int(state.left_out) == 1


def test_a_skipped_call_keeps_what_was_there():
    tx = gx.guard(gx.accumulate(READS, 3, extras={"x": "sum"}))
    _, state = window(tx, XS[:2], grads=(G, G), weights=WEIGHTS[:2])
    _, skipped = window(tx, [100.0], state, grads=(G * jnp.inf,), weights=[1.0])
    jax.tree.map(np.testing.assert_array_equal, state.inner, skipped.inner)


def test_integers_are_summed_as_integers():
    """2²⁴ + 1 is no float32."""
    tokens = gx.accumulate(READS, 2, extras={"x": ("sum", jnp.int32(0))})
    _, state = window(tokens, [2**24, 1], grads=(G, G), weights=[1.0, 1.0])
    assert int(state.value["x"]) == 2**24 + 1


@pytest.mark.parametrize("example", [True, jnp.int8(0)])
def test_small_integers_are_summed_in_more_bits(example):
    tx = gx.accumulate(READS, 3, extras={"x": ("sum", example)})
    _, state = window(tx, [jnp.asarray(x, jnp.asarray(example).dtype) for x in (100, 100, 1)])
    assert jax.typeof(state.value["x"]) == jax.typeof(tx.init(P).value["x"])
    assert int(state.value["x"]) == (3 if example is True else 201)


def test_trees_and_arrays():
    """Each leaf by itself, in the form of the example; the state of a line search sees the whole batch."""
    seen = []

    def init(params):
        return ()

    def update(updates, state, params=None, **extra):
        seen.append(extra)
        return updates, state

    form = {"a": jnp.zeros(2, jnp.bfloat16), "n": jax.ShapeDtypeStruct((), jnp.int32)}
    for rule in ("mean", "sum", "max", "all"):
        tx = gx.accumulate((init, update), 2, extras={"batch": (rule, form), "key": "last"})
        state = tx.init(P)
        with jax.disable_jit():
            for i in (1, 3):
                batch = {"a": jnp.asarray([i, -i], jnp.bfloat16), "n": i}
                _, state = tx.update(G, state, P, batch=batch, key=jnp.asarray([7, i], jnp.uint32))
        got = jax.tree.map(np.asarray, seen[-1])
        a, n = {"mean": ([2, -2], 2), "sum": ([4, -4], 4), "max": ([3, -1], 3), "all": ([[1, -1], [3, -3]], [1, 3])}[
            rule
        ]
        np.testing.assert_array_equal(got["batch"]["a"].astype(np.float32), a)
        np.testing.assert_array_equal(got["batch"]["n"], n)
        np.testing.assert_array_equal(got["key"], [7, 3])
        with pytest.raises(ValueError, match=r"extras\['batch'\] is stated as .*, got .*3"):
            tx.update(G, state, P, batch={"a": jnp.ones(3), "n": 1})
        with pytest.raises(ValueError, match=r"accumulate needs 'batch': call .*batch=\.\.\."):
            tx.update(G, state, P)
    with pytest.raises(ValueError, match=r"extras\['batch'\] is stated as .*int32.* got .*float32"):
        tx.update(G, state, P, batch={"a": jnp.ones(2), "n": 1.5})


READERS = {
    "rule": READS,
    "in a group": gx.groups([(lambda path, leaf: True, READS)]),
    "in a guard": gx.guard(gx.chain(gx.clip(1.0), READS)),
    "optax": (optax.identity().init, lambda g, s, p=None, **extra: (g, s)),
}


@pytest.mark.parametrize("inner", READERS.values(), ids=READERS)
def test_what_is_read_and_not_stated_is_refused(inner):
    tx = gx.accumulate(inner, 2)
    with pytest.raises(
        ValueError, match=r"accumulate has 'x' of each .* extras=\{'x': 'mean'\}, or 'sum', 'max', 'last' or"
    ):
        tx.update(G, tx.init(P), P, x=1.0)


def test_what_nobody_reads_passes():
    """Clients hand over more than is asked for."""
    for tx in (
        gx.accumulate(gx.adam(0.1), 2),
        gx.accumulate((lambda p: (), lambda g, s, p=None: (g, s)), 2),
        gx.accumulate(gx.guard(gx.lamb(0.1)), 2),
    ):
        tx.update(G, tx.init(P), P, loss=1.0, grad=G, value_fn=jnp.sum, value=2.0, key=None)
    tx = gx.accumulate(READS, 2)
    with pytest.raises(ValueError, match="needs 'x'"):
        tx.update(G, tx.init(P), P)


@pytest.mark.parametrize(("rule", "got"), [(None, 5.0), ("mean", 5.0), ("sum", 12.0), ("last", 8.0)])
def test_the_loss_is_averaged_unless_it_is_stated(rule, got):
    tx = gx.accumulate(gx.guard(gx.sgd(1.0), spike=6.0), 3, extras=None if rule is None else {"value": rule})
    state = tx.init(P)
    for x, w in zip(XS, WEIGHTS, strict=True):
        _, state = tx.update(G, state, P, value=x, weight=w)
    assert float(state.inner.statistics["value"].mean) == got


def test_a_line_search_over_a_window():
    """Loss and gradient are the window's, and value_fn is one of the whole batch: the step of the whole batch."""
    x = jnp.asarray([[1.0, 2.0, 0.5], [0.3, -1.0, 1.0], [2.0, 0.1, 0.2], [0.5, 0.5, 3.0]])

    def loss(p, x=x):
        return jnp.mean((x @ p - 1.0) ** 2)

    inner = gx.chain(gx.sgd(1.0), gx.scale_by_backtracking_linesearch(20))
    value, grad = jax.value_and_grad(loss)(P)
    expected, _ = inner.update(grad, inner.init(P), P, value=value, grad=grad, value_fn=loss)
    tx = gx.accumulate(inner, 2, extras={"grad": ("mean", P), "value_fn": "last"})
    state = tx.init(P)
    for part in (x[:2], x[2:]):
        value, grad = jax.value_and_grad(loss)(P, part)
        updates, state = tx.update(grad, state, P, value=value, grad=grad, value_fn=loss)
    assert np.any(np.asarray(updates))
    np.testing.assert_allclose(updates, expected, rtol=1e-5)
    with pytest.raises(ValueError, match="accumulate has 'grad' of each"):
        (tx := gx.accumulate(inner, 2)).update(grad, tx.init(P), P, value=value, grad=grad, value_fn=loss)


@pytest.mark.parametrize(
    ("extras", "error", "words"),
    [
        ({"x": "median"}, ValueError, r"extras\['x'\] must be one of 'mean', .*got 'median'"),
        ({"x": 3}, TypeError, r"extras\['x'\] must be a rule .*got 3"),
        ({"x": ("mean", P, P)}, TypeError, r"extras\['x'\] must be a rule"),
        ({"x": "all"}, ValueError, r"extras\['x'\] = 'all' needs an example"),
        ({"x": ("all", "text")}, TypeError, r"the example of extras\['x'\] .*'text'"),
        (
            {"x": ("all", jax.random.key(0))},
            TypeError,
            r"the example of extras\['x'\] must be made of arrays of numbers",
        ),
        ({"weight": "mean"}, ValueError, r"extras\['weight'\] cannot be stated"),
        ({3: "mean"}, TypeError, "the name 3"),
        ("x", TypeError, "extras must map .*got 'x'"),
        (["x"], TypeError, r"extras must map .*got \['x'\]"),
    ],
)
def test_bad_rules_are_refused(extras, error, words):
    with pytest.raises(error, match=words):
        gx.accumulate(READS, 2, extras=extras)


def test_all_needs_a_window_of_constant_length():
    with pytest.raises(ValueError, match="'all' needs a window of constant length"):
        gx.accumulate(READS, lambda step: 2, extras={"x": ("all", SCALAR)})


def test_it_prints_as_it_is_written():
    tx = gx.accumulate(gx.sgd(0.1), 2, extras={"tokens": "sum", "key": "last"})
    assert "extras={'tokens': ('sum', ShapeDtypeStruct(shape=(), dtype=float32)), 'key': 'last'}" in repr(tx)


AROUND = {
    "guard": gx.guard,
    "loss scale": lambda tx: gx.static_loss_scale(tx, 1.0),
    "measure": lambda tx: gx.measure(tx, grad_norm=True),
    "master weights": gx.master_weights,
    "lookahead": lambda tx: gx.lookahead(tx, 9, 1.0, reset_state=True),
    "group": lambda tx: gx.groups([(lambda path, leaf: True, gx.guard(tx))]),
    "sam": lambda tx: gx.sam(tx, gx.sgd(0.0)),
}


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
def test_other_wrappers_hand_on_what_came_with_the_gradient(around):
    """sam: at the call that steps."""
    tx = around(READS)
    state = tx.init(P)
    for x in (3.0, 7.0):
        updates, state = tx.update(G, state, P, x=x)
    np.testing.assert_array_equal(updates, np.full(3, 7.0))
