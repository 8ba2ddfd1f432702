from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.core import hyper
from gradxform.core.hyper import FromFunction, Given, Slot, Slots, Table, coerce, rule_fields
from tests.trajectories import as_written, double

G = jnp.ones(1)


def rates(tx, steps, g=G):
    """The size of each update of a gradient of ones."""
    state, found = tx.init(g), []
    for _ in range(steps):
        updates, state = tx.update(g, state, g)
        found.append(float(updates[0]))
    return found


@pytest.mark.parametrize(
    "number",
    [0.5, np.float64(0.5), np.float32(0.5), np.array(0.5), jnp.array(0.5), jnp.bfloat16(0.5), jnp.float16(0.5)],
)
def test_numbers_and_0d_arrays_are_one_float(number):
    assert coerce("x", number) == 0.5
    assert type(coerce("x", number)) is float
    assert gx.sgd(number) == gx.sgd(0.5)
    assert hash(gx.sgd(number)) == hash(gx.sgd(0.5))


@pytest.mark.parametrize("number", [1, np.int32(1), jnp.array(1), jnp.uint8(1)])
def test_integers_are_numbers(number):
    assert gx.sgd(number) == gx.sgd(1.0)


def test_a_float32_scalar_is_exact_as_that_float32():
    assert coerce("x", np.float32(0.1)) == float(np.float32(0.1)) != 0.1


TABLES = {
    "list": lambda: [0.4, 0.2, 0.1],
    "tuple": lambda: (0.4, 0.2, 0.1),
    "list of an array": lambda: list(jnp.array([0.4, 0.2, 0.1])),
    "generator": lambda: (x for x in (0.4, 0.2, 0.1)),
    "iterator of arrays": lambda: iter([jnp.array(0.4), np.float64(0.2), 0.1]),
    "dict values": lambda: {"a": 0.4, "b": 0.2, "c": 0.1}.values(),
}


@pytest.mark.parametrize("make", TABLES.values(), ids=TABLES)
def test_tables_give_the_ith_value_at_the_ith_update(make):
    """After the end the last value stays."""
    assert rates(gx.sgd(make()), 5) == pytest.approx([-0.4, -0.2, -0.1, -0.1, -0.1])
    assert rates(gx.scale(make()), 4) == pytest.approx([0.4, 0.2, 0.1, 0.1])


def test_tables_compare_by_value():
    assert gx.sgd([0.1, 0.2]) == gx.sgd([*np.array([0.1, 0.2])]) == gx.sgd(x for x in (0.1, 0.2))
    assert hash(gx.sgd([0.1, 0.2])) == hash(gx.sgd((0.1, 0.2)))
    assert gx.sgd([0.1, 0.2]) != gx.sgd([0.1, 0.3])


def test_a_generator_is_consumed_once():
    seen = []

    def values():
        for x in (0.3, 0.2):
            seen.append(x)
            yield x

    tx = gx.sgd(values())
    assert rates(tx, 3) == rates(tx, 3) == pytest.approx([-0.3, -0.2, -0.2])
    assert seen == [0.3, 0.2]


def test_one_value_is_a_constant_table():
    assert rates(gx.sgd([0.3]), 2) == pytest.approx([-0.3, -0.3])


def test_functions_are_called_with_0_1_2():
    assert rates(gx.sgd(lambda count: 0.1 * (1 + count)), 3) == pytest.approx([-0.1, -0.2, -0.3])
    assert rates(gx.sgd(lambda count: jnp.where(count < 1, 0.5, 0.25)), 3) == [-0.5, -0.25, -0.25]


def test_a_function_is_equal_to_itself_alone():
    def decay(count):
        return 0.1

    assert gx.sgd(decay) == gx.sgd(decay)
    assert gx.sgd(decay) != gx.sgd(lambda count: 0.1)
    assert repr(coerce("x", decay)) == "decay"
    assert isinstance(coerce("x", decay), FromFunction)


@pytest.mark.parametrize(
    ("make", "update"),
    [
        (lambda h: gx.clip(h), lambda h: min(1.0, h)),
        (lambda h: gx.add_decayed_weights(h), lambda h: 1.0 + h),
        (lambda h: gx.trace(0.5, dampening=h), None),
        (lambda h: gx.unscale(h), lambda h: 1.0 / h),
        (lambda h: gx.scale_by_trust_ratio(0.0, h), lambda h: h),
        (lambda h: gx.ema(h, debias=False), None),
    ],
)
def test_every_stage_takes_a_table(make, update):
    values = [0.5, 0.25]
    found = rates(make(values), 3)
    if update is not None:
        assert found == pytest.approx([update(0.5), update(0.25), update(0.25)])
    for i, value in enumerate(values):
        same = rates(make(value), 1)
        if i == 0:
            assert found[0] == pytest.approx(same[0], rel=1e-6)


def test_a_decay_rate_over_time():
    tx = gx.ema([0.5, 0.75], debias=False)
    assert rates(tx, 3) == pytest.approx([0.5, 0.75 * 0.5 + 0.25, 0.75 * 0.625 + 0.25])
    assert rates(gx.adam(0.1, b1=[0.5, 0.9], b2=lambda count: 0.9), 1) == pytest.approx([-0.1], rel=1e-6)


def test_schedules_are_evaluated_once_a_step():
    calls = []

    def rate(count):
        calls.append(count)
        return 0.1

    tx = gx.sgd(rate)
    tree = {str(i): jnp.ones(i + 1) for i in range(5)}
    state = tx.init(tree)
    calls.clear()
    jax.make_jaxpr(tx.update)(tree, state)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        ("0.1", TypeError, "learning_rate must be a number, .* got '0.1' of type str"),
        (None, TypeError, "learning_rate must be a number, .* got None of type NoneType"),
        (True, TypeError, "got True of type bool"),
        (1j, TypeError, "got 1j of type complex"),
        ({"a": 1.0}, TypeError, "of type dict"),
        ([], ValueError, "at least one value, got an empty list"),
        (np.ones((2, 2)), ValueError, r"one number, got an array of shape \(2, 2\); list\(x\) makes it a table"),
        (jnp.array([0.1, 0.2, 0.3]), ValueError, r"learning_rate must be one number, .* shape \(3,\); list\(x\)"),
        (np.array([0.1]), ValueError, r"shape \(1,\); list\(x\)"),
        (jnp.zeros((0,)), ValueError, r"shape \(0,\)"),
        ([jnp.array([0.1, 0.2])], TypeError, "parameters are not given when it is made"),
        ([[0.1, 0.2]], TypeError, "learning_rate must hold numbers only"),
        (jnp.float16, TypeError, r"got <class 'jax.numpy.float16'>"),
        (jnp.dtype("float16"), TypeError, r"got dtype\('float16'\)"),
        ({0.1, 0.2}, TypeError, "of type set"),
        (frozenset([0.1]), TypeError, "of type frozenset"),
        (bytearray(b"ab"), TypeError, "of type bytearray"),
        (gx.sgd(0.1), TypeError, "learning_rate must hold numbers only"),
        (np.array(None), TypeError, "dtype=object"),
        (np.array(["0.1"], dtype=object), ValueError, r"shape \(1,\)"),
        (10**400, ValueError, r"number that float32 holds, at most 3.403e\+38, got one of the size 1e400"),
        (-(10**4000), ValueError, "got one of the size 1e4000"),
        (1e39, ValueError, r"float32 holds, .* got 1e\+39"),
        ([0.1, np.float64(1e39)], ValueError, r"got 1e\+39"),
        ([0.1, "a"], TypeError, "must be a number"),
        ([0.1, lambda count: 0.1], TypeError, "must hold numbers only"),
        (np.array(1j), TypeError, r"got array\(0.\+1.j\) of type ndarray"),
        (np.array(True), TypeError, "learning_rate"),
        (-0.1, ValueError, "learning_rate must be at least 0 and finite, got -0.1"),
        (float("nan"), ValueError, "got nan"),
        ([0.1, -0.2], ValueError, "got -0.2"),
        ([0.1, np.inf], ValueError, "got inf"),
        (object(), TypeError, "of type object"),
    ],
    ids=as_written,
)
def test_bad_rates_are_refused_by_name_and_value(x, error, words):
    with pytest.raises(error, match=words):
        gx.sgd(x)


def test_required_numbers_may_not_be_missing():
    for make in (gx.clip, gx.scale, gx.unscale, gx.scale_by_adam, gx.add_decayed_weights):
        with pytest.raises(TypeError, match="got None of type NoneType"):
            make(None)


def test_a_table_under_jit_is_read_by_a_traced_count():
    table = Table((1.0, 0.5))
    found = jax.jit(jax.vmap(table))(jnp.arange(4))
    np.testing.assert_array_equal(found, [1.0, 0.5, 0.5, 0.5])


def test_x64_tables_keep_their_digits():
    with double():
        g = jnp.ones(1)
        assert g.dtype == jnp.float64
        assert rates(gx.sgd([0.1]), 1, g) == [-0.1]


def test_a_tracer_as_rate():
    g = jnp.ones(2)
    run = jax.jit(lambda rate: gx.sgd(rate).update(g, gx.sgd(rate).init(g))[0])
    np.testing.assert_allclose(run(0.25), -0.25)
    slope = jax.grad(lambda rate: gx.adam(rate).update(g, gx.adam(rate).init(g))[0].sum())(0.25)
    np.testing.assert_allclose(slope, -2.0, rtol=1e-6)
    slope = jax.grad(lambda b: gx.ema(b, debias=False).update(g, gx.ema(b, debias=False).init(g))[0].sum())(0.25)
    np.testing.assert_allclose(slope, -2.0, rtol=1e-6)


@pytest.mark.parametrize("shape", [(3,), (1,), (2, 2)])
def test_an_array_as_rate_is_refused_under_a_trace_too(shape):
    with pytest.raises(ValueError, match=r"learning_rate must be one number, got an array of shape .*; list\(x\)"):
        jax.jit(lambda rate: gx.sgd(rate).init(G))(jnp.ones(shape))


SCHEDULED = [
    (
        lambda count: jnp.ones(2),
        ValueError,
        r"learning_rate, from the schedule <lambda>, must be one number, .* \(2,\)",
    ),
    (lambda count: np.array([0.1]), ValueError, r"got an array of shape \(1,\)"),
    (
        lambda count: "0.1",
        TypeError,
        "learning_rate, from the schedule <lambda>, must be a number, got '0.1' of type str",
    ),
    (lambda count: {0: 0.1}.get(7), TypeError, "got None of type NoneType"),
    (lambda count: True, TypeError, "got True of type bool"),
    (lambda count: [0.1], TypeError, r"got \[0.1\] of type list"),
    (lambda count: jnp.array(1j), TypeError, "a real number, got one of dtype complex64"),
    (lambda count: gx.constant_schedule(0.1), TypeError, "of type ConstantSchedule"),
    (lambda count: 1e39, ValueError, r"float32 holds, .* got 1e\+39"),
    (lambda count: 10**400, ValueError, "got one of the size 1e400"),
    (gx.adam, TypeError, "learning_rate, from the schedule adam, must be a number, got chain"),
]


@pytest.mark.parametrize(("schedule", "error", "words"), SCHEDULED)
def test_a_schedule_that_gives_no_number_is_refused_by_name(schedule, error, words):
    tx = gx.sgd(schedule)
    state = gx.sgd(0.1).init(G)
    for run in (lambda: tx.init(G), lambda: tx.update(G, state), lambda: jax.jit(tx.update)(G, state)):
        with pytest.raises(error, match=words):
            run()
    with pytest.raises(error, match=words):
        gx.sgd(gx.tunable(schedule)).update(G, gx.sgd(gx.tunable(0.1)).init(G))


def test_a_table_without_end_comes_to_one(monkeypatch):
    monkeypatch.setattr(hyper, "LONGEST", 5)
    with pytest.raises(ValueError, match="learning_rate must have at most 5 values"):
        gx.sgd(itertools.repeat(0.1))


def test_a_number_too_large_for_float32_fits_double():
    with pytest.raises(ValueError, match=r"learning_rate must be a number that float32 holds, .* got 1e\+39"):
        gx.with_hyperparams(gx.sgd(gx.tunable(0.1)).init(G), learning_rate=1e39)
    with double():
        assert rates(gx.scale(1e39), 1, jnp.ones(1)) == [1e39]


def test_fields_of_a_rule_are_those_that_a_user_wrote() -> None:
    """What a strategy puts around a rule is no field of the user's, and what it is told is."""
    (stage,) = gx.stored_as("int8", gx.scale_by_adam()).stages
    written = rule_fields(stage.only_rule)
    assert {"b1", "b2", "eps"} <= {*written}
    assert "rule" not in written


def test_a_number_taken_out_moves_where_it_is_no_plain_one() -> None:
    assert not Slot(0.1, "a", False, ()).moves
    assert Slot(gx.linear_schedule(0.1, 0.0, 9), "a", False, ()).moves


def test_the_way_to_the_state_of_a_part_is_known_where_that_of_the_whole_is() -> None:
    assert Slots({}, ("a",)).inside("b", "c").place == ("a", "b", "c")
    assert Slots({}, None).inside("b").place is None


def test_a_traced_decay_rate_comes_with_what_is_left_of_one():
    found = jax.jit(lambda b: tuple(gx.scale_by_adam(b).stages[0].rule.b1))(0.9)
    np.testing.assert_allclose(found, (0.9, 0.1), rtol=1e-6)


def test_numbers_and_schedules_are_taken_out_of_a_rule():
    for x in (0.5, gx.linear_schedule(0.5, 0.0, 9)):
        order = {}
        rule = gx.scale_by_learning_rate(x).stages[0].rule
        taken = Slots(order).take(rule, {"learning_rate": "rate"})
        assert [(slot.x, slot.key) for slot in order] == [(rule.learning_rate, "rate")]
        assert taken.learning_rate == Given(0)
