from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx

P = {"w": jnp.asarray([1.0, -2.0, 0.5]), "b": jnp.asarray([0.25])}
NORM_ONE = {"w": jnp.asarray([0.6, 0.0, 0.0]), "b": jnp.asarray([0.8])}


def times(factor):
    return jax.tree.map(lambda g: factor * g, NORM_ONE)


def run(tx, factors, values=None):
    """Counters after each step, the updates and the last state."""
    state, update, counts, moves = tx.init(P), jax.jit(tx.update), [], []
    for i, factor in enumerate(factors):
        extra = {} if values is None else {"value": values[i]}
        updates, state = update(times(factor), state, P, **extra)
        moves.append(float(updates["b"][0]))
        counts.append({k.split("/")[1]: int(v) for k, v in gx.counters(state).items()})
    return counts, moves, state


def test_what_is_not_finite_is_skipped_and_counted():
    counts, moves, state = run(gx.guard(gx.adam(0.1)), [1.0, np.nan, -np.inf, 2.0, np.nan])
    assert [c["skipped"] for c in counts] == [0, 1, 2, 2, 3]
    assert [c["consecutive"] for c in counts] == [0, 1, 2, 0, 1]
    assert [c["last_skipped"] for c in counts] == [0, 1, 1, 0, 1]
    assert [m == 0 for m in moves] == [False, True, True, False, True]
    inner, expected = gx.adam(0.1), gx.adam(0.1).init(P)
    for factor in (1.0, 2.0):
        _, expected = jax.jit(inner.update)(times(factor), expected, P)
    jax.tree.map(np.testing.assert_array_equal, state.inner, expected)


def test_a_loss_that_is_not_finite_is_skipped_too():
    counts, _, _ = run(gx.guard(gx.sgd(0.1)), [1.0, 1.0, 1.0], values=[0.5, np.nan, 0.5])
    assert [c["nonfinite"] for c in counts] == [0, 1, 1]


def test_spikes_against_statistics_in_double():
    """Mean and variance in float64 beside ours; the loss spikes once where the norm does not."""
    rng = np.random.default_rng(0)
    norms, losses = rng.uniform(0.5, 1.5, 120), rng.uniform(2.0, 2.2, 120)
    norms[[50, 90]], losses[70] = 100.0, 9.0
    tx = gx.guard(gx.sgd(0.1), spike=5.0, decay=0.9, warmup=10)
    counts, _, state = run(tx, norms.astype(np.float32), losses.astype(np.float32))
    spiked = [i for i in range(120) if counts[i]["last_skipped"]]
    assert spiked == [50, 70, 90]
    assert counts[-1]["spikes"] == counts[-1]["skipped"] == 3
    for name, x in (("norm", norms), ("value", losses)):
        mean = var = 0.0
        for n, y in enumerate(np.delete(x, spiked), start=1):
            share = max(0.1, 1 / n)
            mean, var = mean + share * (y - mean), (1 - share) * (var + share * (y - mean) ** 2)
        held = state.statistics[name]
        # A hundred float32 steps of the recurrence.
        np.testing.assert_allclose((held.mean, held.var, held.seen), (mean, var, 117), rtol=1e-5)


def test_before_warmup_nothing_is_a_spike():
    counts, _, _ = run(gx.guard(gx.sgd(0.1), spike=2.0, warmup=5), [1.0, 1.1, 1.0, 100.0, 1.0])
    assert counts[-1]["skipped"] == 0


@pytest.mark.parametrize("nonfinite", ["skip", "zero"])
def test_a_norm_above_a_fixed_one_is_skipped_from_the_first_step_on(nonfinite):
    """A mended gradient is measured as it is taken."""
    tx = gx.guard(gx.sgd(0.1), nonfinite, max_norm=3.0)
    counts, _, state = run(tx, [3.1, 2.9, 100.0, 0.5])
    assert [int(c["last_skipped"]) for c in counts] == [1, 0, 1, 0]
    assert counts[-1]["spikes"] == counts[-1]["skipped"] == 2
    assert state.statistics == {}
    assert repr(tx).endswith("max_norm=3.0)")
    _, state = tx.update({"w": jnp.asarray([1.0, np.nan, 9.0]), "b": jnp.asarray([2.0])}, tx.init(P), P)
    assert bool(state.last_skipped)
    assert int(state.spikes) == int(nonfinite == "zero")


LEVEL = [1.0, 1.1, 0.9, 1.05] * 4
OPTIONS = {
    "skip": [0, 0, 0, 0],
    "accept_finite": [0, 0, 1, 0],
    "accept": [0, 0, 1, 1],
    "zero": [0, 0, 1, 1],
}


@pytest.mark.parametrize("then", OPTIONS)
def test_what_happens_after_max_consecutive_is_chosen(then):
    """Three spikes in a row, then a step that is not finite, with two skipped at most."""
    tx = gx.guard(gx.sgd(0.1), spike=6.0, warmup=16, max_consecutive=2, then=then, decay=0.99)
    counts, moves, state = run(tx, [*LEVEL, 50.0, 50.0, 50.0, np.nan])
    assert [1 - c["last_skipped"] for c in counts[-4:]] == OPTIONS[then]
    assert counts[-1]["consecutive"] == 4
    assert np.isnan(moves[-1]) == (then == "accept")
    assert int(state.inner.count) == 16 + sum(OPTIONS[then])


def test_zero_takes_the_step_without_the_elements():
    tx = gx.guard(gx.sgd(1.0), nonfinite="zero")
    updates, state = tx.update({"w": jnp.asarray([1.0, np.nan, np.inf]), "b": jnp.asarray([2.0])}, tx.init(P), P)
    np.testing.assert_array_equal(updates["w"], [-1.0, 0.0, 0.0])
    assert [int(gx.counters(state)[f"guard/{name}"]) for name in ("skipped", "nonfinite")] == [0, 1]


def test_apply_if_finite_beside_optax():
    ours, theirs = gx.apply_if_finite(gx.sgd(0.1, 0.9), 2), optax.apply_if_finite(optax.sgd(0.1, 0.9), 2)
    s, t = ours.init(P), theirs.init(P)
    for factor in (1.0, np.nan, 2.0, np.inf, np.inf, 1.0, np.nan, np.nan, np.nan, np.nan, 1.0):
        u, s = jax.jit(ours.update)(times(factor), s, P)
        v, t = jax.jit(theirs.update)(times(factor), t, P)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), u, v)
        assert (int(s.consecutive), int(s.nonfinite)) == (int(t.notfinite_count), int(t.total_notfinite))


def test_it_wraps_other_pairs_and_is_wrapped():
    tx = gx.chain(gx.guard(optax.adam(0.1)), gx.ema_of_params(0.9))
    state = tx.init(P)
    updates, state = tx.update(times(np.nan), state, P)
    assert float(updates["b"][0]) == 0.0
    assert int(gx.counters(state)["guard/skipped"]) == 1
    jax.tree.map(np.testing.assert_array_equal, gx.eval_params(tx, state, P), P)


def test_hyperparameters_averages_and_metrics_through_it():
    inner = gx.measure(gx.chain(gx.sgd(gx.tunable(0.1)), gx.ema_of_params(0.5, debias=False)), grad_norm=True)
    tx = gx.guard(inner, spike=6.0)
    state = gx.with_hyperparams(tx.init(P), learning_rate=1.0)
    assert float(gx.hyperparams(tx, state)["learning_rate"]) == 1.0
    updates, state = tx.update(times(1.0), state, P)
    np.testing.assert_allclose(updates["b"], [-0.8], rtol=1e-6)
    np.testing.assert_allclose(gx.metrics(state)["grad_norm"], 1.0, rtol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, gx.eval_params(tx, state, P), gx.eval_params(inner, state.inner, P))
    assert gx.explain(tx, P).rows[0].learning_rate == "0.1"


def test_offloaded_state_stays_on_the_host():
    tx = gx.guard(gx.offloaded(gx.momentum(0.1)))
    step = gx.make_step(tx)
    p, state = step(jax.tree.map(jnp.copy, P), tx.init(P), times(1.0))
    p, state = step(p, state, times(np.nan))
    held = gx.view(state, "trace")["b"]
    assert held.sharding.memory_kind == gx.view(tx.init(P), "trace")["b"].sharding.memory_kind
    assert jax.typeof(held).memory_space == jax.memory.Space.Host
    np.testing.assert_array_equal(held, NORM_ONE["b"])


def test_a_step_of_many_parts_is_held_back_part_by_part():
    """A statistic that is the old one of another slot, one that is the gradient, and one that never moves."""

    def init(params):
        return {"now": params, "before": params, "last": params, "still": params}

    def update(updates, state, params=None):
        new = {"now": state["now"] + 1, "before": state["now"], "last": updates, "still": state["still"]}
        return new["now"] + new["before"], new

    tx = gx.guard((init, update))
    state = tx.init(jnp.asarray([1.0]))
    updates, state = tx.update(jnp.asarray([5.0]), state)
    assert float(updates[0]) == 3.0
    updates, state = tx.update(jnp.asarray([np.nan]), state)
    held = state.inner.tree["foreign"]
    assert [float(held[name][0]) for name in ("now", "before", "last", "still")] == [2.0, 1.0, 5.0, 1.0]


@pytest.mark.parametrize("wrap", [{}, {"nonfinite": "zero"}, {"max_consecutive": 2, "then": "zero"}], ids=repr)
def test_gradients_may_be_plain_numbers(wrap):
    tx = gx.guard(gx.accumulate(gx.sgd(0.5), 1), **wrap)
    with jax.disable_jit():
        updates, _ = tx.update({"a": 2.0}, tx.init({"a": 1.0}), {"a": 1.0})
    assert float(updates["a"]) == -1.0


def test_rounding_is_no_spike():
    tx = gx.guard(gx.sgd(1.0), spike=3.0, warmup=2)
    state = tx.init(jnp.zeros(1))
    for norm, spikes in ((1.0, 0), (1.0, 0), (1.0, 0), (1.0 + 1e-6, 0), (1.0 + 1e-6, 0), (1.001, 1)):
        _, state = tx.update(jnp.asarray([norm]), state)
        assert int(state.spikes) == spikes
