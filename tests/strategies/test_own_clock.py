"""Parameters that rest at some steps, each with a counter of its own: closed forms, torch, and every way of running."""

from __future__ import annotations

import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import serialization

import gradxform as gx
from gradxform.core.rule import Halves, TreeRule
from gradxform.optimizers.adam import Moments
from tests.compat.torch.live import theirs

P, ONE = {"a": jnp.zeros(2), "b": jnp.zeros(2)}, jnp.ones(2)
G = {"a": ONE, "b": ONE}
RESTS = r"gradient of 'a' is None, and adam corrects .* gx\.freeze\(\.\.\.\).* gx\.own_clock\(tx, where=\.\.\.\)"


def test_a_leaf_that_rested_a_thousand_steps_steps_as_at_first() -> None:
    """Adam of a constant gradient moves by the rate at every step: after the first 1,000 `None`s too."""
    tx = gx.own_clock(gx.adam(1.0), "a")

    def rest(carry: Any, _: Any) -> Any:
        p, s = carry
        u, s = tx.update({"a": None, "b": ONE}, s, p)
        return (gx.apply_updates(p, u), s), None

    (p, s), _ = jax.jit(lambda *c: jax.lax.scan(rest, c, None, 1000))(P, tx.init(P))
    np.testing.assert_array_equal(p["a"], P["a"])
    for _ in range(20):
        u, s = tx.update(G, s, p)
        np.testing.assert_allclose(u["a"], -1.0, rtol=1e-5)
    assert {k: c if c is None else int(c) for k, c in gx.view(s, "count").items()} == {"a": 20, "b": None}
    assert int(s.count) == 1020


def test_schedules_keep_the_counter_of_the_chain() -> None:
    tx, p = gx.own_clock(gx.adam(lambda t: 1.0 + t)), P
    s = tx.init(p)
    for t in range(4):
        u, s = tx.update({"a": ONE if t % 2 else None, "b": ONE}, s, p)
        np.testing.assert_allclose(u["b"], -(1.0 + t), rtol=1e-5)
        assert u["a"] is None if t % 2 == 0 else np.allclose(u["a"], -(1.0 + t), rtol=1e-5)


PEERS: dict[str, Any] = {
    "Adam": (gx.own_clock(gx.adam(0.1, eps=1e-8)), {}),
    "AdamW": (gx.own_clock(gx.adamw(0.1, weight_decay=0.1)), {"weight_decay": 0.1}),
    "RAdam": (gx.own_clock(gx.radam(0.1, threshold=5.000001)), {}),
    "Adamax": (gx.own_clock(gx.adamax(0.1)), {}),
    "RMSprop": (gx.own_clock(gx.rmsprop(0.1, 0.99, eps_in_sqrt=False)), {}),
    "Adagrad": (gx.own_clock(gx.chain(gx.scale_by_rss(0.0, 0.0), gx.sgd(0.1))), {}),
    "SGD": (gx.own_clock(gx.momentum(0.1, 0.9)), {"momentum": 0.9}),
}


@pytest.mark.parametrize("name", PEERS)
def test_leaves_rest_as_in_torch(name: str) -> None:
    """Three leaves, each resting at random steps; torch counts for each parameter."""
    torch = pytest.importorskip("torch")
    rng, (tx, kwargs) = np.random.default_rng(7), PEERS[name]
    params = {n: rng.normal(size=4).astype(np.float32) for n in "abc"}
    grads = [
        {n: rng.normal(size=4).astype(np.float32) if rng.random() < 0.6 else None for n in "abc"} for _ in "x" * 25
    ]
    wanted = theirs(getattr(torch.optim, name), params, grads, None, lr=0.1, **kwargs)
    p, s = jax.tree.map(jnp.asarray, params), tx.init(params)
    for now, after in zip(grads, wanted, strict=True):
        u, s = tx.update(now, s, p)
        p = gx.apply_updates(p, u)
        for n in "abc":
            np.testing.assert_allclose(p[n], after[n], rtol=2e-5, atol=2e-6)


AROUND: dict[str, Any] = {
    "plain": lambda tx: tx,
    "stored": lambda tx: gx.stored_as("bfloat16", tx, min_size=0),
    "mu_dtype": lambda tx: gx.own_clock(gx.adam(0.5, mu_dtype=jnp.bfloat16)),
    "offloaded": gx.offloaded,
    "lazy": gx.lazy,
    "sharded": lambda tx: gx.sharded(tx, jax.make_mesh((1,), ("data",), devices=jax.devices()[:1])),
    "guard": gx.guard,
    "accumulate": lambda tx: gx.accumulate(tx, 1),
    "loss scale": lambda tx: gx.static_loss_scale(tx, 1.0),
    "measure": lambda tx: gx.measure(tx, grad_norm=True),
    "master_weights": gx.master_weights,
    "groups": lambda tx: gx.groups([("a", tx)], default=gx.adam(0.5)),
    "masked": lambda tx: gx.masked(tx, {"a": True, "b": False}),
    "frozen beside": lambda tx: gx.chain(gx.freeze("b"), tx),
    "clipped": lambda tx: gx.chain(gx.clip(2.0), tx),
    "cautious": gx.cautious,
    "lookahead": lambda tx: gx.own_clock(gx.lookahead(tx, 100, 0.5)),
    "inside": lambda tx: gx.own_clock(gx.stored_as("bfloat16", gx.lazy(gx.adam(0.5)), min_size=0)),
}


@pytest.mark.parametrize("jitted", [False, True], ids=["called", "jitted"])
@pytest.mark.parametrize("name", AROUND)
def test_it_rests_inside_and_around_other_strategies_and_controls(name: str, jitted: bool) -> None:
    """Steps of the rate at once, after 12 rests; bfloat16 rounds what is kept."""
    tx = AROUND[name](gx.own_clock(gx.adam(0.5)))
    s, update = tx.init(P), jax.jit(tx.update) if jitted else tx.update
    for t in range(16):
        u, s = update({"a": None if t < 12 else ONE, "b": ONE}, s, P)
        if t >= 12:
            np.testing.assert_allclose(u["a"], -0.5, rtol=1e-2 if name in ("stored", "mu_dtype", "inside") else 1e-5)


def test_a_step_that_is_held_back_does_not_count() -> None:
    tx = gx.guard(gx.own_clock(gx.adam(0.5)))
    s = tx.init(P)
    for g in (ONE, ONE * jnp.nan, ONE, ONE * jnp.inf):
        _, s = tx.update({"a": g, "b": None}, s, P)
    assert {k: int(c) for k, c in gx.view(s, "count").items()} == {"a": 2, "b": 0}


def test_windows_count_and_not_their_micro_batches() -> None:
    tx = gx.accumulate(gx.own_clock(gx.adam(0.5)), 2)
    s = tx.init(P)
    for t in range(6):
        u, s = tx.update({"a": ONE if t >= 4 else None, "b": ONE}, s, P)
    np.testing.assert_allclose(u["a"], -0.5, rtol=1e-5)
    assert {k: int(c) for k, c in gx.view(s, "count").items()} == {"a": 1, "b": 3}


@pytest.mark.parametrize("mode", ["rest", "catch_up"])
@pytest.mark.parametrize("outer", [True, False])
def test_a_table_counts_the_steps_at_which_rows_of_it_were_looked_up(mode: str, outer: bool) -> None:
    """Row 1 is looked up at each of the steps of the table, row 0 never."""
    lazy = gx.lazy(gx.adam(0.5), mode=mode)
    tx = gx.own_clock(lazy) if outer else gx.lazy(gx.own_clock(gx.adam(0.5)), mode=mode)
    p = {"a": jnp.zeros((3, 2)), "b": jnp.zeros(2)}
    s, rows = tx.init(p), gx.Rows(jnp.array([1]), jnp.ones((1, 2)), (3, 2))
    for t in range(12):
        u, s = tx.update({"a": rows if t > 7 else None, "b": ONE}, s, p)
        if t > 7:
            np.testing.assert_allclose(u["a"].dense(), [[0, 0], [-0.5, -0.5], [0, 0]], rtol=1e-5)
    assert {k: int(c) for k, c in gx.view(s, "count").items()} == {"a": 4, "b": 12}


@pytest.mark.parametrize(
    "again",
    [
        lambda s, tx: pickle.loads(pickle.dumps(s)),
        lambda s, tx: serialization.from_state_dict(tx.init(P), serialization.to_state_dict(s)),
        lambda s, tx: serialization.from_bytes(tx.init(P), serialization.to_bytes(s)),
    ],
    ids=["pickle", "state dict", "bytes"],
)
def test_its_state_is_saved_and_goes_on(again: Any) -> None:
    tx = gx.own_clock(gx.adam(0.5), "a")
    _, s = tx.update({"a": None, "b": ONE}, tx.init(P), P)
    loaded = again(s, tx)
    assert jax.tree.structure(loaded) == jax.tree.structure(s)
    jax.tree.map(np.testing.assert_array_equal, tx.update(G, loaded, P), tx.update(G, s, P))


def test_only_the_chosen_count_and_twice_is_both() -> None:
    p = P | {"c": jnp.zeros(2)}
    tx = gx.own_clock(gx.own_clock(gx.adam(0.5), "a"), "b")
    kinds = {path: type(memory["adam"]) is Moments for path, memory in tx.init(p).leaves.items()}
    assert kinds == {"a": False, "b": False, "c": True}
    assert gx.own_clock(gx.own_clock(gx.adam(0.5), "a")) == gx.own_clock(gx.adam(0.5))
    with pytest.raises(ValueError, match="matching\\('typo'\\) matches no parameter; the paths are: a, b"):
        gx.own_clock(gx.adam(0.5), "typo").init(P)


def test_stages_without_corrections_stay_as_they_are() -> None:
    tx = gx.chain(gx.clip_by_global_norm(1.0), gx.add_noise(0.1, 0.55, key=0), gx.momentum(0.1))
    assert gx.own_clock(tx) == tx
    both = gx.own_clock(gx.chain(gx.trace(0.9), gx.scale_by_adam())).stages
    assert [repr(stage)[:9] for stage in both] == ["trace(dec", "own_clock"]


@pytest.mark.parametrize("params", [P, None], ids=["params", "without"])
@pytest.mark.parametrize(
    "tx",
    [
        gx.adam(0.1),
        gx.stored_as("bfloat16", gx.adam(0.1), min_size=0),
        gx.lazy(gx.adam(0.1)),
        gx.offloaded(gx.adam(0.1)),
        gx.own_clock(gx.adam(0.1), "b"),
        gx.lift(gx.scale_by_adam().stages[0].rule, gx.named("a")),
        gx.guard(gx.adam(0.1)),
        gx.accumulate(gx.adam(0.1), 2),
        gx.dynamic_loss_scale(gx.adam(0.1)),
        gx.partition({"x": gx.adam(0.1), "y": gx.sgd(0.1)}, {"a": "x", "b": "y"}),
        gx.groups([(lambda path, leaf: path == "a", gx.adam(0.1))], default=gx.sgd(0.1)),
        gx.chain(gx.trace(0.9), gx.groups([(gx.ndim_at_least(1), gx.adam(0.1))], default=gx.sgd(0.1))),
    ],
)
def test_elsewhere_a_leaf_that_rests_is_refused_while_tracing(tx: Any, params: Any) -> None:
    s, g = tx.init(P), {"a": None, "b": ONE}
    for update in (tx.update, jax.jit(tx.update)):
        with pytest.raises(ValueError, match=RESTS):
            update(g, s, params)
    with pytest.raises(ValueError, match=RESTS):
        tx.update({"a": np.zeros(2, jax.dtypes.float0), "b": ONE}, s, params)


def test_a_packed_buffer_that_rests_is_refused_too() -> None:
    tx = gx.packed(gx.adam(0.1))
    with pytest.raises(ValueError, match=RESTS):
        tx.update({"a": None, "b": None}, tx.init(P), P)


@pytest.mark.parametrize(
    ("tx", "absent"),
    [
        (gx.adam(0.1), None),
        (gx.adam(0.1), jnp.arange(3)),
        (gx.adam(0.1), jnp.zeros((0, 2))),
        (gx.chain(gx.freeze("a"), gx.adam(0.1)), ONE),
        (gx.chain(gx.freeze("a"), gx.lookahead(gx.adam(0.1), 2, 0.5, reset_state=True)), ONE),
        (gx.masked(gx.adam(0.1), {"a": False, "b": True}), ONE),
        (gx.groups([("a", gx.freeze())], default=gx.adam(0.1)), ONE),
        (gx.groups([("a", gx.momentum(0.1))], default=gx.adam(0.1)), ONE),
        (gx.partition({"x": gx.set_to_zero(), "y": gx.adam(0.1)}, {"a": "x", "b": "y"}), ONE),
        (gx.adagrad(0.1), ONE),
        (gx.ema(0.9, debias=False), ONE),
        (gx.amsgrad(0.1, bias_correction_mu=False, bias_correction_nu=False), ONE),
    ],
)
def test_a_leaf_without_such_memory_may_be_none(tx: Any, absent: Any) -> None:
    p = {"a": absent, "b": ONE}
    u, s = tx.update({"a": None, "b": ONE}, tx.init(p), p)
    assert u["a"] is None
    jax.tree.map(np.testing.assert_array_equal, s.leaves["a"], tx.init(p).leaves["a"])


def test_a_rule_may_say_that_it_corrects_nothing() -> None:
    class Fading(Halves):
        """Momentum over √t: a schedule, written as a scalar."""

        corrects = False

        def init(self, p: Any) -> Any:
            return Moments(jnp.zeros_like(p), jnp.zeros_like(p))

        def scalars(self, t: Any) -> Any:
            return t

        def remember(self, g: Any, s: Any, p: Any, k: Any) -> Any:
            return Moments(0.9 * s.mu + g, s.nu)

        def emit(self, g: Any, s: Any, p: Any, k: Any) -> Any:
            return s.mu / jnp.sqrt(k)

    tx = gx.lift(Fading())
    assert tx.update({"a": None, "b": ONE}, tx.init(P), P)[0]["a"] is None
    assert gx.own_clock(tx) == tx


def test_what_sees_all_leaves_has_no_clocks() -> None:
    class Counting(TreeRule):
        corrects = True

        def init(self, p: Any) -> Any:
            return Moments(jnp.zeros_like(p), jnp.zeros_like(p))

        def measure(self, gs: Any, s: Any, t: Any) -> Any:
            return t, None

        def update(self, g: Any, s: Any, p: Any, k: Any) -> Any:
            return g / k, s

    for tx in (gx.lift(Counting()), gx.stored_as("bfloat16", gx.lift(Counting())), gx.groups([("a", gx.momo())])):
        with pytest.raises(
            TypeError, match=r"own_clock counts for each parameter, and (counting|momo) measures all of"
        ):
            gx.own_clock(gx.chain(gx.clip_by_global_norm(1.0), tx))
