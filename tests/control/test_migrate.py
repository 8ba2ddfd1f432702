"""A state goes on under another transformation: what is kept, encoded anew, made anew and left behind."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx
from gradxform.compat import torch
from tests.checkpoints import files
from tests.checkpoints.chains import CHAINS, RELAID, WITHOUT_POWERS, parameters

P: Any = {"a": {"w": jnp.ones((2, 256)), "b": jnp.full(3, 0.5)}, "n": jnp.arange(2)}
ADAM = gx.adam(0.1)


def gradient(step: int, params: Any = P) -> Any:
    draw = np.random.default_rng(step).standard_normal
    return jax.tree.map(lambda x: jnp.asarray(draw(x.shape), x.dtype) if x.dtype != jnp.int32 else None, params)


def moved(tx: Any, steps: int = 3, params: Any = P) -> Any:
    state = tx.init(params)
    for i in range(steps):
        _, state = tx.update(gradient(i, params), state, params)
    return state


def assert_same(a: Any, b: Any) -> None:
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_the_steps_that_follow_are_those_of_a_run_with_the_new_one_from_the_start() -> None:
    """Controls change nothing while all is well, so a run that was under one all along is the right answer."""
    for around in (gx.guard, gx.dynamic_loss_scale, lambda tx: gx.chain(gx.guard(tx)), lambda tx: gx.measure(tx)):
        state, report = gx.migrate(moved(ADAM), around(ADAM), P)
        assert "a/w: adam/mu" in report.kept
        g = gradient(9)
        if around is gx.dynamic_loss_scale:
            g = jax.tree.map(lambda x: x * 2.0**15, g)
        updates, _ = around(ADAM).update(g, state, P)
        expected, _ = ADAM.update(gradient(9), moved(ADAM), P)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), updates, expected)


def test_the_report_says_which_is_which() -> None:
    old = gx.guard(gx.chain(gx.scale_by_rss(), gx.adam(gx.tunable(0.1))))
    new = gx.chain(gx.clip_by_percentile(40.0, 4), gx.stored_as("int8", gx.adam(0.1), min_size=16), gx.trace(0.9))
    state, report = gx.migrate(moved(old), new, P)
    assert report.kept == ("a/b: adam/mu", "a/b: adam/nu")
    assert report.reencoded == ("a/w: adam/mu", "a/w: adam/nu")
    assert report.fresh == ("a/b: trace/trace", "a/w: trace/trace", "clip_by_percentile")
    assert report.dropped == ("GuardState", "a/b: rss", "a/w: rss", "hyper/learning_rate")
    assert state.count == 3
    assert str(report).splitlines() == [
        "kept (2): a/b: adam/mu, a/b: adam/nu",
        "reencoded (2): a/w: adam/mu, a/w: adam/nu",
        "fresh (3): a/b: trace/trace, a/w: trace/trace, clip_by_percentile",
        "dropped (4): GuardState, a/b: rss, a/w: rss, hyper/learning_rate",
    ]
    assert str(report._replace(kept=tuple("abcdefghij"), fresh=())).splitlines()[::2] == [
        "kept (10): a, b, c, d, e, f, g, h, and 2 more",
        "fresh: nothing",
    ]
    new.update(gradient(9), state, P)


def test_a_tunable_keeps_its_value_and_a_new_one_has_its_own() -> None:
    old, new = gx.adam(gx.tunable(0.1)), gx.adam(gx.tunable(0.5), b1=gx.tunable(0.8))
    state = gx.with_hyperparams(moved(old), learning_rate=0.25)
    values = gx.hyperparams(new, gx.migrate(state, new, P)[0])
    assert (float(values["learning_rate"]), float(values["adam/b1"])) == (0.25, np.float32(0.8))


@pytest.mark.parametrize("codec", ["bfloat16", "float16", "int8", "float8_e4m3"])
def test_a_codec_is_taken_away_and_put_on(codec: str) -> None:
    stored, exact = gx.stored_as(codec, ADAM, min_size=16), moved(ADAM)
    there, report = gx.migrate(exact, stored, P)
    assert report.reencoded == ("a/w: adam/mu", "a/w: adam/nu")
    back, report = gx.migrate(there, ADAM, P)
    assert report.reencoded == ("a/w: adam/mu", "a/w: adam/nu")
    for field in ("mu", "nu"):
        a, b = (gx.view(x, field)["a"]["w"] for x in (back, exact))
        np.testing.assert_allclose(a, b, rtol=0, atol=0.07 * np.abs(b).max())
    other, report = gx.migrate(there, gx.adam(0.1, mu_dtype=jnp.bfloat16), P)
    assert gx.view(other, "mu")["a"]["w"].dtype == jnp.bfloat16
    assert not report.fresh


def test_packed_and_unpacked() -> None:
    params = {"a": {"w": jnp.ones((3, 4)), "b": jnp.ones(3)}, "c": {"w": jnp.ones((2, 2)), "b": jnp.ones(2)}}
    for inner in (ADAM, gx.adamw(0.1, mask=gx.named("w")), gx.groups([("c", gx.adam(0.2))], default=ADAM)):
        plain, packed = moved(inner, params=params), moved(gx.packed(inner), params=params)
        there, report = gx.migrate(plain, gx.packed(inner), params)
        assert_same(there, packed)
        assert not report.fresh
        back, report = gx.migrate(packed, inner, params)
        assert_same(back, plain)
        assert not report.fresh
        assert not report.dropped
        smaller, _ = gx.migrate(packed, gx.packed(inner, max_size=4), params)
        assert_same(smaller, gx.migrate(plain, gx.packed(inner, max_size=4), params)[0])


def test_a_new_leaf_under_corrections_is_refused_and_the_remedies_named() -> None:
    more = {**P, "head": jnp.ones(4)}
    for tx in (ADAM, gx.guard(ADAM), gx.packed(ADAM), gx.accumulate(gx.chain(gx.ema(0.9), ADAM), 2)):
        with pytest.raises(ValueError, match=r"corrections of .*at 'head'.*gx.own_clock\(tx, where=...\)"):
            gx.migrate(moved(tx), tx, more)
        state, _ = gx.migrate(tx.init(P), tx, more)
        assert_same(state, tx.init(more))
    with pytest.raises(ValueError, match=r"corrections of adam at 'a/b', 'a/w' would"):
        gx.migrate(moved(gx.momentum(0.1)), ADAM, P)


def test_a_new_leaf_without_corrections_begins_as_from_scratch() -> None:
    more, tx = {**P, "head": jnp.ones(4)}, gx.momentum(0.1)
    state, report = gx.migrate(moved(tx), tx, more)
    assert report.fresh == ("head: trace/trace",)
    updates, _ = tx.update(gradient(9, more), state, more)
    np.testing.assert_allclose(updates["head"], -0.1 * gradient(9, more)["head"], rtol=1e-6)
    kept, _ = tx.update(gradient(9, P), moved(tx), P)
    np.testing.assert_array_equal(updates["a"]["b"], kept["a"]["b"])


STEPS_DONE, HEAD = 10, {**P, "head": jnp.ones(4)}
CLOCKED: dict[str, tuple[Any, Any, Any, dict[str, str], set[str]]] = {
    "a leaf": (ADAM, gx.own_clock(ADAM), HEAD, {}, {"head"}),
    "a leaf by name": (ADAM, gx.own_clock(ADAM, "head"), HEAD, {}, {"head"}),
    "a leaf in a guard": (gx.guard(ADAM), gx.guard(gx.own_clock(ADAM)), HEAD, {}, {"head"}),
    "a leaf from a pack": (gx.packed(ADAM), gx.own_clock(ADAM), HEAD, {}, {"head"}),
    "a leaf stored": (ADAM, gx.stored_as("bfloat16", gx.own_clock(ADAM), min_size=16), HEAD, {}, {"head"}),
    "a stage": (gx.sgd(0.1), gx.own_clock(gx.adamw(0.1)), P, {}, {"a/w", "a/b"}),
    "a stage for another": (gx.momentum(0.1), gx.own_clock(gx.nadam(0.1)), P, {}, {"a/w", "a/b"}),
    "one more moment": (gx.lion(0.1), gx.own_clock(ADAM), P, {"lion": "adam"}, {"a/w", "a/b"}),
    "another moment": (gx.own_clock(gx.novograd(0.1)), gx.own_clock(ADAM), P, {"novograd": "adam"}, {"a/w", "a/b"}),
    "a largest moment": (ADAM, gx.own_clock(gx.amsgrad(0.1)), P, {"adam": "amsgrad"}, {"a/w", "a/b"}),
    "as in torch": (gx.lion(0.1), torch.adam(0.1), P, {"lion": "adam"}, {"a/w", "a/b"}),
}


@pytest.mark.parametrize(("old", "new", "params", "stages", "begun"), CLOCKED.values(), ids=CLOCKED)
def test_what_begins_late_on_a_clock_of_its_own_steps_as_from_scratch(
    old: Any, new: Any, params: Any, stages: dict[str, str], begun: set[str]
) -> None:
    """What is new begins whole: no counter of old memory corrects it; what was there goes on as without the clock."""
    before = moved(old, STEPS_DONE)
    state, report = gx.migrate(before, new, params, stages=stages)
    assert {name.partition(":")[0] for name in report.fresh if not name.endswith("/count")} == begun
    scratch = new.init(params)
    for step in range(STEPS_DONE, STEPS_DONE + 3):
        g = gradient(step, params)
        updates, state = new.update(g, state, params)
        expected, scratch = new.update(g, scratch, params)
        went_on, before = old.update({k: g[k] for k in P}, before, P)
        for path in ("a/w", "a/b", *("head" for _ in begun & {"head"})):
            wanted, (top, _, leaf) = expected if path in begun else went_on, path.partition("/")
            pair = (tree[top][leaf] if leaf else tree[top] for tree in (updates, wanted))
            np.testing.assert_allclose(*pair, rtol=1e-6, atol=1e-7 if path in begun else 1e-3)


class Mean(NamedTuple):
    mu: Any


class OwnMean(NamedTuple):
    mu: Any
    count: Any


class Own(gx.Halves):
    """Adam's first moment with a counter of its own."""

    def init(self, p: Any) -> Any:
        return OwnMean(jnp.zeros_like(p), jnp.zeros((), jnp.int32))

    def scalars(self, t: Any) -> Any:
        return None

    @property
    def corrects(self) -> bool:
        return False

    @property
    def name(self) -> str:
        return "mean"

    def remember(self, g: Any, s: Any, p: Any, k: Any) -> Any:
        return OwnMean(0.5 * s.mu + 0.5 * g, s.count + 1)

    def emit(self, g: Any, s: Any, p: Any, k: Any) -> Any:
        return s.mu / (1 - 0.5**s.count)


class Shared(gx.Halves):
    """The same by the chain's counter."""

    def init(self, p: Any) -> Any:
        return Mean(jnp.zeros_like(p))

    def scalars(self, t: Any) -> Any:
        return 1 - 0.5**t

    @property
    def name(self) -> str:
        return "mean"

    def remember(self, g: Any, s: Any, p: Any, k: Any) -> Any:
        return Mean(0.5 * s.mu + 0.5 * g)

    def emit(self, g: Any, s: Any, p: Any, k: Any) -> Any:
        return s.mu / k


def test_counters_of_their_own_begin_at_the_steps_done_or_at_none() -> None:
    own, shared = gx.lift(Own()), gx.lift(Shared())
    more = {**P, "head": jnp.ones(4)}
    state, _ = gx.migrate(moved(shared), own, more)
    assert [int(x) for x in jax.tree.leaves(gx.view(state, "count"))] == [3, 3, 0]
    updates, _ = own.update(gradient(9, more), state, more)
    np.testing.assert_allclose(updates["head"], gradient(9, more)["head"], rtol=1e-6)
    expected, _ = shared.update(gradient(9), moved(shared), P)
    np.testing.assert_allclose(updates["a"]["b"], expected["a"]["b"], rtol=1e-6)
    back, report = gx.migrate(moved(own), shared, P)
    assert report.dropped == ("a/b: mean/count", "a/w: mean/count")
    assert_same(back, moved(shared))
    with pytest.raises(ValueError, match=r"corrections of mean at 'head'.*own_clock"):
        gx.migrate(state, shared, more)


def test_rows_with_dates_are_up_to_date_when_they_begin_late() -> None:
    tx = gx.lazy(ADAM, mode="catch_up")
    state, _ = gx.migrate(moved(ADAM), tx, P)
    np.testing.assert_array_equal(gx.view(state, "last")["a"]["b"], np.full(3, 3))
    assert_same(gx.migrate(state, ADAM, P)[0], moved(ADAM))


def test_leaves_and_stages_are_renamed_by_a_map() -> None:
    new = {"encoder": {"w": P["a"]["w"], "bias": P["a"]["b"]}, "n": P["n"]}
    tx = gx.named_chain(("second", ADAM))
    names, stages = {"a": "encoder", "a/b": "encoder/bias"}, {"adam": "second/adam"}
    for old in (ADAM, gx.packed(ADAM, max_size=600)):
        state, report = gx.migrate(moved(old), tx, new, names=names, stages=stages)
        assert not report.fresh
        assert not report.dropped
        for field in ("mu", "nu"):
            a, b = gx.view(state, field)["encoder"], gx.view(moved(ADAM), field)["a"]
            np.testing.assert_array_equal(a["w"], b["w"])
            np.testing.assert_array_equal(a["bias"], b["b"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"names": {"z": "a"}}, "names has 'z', which is nowhere in the state; there is a/b, a/w, n"),
        ({"stages": {"z": "a"}}, "stages has 'z', which is nowhere in the state; there is adam"),
        ({"names": {"a/b": "a/w"}}, "names gives two leaves one path"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(given: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        gx.migrate(moved(ADAM), ADAM, P, **given)


def test_a_window_is_kept_whole_or_begun_anew() -> None:
    tx, more = gx.accumulate(gx.momentum(0.1), 4), {**P, "head": jnp.ones(4)}
    state, report = gx.migrate(moved(tx), tx, P)
    assert_same(state, moved(tx))
    state, report = gx.migrate(moved(tx, 6), tx, more)
    assert {"accumulate/total", "accumulate/seen"} <= set(report.fresh)
    assert (int(state.seen), int(state.steps)) == (0, 1)


def test_an_adversary_keeps_its_own() -> None:
    uphill = gx.chain(gx.normalize_by_update_norm(), gx.momentum(0.1))
    old, new = gx.sam(gx.momentum(0.1), uphill, reset_state=False), gx.guard(gx.sam(gx.momentum(0.1), gx.momentum(0.1)))
    state = moved(old)
    there, _ = gx.migrate(state, new, P)
    assert_same(there.inner.inner, state.inner)
    assert_same(there.inner.adversary.leaves, state.adversary.leaves)
    alone, report = gx.migrate(state, gx.momentum(0.1), P)
    assert_same(alone, state.inner)
    assert "SamState" in report.dropped
    around, _ = gx.migrate(moved(gx.momentum(0.1)), old, P)
    assert not np.any(gx.view(around.adversary, "trace")["a"]["w"])


def test_parameters_of_an_adversary_are_not_gone_on_from() -> None:
    """After a step uphill, without sam: from where the round began, or not at all."""
    w = {"w": jnp.ones(3)}
    tx, plain = gx.sam(gx.momentum(0.1), gx.sgd(0.5)), gx.momentum(0.1)
    uphill, state = tx.update({"w": jnp.ones(3)}, tx.init(w), w)
    p = gx.apply_updates(w, uphill)
    for after in (plain, gx.guard(plain), gx.momentum(gx.tunable(0.1))):
        with pytest.raises(ValueError, match=r"SamState goes in the middle of a round.* 'w' is an .*gx.eval_params"):
            gx.migrate(state, after, p)
        gx.migrate(state, after, gx.eval_params(tx, state, p))
    assert "sam/cache" in gx.migrate(state, gx.guard(tx), p)[1].kept
    _, state = tx.update({"w": jnp.ones(3)}, state, p)
    assert_same(gx.migrate(state, plain, w)[0], state.inner)


def test_memories_filled_by_different_counts_are_refused() -> None:
    held = gx.chain(gx.guard(ADAM), gx.ema(0.9))
    state = moved(held)
    bad = jax.tree.map(lambda x: x * jnp.nan, gradient(0))
    _, state = held.update(bad, state, P)
    assert gx.migrate(state, gx.chain(gx.guard(ADAM)), P)[0].tree["guard"].inner.count == 3
    with pytest.raises(ValueError, match=r"filled by .* steps, in chains that were held back apart"):
        gx.migrate(state, gx.chain(gx.ema(0.9), ADAM), P)


def test_other_layouts_of_the_same_numbers() -> None:
    state = moved(ADAM)
    expected = ADAM.update(gradient(9), state, P)[0]
    far, _ = gx.migrate(state, gx.offloaded(ADAM), P)
    host = gx.offloaded(ADAM).init(P).leaves["a"]["w"]["adam"].mu.sharding.memory_kind
    assert far.leaves["a"]["w"]["adam"].mu.sharding.memory_kind == host
    near, _ = gx.migrate(far, ADAM, P)
    assert_same(near, state)
    assert_same(ADAM.update(gradient(9), near, P)[0], expected)
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:2]), ("data",))
    parts, _ = gx.migrate(state, gx.sharded(ADAM, mesh), P)
    fresh = gx.sharded(ADAM, mesh).init(P)
    for a, b in zip(jax.tree.leaves(parts), jax.tree.leaves(fresh), strict=True):
        assert a.sharding == b.sharding
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16) if x.dtype == jnp.float32 else x, P)
    masters, report = gx.migrate(moved(ADAM, params=half), gx.master_weights(ADAM), half)
    assert_same(masters.inner, moved(ADAM, params=half))
    assert report.fresh == ("master_weights/master",)


def test_a_state_in_tuples_and_dicts_and_of_numpy_arrays_is_read() -> None:
    state = jax.tree.map(lambda x: np.asarray(x, np.int64 if x.dtype == jnp.int32 else None), moved(ADAM))
    for wrapped in (state, (optax.EmptyState(), {"opt": [state]})):
        new, _ = gx.migrate(wrapped, ADAM, P)
        assert_same(new, moved(ADAM))
        assert all(isinstance(x, jax.Array) for x in jax.tree.leaves(new))


def test_shapes_alone_are_enough() -> None:
    stored, state = gx.packed(gx.stored_as("int8", ADAM, min_size=16)), gx.guard(ADAM)
    structs = jax.eval_shape(state.init, P)
    new, report = gx.migrate(structs, stored, jax.eval_shape(lambda: P))
    assert report.reencoded == ("a/w: adam/mu", "a/w: adam/nu")
    fresh = jax.eval_shape(stored.init, P)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), new) == jax.tree.map(lambda x: (x.shape, x.dtype), fresh)


def test_another_librarys_pair_is_kept_whole() -> None:
    old, new = gx.chain(optax.trace(0.9), ADAM), gx.guard(gx.chain(optax.trace(0.5), gx.clip(1.0), ADAM))
    params = {"w": jnp.ones(3)}
    state = moved(old, params=params)
    there, report = gx.migrate(state, new, params)
    assert "foreign" in report.kept
    assert_same(there.inner.tree, state.tree)


@pytest.mark.parametrize("name", [name for name in CHAINS if name not in RELAID + WITHOUT_POWERS])
def test_older_checkpoints_are_read(name: str) -> None:
    """The arrays that were saved, all of them, where the same transformation takes them over."""
    tx, params = CHAINS[name].make(), parameters(name)
    fresh = tx.init(params)
    saved = files.put_arrays(files.read_arrays(files.DATA / f"{name}.npz")[0]["state"], fresh)
    new, report = gx.migrate(saved, tx, params)
    assert report.fresh == report.reencoded == report.dropped == ()
    for at, x in files.arrays_of(saved).items():
        np.testing.assert_array_equal(files.bits(files.arrays_of(new)[at]), files.bits(x))


def test_what_holds_no_state_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no state of a gradxform transformation"):
        gx.migrate(optax.sgd(0.1).init(P), ADAM, P)
    with pytest.raises(TypeError, match=r"tx must be a gradient transformation"):
        gx.migrate(moved(ADAM), optax.sgd(0.1), P)


def test_each_of_two_chains_alike_keeps_its_own() -> None:
    tx = gx.chain(gx.guard(gx.trace(0.9)), gx.guard(gx.trace(0.5)))
    state = moved(tx)
    assert_same(gx.migrate(state, gx.measure(tx, grad_norm=True), P)[0].inner, state)
    second = gx.chain(gx.guard(gx.scale(1.0)), gx.guard(gx.trace(0.5)))
    (_, old), (_, new) = (x.tree.values() for x in (state, gx.migrate(state, second, P)[0]))
    assert_same(new.inner.leaves, old.inner.leaves)
