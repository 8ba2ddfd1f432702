"""A rule draws with a key of its own leaf and step, and may know the leaf by its path."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.core.keys import LeafKey, kept_key, words_of
from tests.strategies.meshes import line

FAR = gx.Facts(reach=gx.Reach.ARRAY)


class Jitter(gx.Rule):
    key: gx.OwnKey = 0
    size: gx.Hyper = 1.0
    facts = FAR

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        return g + self.size * jax.random.normal(self.key, g.shape, g.dtype), s


class Shake(gx.Rule):
    key: gx.OwnKey = 0
    facts = FAR

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        return g + jax.random.normal(self.key, g.shape, g.dtype), s


class Start(NamedTuple):
    start: Any


class FromChance(gx.Halves):
    """Starts at random, and draws where its update can be had a second time."""

    key: gx.OwnKey = 0
    facts = FAR

    def init(self, p: Any) -> Start:
        return Start(jax.random.normal(self.key, p.shape, p.dtype))

    def remember(self, g: Any, s: Start, p: Any, k: Any) -> Start:
        return Start(s.start + g)

    def emit(self, g: Any, s: Start, p: Any, k: Any) -> Any:
        return s.start + jax.random.normal(self.key, g.shape, g.dtype)


class UnitRms(gx.Factor):
    facts = FAR

    def factor(self, g: Any, p: Any, k: Any) -> Any:
        return jax.lax.rsqrt(jnp.mean(g * g))


ZERO = {"a": jnp.zeros(16), "b": jnp.zeros(16), "c": {"a": jnp.zeros(16)}}


def steps(tx: Any, n: int = 1, g: Any = ZERO, update: Any = None) -> Any:
    state = tx.init(g)
    for _ in range(n):
        u, state = (update or tx.update)(g, state, g)
    return u


def different(*draws: Any) -> bool:
    return len({np.asarray(x).tobytes() for x in draws}) == len(draws)


def test_every_leaf_every_step_every_key_and_every_stage_draws_its_own() -> None:
    tx, leaves = gx.lift(Jitter(3)), jax.tree.leaves
    once, twice, other = steps(tx), steps(tx, 2), steps(gx.lift(Jitter(4)))
    assert different(*leaves(once), *leaves(twice), *leaves(other), steps(gx.lift(Shake(3)))["a"])
    both = steps(gx.chain(tx, tx))
    second = both["a"] - once["a"]
    assert different(once["a"], second)
    assert abs(np.corrcoef(once["a"], second)[0, 1]) < 0.9
    named = gx.named_chain(("x", tx), ("y", tx))
    assert different(steps(named)["a"], 2 * once["a"])


def test_what_a_key_is() -> None:
    """The user's, with the words of path and stage folded in, and the step."""
    key = jax.random.key(3)
    for word in (*words_of("c/a"), *words_of("jitter"), 1):
        key = jax.random.fold_in(key, word)
    np.testing.assert_array_equal(steps(gx.lift(Jitter(3)))["c"]["a"], jax.random.normal(key, (16,)))
    assert LeafKey(3, ()).folded() == jax.random.key(3)


def test_neither_order_nor_neighbours_nor_jit_make_a_difference() -> None:
    tx = gx.lift(Jitter(3))
    expected = steps(tx, 2)["a"]
    np.testing.assert_array_equal(steps(tx, 2, {"z": ZERO["a"], "a": ZERO["a"], "n": None})["a"], expected)
    np.testing.assert_array_equal(steps(tx, 2, update=jax.jit(tx.update))["a"], expected)
    with jax.disable_jit():
        np.testing.assert_allclose(steps(tx, 2)["a"], expected, rtol=1e-6)
    by_argument = jax.jit(lambda tx: steps(tx, 2))(tx)["a"]
    np.testing.assert_allclose(by_argument, expected, rtol=1e-6)
    for key in (jax.random.key(3), jax.random.PRNGKey(3), np.int64(3)):
        np.testing.assert_array_equal(steps(gx.lift(Jitter(key)), 2)["a"], expected)


def test_many_leaves_share_one_trace() -> None:
    traced = []

    class Counting(gx.Rule):
        key: gx.OwnKey = 0
        facts = FAR

        def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
            traced.append(g.shape)
            return jax.random.normal(self.key, g.shape), s

    many = {str(i): jnp.zeros(3) for i in range(20)}
    assert different(*jax.tree.leaves(jax.jit(lambda g: steps(gx.lift(Counting()), g=g))(many)))
    assert len(traced) == 1


STRATEGIES = {
    "packed": gx.packed,
    "offloaded": gx.offloaded,
    "stored": lambda tx: gx.stored_as("bfloat16", tx),
    "sharded": lambda tx: gx.sharded(tx, line(jax.sharding.AxisType.Auto)),
    "guard": gx.guard,
    "accumulate": lambda tx: gx.accumulate(tx, 1),
    "group": lambda tx: gx.groups([("a", tx)], default=tx),
    "frozen": lambda tx: gx.chain(gx.freeze("b"), tx),
    "tunable": lambda tx: gx.lift(Jitter(3, gx.tunable(1.0))),
}


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)
def test_in_every_strategy_it_draws_the_same(strategy: Any) -> None:
    expected, found = steps(gx.lift(Jitter(3)), 2), steps(strategy(gx.lift(Jitter(3))), 2)
    for path in ("a", "c"):
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), found[path], expected[path])


def test_a_memory_can_start_at_random_and_an_update_be_had_twice() -> None:
    tx = gx.lift(FromChance(1))
    assert different(*(s["from_chance"].start for s in [tx.init(ZERO).leaves[k] for k in "ab"]))
    structs = jax.eval_shape(tx.init, ZERO)
    assert structs.leaves["a"]["from_chance"].start.shape == (16,)
    unit = steps(gx.chain(tx, gx.lift(UnitRms())))["a"]
    alone = steps(tx)["a"]
    np.testing.assert_allclose(unit, alone / np.sqrt(np.mean(np.square(alone))), rtol=1e-6)


def test_a_rule_can_know_its_leaf() -> None:
    class Deeper(gx.Rule):
        path: gx.OwnPath = ""

        def init(self, p: Any) -> Start:
            return Start(jnp.full(p.shape, float(len(self.path))))

        def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
            return g + self.path.count("/") + s.start, s

    tx = gx.lift(Deeper())
    assert repr(tx) == "deeper()"
    u = steps(tx)
    assert [float(x[0]) for x in jax.tree.leaves(u)] == [1.0, 1.0, 4.0]
    jax.tree.map(np.testing.assert_array_equal, steps(gx.packed(tx)), u)


def test_scalars_and_measure_have_one_of_the_step() -> None:
    class Common(gx.Rule):
        key: gx.OwnKey = 0
        facts = FAR

        def scalars(self, t: Any) -> Any:
            return jax.random.normal(self.key)

        def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
            return g + k, s

    tx = gx.lift(Common())
    once, twice = steps(tx), steps(tx, 2)
    assert len(np.unique(np.concatenate(jax.tree.leaves(once)))) == 1
    assert different(once["a"], twice["a"])


def test_wrong_keys_and_a_reach_that_is_too_short_are_refused() -> None:
    with pytest.raises(TypeError, match=r"key must be an integer, got 1\.5 of type float"):
        Jitter(1.5)
    with pytest.raises(ValueError, match="key must be at least 0, got -1"):
        Jitter(-1)

    class Near(gx.Rule):
        key: gx.OwnKey = 0

        def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
            return g, s

    with pytest.raises(TypeError, match=r"Near draws numbers by their places .*Facts\(reach=Reach.ARRAY\)"):
        Near()


def test_two_noises_of_one_seed_in_a_chain_differ() -> None:
    tx = gx.add_noise(1.0, 0.0, key=3)
    once, both = steps(tx)["a"], steps(gx.chain(tx, tx))["a"]
    assert np.abs(both - 2 * once).max() > 0.1


@pytest.mark.parametrize("n", [0, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 + 2**31 + 5, 2**64 - 1])
def test_a_key_is_kept_in_words_that_int32_holds(n: int) -> None:
    words = np.array([n >> 32, n & (2**32 - 1)], np.uint32)
    assert kept_key("key", words) == tuple(words.view(np.int32).tolist())
    assert kept_key("key", n) == (n if n < 2**31 else tuple(words.view(np.int32).tolist()))
