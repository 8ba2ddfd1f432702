from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests import transcripts
from tests.trajectories import STEPS, double, follows, gradients, near, parameters, walk

RATES = 0.05 * np.cos(np.linspace(0.0, 1.5, STEPS))
TABLE = tuple(map(float, RATES))
WARM = np.minimum(1.0, (1 + np.arange(STEPS)) / 8) * 0.05


def decayed(x, gs, rate, kind, lam, peak=1.0, mu=None, cautious=False):
    """Momentum (or descent) with decay as the four sources write it; cautious: Chen et al. 2025, algorithm 1."""

    def step(x, b, g, eta, t):
        if kind == "l2":
            g = g + lam * x
        b = g if mu is None else mu * (0.0 if b is None else b) + g
        agrees = (b * x >= 0) if cautious else 1.0
        factor = {"l2": 0.0, "decoupled": eta, "independent": 1.0, "corrected": eta * eta / peak}[kind]
        return x - eta * b - factor * lam * agrees * x, b

    return transcripts.iterates(step, x, gs, rate)


@pytest.mark.parametrize("mu", [None, 0.8])
@pytest.mark.parametrize("rate", [0.03, RATES, WARM], ids=["constant", "falling", "warmup"])
@pytest.mark.parametrize("kind", ["l2", "decoupled", "independent", "corrected"])
def test_each_kind_is_its_formula(kind, rate, mu):
    changes = kind == "corrected" and np.ndim(rate)
    lam = 0.01 if kind == "independent" else 0.3
    tx = gx.with_weight_decay(
        gx.sgd([*rate] if np.ndim(rate) else rate, mu), lam, kind, max_learning_rate=0.05 if changes else None
    )
    follows(tx, decayed, rate, kind, lam, 0.05 if changes else 0.03, mu)


@pytest.mark.parametrize("kind", ["decoupled", "independent", "corrected"])
def test_cautious_decay_acts_where_update_and_parameter_agree(kind):
    lam = 0.01 if kind == "independent" else 0.3
    tx = gx.with_weight_decay(
        gx.sgd(TABLE, 0.8), lam, kind, cautious=True, max_learning_rate=0.05 if kind == "corrected" else None
    )
    follows(tx, decayed, RATES, kind, lam, 0.05, 0.8, cautious=True)


def test_cautious_decay_takes_zero_for_agreement():
    tx = gx.cautious_decay(gx.add_decayed_weights(0.5))
    g, p = jnp.array([0.0, 1.0, -1.0, 1e-30, -1e-30]), jnp.array([2.0, 2.0, 2.0, -2.0, 2.0])
    expected = np.array([1.0, 2.0, -1.0, 1e-30, -1e-30], np.float32)
    np.testing.assert_array_equal(tx.update(g, tx.init(p), p)[0], expected)


def test_decoupled_adam_is_adamw():
    ours = gx.with_weight_decay(gx.adam(0.01, 0.8), 0.2, mask=gx.named("kernel"))
    assert ours == gx.adamw(0.01, 0.8, weight_decay=0.2, mask=gx.named("kernel"))


def test_adam_with_l2_is_adam_on_the_penalised_loss():
    tx = gx.with_weight_decay(gx.adam(0.02), 0.1, "l2")
    params, grads = parameters(), gradients()

    def penalised(x, gs):
        found, m, v = [], 0.0, 0.0
        for t, g in enumerate(gs, 1):
            g = g + 0.1 * x
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            x = x - 0.02 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
            found.append(x)
        return np.stack(found)

    with double():
        near(walk(tx, params, grads, jnp.float64)[0], {k: penalised(params[k], grads[k]) for k in params}, 1e-12)


def names(tx):
    return [name for name, _ in tx.named()]


@pytest.mark.parametrize(
    ("kind", "between"),
    [
        ("l2", ["weight_decay", "sign", "learning_rate"]),
        ("decoupled", ["sign", "weight_decay", "learning_rate"]),
        ("corrected", ["sign", "weight_decay", "learning_rate"]),
        ("independent", ["sign", "learning_rate", "weight_decay"]),
    ],
)
def test_the_stage_stands_at_its_place(kind, between):
    tx = gx.chain(gx.clip_by_global_norm(1.0), gx.centralize(), gx.sign_sgd(0.1), gx.ema_of_params(0.9))
    expected = ["clip_by_global_norm", "centralize", *between, "ema_of_params"]
    assert names(gx.with_weight_decay(tx, 0.1, kind)) == expected


@pytest.mark.parametrize("kind", ["l2", "decoupled", "independent", "corrected"])
def test_it_decays_what_the_mask_chooses(kind):
    p = {"kernel": jnp.ones(2), "bias": jnp.ones(2)}
    tx = gx.with_weight_decay(gx.sgd(0.1), 0.5, kind, mask=~gx.named("bias"))
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, p), tx.init(p), p)
    assert np.all(np.asarray(updates["kernel"]) < 0)
    assert not np.any(updates["bias"])


def test_corrected_decay_follows_a_rate_that_is_set():
    tx = gx.with_weight_decay(gx.sgd(gx.tunable(0.1)), 0.5, "corrected", max_learning_rate=0.2)
    p = jnp.array([4.0])
    state = tx.init(p)
    assert list(state.hyper) == ["learning_rate"]
    u, _ = tx.update(jnp.zeros(1), state, p)
    np.testing.assert_allclose(u, [-0.1 * 0.5 * 0.5 * 4.0], rtol=1e-6)
    u, _ = tx.update(jnp.zeros(1), gx.with_hyperparams(state, learning_rate=0.2), p)
    np.testing.assert_allclose(u, [-0.2 * 0.5 * 1.0 * 4.0], rtol=1e-6)


def test_a_rate_that_came_through_jit_is_constant():
    p = jnp.array([4.0])

    @jax.jit
    def first(rate):
        tx = gx.with_weight_decay(gx.sgd(rate), 0.5, "corrected")
        return tx.update(jnp.ones(1), tx.init(p), p)[0]

    np.testing.assert_allclose(first(0.1), [-0.1 * (1.0 + 0.5 * 4.0)], rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: gx.with_weight_decay(gx.trace(0.9), 0.1), ValueError, "no learning-rate stage"),
        (
            lambda: gx.with_weight_decay(gx.chain(gx.sgd(0.1), gx.scale_by_learning_rate(0.1, flip_sign=False)), 0.1),
            ValueError,
            "several learning-rate",
        ),
        (lambda: gx.with_weight_decay(gx.groups([("a", gx.sgd(0.1))]), 0.1), ValueError, "no learning-rate stage"),
        (lambda: gx.with_weight_decay(gx.adamw(0.1), 0.1), ValueError, "decays already: add_decayed_weights"),
        (lambda: gx.with_weight_decay(gx.measure(gx.sgd(0.1)), 0.1), TypeError, "put it inside measure"),
        (lambda: gx.with_weight_decay(gx.sgd(0.1), 0.1, "L2"), ValueError, "kind must be one of 'l2'.*got 'L2'"),
        (lambda: gx.with_weight_decay(gx.sgd(0.1), -0.1), ValueError, "weight_decay must be at least 0"),
        (lambda: gx.with_weight_decay(gx.sgd(0.1), 0.1, "l2", cautious=True), ValueError, "l2 decay stands before"),
        (lambda: gx.with_weight_decay(gx.sgd(0.1), 0.1, max_learning_rate=1.0), ValueError, "is for corrected decay"),
        (lambda: gx.with_weight_decay(gx.sgd(TABLE), 0.1, "corrected"), ValueError, "needs max_learning_rate"),
        (lambda: gx.with_weight_decay(gx.sgd(0.1), 0.1, "corrected", max_learning_rate=0.0), ValueError, "must be pos"),
        (lambda: gx.with_weight_decay(gx.chain(gx.scale_by_learning_rate(0.1, flip_sign=False)), 0.1), ValueError,
         "turns the sign"),
        (lambda: gx.cautious_decay(gx.clip_by_norm(1.0)), ValueError, "looks at more than one"),
        (lambda: gx.cautious_decay(gx.measure(gx.sgd(0.1))), TypeError, "made of rules"),
    ],
)  # fmt: skip
def test_bad_arguments_are_refused(make, error, words):
    with pytest.raises(error, match=words):
        make()


def test_cautious_decay_refuses_complex_parameters():
    with pytest.raises(ValueError, match="compares numbers and 'w' is complex"):
        gx.cautious_decay(gx.add_decayed_weights(0.1)).init({"w": jnp.zeros(2, jnp.complex64)})


@pytest.mark.parametrize("cautious", [False, True])
@pytest.mark.parametrize("kind", ["decoupled", "independent", "corrected"])
def test_they_print_as_they_are_written(kind, cautious):
    peak = 0.5 if kind == "corrected" else None
    rate = gx.linear_schedule(0.5, 0.0, 9)
    tx = gx.with_weight_decay(gx.adam(rate), 0.1, kind, cautious=cautious, max_learning_rate=peak)
    assert eval(repr(tx), {name: getattr(gx, name) for name in gx.__all__}) == tx


class Halved(gx.Rule):
    """A clip of a user's own, which says nothing of itself."""

    def update(self, g, s, p, k):
        return 0.5 * g, s


class Cleansed(gx.Rule):
    facts = gx.Facts(station=gx.Station.CLEANSE)

    def update(self, g, s, p, k):
        return 0.5 * g, s


class Turned(gx.Rule):
    facts = gx.Facts(station=gx.Station.DIRECT)

    def update(self, g, s, p, k):
        return jnp.sign(g), s


@pytest.mark.parametrize(("front", "place"), [
    ([Halved()], 1),
    ([Cleansed()], 1),
    ([Halved(), Cleansed(), Halved()], 3),
    ([Turned()], 0),
    ([Cleansed(), Turned()], 1),
], ids=["unsaid", "said", "three", "direction", "clip and direction"])  # fmt: skip
def test_l2_stands_behind_a_users_own_clip_and_before_the_direction(front, place):
    tx = gx.with_weight_decay(gx.chain(*map(gx.lift, front), gx.adam(0.1)), 0.1, "l2")
    assert [stage.name for stage in tx.stages].index("weight_decay") == place


def test_a_rule_without_memory_that_says_nothing_directs_where_nothing_else_does():
    tx = gx.with_weight_decay(gx.chain(gx.clip(1.0), gx.lift(Halved()), gx.scale_by_learning_rate(0.1)), 0.1, "l2")
    assert [stage.name for stage in tx.stages] == ["clip", "weight_decay", "halved", "learning_rate"]


def test_a_users_own_rate_is_the_rate():
    class Rate(gx.Factor):
        learning_rate: gx.Hyper
        name = "step"
        facts = gx.Facts(station=gx.Station.STEP)

        def factor(self, g, p, k):
            return -self.learning_rate

    tx = gx.with_weight_decay(gx.chain(gx.scale_by_adam(), gx.lift(Rate(0.1))), 0.1)
    assert [stage.name for stage in tx.stages] == ["adam", "weight_decay", "step"]
