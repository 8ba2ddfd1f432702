"""Every argument of every public function refuses what it must, by name and value. One row is one such argument."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests.arguments import Kind, call, kind_of, parameters, public_functions

P = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}
ADAM = gx.adam(gx.tunable(0.1))
S = ADAM.init(P)
U = {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(3)}
FREE = gx.schedule_free_sgd().init(P)
MEASURED = gx.measure(gx.sgd(0.1), grad_norm=True)
PACKED = gx.packed(gx.adam(0.1))
SCALED = gx.static_loss_scale(gx.sgd(0.1), 2.0).init(P)

ROWS = gx.Rows([0, 1], jnp.ones((2, 3)), (4, 3))

BY_HAND: list[tuple[str, str, Any, type[Exception], str]] = [
    ("apply_updates", "updates", lambda: gx.apply_updates(P, U), ValueError, r"\(3, 2\).*\(2, 3\)"),
    ("apply_updates", "params", lambda: gx.apply_updates({}, U), ValueError, "bias"),
    ("incremental_update", "new_tensors", lambda: gx.incremental_update({}, P, 0.1), ValueError, "(?i)dict"),
    ("incremental_update", "old_tensors", lambda: gx.incremental_update(P, {}, 0.1), ValueError, "(?i)dict"),
    ("incremental_update", "step_size", lambda: gx.incremental_update(P, P, [0.1]), ValueError, r"step_size .*\(1,\)"),
    ("periodic_update", "new_tensors", lambda: gx.periodic_update({}, P, 1, 2), ValueError, "(?i)dict"),
    ("periodic_update", "old_tensors", lambda: gx.periodic_update(P, {}, 1, 2), ValueError, "(?i)dict"),
    ("periodic_update", "steps", lambda: gx.periodic_update(P, P, [1], 2), ValueError, r"steps .*\(1,\)"),
    ("periodic_update", "update_period", lambda: gx.periodic_update(P, P, 1, 0), ValueError, "update_period .* got 0"),
    ("eval_params", "tx", lambda: gx.eval_params(gx.sgd, S, P), TypeError, "tx must be"),
    ("eval_params", "state", lambda: gx.eval_params(ADAM, (), P), TypeError, "state must be .* got tuple"),
    ("eval_params", "params", lambda: gx.eval_params(ADAM, S, U | {"gain": U["bias"]}), ValueError, "'gain'"),
    ("chain", "transforms", lambda: gx.chain(gx.sgd(0.1), 3), TypeError, "argument 2 of chain .* got 3"),
    ("chain", "transforms", lambda: gx.chain(gx.sgd), TypeError, "argument 1 of chain .* got <function sgd"),
    ("named_chain", "transforms", lambda: gx.named_chain(gx.sgd(0.1)), TypeError, "named_chain takes pairs"),
    ("named_chain", "transforms", lambda: gx.named_chain(("a", 3)), TypeError, "'a' in named_chain .* got 3"),
    ("named_chain", "transforms", lambda: gx.named_chain((1, gx.sgd(0.1))), TypeError, r"pairs .* got \(1, "),
    ("named_chain", "transforms", lambda: gx.named_chain(*[("a", gx.sgd(0.1))] * 2), ValueError, "'a', 'a'"),
    ("view", "state", lambda: gx.view((), "mu"), ValueError, "no state"),
    ("view", "field", lambda: gx.view(S, "trace"), ValueError, "no parameter keeps a statistic 'trace'"),
    ("map_rows", "f", lambda: gx.map_rows(3, ROWS), TypeError, "not callable"),
    ("map_rows", "rows", lambda: gx.map_rows(jnp.abs, jnp.ones(3)), TypeError, "Rows"),
    ("map_rows", "rest", lambda: gx.map_rows(jnp.add, ROWS, 3.0), TypeError, "Rows"),
    ("global_norm", "updates", lambda: gx.global_norm({"a": "text"}), TypeError, "text"),
    ("named", "names", lambda: gx.named(3), TypeError, "named takes names, got 3"),
    ("named", "names", lambda: gx.named(), ValueError, "at least one name"),
    ("masked", "mask", lambda: gx.masked(gx.sgd(0.1), 3), TypeError, "mask: a mask holds booleans, got 3"),
    ("groups", "entries", lambda: gx.groups([("kernel", 3)]), TypeError, "member of group 'kernel' .* got 3"),
    ("groups", "entries", lambda: gx.groups([(3, gx.sgd(0.1))]), TypeError, "must be a selector.* got 3"),
    ("groups", "entries", lambda: gx.groups([("(", gx.sgd(0.1))]), ValueError, r"regular expression '\('"),
    ("groups", "entries", lambda: gx.groups([("a", {"b1": 0.1})]), ValueError, "'a' .* there is no default"),
    (
        "groups",
        "entries",
        lambda: gx.groups([("a", {"b1": 0.1})], gx.sgd(1.0)),
        ValueError,
        "no .* hyperparameter 'b1'",
    ),
    ("own_clock", "where", lambda: gx.own_clock(gx.adam(0.1), 3), TypeError, "must be a selector.* got 3"),
    *[
        (f.__name__, "where", lambda f=f: f(0.1, where=3), TypeError, "must be a selector.* got 3")
        for f in (
            gx.adamh,
            gx.apollo,
            gx.dion2,
            gx.galore,
            gx.kl_soap,
            gx.muon,
            gx.muonh,
            gx.normuon,
            gx.psgd_kron,
            gx.scion,
            gx.shampoo,
            gx.soap,
        )
    ],
    ("dion2", "fraction", lambda: gx.dion2(0.1, fraction=0.0), ValueError, "fraction must be positive"),
    ("scale_by_dion2", "fraction", lambda: gx.scale_by_dion2(fraction=0.0), ValueError, "fraction must be positive"),
    *[
        (f.__name__, "default", lambda f=f: f(0.1, default=3), TypeError, "default must be .* got 3")
        for f in (gx.adamh, gx.dion2, gx.muonh, gx.normuon, gx.psgd_kron)
    ],
    ("offloaded", "where", lambda: gx.offloaded(gx.sgd(0.1), 3), TypeError, "must be a selector.* got 3"),
    ("layerwise_decay", "layers", lambda: gx.layerwise_decay(0.5, [3]), TypeError, "must be a selector.* got 3"),
    (
        "sgdr_schedule",
        "cosine_kwargs",
        lambda: gx.sgdr_schedule([]),
        ValueError,
        "cosine_kwargs must have at least one",
    ),
    ("join_schedules", "boundaries", lambda: gx.join_schedules([0.1, 1], []), ValueError, r"schedules \(2\), got 0"),
    ("hyperparams", "tx", lambda: gx.hyperparams(3, S), TypeError, "tx must be"),
    ("hyperparams", "state", lambda: gx.hyperparams(ADAM, ()), ValueError, "no state"),
    ("with_hyperparams", "state", lambda: gx.with_hyperparams((), learning_rate=1.0), ValueError, "not tunable"),
    ("with_hyperparams", "tx", lambda: gx.with_hyperparams(S, tx=3, learning_rate=1.0), TypeError, "tx must be"),
    ("with_hyperparams", "values", lambda: gx.with_hyperparams(S, b1=0.5), ValueError, "b1 is not tunable"),
    (
        "with_hyperparams",
        "values",
        lambda: gx.with_hyperparams(S, learning_rate="x"),
        TypeError,
        "learning_rate .* 'x'",
    ),
    ("with_hyperparams", "values", lambda: gx.with_hyperparams(S, learning_rate=P["bias"]), ValueError, r"\(3,\)"),
    ("with_hyperparams", "values", lambda: gx.with_hyperparams(S, tx=ADAM, learning_rate=-1), ValueError, "got -1"),
    ("per_example_global_norm_clip", "grads", lambda: gx.per_example_global_norm_clip(P, 1.0), ValueError, "examples"),
    ("per_example_global_norm_clip", "grads", lambda: gx.per_example_global_norm_clip(3.0, 1.0), ValueError, "axis"),
    ("per_example_layer_norm_clip", "grads", lambda: gx.per_example_layer_norm_clip(P, 1.0), ValueError, "examples"),
    ("measure", "tx", lambda: gx.measure(3, grad_norm=True), TypeError, "tx must be .* got 3"),
    ("measure", "clip_fraction", lambda: gx.measure(ADAM, clip_fraction=True), ValueError, "clip_fraction needs"),
    ("schedule_free_eval_params", "state", lambda: gx.schedule_free_eval_params(P, S), ValueError, "no state"),
    ("schedule_free_eval_params", "params", lambda: gx.schedule_free_eval_params(FREE, {}), ValueError, "kernel"),
    ("metrics", "state", lambda: gx.metrics(S), ValueError, "no metrics"),
    ("scale_loss", "state", lambda: gx.scale_loss(S, 1.0), ValueError, "one loss scale, it holds 0"),
    ("scale_loss", "loss", lambda: gx.scale_loss(SCALED, "high"), TypeError, "high"),
    ("counters", "state", lambda: gx.counters(S), ValueError, "no counters"),
    (
        "accumulate_gradients",
        "batch",
        lambda: gx.accumulate_gradients(lambda p, b: 0.0, P, {"x": jnp.ones((5, 2))}, 2),
        ValueError,
        r"batch\['x'\] has shape \(5, 2\)",
    ),
    ("migrate", "state", lambda: gx.migrate((), ADAM, P), ValueError, "no state of a gradxform transformation"),
    ("migrate", "tx", lambda: gx.migrate(S, gx.adam, P), TypeError, "tx must be a gradient transformation"),
    ("migrate", "params", lambda: gx.migrate(S, ADAM, {"a": "text"}), TypeError, "the parameter 'a' must be an array"),
    ("migrate", "names", lambda: gx.migrate(S, ADAM, P, names=["a"]), TypeError, r"names must map .* got \['a'\]"),
    ("migrate", "names", lambda: gx.migrate(S, ADAM, P, names={"z": "a"}), ValueError, "names has 'z', which is nowh"),
    ("migrate", "stages", lambda: gx.migrate(S, ADAM, P, stages=3), TypeError, "stages must map .* got 3"),
    ("migrate", "stages", lambda: gx.migrate(S, ADAM, P, stages={"z": "a"}), ValueError, "stages has 'z', which is n"),
    ("unpack", "tx", lambda: gx.unpack(3, S, P), TypeError, "got 3"),
    ("unpack", "state", lambda: gx.unpack(gx.packed(gx.adam(0.1)), 3, P), TypeError, "state must be"),
    ("unpack", "params", lambda: gx.unpack(PACKED, PACKED.init(P), {}), ValueError, "packed/bias"),
    ("explain", "tx", lambda: gx.explain(3, P), TypeError, "tx must be .* got 3"),
    ("explain", "params", lambda: gx.explain(gx.sgd(0.1), {"a": "text"}), TypeError, "'text'"),
]


def of_each_function(chosen: Callable[[inspect.Parameter, Kind], bool]) -> Any:
    """A test of a function and its arguments of a kind: one test for each argument took longer than its calls."""
    found = {
        function: [p for p in parameters(function) if (kind := kind_of(name, p.name)) is not None and chosen(p, kind)]
        for name, function in public_functions().items()
    }
    some = {function: some for function, some in found.items() if some}
    return pytest.mark.parametrize(("function", "some"), some.items(), ids=[f.__name__ for f in some])


def wrong_kinds(p: inspect.Parameter, kind: Kind) -> tuple[Any, ...]:
    absent = p.default is p.empty and kind.wrong and kind.valid is not None and None not in kind.wrong
    return (*kind.wrong, None) if absent else kind.wrong


def parts(value: Any) -> Iterator[Any]:
    """A value and what it holds."""
    yield value
    if isinstance(value, dict | list | tuple):
        for part in [*value, *(value.values() if isinstance(value, dict) else ())]:
            yield from parts(part)


def shown(value: Any) -> set[str]:
    """How a value, or the part of it that is bad, may stand in a message."""
    found = {f(part) for part in parts(value) for f in (str, repr)}
    found |= {str(float(part)) for part in parts(value) if isinstance(part, int | float)}
    return (
        found
        | {part.__name__ for part in parts(value) if inspect.isclass(part) or inspect.isfunction(part)}
        | {str(np.dtype(part)) for part in parts(value) if part is jnp.int32}
    )


@of_each_function(lambda p, kind: bool(kind.wrong or kind.out))
def test_bad_values_are_refused_by_name_and_value(function: Any, some: list[inspect.Parameter]):
    for p in some:
        kind = kind_of(function.__name__, p.name)
        call(function, p.name, kind.valid)
        for error, value in [*((TypeError, v) for v in wrong_kinds(p, kind)), *((ValueError, v) for v in kind.out)]:
            with pytest.raises(error) as raised:
                call(function, p.name, value)
            message = str(raised.value)
            assert type(raised.value) is error, f"{p.name}={value!r}: {message}"
            assert p.name in message or function.__name__ in message, f"{p.name}={value!r}: {message}"
            assert any(x in message for x in shown(value)), f"{p.name}={value!r}: {message}"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [pytest.param(*row[2:], id=f"{row[0]}-{row[1]}") for row in BY_HAND],
)
def test_the_other_arguments_too(make: Any, error: type[Exception], message: str):
    with pytest.raises(error, match=message) as raised:
        make()
    assert type(raised.value) is error


def test_every_argument_of_every_public_function_has_a_row():
    known = {(row[0], row[1]) for row in BY_HAND}
    missing = [
        f"{name}-{p.name}"
        for name, function in public_functions().items()
        for p in parameters(function)
        if kind_of(name, p.name) is None and (name, p.name) not in known
    ]
    assert missing == []


BOUNDS = {"lower", "upper", "a"}
"""A list of bounds says nothing: by element, or in time?"""
of_hyperparameters = of_each_function(lambda p, kind: kind.hyper)
of_tables = of_each_function(lambda p, kind: kind.hyper and p.name not in BOUNDS)


@of_hyperparameters
def test_a_hyperparameter_is_a_number_in_any_form(function: Any, some: list[inspect.Parameter]):
    for p in some:
        made = call(function, p.name, 0.5)
        for x in (np.float64(0.5), np.float32(0.5), np.asarray(0.5), jnp.asarray(0.5)):
            assert call(function, p.name, x) == made, p.name


@of_tables
def test_a_hyperparameter_is_a_table_in_any_form(function: Any, some: list[inspect.Parameter]):
    for p in some:
        made = call(function, p.name, [0.5, 0.25])
        assert made != call(function, p.name, 0.5), p.name
        for x in ((0.5, 0.25), list(jnp.asarray([0.5, 0.25])), (x for x in [0.5, 0.25])):
            assert call(function, p.name, x) == made, p.name
        assert hash(made) == hash(call(function, p.name, [0.5, 0.25])), p.name


@of_tables
def test_an_array_is_no_table_and_nothing_by_element(function: Any, some: list[inspect.Parameter]):
    words = r"must be one number, got an array of shape .*; list\(x\) makes it a table"
    for p in some:
        for x in (np.asarray([0.5, 0.25]), jnp.ones((2, 3)), jnp.zeros(0)):
            with pytest.raises(ValueError, match=words) as raised:
                call(function, p.name, x)
            assert p.name in str(raised.value)


@of_hyperparameters
def test_what_no_float_holds_is_refused_in_words(function: Any, some: list[inspect.Parameter]):
    for p in some:
        for x in (jnp.float16, {0.5}, np.asarray(None), 10**400, 1e39, [0.5, 1e39]):
            with pytest.raises((TypeError, ValueError), match=p.name) as raised:
                call(function, p.name, x)
            assert type(raised.value) in (TypeError, ValueError), p.name


@of_hyperparameters
def test_a_hyperparameter_is_a_schedule_or_tunable(function: Any, some: list[inspect.Parameter]):
    schedule = gx.linear_schedule(0.5, 0.25, 10)
    for p in some:
        for x in (schedule, gx.tunable(0.5), gx.tunable(schedule)):
            made = call(function, p.name, x)
            assert made == call(function, p.name, x), p.name
            assert repr(x) in repr(made), p.name
        call(function, p.name, lambda count: 0.5)


@of_hyperparameters
def test_bad_values_inside_tables_and_tunables_are_refused(function: Any, some: list[inspect.Parameter]):
    for p in some:
        for value in kind_of(function.__name__, p.name).out:
            for x in ([] if p.name in BOUNDS else [[0.5, value]]) + [gx.tunable(value)]:
                with pytest.raises(ValueError, match=p.name) as raised:
                    call(function, p.name, x)
                assert str(value) in str(raised.value), p.name
