"""torch's schedulers that move the momentum beside the rate, with the optimizers whose momentum it is."""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest

import gradxform as gx
from gradxform.compat import torch as compat
from gradxform.compat import torch_schedules
from tests.compat.torch.live import RTOL, SHAPES
from tests.trajectories import double, near, walk

torch = pytest.importorskip("torch")
STEPS = 24

CYCLES: dict[str, tuple[str, dict[str, Any]]] = {
    "one_cycle": ("OneCycleLR", {"max_lr": 0.3, "total_steps": STEPS}),
    "linear": ("OneCycleLR", {"max_lr": 0.3, "total_steps": STEPS, "anneal_strategy": "linear", "pct_start": 0.4}),
    "three_phases": ("OneCycleLR", {"max_lr": 0.3, "epochs": 4, "steps_per_epoch": 6, "three_phase": True}),
    "bounds": ("OneCycleLR", {"max_lr": 0.3, "total_steps": 30, "base_momentum": 0.5, "max_momentum": 0.8}),
    "triangles": ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.3, "step_size_up": 5, "step_size_down": 3}),
    "halved": ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.3, "step_size_up": 3.5, "mode": "triangular2"}),
    "powers": (
        "CyclicLR",
        {"base_lr": 0.01, "max_lr": 0.3, "step_size_up": 4, "mode": "exp_range", "gamma": 0.9, "max_momentum": 0.95},
    ),
    "held": ("OneCycleLR", {"max_lr": 0.3, "total_steps": STEPS, "cycle_momentum": False}),
}

OPTIMIZERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "sgd": ("SGD", "sgd", {"momentum": 0.7, "weight_decay": 0.01}),
    "nesterov": ("SGD", "sgd", {"momentum": 0.7, "nesterov": True}),
    "dampened": ("SGD", "sgd", {"momentum": 0.7, "dampening": 0.2, "maximize": True}),
    "adam": ("Adam", "adam", {"betas": (0.7, 0.97)}),
    "adamw": ("AdamW", "adamw", {"betas": (0.7, 0.97), "amsgrad": True}),
    "rmsprop": ("RMSprop", "rmsprop", {"momentum": 0.7}),
}


def with_cycle(name: str, arguments: Any, kwargs: Any) -> dict[str, Any]:
    """The optimizer's arguments with what the scheduler sets."""
    lr = getattr(torch_schedules, name)(**arguments)
    if lr.momentum is None:
        return {**kwargs, "lr": lr}
    if "betas" in kwargs:
        return {**kwargs, "lr": lr, "betas": (lr.momentum, kwargs["betas"][1])}
    return {**kwargs, "lr": lr, "momentum": lr.momentum}


def data(dtype: str) -> tuple[Any, list[Any]]:
    rng = np.random.default_rng(5)
    params = {name: rng.normal(size=shape).astype(dtype) for name, shape in SHAPES.items()}
    return params, [
        {name: rng.normal(size=shape).astype(dtype) for name, shape in SHAPES.items()} for _ in range(STEPS)
    ]


def theirs(make: Any, name: str, arguments: Any, params: Any, grads: Any, groups: Any, kwargs: Any) -> list[Any]:
    """Copies of the parameters after each step of torch's optimizer and scheduler."""
    leaves = {leaf: torch.tensor(w, requires_grad=True) for leaf, w in params.items()}
    opt = make([{"params": [leaves[leaf] for leaf in group]} for group in groups], lr=0.1, **kwargs)
    scheduler, after = getattr(torch.optim.lr_scheduler, name)(opt, **arguments), []
    for now in grads:
        for leaf, g in now.items():
            leaves[leaf].grad = torch.tensor(g)
        opt.step()
        scheduler.step()
        after.append({leaf: w.detach().numpy().copy() for leaf, w in leaves.items()})
    return after


def agree(optimizer: str, cycle: str, dtype: str) -> None:
    params, grads = data(dtype)
    make, ours_name, kwargs = OPTIMIZERS[optimizer]
    name, arguments = CYCLES[cycle]
    expected = theirs(getattr(torch.optim, make), name, arguments, params, grads, [list(SHAPES)], kwargs)
    with double() if dtype == "float64" else nullcontext():
        follows(getattr(compat, ours_name)(**with_cycle(name, arguments, kwargs)), params, grads, expected, dtype)


def follows(tx: gx.GradientTransformation, params: Any, grads: Any, expected: Any, dtype: str) -> None:
    stacked = {name: np.stack([now[name] for now in grads]) for name in params}
    found, _ = walk(tx, params, stacked, dtype)
    near(found, {name: np.stack([now[name] for now in expected]) for name in params}, RTOL[dtype])


@pytest.mark.parametrize("cycle", CYCLES)
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_whole_cycle(optimizer: str, cycle: str) -> None:
    agree(optimizer, cycle, "float32")


@pytest.mark.parametrize("i", range(len(OPTIMIZERS)), ids=list(OPTIMIZERS))
def test_every_momentum_in_double(i: int) -> None:
    agree(list(OPTIMIZERS)[i], ("three_phases", "halved")[i % 2], "float64")


def test_groups_have_cycles_of_their_own() -> None:
    """Where torch takes a list with a value for each group, each group has its schedule here."""
    params, grads = data("float32")
    lists = {"max_lr": [0.3, 0.1], "base_momentum": [0.8, 0.4], "max_momentum": [0.9, 0.6]}
    wheres = [["bias"], ["kernel", "scale"]]
    expected = theirs(
        torch.optim.SGD, "OneCycleLR", {**lists, "total_steps": STEPS}, params, grads, wheres, {"momentum": 0.7}
    )
    groups = []
    for i, where in enumerate(wheres):
        lr = torch_schedules.OneCycleLR(**{name: x[i] for name, x in lists.items()}, total_steps=STEPS)
        groups.append({"params": where, "lr": lr, "momentum": lr.momentum})
    follows(compat.sgd(groups=groups), params, grads, expected, "float32")


def test_the_momentum_shows_among_the_hyperparameters() -> None:
    lr = torch_schedules.OneCycleLR(0.5, total_steps=10)
    tx = compat.sgd(lr, momentum=lr.momentum)
    params = {"w": np.ones(2, np.float32)}
    state = tx.init(params)
    found = gx.hyperparams(tx, state)
    np.testing.assert_allclose([found["learning_rate"], found["trace/decay"]], [0.5 / 25, 0.95], rtol=1e-6)
    assert tx == compat.sgd(lr, momentum=torch_schedules.OneCycleLR(0.5, total_steps=10).momentum)


ONE = {"max_lr": 0.5, "total_steps": 20}
EPOCHS = {"max_lr": 0.5, "epochs": 3, "steps_per_epoch": 7}
CYCLIC = {"base_lr": 0.1, "max_lr": 0.5}

BAD: list[tuple[str, dict[str, Any], str, Any]] = [
    *(("OneCycleLR", ONE, "total_steps", x) for x in (None, 0, -1, 2.5, 10.0)),
    *(("OneCycleLR", EPOCHS, name, x) for name in ("epochs", "steps_per_epoch") for x in (None, 0, -1, 2.0, "a")),
    *(("OneCycleLR", ONE, "pct_start", x) for x in (0, 1, -0.1, 1.1, True, "a")),
    *(("OneCycleLR", ONE, "anneal_strategy", x) for x in ("x", "COS", None, 3)),
    *(("OneCycleLR", ONE, name, x) for name in ("max_lr", "div_factor", "final_div_factor") for x in ("a", None)),
    *(("CyclicLR", CYCLIC, name, x) for name in ("base_lr", "max_lr") for x in ("a", None)),
    *(
        (kind, base, name, x)
        for kind, base in (("OneCycleLR", ONE), ("CyclicLR", CYCLIC))
        for name in ("base_momentum", "max_momentum")
        for x in ("a", None)
    ),
    *(("CyclicLR", CYCLIC, "mode", x) for x in ("x", None, 3)),
    *(("CyclicLR", CYCLIC, "scale_fn", x) for x in ("a", 3)),
    *(("CyclicLR", CYCLIC, "step_size_up", x) for x in (None, [3])),
]


@pytest.mark.parametrize(("name", "base", "argument", "x"), BAD, ids=[f"{n}-{a}-{x}" for n, _, a, x in BAD])
def test_what_torch_refuses_is_refused_with_the_same_exception(name: str, base: Any, argument: str, x: Any) -> None:
    """Here at once, there in part at the first step."""
    with pytest.raises((TypeError, ValueError)) as refused:
        first_step(name, {**base, argument: x})
    with pytest.raises(refused.type, match=argument):
        getattr(torch_schedules, name)(**{**base, argument: x})


@pytest.mark.parametrize("name", ["Rprop", "Adagrad", "Adadelta", "ASGD"])
def test_an_optimizer_without_momentum_takes_no_cycle_of_it(name: str) -> None:
    """Neither for all parameters nor for a group; without the momentum it does."""
    there = getattr(torch.optim, name)([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    with pytest.raises(ValueError, match="must support momentum"):
        torch.optim.lr_scheduler.OneCycleLR(there, **ONE)
    here, lr = getattr(compat, name.lower()), torch_schedules.OneCycleLR(**ONE)
    for arguments in ({"lr": lr}, {"groups": [{"params": "w", "lr": lr}]}):
        with pytest.raises(ValueError, match=rf"cycle_momentum=False, for {name.lower()} has no momentum"):
            here(**arguments)
    assert here(torch_schedules.OneCycleLR(**ONE, cycle_momentum=False))


def first_step(name: str, arguments: Any) -> None:
    opt = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1, momentum=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the argument `epoch`, which torch passes to itself
        scheduler = getattr(torch.optim.lr_scheduler, name)(opt, **arguments)
        opt.step()
        scheduler.step()
