from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx
from tests.catalogue import Entry, entries, tree
from tests.trajectories import as_written

SHAPE = (6, 3)
INDICES = jnp.array([4, 1, 4, -1, 6, 1, 100, 3])
"""Repeated rows, and padding on both sides."""


def values(seed, n=8):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(n, *SHAPE[1:])), jnp.float32)


def table(seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=SHAPE), jnp.float32)


def dense(rows):
    out = np.zeros(rows.shape, np.float64)
    for i, v in zip(np.asarray(rows.indices), np.asarray(rows.values, np.float64), strict=True):
        if 0 <= i < rows.shape[0]:
            out[i] += v
    return out


def test_what_rows_stand_for():
    rows = gx.Rows(INDICES, values(1), SHAPE)
    np.testing.assert_allclose(rows.dense(), dense(rows), rtol=1e-6)
    assert (rows.ndim, rows.size, rows.dtype) == (2, 18, jnp.float32)
    cube = gx.Rows(jnp.array([1, 1]), jnp.ones((2, 2, 2)), (3, 2, 2))
    np.testing.assert_array_equal(cube.dense()[1], np.full((2, 2), 2.0))
    vector = gx.Rows(jnp.array([2, -3]), jnp.array([5.0, 7.0]), (4,))
    np.testing.assert_array_equal(vector.dense(), [0, 0, 5, 0])


def test_summed_holds_each_row_once():
    rows = gx.Rows(INDICES, values(1), SHAPE).summed()
    assert rows.indices.shape == INDICES.shape
    inside = [i for i in np.asarray(rows.indices).tolist() if 0 <= i < SHAPE[0]]
    assert inside == [1, 3, 4]
    padding = np.asarray(rows.indices) >= SHAPE[0]
    assert not np.any(np.asarray(rows.values)[padding])
    np.testing.assert_allclose(rows.dense(), dense(gx.Rows(INDICES, values(1), SHAPE)), rtol=1e-6)


def test_no_rows_at_all():
    rows = gx.Rows(jnp.zeros(0, int), jnp.zeros((0, 3)), SHAPE)
    np.testing.assert_array_equal(rows.dense(), np.zeros(SHAPE))
    np.testing.assert_array_equal(rows.summed().dense(), np.zeros(SHAPE))
    tx = gx.chain(gx.clip_by_global_norm(1.0), gx.momentum(0.1))
    p = table()
    updates, _ = tx.update(rows, tx.init(p), p)
    np.testing.assert_array_equal(gx.apply_updates(p, updates), p)


def test_all_padding():
    rows = gx.Rows(jnp.array([-1, 6]), jnp.ones((2, 3)), SHAPE)
    np.testing.assert_array_equal(rows.dense(), np.zeros(SHAPE))
    assert gx.global_norm(rows) == 0.0


def test_global_norm_counts_what_the_dense_gradient_would():
    rows = gx.Rows(INDICES, values(1), SHAPE)
    expected = np.sqrt(np.sum(dense(rows) ** 2) + 9.0)
    np.testing.assert_allclose(gx.global_norm({"t": rows, "b": jnp.array(3.0)}), expected, rtol=1e-6)


def as_dense(updates):
    return jax.tree.map(
        lambda u: u.dense() if isinstance(u, gx.Rows) else u, updates, is_leaf=lambda u: isinstance(u, gx.Rows)
    )


@entries(lambda e: e.axis is None and e.function != "lazy")
def test_every_transformation_gives_what_the_dense_gradient_gives(entry: Entry):
    """Two steps with repeated rows and padding, beside dense leaves; to 2 ulp of the largest, for sums of squares."""

    def grads(seed, sparse):
        small = tree(seed)
        rows = gx.Rows(INDICES, np.random.default_rng(seed).normal(size=(8, 5)).astype(np.float32), (6, 5))
        return small | {"dense": small["dense"] | {"kernel": rows if sparse else rows.dense()}}

    found = []
    for sparse in (True, False):
        p, state = tree(0), entry.tx.init(tree(0))
        for seed in (1, 2):
            updates, state = entry.run(grads(seed, sparse), state, p)
            p = gx.apply_updates(p, updates)
        found.append((as_dense(updates), state, p))
    for a, b in zip(*map(jax.tree.leaves, found), strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=2 * 2**-23 * max(1.0, np.abs(b).max()))


@pytest.mark.parametrize(
    "tx",
    [gx.sgd(0.1), gx.chain(gx.unscale(2.0), gx.clip_by_global_norm(1.0), gx.sgd([0.1])), gx.clip(0.5)],
    ids=as_written,
)
def test_stages_that_keep_zero_keep_rows(tx):
    rows = gx.Rows(INDICES, values(1), SHAPE)
    updates, _ = jax.jit(tx.update)(rows, tx.init(table()))
    assert isinstance(updates, gx.Rows)
    expected, _ = tx.update(rows.dense(), tx.init(table()))
    np.testing.assert_allclose(updates.dense(), expected, rtol=1e-6, atol=1e-7)


def test_stages_with_memory_give_a_dense_update():
    tx, p = gx.momentum(0.1), table()
    updates, _ = tx.update(gx.Rows(INDICES, values(1), SHAPE), tx.init(p), p)
    assert not isinstance(updates, gx.Rows)


@pytest.mark.parametrize("add", [gx.apply_updates, optax.apply_updates, lambda p, u: p + u, jax.jit(gx.apply_updates)])
def test_rows_are_added_row_by_row(add):
    p, rows = table(), gx.Rows(INDICES, values(1), SHAPE)
    np.testing.assert_allclose(add(p, rows), np.asarray(p) + dense(rows), rtol=1e-6, atol=1e-6)
    assert add(p, rows).dtype == p.dtype


def test_rows_are_added_to_narrow_tables_with_one_rounding():
    """Two repeated rows of 2^-8 make a step of bfloat16 at 1; each alone would be rounded away."""
    p = jnp.ones((2, 1), jnp.bfloat16)
    rows = gx.Rows(jnp.array([0, 0]), jnp.full((2, 1), 2.0**-8), (2, 1))
    np.testing.assert_array_equal(gx.apply_updates(p, rows).astype(jnp.float32), [[1 + 2.0**-7], [1.0]])


def test_rows_go_through_jit_and_scan():
    @jax.jit
    def double_rows(rows):
        return gx.map_rows(lambda v: 2 * v, rows)

    rows = double_rows(gx.Rows(INDICES, values(1), SHAPE))
    np.testing.assert_array_equal(rows.indices, INDICES)
    np.testing.assert_array_equal(rows.values, 2 * values(1))
    assert rows.shape == SHAPE


def test_map_rows_over_several():
    a, b = gx.Rows(INDICES, values(1), SHAPE), gx.Rows(INDICES, values(2), SHAPE)
    np.testing.assert_array_equal(gx.map_rows(jnp.add, a, b).values, values(1) + values(2))


@pytest.mark.parametrize("spoil", [lambda x: x / 2, lambda x: 0.5 * x, lambda x: x.astype(jnp.float32)])
def test_a_tree_map_that_changes_the_indices_is_refused(spoil):
    with pytest.raises(TypeError, match=r"indices of Rows must be integers, got float32.*map_rows"):
        jax.tree.map(spoil, {"t": gx.Rows(INDICES, values(1), SHAPE)})


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: gx.Rows(jnp.array([0.0]), jnp.ones((1, 3)), SHAPE), TypeError, "must be integers, got float32"),
        (
            lambda: gx.Rows(jnp.array([0]), jnp.ones((2, 3)), SHAPE),
            ValueError,
            r"indices \(n,\) and values \(n, \*\(3,\)\)",
        ),
        (lambda: gx.Rows(jnp.array([0]), jnp.ones((1, 4)), SHAPE), ValueError, r"got \(1,\) and \(1, 4\)"),
        (lambda: gx.Rows(jnp.array([[0]]), jnp.ones((1, 1, 3)), SHAPE), ValueError, r"got \(1, 1\)"),
    ],
)
def test_bad_rows_are_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_rows_of_another_shape_than_the_parameter_are_refused():
    p = {"t": jnp.ones((5, 3))}
    with pytest.raises(ValueError, match=r"gradient of 't' has shape \(6, 3\), its parameter \(5, 3\)"):
        gx.sgd(0.1).update({"t": gx.Rows(INDICES, values(1), SHAPE)}, gx.sgd(0.1).init(p), p)


def test_half_precision_rows():
    tx, p = gx.adam(0.1), table().astype(jnp.bfloat16)
    rows = gx.Rows(INDICES, values(1).astype(jnp.bfloat16), SHAPE)
    a, _ = tx.update(rows, tx.init(p), p)
    b, _ = tx.update(gx.Rows(INDICES, rows.values.astype(jnp.float32), SHAPE).dense(), tx.init(p), p)
    np.testing.assert_allclose(a, b, rtol=1e-6)


def test_unsigned_and_narrow_indices():
    for dtype in (jnp.uint8, jnp.int8, jnp.uint32):
        rows = gx.Rows(jnp.array([1, 5, 6, 1], dtype), values(1, 4), SHAPE)
        np.testing.assert_allclose(rows.dense(), dense(rows), rtol=1e-6)
        np.testing.assert_allclose(rows.summed().dense(), dense(rows), rtol=1e-6)


def test_narrow_indices_of_a_long_table():
    """The padding index, one past the end, does not fit in int8 or uint8."""
    for n in (128, 256, 300):
        for dtype in (jnp.int8, jnp.uint8):
            rows = gx.Rows(jnp.array([1, -1 if dtype == jnp.int8 else 2, 1], dtype), jnp.ones((3, 1)), (n, 1))
            np.testing.assert_array_equal(rows.dense(), dense(rows))
            np.testing.assert_array_equal(rows.summed().dense(), dense(rows))


def test_rows_summed_once_are_known_to_be():
    once = gx.Rows(INDICES, values(1), SHAPE).summed()
    assert once.summed() is once
    halved = once.astype(jnp.float32).with_values(0.5 * once.values)
    assert halved.summed() is halved
    # A user's function may put something at the places of padding.
    shifted = gx.map_rows(lambda v: v + 1.0, once)
    np.testing.assert_allclose(shifted.summed().values[-1], 0.0)
    assert jax.tree.structure(once) == jax.tree.structure(gx.Rows(INDICES, values(1), SHAPE))


def test_seats_tell_padding_apart():
    unique_indices = gx.Rows(INDICES, values(1), SHAPE).summed().unique_indices()
    assert unique_indices[:3].tolist() == [1, 3, 4]
    assert len(set(unique_indices.tolist())) == len(INDICES)
    assert (unique_indices[3:] >= SHAPE[0]).all()
    assert (jnp.diff(unique_indices) > 0).all()
