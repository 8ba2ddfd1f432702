from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx
from gradxform import Rule
from gradxform.compat import mindspore
from tests.compiler import FAST

SHAPE = (9, 4)
INDICES = [np.array([4, 1, 4, -1, 9, 1, 7]), np.array([1, 0, 0, 100, 8, 2, -5]), np.array([7, 4, 1, 1, 3, 9, 8])]
"""Repeated rows and padding, three steps; 5 and 6 are never named."""

TRANSFORMATIONS = {
    "sgd": gx.sgd(0.1),
    "momentum": gx.momentum(0.1, nesterov=True),
    "dampened": gx.trace(0.9, dampening=0.5, first="gradient"),
    "adam": gx.adam(0.1),
    "adamw": gx.adamw(0.1, weight_decay=0.2),
    "adam, bfloat16 mean": gx.adam(0.1, mu_dtype=jnp.bfloat16),
    "adagrad": gx.adagrad(0.1),
    "lion": gx.lion(0.1),
    "proximal_adagrad": gx.proximal_adagrad(0.1, l1=0.5, l2=0.1),
    "schedule": gx.rmsprop(gx.linear_schedule(0.1, 0.01, 3)),
    "centralized": gx.chain(gx.centralize(), gx.adam(0.1)),
    "group lasso": gx.chain(gx.sgd(0.1), gx.proximal_group_l1(0.5, 0.1)),
}


def table(seed: int = 0) -> Any:
    return jnp.asarray(np.random.default_rng(seed).normal(size=SHAPE), jnp.float32)


def rows(step: int) -> gx.Rows:
    values = np.random.default_rng(10 + step).normal(size=(7, SHAPE[1])).astype(np.float32)
    return gx.Rows(INDICES[step], values, SHAPE)


def named(step: int) -> Any:
    return np.unique([i for i in INDICES[step] if 0 <= i < SHAPE[0]])


def part(tree: Any, seats: Any) -> Any:
    """Some rows of every array that has them."""
    return jax.tree.map(lambda x: x[seats] if x.ndim else x, tree)


@pytest.mark.parametrize("tx", TRANSFORMATIONS.values(), ids=TRANSFORMATIONS)
def test_named_rows_move_as_a_table_of_their_own_would(tx: Any) -> None:
    """The dense transformation on just those rows, their memory and their summed gradient, at the same step."""
    lazy, p = gx.lazy(tx), table()
    state = lazy.init(p)
    for step in range(3):
        seats, dense = named(step), np.zeros(SHAPE, np.float32)
        live = (INDICES[step] >= 0) & (INDICES[step] < SHAPE[0])
        np.add.at(dense, INDICES[step][live], np.asarray(rows(step).values)[live])
        u, own = tx.update(jnp.asarray(dense[seats]), part(state, seats), p[seats])
        expected = gx.apply_updates(p[seats], u)

        updates, after = lazy.update(rows(step), state, p)
        assert isinstance(updates, gx.Rows)
        moved = gx.apply_updates(p, updates)
        # Equal sums, taken in another order, compiled in another shape.
        np.testing.assert_allclose(moved[seats], expected, rtol=0, atol=2e-6)
        for x, y in zip(jax.tree.leaves(part(after, seats)), jax.tree.leaves(own), strict=True):
            np.testing.assert_allclose(
                np.asarray(x, np.float32),
                np.asarray(y, np.float32),
                rtol=1e-2 if x.dtype == jnp.bfloat16 else 2e-6,
                atol=1e-7,
            )
        rest = np.setdiff1d(np.arange(SHAPE[0]), seats)
        np.testing.assert_array_equal(moved[rest], p[rest])
        for x, y in zip(jax.tree.leaves(after.leaves), jax.tree.leaves(state.leaves), strict=True):
            if x.ndim:
                np.testing.assert_array_equal(x[rest], y[rest])
        p, state = moved, after


def test_adam_by_hand() -> None:
    """Rows rest where they are not named; the correction goes by the chain's counter."""
    tx, w = gx.lazy(gx.adam(0.1, b1=0.8, b2=0.9, eps=1e-3)), np.asarray(table(), np.float64)
    m, v = np.zeros(SHAPE), np.zeros(SHAPE)
    p = table()
    state = tx.init(p)
    for step in range(3):
        updates, state = tx.update(rows(step), state, p)
        p = gx.apply_updates(p, updates)
        g = np.zeros(SHAPE)
        for i, x in zip(INDICES[step], np.asarray(rows(step).values, np.float64), strict=True):
            if 0 <= i < SHAPE[0]:
                g[i] += x
        for i in named(step):
            m[i] = 0.8 * m[i] + 0.2 * g[i]
            v[i] = 0.9 * v[i] + 0.1 * g[i] ** 2
            t = step + 1
            w[i] -= 0.1 * (m[i] / (1 - 0.8**t)) / (np.sqrt(v[i] / (1 - 0.9**t)) + 1e-3)
    np.testing.assert_allclose(p, w, rtol=0, atol=1e-6)
    np.testing.assert_allclose(gx.view(state, "mu"), m, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(gx.view(state, "nu")[5:7], 0.0)


@pytest.mark.parametrize("tx", TRANSFORMATIONS.values(), ids=TRANSFORMATIONS)
def test_dense_gradients_are_as_without_it(tx: Any) -> None:
    p, g = {"table": table(), "b": jnp.ones(3)}, {"table": table(1), "b": jnp.ones(3)}
    state = tx.init(p)
    assert jax.tree.structure(gx.lazy(tx).init(p)) == jax.tree.structure(state)
    for _ in range(2):
        expected, after = tx.update(g, state, p)
        found = gx.lazy(tx).update(g, state, p)
        jax.tree.map(np.testing.assert_array_equal, found, (expected, after))
        state = after


def test_rows_and_dense_gradients_in_one_tree() -> None:
    params = {"table": table(), "head": jnp.ones(4)}
    tx = gx.lazy(gx.adam(0.1))
    updates, state = tx.update({"table": rows(0), "head": jnp.ones(4)}, tx.init(params), params)
    after = gx.apply_updates(params, updates)
    expected, _ = gx.adam(0.1).update(jnp.ones(4), gx.adam(0.1).init(params["head"]))
    np.testing.assert_array_equal(after["head"], params["head"] + expected)
    assert set(np.flatnonzero((after["table"] != params["table"]).any(axis=1))) == set(named(0))
    assert state.count == 1


@pytest.mark.parametrize("indices", [[], [-1, 9, 100]], ids=["no rows", "padding"])
def test_nothing_moves_without_rows(indices: list[int]) -> None:
    p, tx = table(), gx.lazy(gx.adagrad(0.1, initial_accumulator_value=0.0))
    state = tx.init(p)
    g = gx.Rows(np.array(indices, np.int32), np.ones((len(indices), 4), np.float32), SHAPE)
    updates, after = tx.update(g, state, p)
    np.testing.assert_array_equal(gx.apply_updates(p, updates), p)
    jax.tree.map(np.testing.assert_array_equal, after.leaves, state.leaves)


def test_clipping_in_front_counts_what_the_dense_gradient_would() -> None:
    tx = gx.lazy(gx.chain(gx.clip_by_global_norm(0.5), gx.sgd(1.0)))
    p, g = table(), rows(0)
    u, _ = tx.update(g, tx.init(p), p)
    np.testing.assert_allclose(np.linalg.norm(u.dense()), 0.5, rtol=1e-6)
    np.testing.assert_allclose(u.dense(), -g.dense() * 0.5 / np.linalg.norm(g.dense()), rtol=1e-5)


def test_narrow_tables_are_rounded_once() -> None:
    tx, p = gx.lazy(gx.adamw(0.1, weight_decay=0.5)), table().astype(jnp.bfloat16)
    wide = gx.lazy(gx.adamw(0.1, weight_decay=0.5))
    updates, _ = tx.update(rows(0), tx.init(p), p)
    expected, _ = wide.update(rows(0), wide.init(p.astype(jnp.float32)), p.astype(jnp.float32))
    np.testing.assert_array_equal(updates.values, expected.values)
    after = gx.apply_updates(p, updates)
    assert after.dtype == jnp.bfloat16
    np.testing.assert_array_equal(after, (p.astype(jnp.float32) + expected.dense()).astype(jnp.bfloat16))


@pytest.mark.parametrize("apply", [gx.apply_updates, optax.apply_updates])
def test_it_goes_through_jit_scan_and_optaxs_apply(apply: Any) -> None:
    tx, p = gx.lazy(gx.adam(0.1)), {"table": table()}
    stacked = jax.tree.map(lambda *xs: jnp.stack(xs), *[rows(step) for step in range(3)])

    def step(carry: Any, g: Any) -> Any:
        p, state = carry
        updates, state = tx.update({"table": g}, state, p)
        return (apply(p, updates), state), None

    (found, _), _ = jax.lax.scan(step, (p, tx.init(p)), stacked)
    state = tx.init(p)
    for i in range(3):
        updates, state = tx.update({"table": rows(i)}, state, p)
        p = gx.apply_updates(p, updates)
    np.testing.assert_allclose(found["table"], p["table"], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "tx",
    [
        gx.lazy(gx.adam(1e-3)),
        gx.lazy(gx.adamw(1e-3)),
        gx.lazy(gx.proximal_adagrad(1e-3, l1=0.1)),
        gx.lazy(gx.momentum(0.1)),
        mindspore.adam(use_lazy=True, weight_decay=0.1, loss_scale=128.0),
        mindspore.proximal_adagrad(weight_decay=0.1),
    ],
)
def test_no_array_of_the_tables_size_is_made(tx: Any) -> None:
    """1024 rows of a million: the compiled step, with donation, needs room for the rows, not for the table."""
    shape, n = (1_000_000, 64), 1024
    p = jax.ShapeDtypeStruct(shape, jnp.float32)
    g = gx.Rows.tree_unflatten(
        shape, (jax.ShapeDtypeStruct((n,), jnp.int32), jax.ShapeDtypeStruct((n, 64), jnp.float32))
    )
    memory = gx.make_step(tx).lower(p, tx.init(p), g).compile(FAST).memory_analysis()
    rows_bytes = n * 64 * 4
    assert memory.temp_size_in_bytes <= 10 * rows_bytes < 0.02 * 4 * shape[0] * shape[1]
    assert memory.output_size_in_bytes - memory.alias_size_in_bytes <= 1024


@pytest.mark.parametrize(
    ("tx", "stage"),
    [
        (gx.lamb(0.1), "trust_ratio"),
        (gx.chain(gx.clip_by_norm(1.0), gx.adam(0.1)), "clip_by_norm"),
        (gx.groups([("b", gx.sgd(0.1))], default=gx.lars(0.1)), "trust_ratio"),
    ],
)
def test_stages_that_look_further_than_a_row_are_refused(tx: Any, stage: str) -> None:
    with pytest.raises(ValueError, match=f"lazy moves rows alone, and {stage} looks at more.*groups"):
        gx.lazy(tx)


def test_what_is_not_made_of_rules_is_refused() -> None:
    with pytest.raises(TypeError, match="lazy works on transformations made of rules"):
        gx.lazy(optax.adam(0.1))


class ColumnMean(NamedTuple):
    mean: Any


class ByColumns(Rule):
    """Says row, and keeps a statistic by columns."""

    facts = gx.Facts(reach=gx.Reach.ROW)

    def init(self, p: Any) -> ColumnMean:
        return ColumnMean(jnp.zeros(p.shape[1:]))

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        return g, s


def test_a_statistic_that_is_not_by_rows_is_refused() -> None:
    tx, p = gx.lazy(gx.lift(ByColumns())), table()
    with pytest.raises(ValueError, match=r"by rows, .*\(9, 4\).*\(4,\)"):
        tx.update(rows(0), tx.init(p), p)


def test_rows_of_memory_on_the_host() -> None:
    """It is fetched before its rows are taken, whichever is the outer one."""
    for mode in ("rest", "catch_up"):
        assert gx.lazy(gx.offloaded(gx.adam(0.1)), mode=mode) == gx.offloaded(gx.lazy(gx.adam(0.1), mode=mode))


def test_it_is_a_value_and_lazy_twice_is_lazy() -> None:
    assert gx.lazy(gx.adam(0.1)) == gx.lazy(gx.lazy(gx.adam(0.1))) == gx.lazy(gx.adam(0.1))
    assert repr(gx.lazy(gx.sgd(0.1, 0.9))).startswith("chain(lazy(trace(")


CATCHING_UP = {
    "adam": gx.adam(0.1),
    "nadam": gx.nadam(0.1),
    "amsgrad": gx.amsgrad(0.1),
    "adamax": gx.adamax(0.1),
    "radam": gx.radam(0.1),
    "rmsprop": gx.rmsprop(0.1, centered=True),
    "adagrad": gx.adagrad(0.1),
    "lion": gx.lion(0.1),
    "momentum": gx.momentum(0.1),
    "dampened": gx.trace(0.9, dampening=0.5, first="gradient"),
    "no momentum": gx.adam(0.1, b1=0.0),
    "stored": gx.stored_as("int8", gx.adam(0.1), min_size=0),
}


@pytest.mark.parametrize("name", CATCHING_UP)
def test_caught_up_memory_is_that_of_dense_gradients(name: str) -> None:
    """Rows missed for one step up to seven, against the dense transformation on the same gradients.

    The table is wide enough for a scale for every row in the dense state too.
    """
    shape = (SHAPE[0], 12)
    tx, p = CATCHING_UP[name], jnp.ones(shape)
    lazy = gx.lazy(tx, mode="catch_up")
    state, dense = lazy.init(p), tx.init(p)
    for step in range(8):
        late = 4 if step in (0, 7) else -1
        values = np.random.default_rng(step).normal(size=(3, shape[1])).astype(np.float32)
        g = gx.Rows(np.array([step % 3, late, 5 if step == 7 else 100]), values, shape)
        _, state = lazy.update(g, state, p)
        _, dense = tx.update(g.dense(), dense, p)
    (held,) = state.leaves.values()
    (expected,) = dense.leaves.values()
    np.testing.assert_array_equal(held.last, [7, 8, 6, 0, 8, 8, 0, 0, 0])
    up_to_date = np.array([1, 4, 5])
    for x, y in zip(*map(jax.tree.leaves, (held.memory, expected)), strict=True):
        if x.ndim:
            # A code of 8 bits that lay at a tie may differ by one.
            atol = 1 if x.dtype in (jnp.int8, jnp.uint8) else 2e-7 * float(jnp.abs(y).max())
            np.testing.assert_allclose(np.float64(x[up_to_date]), np.float64(y[up_to_date]), rtol=1e-6, atol=atol)


def test_dense_gradients_catch_every_row_up() -> None:
    p, tx = table(), gx.lazy(gx.adam(0.1), mode="catch_up")
    state, plain = tx.init(p), gx.adam(0.1).init(p)
    for g in (rows(0), table(1)):
        _, state = tx.update(g, state, p)
        _, plain = gx.adam(0.1).update(g.dense() if isinstance(g, gx.Rows) else g, plain, p)
    np.testing.assert_allclose(gx.view(state, "mu"), gx.view(plain, "mu"), rtol=0, atol=1e-6)
    np.testing.assert_allclose(gx.view(state, "nu"), gx.view(plain, "nu"), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("tx", "why"),
    [
        (gx.adam(0.1, b1=gx.linear_schedule(0.9, 0.8, 5)), r"adam cannot catch up .*b1, b2 must be numbers"),
        (gx.chain(gx.sgd(0.1), gx.ema_of_params(0.9)), "ema_of_params cannot catch up .*does not just decay"),
        (gx.rprop(0.1), "rprop cannot catch up"),
    ],
)
def test_what_cannot_catch_up_is_refused(tx: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        gx.lazy(tx, mode="catch_up")
