"""An integer argument gives one result as Python's, NumPy's and JAX's integer, in every public function."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat import mindspore, mindspore_schedules, paddle, paddle_schedules, torch, torch_schedules
from gradxform.control.train import TrainStep
from tests.arguments import call, kind_of, parameters, public_functions

KINDS = (np.int32, np.int64, np.uint8, np.asarray, jnp.int32, jnp.asarray)


def is_integer(x: Any) -> bool:
    return isinstance(x, int) and not isinstance(x, bool)


def integers() -> Iterator[Any]:
    """Public functions with an argument that takes an integer, and such an integer: the lengths of schedules too."""
    for name, f in public_functions().items():
        for p in parameters(f):
            kind = kind_of(name, p.name)
            if kind is not None and is_integer(kind.valid):
                yield pytest.param(f, p.name, kind.valid, id=f"{name}-{p.name}")


def same(found: Any, expected: Any) -> bool:
    """Equal as values and in print; numbers that were computed, equal as arrays."""
    if isinstance(expected, gx.Comparison):
        found, expected = ({key: runs.losses for key, runs in x.runs.items()} for x in (found, expected))
    if isinstance(expected, TrainStep):
        return (found.parts, type(found.parts)) == (expected.parts, int)
    if not isinstance(expected, gx.core.value.Value):
        return all(map(np.array_equal, jax.tree.leaves(found), jax.tree.leaves(expected)))
    return found == expected and repr(found) == repr(expected) and hash(found) == hash(expected)


@pytest.mark.parametrize(("function", "argument", "n"), list(integers()))
def test_an_integer_of_any_kind(function: Any, argument: str, n: int) -> None:
    expected = call(function, argument, n)
    for kind in KINDS:
        assert same(call(function, argument, kind(n)), expected), kind


@pytest.mark.parametrize(
    "make",
    [
        lambda n: gx.adaptive_grad_clip(0.1, axis=n(0)),
        lambda n: gx.adaptive_grad_clip(0.1, axis=(n(0), n(1))),
        lambda n: gx.multi_step_schedule(0.1, [n(2), n(5)]),
        lambda n: gx.join_schedules([0.1, 0.2], [n(2)]),
        lambda n: gx.piecewise_constant_schedule(0.1, {2: n(3)}),
        lambda n: gx.sgdr_schedule([{"init_value": 0.0, "peak_value": 0.1, "warmup_steps": n(1), "decay_steps": n(5)}]),
        lambda n: gx.schedule_free_sgd(0.1, n(3)),
        lambda n: gx.guard(gx.sgd(0.1), max_consecutive=n(3), then="skip"),
    ],
)
def test_integers_inside_of_sequences_and_where_none_is_the_default(make: Any) -> None:
    for kind in KINDS:
        assert same(make(kind), make(int)), kind


def test_a_length_is_what_it_is_as_a_float_array_too() -> None:
    for half in (np.float32(0.5), jnp.float32(0.5), np.asarray(0.5)):
        assert gx.linear_schedule(0.0, 1.0, half) == gx.linear_schedule(0.0, 1.0, 0.5)
    with pytest.raises(TypeError, match=r"window must be an integer, got 1\.5"):
        gx.clip_by_percentile(10.0, jnp.asarray(1.5))


@pytest.mark.parametrize("kind", KINDS)
def test_restarts_that_grow_return(kind: Any) -> None:
    """v(9) is in the second cycle, 8 steps long, 5 steps into it: 0.1 (1 + cos 5π/8)/2."""
    rate = gx.cosine_restarts_schedule(0.1, 4, kind(2))(9)
    np.testing.assert_allclose(rate, 0.05 * (1 + np.cos(5 * np.pi / 8)), rtol=1e-6)


INTEGERS = {
    "T_0": 3, "T_max": 4, "T_mult": 2, "decay_epoch": 2, "decay_steps": 4, "epochs": 2, "history_size": 5,
    "max_eval": 7, "max_iter": 4, "scale_factor": 2, "scale_window": 3, "step_per_epoch": 2,
    "step_size": 3, "step_size_down": 3, "step_size_up": 2, "steps_per_epoch": 2, "total_iters": 4, "total_step": 4,
    "total_steps": 9, "warmup_epoch": 2, "warmup_steps": 3, "last_epoch": 2,
    "anneal_epochs": 2, "cooldown": 1, "ns_steps": 3, "patience": 2,
}  # fmt: skip
"""What the frameworks call their integers."""
SEQUENCES = {"milestones": [2, 5], "boundaries": [2, 5], "milestone": [2, 5]}
NEEDED = {
    "lr": 0.1, "base_lr": 0.1, "max_lr": 0.2, "min_lr": 0.1, "gamma": 0.5, "lr_lambda": lambda k: 0.9, "factor": 0.5,
    "learning_rate": 0.1, "base_learning_rate": 0.1, "max_learning_rate": 0.2, "start_lr": 0.0, "end_lr": 0.1,
    "swa_lr": 0.1, "values": [0.1, 0.2, 0.3], "d_model": 8, "decay_rate": 0.5, "end_learning_rate": 0.05, "power": 1.0,
    "learning_rates": [0.1, 0.2], "momentum": 0.9, "tx": gx.sgd(0.1), "loss_scale_value": 8.0, "scale_value": 8.0,
    "schedulers": [torch_schedules.ConstantLR(0.1), torch_schedules.ConstantLR(0.2), torch_schedules.ConstantLR(0.3)],
}  # fmt: skip
"""What else they need."""
BESIDE = {"epochs": {"steps_per_epoch": 2}, "steps_per_epoch": {"epochs": 2}}
ROOMS = (torch, torch_schedules, paddle, paddle_schedules, mindspore, mindspore_schedules)


def framework_integers() -> Iterator[Any]:
    for room in ROOMS:
        for name in room.__all__:
            f, valid = getattr(room, name), {**NEEDED, **INTEGERS, **SEQUENCES}
            names = inspect.signature(f).parameters
            needed = {key: valid.get(key) for key, p in names.items() if p.default is p.empty and key != "kwargs"}
            fixed = set() if getattr(f, "resumes", True) else {"last_epoch"}
            for argument in sorted(names.keys() & {*INTEGERS, *SEQUENCES} - fixed):
                kwargs = {**needed, **BESIDE.get(argument, {})}
                yield pytest.param(f, argument, kwargs, valid[argument], id=f"{room.__name__}-{name}-{argument}")


@pytest.mark.parametrize(("function", "argument", "kwargs", "n"), list(framework_integers()))
def test_an_integer_of_any_kind_in_a_framework(function: Any, argument: str, kwargs: Any, n: Any) -> None:
    expected = function(**{**kwargs, argument: n})
    for kind in KINDS:
        given = kind(n) if is_integer(n) else [kind(part) for part in n]
        assert same(function(**{**kwargs, argument: given}), expected), kind


def test_no_integer_of_a_framework_is_forgotten() -> None:
    """What is annotated as an integer, or has one by default, is in the table or a hyperparameter."""
    rates = {"lr", "lr_decay", "weight_decay", "momentum", "dampening", "initial_accumulator_value", "step"}
    for room in ROOMS:
        for name in room.__all__:
            for p in inspect.signature(getattr(room, name)).parameters.values():
                if is_integer(p.default) or str(p.annotation).startswith(("int", "Sequence[int]")):
                    assert p.name in {*INTEGERS, *SEQUENCES, *rates}, f"{name}: {p.name}"
