"""Bounds by element and by leaf, on `proximal_box`: against `numpy.clip`, and refused where they do not fit."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx

LOWER, UPPER, TARGET = [0.0, -1.0, 0.2], [1.0, 1.0, 0.3], [2.0, 0.3, 0.0]
P = {"a": jnp.zeros(3), "b": jnp.zeros(())}
G = {"a": jnp.asarray([-3.0, 0.5, 0.7]), "b": jnp.asarray(-9.0)}
MOVING = (type(lambda: 0), type(gx.tunable(1.0)))
"""What is -0.25 at the first step."""
BY_ELEMENT = gx.proximal_box(jnp.asarray(LOWER), jnp.asarray(UPPER))


def trained(tx: Any, params: Any, target: Any, steps: int = 100, jit: Any = jax.jit) -> Any:
    state, update = tx.init(params), jit(tx.update)
    for _ in range(steps):
        grads = jax.tree.map(lambda p, t: (p - t).astype(p.dtype), params, target)
        updates, state = update(grads, state, params)
        params = gx.apply_updates(params, updates)
    return params


@pytest.mark.parametrize("jit", [jax.jit, lambda f: f], ids=["jitted", "unjitted"])
def test_each_element_stays_in_its_own_bounds(jit: Any) -> None:
    tx = gx.chain(gx.sgd(0.1), BY_ELEMENT)
    found = trained(tx, jnp.zeros(3), jnp.asarray(TARGET), jit=jit)
    np.testing.assert_allclose(found, [1.0, 0.3, 0.2], rtol=1e-4)
    np.testing.assert_array_equal(found, np.clip(found, np.float32(LOWER), np.float32(UPPER)))


def test_a_bound_of_fewer_axes_broadcasts() -> None:
    tx = gx.proximal_box(jnp.asarray(LOWER), jnp.asarray(UPPER))
    p = jnp.asarray([[-2.0, 0.5, 0.25], [3.0, -3.0, 3.0]])
    u, _ = tx.update(jnp.zeros((2, 3)), tx.init(p), p)
    np.testing.assert_allclose(p + u, np.clip(p, LOWER, UPPER), rtol=3e-7, atol=3e-7)  # p = 3 is rounded to 2.4e-7


@pytest.mark.parametrize(
    ("lower", "upper"),
    [
        (jnp.asarray(LOWER), 0.5),
        (-0.25, np.asarray(UPPER)),
        (jnp.asarray([-0.1]), np.float32(0.25)),
        ({"a": jnp.asarray(LOWER), "b": -1}, {"a": 1.5, "b": jnp.asarray(0.5)}),
        ({"a": np.asarray(LOWER), "b": np.float64(-1.0)}, 0.25),
        (lambda count: -0.25, {"a": jnp.asarray(UPPER), "b": 2.0}),
        (gx.tunable(-0.25), {"a": jnp.asarray([0, 1, 2]), "b": 2.0}),
    ],
    ids=range(7),
)
def test_bounds_of_every_kind_are_numpys_clip(lower: Any, upper: Any) -> None:
    params = P if isinstance(lower, dict) or isinstance(upper, dict) else {"a": P["a"]}
    tx = gx.proximal_box(lower, upper)
    assert tx == gx.proximal_box(lower, upper)
    assert hash(tx) == hash(gx.proximal_box(lower, upper))
    low, high = (
        {k: (x[k] if isinstance(x, dict) else -0.25 if isinstance(x, MOVING) else x) for k in params}
        for x in (lower, upper)
    )
    for update in (tx.update, jax.jit(tx.update)):
        u, _ = update({k: G[k] for k in params}, tx.init(params), params)
        for k in params:
            np.testing.assert_allclose(u[k], np.clip(G[k], low[k], high[k]), rtol=1e-6)


def test_equal_by_content_and_a_pytree_without_leaves_of_its_own() -> None:
    same = gx.proximal_box(np.asarray(LOWER, np.float32), jnp.asarray(UPPER))
    assert same == BY_ELEMENT
    assert hash(same) == hash(BY_ELEMENT)
    assert gx.proximal_box(jnp.asarray([0.0, -1.0, 0.25]), jnp.asarray(UPPER)) != BY_ELEMENT
    assert not jax.tree.leaves(gx.proximal_box(jnp.asarray(LOWER), np.asarray(UPPER)))
    assert "lower=array([ 0. , -1. , " in repr(BY_ELEMENT)
    found = jax.jit(lambda tx, g: tx.update(g, tx.init(g), 0 * g)[0])(BY_ELEMENT, G["a"])
    np.testing.assert_allclose(found, np.clip(G["a"], LOWER, UPPER))


@pytest.mark.parametrize(
    "around",
    [
        gx.master_weights,
        lambda tx: gx.groups([("a", tx)], gx.sgd(0.1)),
        lambda tx: gx.stored_as("int8", gx.chain(gx.trace(0.5), tx)),
        gx.guard,
        lambda tx: gx.accumulate(tx, 1),
        lambda tx: gx.measure(tx, grad_norm=True),
        lambda tx: gx.sharded(tx, jax.make_mesh((1,), ("data",), devices=jax.devices()[:1])),
    ],
)
def test_strategies_and_controls_carry_them(around: Any) -> None:
    tx = around(gx.chain(gx.sgd(0.1), BY_ELEMENT))
    found = trained(tx, {"a": jnp.zeros(3)}, {"a": jnp.asarray(TARGET)})
    np.testing.assert_allclose(found["a"], [1.0, 0.3, 0.2], rtol=1e-3)


def test_strategies_that_see_parts_of_arrays_refuse_them() -> None:
    two = {"a": jnp.zeros(3), "c": jnp.zeros(3)}
    assert BY_ELEMENT.reach is gx.Reach.ARRAY
    assert gx.proximal_box({"a": 0.0, "c": -1.0}, 1.0).reach is gx.Reach.ELEMENT
    with pytest.raises(ValueError, match="packed cannot join 'a' with others: proximal_box"):
        gx.packed(BY_ELEMENT).init(two)
    with pytest.raises(ValueError, match="lazy moves rows alone, and proximal_box"):
        gx.lazy(BY_ELEMENT)
    packed = gx.packed(gx.chain(gx.sgd(0.1), gx.proximal_box({"a": 0.0, "c": -1.0}, 1.0)))
    found = trained(packed, two, {"a": -jnp.ones(3), "c": -2 * jnp.ones(3)})
    np.testing.assert_allclose((found["a"], found["c"]), ([0.0] * 3, [-1.0] * 3), atol=1e-6)


def test_they_are_read_explained_changed_and_plotted() -> None:
    tx = gx.chain(gx.sgd(0.1), gx.proximal_box({"a": jnp.asarray(LOWER), "b": -1.0}, jnp.asarray([7.0])))
    with pytest.raises(ValueError, match=r"upper has shape \(1,\), and 'b' has \(\)"):
        tx.init(P)
    tx = gx.chain(gx.sgd(0.1), gx.proximal_box({"a": jnp.asarray(LOWER), "b": -1.0}, 7.0))
    lower = gx.hyperparams(tx, tx.init(P))["proximal_box/lower"]
    np.testing.assert_array_equal(lower["a"], np.float32(LOWER))
    assert lower["b"] == -1.0
    assert gx.explain(tx, P).rows[0].rules == ("learning_rate", "proximal_box")
    other = gx.groups([("a", {"lower": jnp.asarray([0.5, 0.0, 0.0])})], gx.proximal_box(-1.0, jnp.asarray(1.0)))
    u, _ = other.update(G, other.init(P), P)
    np.testing.assert_allclose(u["a"], [0.5, 0.5, 0.7])
    pytest.importorskip("matplotlib")
    assert gx.inspect.plot(tx, 3) is not None


BAD = [
    (lambda: gx.proximal_box([0.0, 1.0], 2.0), TypeError, r"lower must be .* got \[0.0, 1.0\] .*jnp.array\(x\)"),
    (lambda: gx.proximal_box(0.0, (1, 2)), TypeError, r"upper must be .* got \(1, 2\) .*jnp.array\(x\)"),
    (lambda: gx.proximal_box(0.0, []), TypeError, r"upper must be .* got \[\]"),
    (lambda: gx.proximal_box({}, 1.0), TypeError, r"lower must be .* got {}"),
    (lambda: gx.proximal_box((x for x in (0.0, 1.0)), 2.0), TypeError, r"lower must be .* got <generator"),
    (lambda: gx.proximal_box({0.0}, 2.0), TypeError, "lower must be .* of type set"),
    (lambda: gx.proximal_box(None, 2.0), TypeError, "lower must be .* got None"),
    (lambda: gx.proximal_box(jnp.float32, 2.0), TypeError, "lower must be .* got <class"),
    (lambda: gx.proximal_box({"a": "low"}, 2.0), TypeError, "lower at 'a' must be .* got 'low'"),
    (lambda: gx.proximal_box({"a": lambda count: 0.0}, 2.0), TypeError, "lower at 'a' must be a number or an array"),
    (lambda: gx.proximal_box(np.asarray([None, 1.0]), 2.0), TypeError, "lower must hold real numbers, .* object"),
    (lambda: gx.proximal_box(np.asarray([True]), 2.0), TypeError, "lower must hold real numbers, .* bool"),
    (lambda: gx.proximal_box(np.asarray([1j]), 2.0), TypeError, "lower must hold real numbers, .* complex"),
    (lambda: gx.proximal_box(np.asarray([1e39]), math.inf), ValueError, r"lower .* float32 holds, .* got 1e\+39"),
    (
        lambda: gx.proximal_box(jnp.zeros(100_001), 2.0),
        ValueError,
        "lower must have at most 100,000 elements.* 100,001",
    ),
    (lambda: gx.proximal_box({"a": jnp.zeros(60_000), "b": jnp.zeros(60_000)}, 2.0), ValueError, "at most 100,000"),
    (lambda: gx.proximal_box(jnp.asarray([0.0, math.nan]), 2.0), ValueError, "lower must be a number, got nan"),
    (lambda: gx.proximal_box(jnp.asarray([0.0, 2.0]), 1.0), ValueError, r"lower=2.0, upper=1.0, element \[1\]"),
    (lambda: gx.proximal_box(0.0, {"a": 1.0, "b": -1.0}), ValueError, "lower=0.0, upper=-1.0 at 'b'"),
    (lambda: gx.proximal_box(jnp.zeros(3), jnp.ones(2)), ValueError, r"lower and upper must fit each other, .* \(2,\)"),
    (lambda: gx.proximal_box(jnp.zeros(3), 1.0).init(P), ValueError, r"lower has shape \(3,\), and 'b' has \(\)"),
    (lambda: gx.proximal_box(0.0, {"a": 1.0}).init(P), ValueError, "upper has no bound for 'b'"),
    (
        lambda: gx.proximal_box({"a": 0.0, "b": 0.0, "c": 0.0}, 1.0).init(P),
        ValueError,
        "lower has a bound for 'c', and",
    ),
    (lambda: gx.tunable(jnp.ones(2)), ValueError, "one number"),
]


@pytest.mark.parametrize(("make", "error", "words"), BAD)
def test_what_does_not_fit_is_refused_by_name(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()
