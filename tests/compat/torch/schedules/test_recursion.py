"""Combinations without a closed form, beside torch itself."""

from __future__ import annotations

import random
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradxform.compat import torch_schedules
from gradxform.compat.torch.schedules import recursion
from gradxform.compat.torch.schedules.recursion import Followed
from tests.compat.rates import STEPS, uneven
from tests.compat.torch.schedules.live import live
from tests.compat.torch.spec import Spec, made

pytest.importorskip("torch")


def single(rng: random.Random) -> Spec:
    low, eta_min = rng.uniform(0.2, 0.9), rng.choice([0.0, 0.02, 0.2])
    choices: list[Spec] = [
        ("StepLR", {"step_size": rng.randint(1, 5), "gamma": low}),
        ("MultiStepLR", {"milestones": sorted(rng.choices(range(12), k=3)), "gamma": rng.uniform(0.3, 1.2)}),
        ("ConstantLR", {"factor": low, "total_iters": rng.randint(1, 8)}),
        ("LinearLR", {"start_factor": low, "end_factor": rng.choice([0.0, 1.0]), "total_iters": rng.randint(1, 8)}),
        ("ExponentialLR", {"gamma": rng.uniform(0.7, 1.05)}),
        ("PolynomialLR", {"total_iters": rng.randint(1, 12), "power": 2 * low}),
        ("CosineAnnealingLR", {"T_max": rng.randint(1, 9), "eta_min": eta_min}),
        ("CosineAnnealingWarmRestarts", {"T_0": rng.randint(1, 5), "T_mult": rng.randint(1, 3), "eta_min": eta_min}),
        ("LambdaLR", {"lr_lambda": uneven}),
        ("MultiplicativeLR", {"lr_lambda": uneven}),
    ]
    mode, cycles = rng.choice(["triangular", "triangular2", "exp_range"]), {"cycle_momentum": rng.random() < 0.5}
    up = {"step_size_up": rng.randint(1, 4), "step_size_down": rng.choice([None, 3])}
    choices.append(("CyclicLR", {"base_lr": 0.02, "max_lr": 0.3, **up, "mode": mode, "gamma": 0.9, **cycles}))
    shape = {"anneal_strategy": rng.choice(["cos", "linear"]), "three_phase": rng.random() < 0.5}
    choices.append(("OneCycleLR", {"max_lr": low, "total_steps": rng.randint(STEPS, 70), **shape, **cycles}))
    choices.append(
        ("SWALR", {"swa_lr": 0.03, "anneal_epochs": rng.randint(0, 6), "anneal_strategy": shape["anneal_strategy"]})
    )
    return rng.choice(choices)


def nested(rng: random.Random, depth: int) -> Spec:
    if depth == 0 or rng.random() < 0.3:
        return single(rng)
    n = rng.randint(1, 3)
    if rng.random() < 0.5:
        return "ChainedScheduler", [nested(rng, depth - 1) for _ in range(n)]
    parts = [nested(rng, depth - 1), *(single(rng) for _ in range(n - 1))]
    return "SequentialLR", (parts, sorted(rng.sample(range(1, 20), n - 1)))


def test_nested_schedulers(monkeypatch: pytest.MonkeyPatch) -> None:
    """One by one as arrays of steps, and all of them in one compiled program."""
    monkeypatch.setattr(recursion, "STEPS", STEPS)
    rng, specs = random.Random(18), []
    while len(specs) < 50:
        specs.append(nested(rng, rng.randint(1, 3)))
    ours = [Followed(made(torch_schedules, spec, 0.1)) for spec in specs]
    expected = [live(lambda module, optimizer, spec=spec: made(module, spec, optimizer)) for spec in specs]
    counts = jnp.arange(STEPS)
    compiled = jax.jit(lambda n: jnp.stack([schedule(n) for schedule in ours]))(counts)
    for schedule, lrs, (rates, momenta) in zip(ours, np.asarray(compiled), expected, strict=True):
        np.testing.assert_allclose(lrs, rates, rtol=1e-6, atol=1e-9, err_msg=repr(schedule))
        np.testing.assert_array_equal(schedule(counts), lrs)
        if schedule.scheduler.momentum is not None:
            np.testing.assert_allclose(Followed(schedule.scheduler, 1)(counts), momenta, rtol=1e-6)


CHAIN = [("LambdaLR", {"lr_lambda": lambda k: [1.0, 0.5, 0.2][k]}), ("ExponentialLR", {"gamma": 0.5})]


def test_a_function_that_ends_before_the_table() -> None:
    """One step at a time it raises its own error; compiled, the last rate stays."""
    schedule = made(torch_schedules, ("ChainedScheduler", CHAIN), 0.1)
    np.testing.assert_allclose([schedule(2), jax.jit(schedule)(2), jax.jit(schedule)(9)], 0.01, rtol=1e-6)
    with pytest.raises(IndexError, match="list index out of range"):
        schedule(3)


def test_a_function_that_computes_with_jax() -> None:
    parts = [
        torch_schedules.LambdaLR(0.1, lambda k: jnp.where(k < 3, 1.0, 0.5)),
        torch_schedules.ExponentialLR(0.1, 0.5),
    ]
    found = jax.jit(torch_schedules.ChainedScheduler(parts))(jnp.arange(6))
    np.testing.assert_allclose(found, [0.1, 0.05, 0.05, 0.025, 0.025, 0.025], rtol=1e-6)


def test_beyond_the_table_the_last_rate_stays() -> None:
    schedule = torch_schedules.ChainedScheduler(
        [torch_schedules.CosineAnnealingLR(0.1, 2, 0.01), torch_schedules.ExponentialLR(0.1, 0.9999)]
    )
    last = recursion.STEPS - 1
    np.testing.assert_array_equal(jax.jit(schedule)(jnp.array([last, 10**9])), np.asarray(schedule(last)))
    np.testing.assert_array_equal(schedule(10**9), schedule(last))


def test_rates_that_are_data() -> None:
    """Several rates at once, handed to a compiled function as numbers."""
    parts = [
        ("LinearLR", {"start_factor": 0.5, "end_factor": 0.0, "total_iters": 2}),
        ("CosineAnnealingLR", {"T_max": 2}),
    ]
    schedule = made(torch_schedules, ("ChainedScheduler", parts), 0.1)

    def at(lr: Any) -> Any:
        parts = tuple(part.with_fields(lr=lr) for part in schedule.schedulers)
        return schedule.with_fields(schedulers=parts)(jnp.arange(6))

    one = np.array([0.5, 0.125, 0.0, 0.5, 1.0, 0.5])
    np.testing.assert_allclose(jax.jit(jax.vmap(at))(jnp.array([0.1, 0.2])), [0.1 * one, 0.2 * one], atol=1e-7)
