from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradxform as gx

P = {"enc": {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}, "head": {"w": jnp.full(4, 2.0)}}
G = jax.tree.map(lambda p: 0.3 * p + 0.1, P)
COSINE = gx.cosine_decay_schedule(0.1, 10)


def steps(tx, n=4, p=P, set_at=None, **values):
    """Parameters after n updates; hyperparameters are set before update number `set_at`."""
    state, update = tx.init(p), jax.jit(tx.update)
    for i in range(n):
        if i == set_at:
            state = gx.with_hyperparams(state, **values)
        updates, state = update(jax.tree.map(lambda g, i=i: g * (1 + i), G), state, p)
        p = gx.apply_updates(p, updates)
    return p, state


def same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


# What hyperparams says


def test_constants_schedules_groups_and_tunables_by_name():
    tx = gx.chain(
        gx.clip_by_global_norm(1.0),
        gx.groups([("^enc", {"learning_rate": 0.5}, "encoder")], default=gx.adamw(COSINE, b1=gx.tunable(0.8))),
    )
    _, state = steps(tx, 3)
    found = {k: float(v) for k, v in gx.hyperparams(tx, state).items()}
    each = {"adam/b2": 0.999, "adam/eps": 1e-8, "adam/eps_root": 0.0, "weight_decay": 1e-4}
    expected = {"clip_by_global_norm/max_norm": 1.0}
    for group, rate in (("encoder", 0.5), ("default", 0.05 * (1 + np.cos(np.pi * 3 / 10)))):
        expected |= {f"{group}/{k}": v for k, v in {"adam/b1": 0.8, **each, "learning_rate": rate}.items()}
    assert found == pytest.approx(expected, rel=1e-6)


def test_the_names_follow_the_order_of_the_chain():
    tx = gx.adam(0.1)
    assert list(gx.hyperparams(tx, tx.init(P))) == [
        "adam/b1", "adam/b2", "adam/eps", "adam/eps_root", "learning_rate",
    ]  # fmt: skip


def test_hyperparams_are_those_of_the_next_update():
    tx = gx.sgd([0.4, 0.3, 0.2])
    p, state = P, tx.init(P)
    for rate in (0.4, 0.3, 0.2, 0.2):
        assert float(gx.hyperparams(tx, state)["learning_rate"]) == np.float32(rate)
        updates, state = tx.update(G, state, p)
        np.testing.assert_allclose(updates["head"]["w"], -np.float32(rate) * np.asarray(G["head"]["w"]), rtol=1e-6)


def test_hyperparams_work_inside_jit():
    tx = gx.adamw(COSINE, b1=gx.tunable(0.7))

    @jax.jit
    def run(p):
        state = tx.init(p)
        _, state = tx.update(G, gx.with_hyperparams(state, b1=0.6), p)
        return gx.hyperparams(tx, state)

    found = run(P)
    np.testing.assert_allclose(found["adam/b1"], 0.6, rtol=1e-6)
    np.testing.assert_allclose(found["learning_rate"], 0.05 * (1 + np.cos(np.pi / 10)), rtol=1e-6)


@pytest.mark.parametrize(
    "around",
    [
        lambda tx: gx.measure(tx, grad_norm=True),
        lambda tx: gx.chain(gx.measure(tx, grad_norm=True), gx.scale(0.5)),
        lambda tx: gx.named_chain(("outer", gx.measure(gx.chain(gx.measure(tx, grad_norm=True)), grad_norm=True))),
    ],
    ids=["wrapper", "in-a-chain", "in-a-wrapper-in-a-chain"],
)
def test_wrappers_show_and_set_what_is_inside(around):
    tx = around(gx.sgd(gx.tunable(0.1)))
    state = tx.init(P)
    assert float(gx.hyperparams(tx, state)["learning_rate"]) == np.float32(0.1)
    state = gx.with_hyperparams(state, tx=tx, learning_rate=0.0)
    assert float(gx.hyperparams(tx, state)["learning_rate"]) == 0.0
    updates, _ = tx.update(G, state, P)
    assert not any(map(np.any, jax.tree.leaves(updates)))


def test_inside_optax():
    ours = gx.adamw(gx.tunable(0.1))
    tx = optax.chain(optax.clip_by_global_norm(1.0), ours)
    state = tx.init(P)
    state = gx.with_hyperparams(state, learning_rate=0.0)
    assert float(gx.hyperparams(ours, state)["learning_rate"]) == 0.0
    updates, state = jax.jit(tx.update)(G, state, P)
    assert not any(map(np.any, jax.tree.leaves(updates)))
    assert float(gx.hyperparams(ours, state)["learning_rate"]) == 0.0


def test_a_state_of_others_is_refused():
    with pytest.raises(ValueError, match="no state of a gradxform transformation"):
        gx.hyperparams(gx.sgd(0.1), optax.sgd(0.1).init(P))


# What a tunable computes


@pytest.mark.parametrize(
    "make",
    [
        lambda t: gx.sgd(t(0.1)),
        lambda t: gx.momentum(t(0.07), 0.9),
        lambda t: gx.adam(t(0.013)),
        lambda t: gx.adamw(t(0.013), weight_decay=t(0.3)),
        lambda t: gx.adamw(t(COSINE), weight_decay=t(0.3)),
        lambda t: gx.lamb(t(0.01), weight_decay=t(0.1)),
        lambda t: gx.chain(gx.scale(t(-0.3))),
        lambda t: gx.with_weight_decay(gx.adam(t(0.1)), t(0.01), "independent"),
    ],
)
def test_a_factor_gives_the_constants_result_bit_for_bit(make):
    same(steps(make(gx.tunable))[0], steps(make(lambda x: x))[0])


@pytest.mark.parametrize("b", [0.9, 0.999, 0.9999])
def test_another_hyperparameter_gives_it_to_rounding(b):
    constant, data = (steps(gx.adam(0.1, b1=0.5, b2=x), 10)[0] for x in (b, gx.tunable(b)))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-6), constant, data)


@pytest.mark.parametrize("initial", [0.1, COSINE], ids=["number", "schedule"])
def test_setting_and_clearing(initial):
    tx = gx.sgd(gx.tunable(initial))
    state = tx.init(P)
    unit = jax.tree.map(jnp.ones_like, P)

    def rate(state):
        return -float(tx.update(unit, state, P)[0]["head"]["w"][0])

    assert rate(state) == np.float32(0.1)
    assert rate(gx.with_hyperparams(state, learning_rate=0.7)) == np.float32(0.7)
    cleared = gx.with_hyperparams(gx.with_hyperparams(state, learning_rate=0.7), learning_rate=None)
    assert rate(cleared) == np.float32(0.1)
    same(cleared._replace(hyper={}), state._replace(hyper={}))


def test_a_cleared_schedule_goes_on_where_it_would_be():
    tx = gx.sgd(gx.tunable(COSINE))
    _, state = steps(tx, 4, set_at=1, learning_rate=0.9)
    state = gx.with_hyperparams(state, learning_rate=None)
    np.testing.assert_array_equal(gx.hyperparams(tx, state)["learning_rate"], COSINE(4))


def test_a_beta_is_set_with_its_complement_in_double():
    tx = gx.scale_by_adam(b2=gx.tunable(0.9))
    state = gx.with_hyperparams(tx.init(P), b2=0.9999)
    assert float(state.hyper["adam/b2"].complement) == np.float32(1 - 0.9999)


def test_a_tunable_moves_no_other_key():
    plain, tuned = gx.adamw(0.1).init(P), gx.adamw(gx.tunable(0.1)).init(P)
    assert tuned._replace(hyper={}) is not None
    assert jax.tree.structure(tuned._replace(hyper={})) == jax.tree.structure(plain)
    assert list(tuned.hyper) == ["learning_rate"]


def test_one_rate_in_two_stages_is_one_slot_and_two_rates_are_two():
    rate = gx.tunable(0.1)
    both = gx.chain(gx.sgd(rate), gx.proximal_l1(0.5, rate))
    assert list(both.init(P).hyper) == ["learning_rate"]
    tx = gx.chain(gx.sgd(gx.tunable(0.1)), gx.proximal_l1(0.5, gx.tunable(0.3)))
    state = tx.init(P)
    found = {name: float(x) for name, x in state.hyper.items()}
    assert found == pytest.approx({"learning_rate": 0.1, "proximal_elastic_net/learning_rate": 0.3})
    updates, _ = tx.update(G, state, P)
    np.testing.assert_allclose(updates["head"]["w"], np.full(4, -0.1 * 0.7 - 0.3 * 0.5), rtol=1e-6)


def test_a_table_prints_as_it_is_written():
    tx = gx.sgd(gx.tunable([np.float32(0.5), 0.25]))
    assert "learning_rate=tunable([0.5, 0.25])" in repr(tx)
    assert eval(repr(tx), {name: getattr(gx, name) for name in gx.__all__}) == tx


# Names, shapes and ranges


def tuned():
    default = gx.adamw(gx.tunable(0.1), b1=gx.tunable(0.9))
    return gx.groups([("^enc", {"learning_rate": gx.tunable(0.2), "b1": 0.5}, "encoder")], default=default)


def test_bare_and_full_names():
    state = tuned().init(P)
    assert sorted(state.hyper) == ["default/adam/b1", "default/learning_rate", "encoder/learning_rate"]
    state = gx.with_hyperparams(state, b1=0.3, **{"encoder/learning_rate": 0.4})
    assert float(state.hyper["default/adam/b1"].value) == np.float32(0.3)
    assert float(state.hyper["encoder/learning_rate"]) == np.float32(0.4)
    assert float(state.hyper["default/learning_rate"]) == np.float32(0.1)


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ({"learning_rate": 1.0}, ValueError, "ambiguous: (default|encoder)/learning_rate, "),
        ({"b2": 0.5}, ValueError, "b2 is not tunable; tunable are: .*adam/b1"),
        ({"rate": 0.5}, ValueError, "rate is not tunable"),
        ({"b1": [0.5]}, TypeError, r"b1 must be a number or None, got \[0.5\] of type list"),
        ({"b1": True}, TypeError, "b1 must be a number or None, got True"),
        ({"b1": np.ones(3)}, ValueError, r"b1 must be a scalar, got an array of shape \(3,\)"),
        ({"b1": float("nan")}, ValueError, "got nan; None clears it"),
    ],
)
def test_what_cannot_be_set_is_refused_by_name(values, error, words):
    with pytest.raises(error, match=words):
        gx.with_hyperparams(tuned().init(P), **values)


def test_shapes_are_checked_under_jit_too():
    state = gx.sgd(gx.tunable(0.1)).init(P)
    with pytest.raises(ValueError, match=r"learning_rate must be a scalar, got an array of shape \(2,\)"):
        jax.jit(lambda x: gx.with_hyperparams(state, learning_rate=x))(jnp.ones(2))


@pytest.mark.parametrize(
    ("tx", "values", "words"),
    [
        (gx.adamw(gx.tunable(0.1)), {"learning_rate": -1.0}, "learning_rate is out of range: .*got -1.0"),
        (gx.adam(0.1, b1=gx.tunable(0.9)), {"b1": 1.0}, r"adam/b1 is out of range: b1 must be in \[0, 1\)"),
        (gx.adam(0.1, b1=gx.tunable(0.9), mu_dtype="bfloat16"), {"b1": 1.0}, "adam/b1 is out of range"),
        (gx.measure(gx.sgd(gx.tunable(0.1)), grad_norm=True), {"learning_rate": -1.0}, "learning_rate is out of range"),
    ],
)
def test_ranges_are_checked_where_the_transformation_is_given(tx, values, words):
    state = tx.init(P)
    with pytest.raises(ValueError, match=words):
        gx.with_hyperparams(state, tx=tx, **values)
    gx.with_hyperparams(state, **values)


def test_two_states_with_one_name_are_ambiguous():
    tx = optax.chain(gx.trace(gx.tunable(0.5)), gx.trace(gx.tunable(0.6)))
    with pytest.raises(ValueError, match="trace/decay is ambiguous: 2 states hold it"):
        gx.with_hyperparams(tx.init(P), **{"trace/decay": 0.1})


def test_without_tunables():
    with pytest.raises(ValueError, match="learning_rate is not tunable; tunable are: none"):
        gx.with_hyperparams(gx.sgd(0.1).init(P), learning_rate=0.2)


@pytest.mark.parametrize("x", ["0.1", None, {"a": 1}])
def test_only_hyperparameters_are_tunable(x):
    with pytest.raises(TypeError, match="tunable must be a number"):
        gx.tunable(x)


# Wrappers inside groups, and states of other kinds

GUARDED = gx.groups(
    [("^enc", gx.guard(gx.adam(gx.tunable(0.1))), "encoder")], default=gx.guard(gx.sgd(gx.tunable(0.2)))
)


def test_wrappers_inside_groups_have_the_groups_names():
    state = GUARDED.init(P)
    rates = {k: v for k, v in gx.hyperparams(GUARDED, state).items() if k.endswith("learning_rate")}
    assert rates == {"encoder/learning_rate": np.float32(0.1), "default/learning_rate": np.float32(0.2)}
    state = gx.with_hyperparams(state, tx=GUARDED, **{"encoder/learning_rate": 0.5})
    now = gx.hyperparams(GUARDED, state)
    assert (float(now["encoder/learning_rate"]), float(now["default/learning_rate"])) == (0.5, np.float32(0.2))
    with pytest.raises(ValueError, match="ambiguous: encoder/learning_rate, default/learning_rate"):
        gx.with_hyperparams(state, learning_rate=0.5)
    with pytest.raises(ValueError, match="encoder/learning_rate is out of range"):
        gx.with_hyperparams(state, tx=GUARDED, **{"encoder/learning_rate": -1.0})


def test_a_name_that_comes_twice_hides_nothing():
    tx = gx.chain(gx.guard(gx.trace(0.9)), gx.guard(gx.trace(0.5)))
    found = gx.hyperparams(tx, tx.init(P))
    assert (found["trace/decay"], found["trace/decay_2"]) == (0.9, 0.5)


def test_a_rate_that_two_stages_share_is_shown_once():
    tx = gx.chain(
        gx.guard(gx.schedule_free_sgd(gx.tunable(0.1))), gx.guard(gx.scale_by_learning_rate(0.2, flip_sign=False))
    )
    found = gx.hyperparams(tx, tx.init(P))
    assert [name for name in found if "rate" in name] == ["learning_rate", "learning_rate_2"]
    assert (found["learning_rate"], found["learning_rate_2"]) == (np.float32(0.1), 0.2)


def test_a_state_of_numpy_arrays_can_be_set():
    tx = gx.adam(gx.tunable(0.1), b1=gx.tunable(0.9))
    state = jax.tree.map(np.asarray, tx.init(P))
    state = gx.with_hyperparams(state, learning_rate=0.25, b1=0.5)
    now = gx.hyperparams(tx, state)
    assert (float(now["learning_rate"]), float(now["adam/b1"])) == (0.25, 0.5)


def test_a_state_with_an_axis_in_front_keeps_it():
    tx = gx.sgd(gx.tunable(0.5))
    ps = jax.tree.map(lambda p: jnp.stack([p] * 3), P)
    state = gx.with_hyperparams(jax.vmap(tx.init)(ps), learning_rate=0.25)
    np.testing.assert_array_equal(state.hyper["learning_rate"], [0.25] * 3)
    updates, _ = jax.vmap(tx.update)(ps, state, ps)
    same(updates, jax.tree.map(lambda p: -0.25 * p, ps))


def test_a_restart_keeps_what_was_set():
    lookahead = gx.lookahead(gx.master_weights(gx.sgd(gx.tunable(0.5), momentum=0.9)), 2, 0.5, reset_state=True)
    _, state = steps(lookahead, 5, set_at=1, learning_rate=0.25)
    assert float(gx.hyperparams(lookahead, state)["learning_rate"]) == 0.25
    sam = gx.sam(gx.sgd(0.1), gx.sgd(gx.tunable(0.5)))
    _, state = steps(sam, 4, set_at=1, learning_rate=0.25)
    assert float(state.adversary.hyper["learning_rate"]) == 0.25


def test_each_member_of_a_vmapped_state_has_its_own():
    """As if each had been trained alone with its numbers; betas keep their complements in double."""
    rates, betas = [0.1, 0.01, 0.3], [0.9, 0.99, 0.999999]
    tx = gx.adam(gx.tunable(0.5), b1=gx.tunable(0.5))
    ps = jax.tree.map(lambda x: jnp.stack([x, 2 * x, 3 * x]), P)
    states = jax.vmap(tx.init)(ps)
    states = gx.with_hyperparams(states, tx=tx, learning_rate=jnp.asarray(rates), **{"adam/b1": np.asarray(betas)})
    assert gx.hyperparams(tx, states)["learning_rate"].tolist() == jnp.asarray(rates).tolist()
    updates, after = jax.jit(jax.vmap(tx.update))(ps, states, ps)
    for i, (rate, b1) in enumerate(zip(rates, betas, strict=True)):
        p = jax.tree.map(lambda x, i=i: x[i], ps)
        alone = gx.with_hyperparams(tx.init(p), learning_rate=rate, b1=b1)
        expected, _ = jax.jit(tx.update)(p, alone, p)
        jax.tree.map(lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-6), updates, expected)
    all_set = gx.with_hyperparams(after, learning_rate=0.2)
    assert all_set.hyper["learning_rate"].shape == (3,)
    assert jax.tree.structure(all_set) == jax.tree.structure(states)


@pytest.mark.parametrize(
    ("value", "error", "words"),
    [
        (jnp.ones(2), ValueError, r"a scalar, or an array of shape \(3,\), one for each member, got .* \(2,\)"),
        (np.array([0.1, np.nan, 0.1]), ValueError, "must be a number, got nan"),
        (np.array([0.1, -1.0, 0.1]), ValueError, "learning_rate is out of range: .* got -1"),
        (np.array([True, False, True]), TypeError, "learning_rate must be a number"),
    ],
)
def test_what_a_member_cannot_have_is_refused(value, error, words):
    tx = gx.sgd(gx.tunable(0.1))
    states = jax.vmap(tx.init)({"w": jnp.ones((3, 2))})
    with pytest.raises(error, match=words):
        gx.with_hyperparams(states, tx=tx, learning_rate=value)
