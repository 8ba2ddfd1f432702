"""The frameworks' schedulers against recorded rates, the live torch, and transcripts of paddle and mindspore."""

from __future__ import annotations

import inspect
import json
import math
import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradxform.compat import mindspore_schedules, paddle_schedules, torch_schedules
from gradxform.core.hyper import Hyper, Schedule

RECORDED = json.loads((Path(__file__).parent / "recorded_rates.json").read_text())
STEPS = 60


def rates(schedule: Any, steps: int = STEPS) -> np.ndarray:
    return np.asarray(schedule(jnp.arange(steps)))


def built(module: Any, spec: Any, *first: Any) -> Any:
    """The schedule of a config `{"type": ..., argument: value}`, nested ones included."""
    arguments = {k: built(module, v) if isinstance(v, dict) else v for k, v in spec.items() if k != "type"}
    return getattr(module, spec["type"])(*first, **arguments)


@pytest.mark.parametrize("case", RECORDED, ids=[case["case"] for case in RECORDED])
def test_recorded_rates(case: Any) -> None:
    module = {"torch": torch_schedules, "paddle": paddle_schedules, "mindspore": mindspore_schedules}[case["framework"]]
    schedule = built(module, case["schedule"], *([case["lr"]] if case["framework"] == "torch" else []))
    expected = np.array(case["rates"])
    # mindspore computes in float32, with an error of a rounding of the largest rate wherever the rate is small.
    np.testing.assert_allclose(rates(schedule, len(expected)), expected, rtol=4e-7, atol=1e-7 * expected.max())


def compare(schedule: Schedule, expected: Any) -> None:
    """Equal one by one, as an array, and compiled with the schedule as data."""
    expected = np.asarray(expected, dtype=np.float64)
    counts = jnp.arange(len(expected))
    # Recursions end in 1e-17 where the closed form has 0.
    np.testing.assert_allclose(schedule(counts), expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(jax.jit(lambda s, c: s(c))(schedule, counts), expected, rtol=5e-6, atol=1e-9)
    np.testing.assert_allclose(
        [schedule(i) for i in (0, 1, len(expected) - 1)], expected[[0, 1, -1]], rtol=1e-6, atol=1e-9
    )


def live(make: Callable[[Any, Any], Any]) -> tuple[list[float], list[float]]:
    """The rates and momenta that torch uses; shorter where the scheduler raises at its end."""
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1, momentum=0.5)
    scheduler = make(torch.optim.lr_scheduler, optimizer)
    lrs, momenta = [], []
    for _ in range(STEPS):
        (group,) = optimizer.param_groups
        lrs.append(group["lr"])
        momenta.append(group["momentum"])
        optimizer.step()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the argument `epoch`, which torch passes to itself
                scheduler.step()
        except ValueError:
            break
    return lrs, momenta


def uneven(step: int) -> float:
    return 0.9 if step % 3 else 0.8


TORCH = [
    ("StepLR", {"step_size": 7, "gamma": 0.3}),
    ("StepLR", {"step_size": 1, "gamma": 1.01}),
    ("MultiStepLR", {"milestones": [5, 5, 20, 0, 41]}),
    ("ConstantLR", {}),
    ("ConstantLR", {"factor": 0.5, "total_iters": 0}),
    ("LinearLR", {}),
    ("LinearLR", {"start_factor": 0.1, "end_factor": 0.4, "total_iters": 30}),
    ("LinearLR", {"start_factor": 1.0, "end_factor": 0.0, "total_iters": 30}),
    ("LinearLR", {"total_iters": 0}),
    ("ExponentialLR", {"gamma": 0.95}),
    ("PolynomialLR", {}),
    ("PolynomialLR", {"total_iters": 40, "power": 2.0}),
    ("PolynomialLR", {"total_iters": 40, "power": 0.5}),
    ("PolynomialLR", {"total_iters": 0}),
    ("CosineAnnealingLR", {"T_max": 8, "eta_min": 0.001}),
    ("CosineAnnealingLR", {"T_max": 50}),
    ("CosineAnnealingLR", {"T_max": 1, "eta_min": 0.2}),
    ("CosineAnnealingWarmRestarts", {"T_0": 7}),
    ("CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 2, "eta_min": 0.01}),
    ("CosineAnnealingWarmRestarts", {"T_0": 1, "T_mult": 3}),
    ("LambdaLR", {"lr_lambda": lambda step: 0.95**step}),
    ("LambdaLR", {"lr_lambda": uneven}),
    ("MultiplicativeLR", {"lr_lambda": lambda step: 0.95}),
    ("MultiplicativeLR", {"lr_lambda": lambda step: step / (step + 1)}),
    ("MultiplicativeLR", {"lr_lambda": uneven}),
]


@pytest.mark.parametrize(("name", "arguments"), TORCH, ids=[name for name, _ in TORCH])
def test_torch(name: str, arguments: Any) -> None:
    schedule = getattr(torch_schedules, name)(0.1, **arguments)
    compare(schedule, live(lambda lr_scheduler, optimizer: getattr(lr_scheduler, name)(optimizer, **arguments))[0])
    assert schedule.momentum is None


TORCH_CYCLES = [
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 5, "step_size_down": 9, "mode": "triangular2"}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 4, "mode": "exp_range", "gamma": 0.97}),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 4, "scale_fn": lambda x: 0.5 if x > 3 else 1.0}),
    (
        "CyclicLR",
        {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 4, "scale_fn": lambda x: 0.9**x, "scale_mode": "iterations"},
    ),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 4, "cycle_momentum": False}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 100}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 30, "div_factor": 10, "final_div_factor": 100}),
    ("OneCycleLR", {"max_lr": 0.5, "epochs": 5, "steps_per_epoch": 10, "anneal_strategy": "linear"}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 37, "three_phase": True}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 37, "three_phase": True, "anneal_strategy": "linear"}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 20, "pct_start": 0.9, "three_phase": True}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 20, "pct_start": 0.0, "cycle_momentum": False}),
    ("OneCycleLR", {"max_lr": 0.5, "total_steps": 1}),
]


@pytest.mark.parametrize(("name", "arguments"), TORCH_CYCLES, ids=[name for name, _ in TORCH_CYCLES])
def test_torch_cycles_the_rate_and_the_momentum(name: str, arguments: Any) -> None:
    schedule = getattr(torch_schedules, name)(**arguments)
    lrs, momenta = live(lambda lr_scheduler, optimizer: getattr(lr_scheduler, name)(optimizer, **arguments))
    compare(schedule, lrs)
    if arguments.get("cycle_momentum", True):
        compare(schedule.momentum, momenta)
    else:
        assert schedule.momentum is None


def test_after_its_end_one_cycle_holds_the_last_rate() -> None:
    schedule = torch_schedules.OneCycleLR(0.5, total_steps=20, anneal_strategy="linear")
    np.testing.assert_allclose(schedule(jnp.asarray([21, 22, 1000])), 0.5 / 25 / 1e4, rtol=5e-7)


def sequence(module: Any, *first: Any) -> list[Any]:
    return [
        module.LinearLR(*first, 0.1, 1.0, 10),
        module.CosineAnnealingLR(*first, 20, 0.001),
        module.StepLR(*first, 5, 0.5),
        module.CosineAnnealingWarmRestarts(*first, 4),
    ]


def other_sequence(module: Any, *first: Any) -> list[Any]:
    return [
        module.MultiplicativeLR(*first, uneven),
        module.PolynomialLR(*first, 10),
        module.LambdaLR(*first, lambda step: 0.9**step),
        module.ConstantLR(*first, 0.5, 4),
    ]


@pytest.mark.parametrize("schedulers", [sequence, other_sequence])
def test_torch_in_sequence(schedulers: Any) -> None:
    ours = torch_schedules.SequentialLR(schedulers(torch_schedules, 0.1), [10, 30, 50])
    lrs, _ = live(lambda module, optimizer: module.SequentialLR(optimizer, schedulers(module, optimizer), [10, 30, 50]))
    compare(ours, lrs)


def chain(module: Any, *first: Any) -> list[Any]:
    return [module.ConstantLR(*first, 0.1, 20), module.ExponentialLR(*first, 0.9), module.MultiStepLR(*first, [9, 30])]


def chain_with_cosine(module: Any, *first: Any) -> list[Any]:
    return [
        module.LinearLR(*first, 0.1, 1.0, 25),
        module.CosineAnnealingLR(*first, 15),
        module.StepLR(*first, 4, 0.8),
        module.MultiplicativeLR(*first, uneven),
    ]


@pytest.mark.parametrize("schedulers", [chain, chain_with_cosine])
def test_torch_chained(schedulers: Any) -> None:
    ours = torch_schedules.ChainedScheduler(schedulers(torch_schedules, 0.1))
    compare(ours, live(lambda module, optimizer: module.ChainedScheduler(schedulers(module, optimizer)))[0])


def test_arguments_are_those_of_torch() -> None:
    torch = pytest.importorskip("torch")
    for name in torch_schedules.__all__:
        if name == "TorchSchedule":
            continue
        theirs = dict(inspect.signature(getattr(torch.optim.lr_scheduler, name).__init__).parameters)
        ours = dict(inspect.signature(getattr(torch_schedules, name)).parameters)
        assert [p for p in theirs if p not in ("self", "optimizer", "last_epoch")] == [p for p in ours if p != "lr"]
        for argument, parameter in ours.items():
            assert argument == "lr" or parameter.default == theirs[argument].default, (name, argument)


def recursion(first: float, then: Callable[[float, int], float]) -> list[float]:
    """Rates that paddle computes from the last one: `then(last_lr, k)`."""
    values = [first]
    for k in range(1, STEPS):
        values.append(then(values[-1], k))
    return values


def each(rate: Callable[[int], float]) -> list[float]:
    return [rate(k) for k in range(STEPS)]


def noam(k: int) -> float:
    return 1.0 * 16**-0.5 * min(1 if k == 0 else k**-0.5, 4**-1.5 * k)


def polynomial(k: int, cycle: bool) -> float:
    length = 9 * (1 if k == 0 else math.ceil(k / 9)) if cycle else 9
    return (0.1 - 0.01) * (1 - (k if cycle else min(k, 9)) / length) ** 1.5 + 0.01


def cosine(last: float, k: int) -> float:
    if (k - 1 - 8) % 16 == 0:
        return last + (0.1 - 0.001) * (1 - math.cos(math.pi / 8)) / 2
    return (1 + math.cos(math.pi * k / 8)) / (1 + math.cos(math.pi * (k - 1) / 8)) * (last - 0.001) + 0.001


def linear(last: float, k: int) -> float:
    if k > 12:
        return last
    return last * (1.0 + (0.9 - 0.25) / (12 * 0.25 + (k - 1) * (0.9 - 0.25)))


def restarts(k: int) -> float:
    length = 3
    while k >= length:
        k, length = k - length, length * 2
    return 0.01 + (0.1 - 0.01) * (1 + math.cos(math.pi * k / length)) / 2


def triangle(scale: Callable[[float, int], float]) -> Callable[[int], float]:
    def rate(k: int) -> float:
        size, up = 14.0, 5 / 14.0
        cycle = 1 + k // size
        share = 1.0 + k / size - cycle
        height = share / up if share <= up else (1 - share) / (1 - up)
        return 0.01 + (0.1 - 0.01) * height * scale(cycle, k)

    return rate


def one_cycle(knots: list[tuple[float, float]], strategy: str) -> Callable[[int], float]:
    def rate(k: int) -> float:
        for i, ((start, a), (end, b)) in enumerate(pairwise(knots)):
            if k <= end or i == len(knots) - 2:
                done = (k - start) / (end - start)
                return b + (a - b) / 2.0 * (math.cos(math.pi * done) + 1) if strategy == "cos" else (b - a) * done + a
        raise AssertionError

    return rate


paddle = paddle_schedules
PADDLE = [
    (paddle.NoamDecay(16, 4), each(noam)),
    (paddle.PiecewiseDecay([3, 6], [0.1, 0.05, 0.01]), each(lambda k: 0.1 if k < 3 else 0.05 if k < 6 else 0.01)),
    (paddle.PiecewiseDecay([3], (0.1, 0.05, 0.01)), each(lambda k: 0.1 if k < 3 else 0.01)),
    (paddle.NaturalExpDecay(0.1, 0.2), each(lambda k: 0.1 * math.exp(-0.2 * k))),
    (paddle.InverseTimeDecay(0.1, 0.2), each(lambda k: 0.1 / (1 + 0.2 * k))),
    (paddle.PolynomialDecay(0.1, 9, 0.01, 1.5), each(lambda k: polynomial(k, cycle=False))),
    (paddle.PolynomialDecay(0.1, 9, 0.01, 1.5, cycle=True), each(lambda k: polynomial(k, cycle=True))),
    (paddle.LinearWarmup(0.3, 7, 0.0, 0.2), each(lambda k: 0.2 * k / 7 if k < 7 else 0.3)),
    (
        paddle.LinearWarmup(paddle.StepDecay(0.2, 5, 0.5, last_epoch=3), 7, 0.01, 0.2),
        each(lambda k: (0.2 - 0.01) * k / 7 + 0.01 if k < 7 else 0.2 * 0.5 ** ((k - 7) // 5)),
    ),
    (paddle.ExponentialDecay(0.1, 0.9), each(lambda k: 0.1 * 0.9**k)),
    (paddle.MultiStepDecay(0.1, [4, 9, 30], 0.5), each(lambda k: 0.1 * 0.5 ** sum(k >= m for m in (4, 9, 30)))),
    (paddle.StepDecay(0.1, 7), each(lambda k: 0.1 * 0.1 ** (k // 7))),
    (paddle.StepDecay(0.1, 7, 0.5, 5), each(lambda k: 0.1 * 0.5 ** ((k + 6) // 7))),
    (paddle.LambdaDecay(0.1, uneven), each(lambda k: 0.1 * uneven(k))),
    (paddle.CosineAnnealingDecay(0.1, 8, 0.001), recursion(0.1, cosine)),
    (paddle.MultiplicativeDecay(0.1, uneven), recursion(0.1, lambda last, k: last * uneven(k))),
    (paddle.OneCycleLR(0.5, 60), each(one_cycle([(0, 0.02), (17, 0.5), (59, 0.0001)], "cos"))),
    (
        paddle.OneCycleLR(0.5, 59, 10.0, 0.003, 0.2, "linear", three_phase=True),
        each(one_cycle([(0, 0.05), (10.8, 0.5), (21.6, 0.05), (58, 0.003)], "linear")),
    ),
    (paddle.CyclicLR(0.01, 0.1, 5, 9), each(triangle(lambda cycle, k: 1.0))),
    (paddle.CyclicLR(0.01, 0.1, 5, 9, "triangular2"), each(triangle(lambda cycle, k: 1 / 2.0 ** (cycle - 1)))),
    (paddle.CyclicLR(0.01, 0.1, 5, 9, "exp_range", 0.95), each(triangle(lambda cycle, k: 0.95**k))),
    (paddle.CyclicLR(0.01, 0.1, 5, 9, scale_fn=lambda x: 0.9**x), each(triangle(lambda cycle, k: 0.9**cycle))),
    (paddle.LinearLR(0.1, 12, 0.25, 0.9), recursion(0.1 * 0.25, linear)),
    (paddle.CosineAnnealingWarmRestarts(0.1, 3, 2, 0.01), each(restarts)),
    (paddle.CosineAnnealingWarmRestarts(0.1, 8), each(lambda k: 0.1 * (1 + math.cos(math.pi * (k % 8) / 8)) / 2)),
]


@pytest.mark.parametrize(("schedule", "expected"), PADDLE, ids=[s.public_name() for s, _ in PADDLE])
def test_paddle(schedule: Schedule, expected: list[float]) -> None:
    compare(schedule, expected)


def mindspore_polynomial(s: int, update: bool) -> float:
    length = 9 * max(math.ceil(s / 9), 1) if update else 9
    return (0.1 - 0.01) * (1 - (s if update else min(s, 9)) / length) ** 1.5 + 0.01


ms = mindspore_schedules
MINDSPORE = [
    (ms.ExponentialDecayLR(0.1, 0.9, 4), each(lambda s: 0.1 * 0.9 ** (s / 4))),
    (ms.ExponentialDecayLR(0.1, 0.9, 4, True), each(lambda s: 0.1 * 0.9 ** (s // 4))),
    (ms.NaturalExpDecayLR(0.1, 0.2, 4), each(lambda s: 0.1 * math.exp(-0.2 * s))),
    (ms.NaturalExpDecayLR(0.1, 0.2, 4, True), each(lambda s: 0.1 * math.exp(-0.2 * (s // 4 * 4)))),
    (ms.InverseDecayLR(0.1, 0.2, 4), each(lambda s: 0.1 / (1 + 0.2 * s / 4))),
    (ms.InverseDecayLR(0.1, 0.2, 4, True), each(lambda s: 0.1 / (1 + 0.2 * (s // 4)))),
    (
        ms.CosineDecayLR(0.01, 0.1, 40),
        each(lambda s: 0.01 + 0.5 * (0.1 - 0.01) * (1 + math.cos(math.pi * min(s, 40) / 40))),
    ),
    (ms.PolynomialDecayLR(0.1, 0.01, 9, 1.5), each(lambda s: mindspore_polynomial(s, update=False))),
    (ms.PolynomialDecayLR(0.1, 0.01, 9, 1.5, True), each(lambda s: mindspore_polynomial(s, update=True))),
    (ms.WarmUpLR(0.1, 9), each(lambda s: 0.1 * min(s, 9) / 9)),
]


@pytest.mark.parametrize(("schedule", "expected"), MINDSPORE, ids=[s.public_name() for s, _ in MINDSPORE])
def test_mindspore(schedule: Schedule, expected: list[float]) -> None:
    compare(schedule, expected)


LISTS = [
    (ms.piecewise_constant_lr([2, 5, 10], [0.1, 0.05, 0.01]), [0.1] * 2 + [0.05] * 3 + [0.01] * 5),
    (ms.exponential_decay_lr(0.1, 0.9, 6, 2, 1), [0.1, 0.1, 0.09, 0.09, 0.081, 0.081]),
    (ms.exponential_decay_lr(0.1, 0.9, 6, 1, 2, True), [0.1, 0.1, 0.09, 0.09, 0.081, 0.081]),
    (ms.natural_exp_decay_lr(0.1, 0.9, 6, 2, 2, True), [0.1] * 4 + [0.1 * math.exp(-1.8)] * 2),
    (ms.natural_exp_decay_lr(0.1, 0.9, 3, 1, 2), [0.1, 0.1 * math.exp(-0.9), 0.1 * math.exp(-1.8)]),
    (ms.inverse_decay_lr(0.1, 0.5, 6, 1, 1, True), [0.1 / (1 + 0.5 * e) for e in range(6)]),
    (ms.inverse_decay_lr(0.1, 0.5, 4, 2, 3), [0.1, 0.1, 0.1 / (1 + 0.5 / 3), 0.1 / (1 + 0.5 / 3)]),
    (ms.cosine_decay_lr(0.01, 0.1, 6, 2, 2), [0.1, 0.1, 0.055, 0.055, 0.01, 0.01]),
    (
        ms.polynomial_decay_lr(0.1, 0.01, 6, 2, 2, 0.5),
        [0.1, 0.1, 0.09 * 0.5**0.5 + 0.01, 0.09 * 0.5**0.5 + 0.01, 0.01, 0.01],
    ),
    (ms.polynomial_decay_lr(0.1, 0.01, 5, 1, 2, 1.0, True), [0.1, 0.055, 0.01, 0.0325, 0.01]),
    (ms.warmup_lr(0.1, 6, 2, 2), [0.0, 0.0, 0.05, 0.05, 0.1, 0.1]),
]


@pytest.mark.parametrize(("listed", "expected"), LISTS)
def test_mindspore_lists_are_python_doubles(listed: list[float], expected: list[float]) -> None:
    assert isinstance(listed, list)
    assert all(type(rate) is float for rate in listed)
    np.testing.assert_allclose(listed, expected, rtol=1e-14, atol=1e-17)


def test_lists_can_be_made_while_tracing() -> None:
    assert float(jax.jit(lambda: jnp.asarray(ms.warmup_lr(0.1, 6, 2, 2))[2])()) == np.float32(0.05)


def test_a_users_own_mindspore_schedule() -> None:
    class Falling(mindspore_schedules.LearningRateSchedule):
        base: Hyper
        slope: Hyper

        def construct(self, global_step: Any) -> Any:
            return self.base + self.slope * global_step

    compare(Falling(0.1, -0.001), each(lambda s: 0.1 - 0.001 * s))
    with pytest.raises(TypeError, match="base must be a float, got 1 of type int"):
        Falling(1, -0.001)


def test_schedulers_are_values() -> None:
    schedule = torch_schedules.StepLR(0.1, 30)
    assert repr(schedule) == "StepLR(lr=0.1, step_size=30, gamma=0.1)"
    assert schedule == torch_schedules.StepLR(0.1, step_size=30)
    assert hash(schedule) == hash(torch_schedules.StepLR(0.1, 30))
    assert isinstance(schedule, Schedule)
    nested = paddle.LinearWarmup(paddle.StepDecay(0.2, 5), 7, 0.0, 0.2)
    assert nested == eval(repr(nested), vars(paddle))
    combined = torch_schedules.SequentialLR([schedule, torch_schedules.LinearLR(0.1)], [7])
    assert combined == eval(repr(combined), vars(torch_schedules))
    assert torch_schedules.LambdaLR(0.1, uneven) == torch_schedules.LambdaLR(0.1, uneven)


def test_an_untraceable_function_with_a_mistake_raises_its_own_error() -> None:
    schedule = torch_schedules.LambdaLR(0.1, lambda step: "a" + step)
    with pytest.raises(TypeError, match="can only concatenate str"):
        jax.jit(schedule)(3)
