"""Statistics not shaped like the parameter, in every strategy: the same numbers, or a refusal in a sentence."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

import gradxform as gx
from gradxform.core.blocks import Blocks
from gradxform.core.codecs import NAMES, WITH_DRAW
from tests.strategies.meshes import at_hand, line


class Sides(NamedTuple):
    """row: of the first axis. column: of the last one."""

    row: Any
    column: Any


class Factored(NamedTuple):
    """sides: two vectors. gram: a matrix of the first axis. size: a scalar. seen: an integer."""

    sides: Sides
    gram: Any
    size: Any
    seen: Any


class Shampooish(gx.Halves):
    """What factored and Shampoo-like rules remember, in one; smooth, so that small errors stay small."""

    b: gx.Beta = 0.9
    facts = gx.Facts(reach=gx.Reach.ARRAY)

    def init(self, p: Any) -> Factored:
        n, m = (p.shape[:1], p.shape[-1:]) if p.ndim else ((), ())
        return Factored(Sides(jnp.zeros(n), jnp.zeros(m)), jnp.zeros(n + n), jnp.zeros(()), jnp.zeros((), jnp.int32))

    def remember(self, g: Any, s: Factored, p: Any, k: Any) -> Factored:
        def mean(old: Any, new: Any) -> Any:
            return self.b * old + (1 - self.b) * new

        flat = g.reshape(*g.shape[:1], -1) if g.ndim else g.reshape(())
        row, column = (
            jnp.mean(abs(flat), axis=flat.ndim - 1 if g.ndim else None),
            abs(g) if g.ndim < 2 else jnp.mean(abs(g), 0),
        )
        gram = flat @ flat.T / flat.shape[-1] if g.ndim else g * g
        sides = Sides(mean(s.sides.row, row), mean(s.sides.column, column))
        return Factored(sides, mean(s.gram, gram), mean(s.size, jnp.mean(g * g)), s.seen + 1)

    def emit(self, g: Any, s: Factored, p: Any, k: Any) -> Any:
        row = s.sides.row[:, None] if g.ndim > 1 else s.sides.row
        scale = 1 + jnp.sqrt(row * s.sides.column) + jnp.sqrt(s.size) + 0.1 * s.seen
        return (g + (s.gram @ g if g.ndim else s.gram * g)) / scale


class Written(gx.Rule):
    """The same, written out."""

    inner = Shampooish()
    facts = Shampooish.facts

    def init(self, p: Any) -> Factored:
        return self.inner.init(p)

    def update(self, g: Any, s: Factored, p: Any, k: Any) -> tuple[Any, Factored]:
        return self.inner.update(g, s, p, k)


class Past(NamedTuple):
    """past: the last three gradients."""

    past: Any


class MeanOfThree(gx.Halves):
    """Element by element, with a statistic of one axis more."""

    def init(self, p: Any) -> Past:
        return Past(jnp.zeros((3, *p.shape)))

    def remember(self, g: Any, s: Past, p: Any, k: Any) -> Past:
        return Past(jnp.concatenate([s.past[1:], g[None]]))

    def emit(self, g: Any, s: Past, p: Any, k: Any) -> Any:
        return s.past.mean(0)


class RowNorm(gx.Rule):
    """By rows, with a number a row."""

    facts = gx.Facts(reach=gx.Reach.ROW)

    def init(self, p: Any) -> Past:
        return Past(jnp.zeros(p.shape[:1]))

    def update(self, g: Any, s: Past, p: Any, k: Any) -> tuple[Any, Past]:
        size = s.past + jnp.sum(g * g, axis=tuple(range(1, g.ndim)))
        return g / jnp.sqrt(size + 1).reshape(-1, *(1,) * (g.ndim - 1)), Past(size)


SHAPES = {"w": (16, 24), "b": (40,), "c": ()}
RULES = {"halves": Shampooish, "written out": Written, "history": MeanOfThree}


def arrays(seed: int, dtype: Any = jnp.float32) -> Any:
    draw = np.random.default_rng(seed).standard_normal
    return {k: jnp.asarray(draw(shape), dtype) for k, shape in SHAPES.items()}


def trained(tx: Any, params: Any = None) -> tuple[Any, Any]:
    params = arrays(0) if params is None else params
    state, step = tx.init(params), jax.jit(tx.update)
    for i in range(4):
        before = jax.tree.structure(state), [(x.shape, x.dtype) for x in jax.tree.leaves(state)]
        updates, state = step(arrays(i + 1), state, params)
        assert before == (jax.tree.structure(state), [(x.shape, x.dtype) for x in jax.tree.leaves(state)])
    return updates, state


def chained(rule: Any) -> Any:
    return gx.chain(gx.lift(rule), gx.scale_by_learning_rate(0.1))


def assert_near(found: Any, expected: Any, part: float) -> None:
    """Within a part of each array's size."""
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0, atol=part * np.abs(b).max()), found, expected)


PRECISION = {"bfloat16": 0.01, "float16": 2e-3, "int8": 0.03, "int4": 0.3, "float8_e4m3": 0.06, "uint8_sqrt": 1e-6}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("codec", NAMES)
def test_stored_by_their_own_shapes(rule: Any, codec: str) -> None:
    tx = gx.stored_as(codec, chained(rule()), min_size=0)
    (found, state), (expected, _) = trained(tx), trained(chained(rule()))
    assert_near(found, expected, PRECISION[codec])
    memory = state.leaves["w"]
    if rule is not MeanOfThree and codec in ("int8", "bfloat16"):
        memory = memory.popitem()[1]
        assert isinstance(memory.gram, Blocks) == (codec == "int8")
        assert memory.sides.row.dtype == (jnp.float32 if codec == "int8" else jnp.bfloat16)
        assert (memory.size.dtype, memory.seen.dtype) == (jnp.float32, jnp.int32)
        assert isinstance(state.leaves["b"].popitem()[1].gram, Blocks) == (codec == "int8")


@pytest.mark.parametrize("codec", sorted(set(WITH_DRAW) - {"uint8_sqrt"}))
def test_stored_by_chance(codec: str) -> None:
    tx = gx.stored_as(codec, chained(Shampooish()), min_size=0, stochastic=True)
    assert_near(trained(tx)[0], trained(chained(Shampooish()))[0], 2 * PRECISION[codec])


def test_small_statistics_of_large_parameters_stay_exact() -> None:
    state = gx.stored_as("bfloat16", chained(Shampooish()), min_size=30).init(arrays(0))
    memory = state.leaves["w"]["shampooish"]
    assert memory.gram.dtype == jnp.bfloat16
    assert memory.sides.row.dtype == memory.sides.column.dtype == jnp.float32


def test_memory_inside_memory_is_named_by_its_path_or_its_field() -> None:
    for name in ("sides/row", "row"):
        memory = gx.stored_as({name: "bfloat16"}, chained(Shampooish()), min_size=0).init(arrays(0)).leaves["w"]
        assert memory["shampooish"].sides.row.dtype == jnp.bfloat16
        assert memory["shampooish"].sides.column.dtype == memory["shampooish"].gram.dtype == jnp.float32
    whole = gx.stored_as({"sides": "bfloat16"}, chained(Shampooish()), min_size=0).init(arrays(0)).leaves["w"]
    assert whole["shampooish"].sides.column.dtype == jnp.bfloat16


def some_offloaded(tx: Any) -> Any:
    memory = next(m for m in tx.init({"w": jnp.ones((8, 16))}).leaves["w"].values())
    return gx.offloaded(tx, fields=[f for f in ("sides", "past") if f in memory._fields])


EXACT = {
    "offloaded": gx.offloaded,
    "offloaded fields": some_offloaded,
    "master_weights": gx.master_weights,
    "guard": gx.guard,
    "accumulate": lambda tx: gx.accumulate(tx, 1),
    "stored elsewhere": lambda tx: gx.stored_as("int8", tx, "nothing|zzz|c", min_size=0),
    "sharded": lambda tx: gx.sharded(tx, line(AxisType.Auto)),
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("strategy", EXACT.values(), ids=EXACT)
def test_exact_strategies_change_nothing(strategy: Any, rule: Any) -> None:
    tx = strategy(chained(rule()))
    with at_hand(line(AxisType.Auto)):
        found, state = trained(tx)
    assert_near(found, trained(chained(rule()))[0], 1e-6)
    params = arrays(0)
    laid = gx.state_shardings(tx, params, jax.tree.map(lambda x: PartitionSpec(), params), line(AxisType.Auto))
    assert jax.tree.structure(laid) == jax.tree.structure(state)
    field = "past" if rule is MeanOfThree else "gram"
    assert gx.view(state, field)["w"].shape[:1] == ((3,) if rule is MeanOfThree else (16,))


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_step_that_is_held_back_keeps_them(rule: Any) -> None:
    tx, params = gx.guard(chained(rule())), arrays(0)
    _, state = tx.update(arrays(1), tx.init(params), params)
    _, after = tx.update(jax.tree.map(lambda g: g + jnp.nan, arrays(2)), state, params)
    jax.tree.map(np.testing.assert_array_equal, after.inner, state.inner)


def test_packing_is_refused_or_exact() -> None:
    with pytest.raises(ValueError, match=r"packed cannot join 'b' with others: shampooish looks at more than one"):
        gx.packed(chained(Shampooish())).init(arrays(0))
    tx = gx.packed(chained(MeanOfThree()))
    (found, state), (expected, plain) = trained(tx), trained(chained(MeanOfThree()))
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    jax.tree.map(np.testing.assert_array_equal, gx.unpack(tx, state, arrays(0)).leaves, plain.leaves)


def test_rows_alone_are_refused_or_those_of_the_dense_gradient() -> None:
    with pytest.raises(ValueError, match="lazy moves rows alone, and shampooish looks at more than a row"):
        gx.lazy(chained(Shampooish()))
    table = {"table": jnp.ones((9, 4))}
    with pytest.raises(
        ValueError, match=r"by rows, and .* mean_of_three has .*\(3, 9, 4\).*leave that stage out"
    ) as told:
        gx.lazy(chained(MeanOfThree())).init(table)
    assert told.value.__notes__ == ["at leaf 'table'"]
    tx = gx.lazy(chained(RowNorm()))
    rows = gx.Rows(np.array([7, 3]), np.ones((2, 4), np.float32), (9, 4))
    updates, state = tx.update({"table": rows}, tx.init(table), table)
    expected, after = chained(RowNorm()).update({"table": rows.dense()}, tx.init(table), table)
    np.testing.assert_allclose(updates["table"].dense(), expected["table"], rtol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, state, after)


@pytest.mark.parametrize("inner", ["int8", "float16", "int4"])
@pytest.mark.parametrize("outer", ["bfloat16", "float8_e4m3"])
def test_stored_twice_what_is_inside_stays_as_it_is(outer: str, inner: str) -> None:
    """The outer one stores what the inner one leaves exact: vectors, which are in no blocks, small parameters."""
    within = gx.stored_as(inner, gx.amsgrad(0.1), min_size=100)
    tx = gx.stored_as(outer, within, min_size=10)
    plain = gx.groups([("w", within)], default=gx.stored_as(outer, gx.amsgrad(0.1), min_size=10))
    (found, state), (expected, _) = trained(tx), trained(plain)
    assert_near(found, expected, 1e-6)
    assert jax.tree.structure(state.leaves["w"]) == jax.tree.structure(within.init(arrays(0)).leaves["w"])
    assert state.leaves["c"]["amsgrad"].mu.dtype == jnp.float32


def test_stored_twice_a_start_that_is_not_zero_is_read_as_it_was_written() -> None:
    tx = gx.stored_as("bfloat16", gx.stored_as("float16", gx.adagrad(0.1, 0.1), min_size=0), min_size=0)
    assert_near(trained(tx)[0], trained(gx.adagrad(0.1, 0.1))[0], 0.01)


def test_stored_twice_by_fields_and_by_parameters() -> None:
    by_field = gx.stored_as({"mu": "int8"}, gx.stored_as({"nu": "float16"}, gx.adam(0.1), min_size=0), min_size=0)
    memory = by_field.init(arrays(0)).leaves["w"]["adam"]
    assert isinstance(memory.mu, Blocks)
    assert memory.nu.dtype == jnp.float16
    all_but = gx.stored_as("int8", gx.stored_as({"nu": "float16"}, gx.adam(0.1), min_size=0), min_size=0)
    assert jax.tree.structure(all_but.init(arrays(0))) == jax.tree.structure(by_field.init(arrays(0)))
    by_leaf = gx.stored_as("bfloat16", gx.stored_as("int8", gx.adam(0.1), "w", min_size=0), "b|w", min_size=0)
    memory = by_leaf.init(arrays(0)).leaves
    assert isinstance(memory["w"]["adam"].mu, Blocks)
    assert memory["b"]["adam"].mu.dtype == jnp.bfloat16
    for tx in (by_field, all_but, by_leaf):
        assert_near(trained(tx)[0], trained(gx.adam(0.1))[0], 0.05)


@pytest.mark.parametrize("make", [gx.adam, gx.momentum, gx.rmsprop])
def test_roots_are_for_squares(make: Any) -> None:
    """`mu` and `trace` have signs: as roots they would be lost."""
    found, state = trained(gx.stored_as("uint8_sqrt", make(0.1), min_size=0))
    assert_near(found, trained(make(0.1))[0], 0.05)
    assert not any(isinstance(getattr(s, "mu", None), Blocks) for s in state.leaves["w"].values())
