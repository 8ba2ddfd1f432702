"""torch's scheduler with a metric, beside torch itself."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat import torch as compat
from gradxform.compat import torch_schedules
from gradxform.compat.torch.schedules import ReduceLROnPlateau
from gradxform.compat.torch.schedules.plateau import PlateauState

torch = pytest.importorskip("torch")
RNG = np.random.default_rng(3)
FALLING = np.round(np.maximum(1.0 - 0.04 * np.arange(40), 0.3) + 0.01 * RNG.normal(size=40), 3)
RESTLESS = np.round(RNG.normal(size=40), 3)
RESTLESS[[0, 9]] = np.nan
P = {"a": jnp.ones(2), "b": jnp.ones(3)}

CASES: list[tuple[dict[str, Any], Any]] = [
    ({"factor": 0.5, "patience": 2, "cooldown": 3}, FALLING),
    ({"factor": 0.5, "patience": 1, "threshold": 0.02, "threshold_mode": "abs", "min_lr": 0.01}, FALLING),
    ({"mode": "max", "factor": 0.3, "patience": 2, "cooldown": 1, "min_lr": [0.02, 0.001]}, RESTLESS),
    ({"mode": "min", "patience": 1, "threshold": 0.2, "factor": 0.6, "eps": 0.004}, RESTLESS),
    ({"patience": 1, "factor": 0.6, "eps": 0.0}, -FALLING),
]


def optimizers(options: dict[str, Any]) -> tuple[Any, Any, Any, Any]:
    """torch's optimizer of two groups with its scheduler, and ours."""
    leaves = [torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(3))]
    opt = torch.optim.SGD([{"params": [leaves[0]]}, {"params": [leaves[1]], "lr": 0.05}], lr=0.1)
    scheduler = ReduceLROnPlateau(0.1, **options)
    tx = compat.sgd(scheduler, groups=[{"params": ["a"]}, {"params": ["b"], "lr": np.float32(0.05)}])
    return opt, torch.optim.lr_scheduler.ReduceLROnPlateau(opt, **options), tx, scheduler


def rates(state: Any) -> list[float]:
    return [state.hyper[f"group{i}/learning_rate"] for i in range(2)]


@pytest.mark.parametrize(("options", "metrics"), CASES, ids=[str(options) for options, _ in CASES])
def test_beside_torch(options: dict[str, Any], metrics: Any) -> None:
    opt, theirs, tx, scheduler = optimizers(options)
    expected = []
    for metric in metrics:
        theirs.step(metric)
        expected.append([group["lr"] for group in opt.param_groups])

    @jax.jit
    def run(metrics: Any) -> Any:
        def one(carry: Any, metric: Any) -> Any:
            carry = scheduler.step(*carry, metric)
            return carry, jnp.stack(rates(carry[0]))

        return jax.lax.scan(one, (tx.init(P), scheduler.init()), metrics)

    (state, plateau), found = run(jnp.asarray(metrics))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert (plateau.num_bad_epochs, plateau.cooldown_counter) == (theirs.num_bad_epochs, theirs.cooldown_counter)
    np.testing.assert_allclose(plateau.best, theirs.best, rtol=1e-6)
    updates, _ = tx.update(P, state, P)
    np.testing.assert_allclose([-updates["a"][0], -updates["b"][0]], expected[-1], rtol=1e-6)


def test_it_goes_on_in_torch_and_here() -> None:
    """A run of torch, continued here, and that of ours continued there, from what their state dicts say."""
    options, half = {"patience": 1, "factor": 0.5, "cooldown": 2}, 20
    (opt, theirs, tx, scheduler), expected = optimizers(options), []
    for i, metric in enumerate(RESTLESS):
        theirs.step(metric)
        expected.append([group["lr"] for group in opt.param_groups])
        if i == half - 1:
            saved = theirs.state_dict()
    carry = scheduler.load_state_dict(tx.init(P), saved)
    other, resumed, _, _ = optimizers(options)
    state_dict = scheduler.state_dict(*carry)
    resumed.load_state_dict(state_dict)
    for group, lr in zip(other.param_groups, state_dict["_last_lr"], strict=True):
        group["lr"] = lr
    for metric, rate in zip(RESTLESS[half:], expected[half:], strict=True):
        carry = scheduler.step(*carry, metric)
        resumed.step(metric)
        np.testing.assert_allclose(rates(carry[0]), rate, rtol=1e-6)
        np.testing.assert_allclose([group["lr"] for group in other.param_groups], rate, rtol=1e-6)


def test_it_lowers_the_rates_of_all_groups_in_whichever_it_is_written() -> None:
    """torch has one for the optimizer: groups with a rate of their own, and those without one."""
    scheduler = ReduceLROnPlateau(0.1, patience=0)
    cases: list[tuple[Any, list[Any], list[float]]] = [
        (0.2, [scheduler, 0.05, None], [0.01, 0.005, 0.02]),
        (scheduler, [None, 0.05, 0.2], [0.01, 0.005, 0.02]),
        (0.2, [gx.tunable(0.1), 0.05, scheduler], [0.01, 0.005, 0.01]),
    ]
    for lr, own, expected in cases:
        groups = [{"params": path, **({} if x is None else {"lr": x})} for path, x in zip("abc", own, strict=True)]
        tx = compat.sgd(lr, groups=iter(groups))
        state, _ = scheduler.step(tx.init({**P, "c": P["a"]}), scheduler.init(), jnp.nan)
        np.testing.assert_allclose([state.hyper[f"group{i}/learning_rate"] for i in range(3)], expected, rtol=1e-6)


def test_a_rate_inside_a_wrapper() -> None:
    scheduler = ReduceLROnPlateau(0.1, patience=0)
    tx = gx.accumulate(compat.adam(scheduler), every=2)
    state, plateau = scheduler.step(tx.init(P), scheduler.init(), jnp.nan)
    np.testing.assert_allclose(float(gx.hyperparams(tx, state)["learning_rate"]), 0.01, rtol=1e-6)
    assert isinstance(plateau, PlateauState)


S = ReduceLROnPlateau(0.1)
BAD: list[tuple[Any, type[Exception], str]] = [
    (lambda: ReduceLROnPlateau(0.1, factor=1.0), ValueError, r"factor must be below 1, got 1\.0"),
    (lambda: ReduceLROnPlateau(0.1, mode="up"), ValueError, "mode must be one of 'min'.*'up'"),
    (lambda: ReduceLROnPlateau(0.1, threshold_mode="both"), ValueError, "threshold_mode must be one of 'rel'.*'both'"),
    (lambda: ReduceLROnPlateau(0.1, patience=-1), ValueError, "patience must be at least 0, got -1"),
    (lambda: ReduceLROnPlateau("a"), TypeError, "lr must be .*'a'"),
    (lambda: torch_schedules.ChainedScheduler([S]), ValueError, r"schedulers\[0\] must need no metric"),
    (
        lambda: compat.sgd(S, groups=[{"params": "a"}, {"params": "b", "lr": torch_schedules.StepLR(0.1, 2)}]),
        ValueError,
        "ReduceLROnPlateau lowers the rates of all groups, which must be numbers then; .* a factor behind",
    ),
    (lambda: gx.adam(S), TypeError, "learning_rate must be .*ReduceLROnPlateau"),
    (lambda: S.step(compat.sgd(0.1).init(P), S.init(), 1.0), ValueError, "state must hold a tunable rate"),
    (
        lambda: ReduceLROnPlateau(0.1, min_lr=[0.1, 0.2]).step(compat.sgd(S).init(P), S.init(), 1.0),
        ValueError,
        "min_lr must have one value for each of 1 groups, got 2",
    ),
    (lambda: S.load_state_dict(compat.sgd(S).init(P), [1]), TypeError, r"state_dict must be a dict, got \[1\]"),
    (lambda: S.load_state_dict(compat.sgd(S).init(P), {"best": 1.0}), ValueError, "state_dict has no 'num_bad_epochs'"),
    (
        lambda: S.load_state_dict(
            compat.sgd(S).init(P), {**S.state_dict(compat.sgd(S).init(P), S.init()), "_last_lr": [0.1, 0.2]}
        ),
        ValueError,
        "state_dict has 2 rates in '_last_lr', the state 1",
    ),
]


@pytest.mark.parametrize(("make", "error", "words"), BAD, ids=[words for *_, words in BAD])
def test_bad_arguments(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()
