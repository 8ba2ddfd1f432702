"""What PyTorch's own tests of optimizers go through (`_internal/common_optimizers.py`), beside torch itself.

`FAMILIES` are functions that give each scenario's name and what is wrong with it, nothing where all is right;
`DECIDED` says why a scenario ends otherwise here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gradxform as gx
from gradxform.compat import torch as compat
from gradxform.compat import torch_schedules as lrs
from tests.compat.refusals import refusals
from tests.compat.torch.schedules.scenarios import loops, metrics, schedulers

STEPS = 4
DECAY = {"weight_decay": 0.1}
TENSOR = {"lr": np.asarray(0.001, np.float32)}
OPTIMIZERS: dict[str, list[dict[str, Any]]] = {
    "Adadelta": [{"lr": 0.01}, {"rho": 0.95, "weight_decay": 0.9}],
    "Adafactor": [{**DECAY, "lr": 0.01}, {"beta2_decay": -1.0}, {"d": 1.5}],
    "Adagrad": [
        {"lr": 0.1}, {"initial_accumulator_value": 0.1, **DECAY}, {"lr": 0.1, "lr_decay": 0.5, **DECAY}, TENSOR,
    ],
    "Adam": [
        {"lr": 0.01}, {**DECAY, "amsgrad": True}, TENSOR, {**TENSOR, "betas": (np.float32(0.9), np.float32(0.99))},
    ],
    "Adamax": [{"lr": 0.1}],
    "AdamW": [{"lr": 0.01}, {**DECAY, "amsgrad": True}, TENSOR],
    "ASGD": [{"lambd": 0.1}, {"lr": 0.02}, {"t0": 100.0}],
    "LBFGS": [{"lr": 0.01}, TENSOR, {"tolerance_grad": 1e-6}, {"line_search_fn": "strong_wolfe"}],
    "Muon": [
        {"lr": 0.01}, TENSOR, {"weight_decay": 0.2}, {"momentum": 0.8}, {"ns_steps": 6},
        {"ns_coefficients": (3.4, -4.7, 2.0)},
    ],
    "NAdam": [
        {"lr": 1e-3}, {"momentum_decay": 6e-3}, {**DECAY, "momentum_decay": 6e-3},
        {**DECAY, "momentum_decay": 6e-3, "decoupled_weight_decay": True},
    ],
    "RAdam": [{"lr": 2e-3}, {"eps": 1e-6}, {**DECAY, "decoupled_weight_decay": True}],
    "RMSprop": [
        {"lr": 1e-3}, {**DECAY, "centered": True}, {**DECAY, "centered": True, "momentum": 0.1},
        {**DECAY, "centered": True, "momentum": 0.1, "maximize": True},
    ],
    "Rprop": [{"lr": 2e-4}, {"etas": (0.5, 1.5)}, {"step_sizes": (2e-6, 100.0)}],
    "SGD": [
        {"lr": 0.01}, TENSOR, {"weight_decay": 0.5}, {"momentum": 0.9}, {"momentum": 0.9, "dampening": 0.5},
        {"momentum": 0.9, **DECAY}, {"momentum": 0.9, "nesterov": True, **DECAY},
    ],
    "SparseAdam": [{"lr": 0.01}, TENSOR],
}  # fmt: skip
"""Arguments beside the defaults, decay and maximize, which every one that has them runs with."""
FUNCTIONS = {name: getattr(compat, name.lower()) for name in OPTIMIZERS if name != "SparseAdam"}
FUNCTIONS["SparseAdam"] = compat.sparse_adam
ROWS = np.array([0, 2, 2])


def configurations(name: str) -> list[dict[str, Any]]:
    common: list[dict[str, Any]] = [{}]
    if name not in ("LBFGS", "SparseAdam", "Rprop"):
        common.append(DECAY)
    if name not in ("LBFGS", "Muon"):
        common.append({"maximize": True})
    if name not in ("LBFGS", "SparseAdam", "Rprop", "Muon"):
        common.append({**DECAY, "maximize": True})
    return [*common, *(kwargs for kwargs in OPTIMIZERS[name] if kwargs not in common)]


def optimizers(name: str) -> Iterator[tuple[str, str]]:
    """A matrix over a few steps, all configurations of an optimizer in one compiled program."""
    rng, cases = np.random.default_rng(2), configurations(name)
    w = rng.normal(size=(3, 2)).astype(np.float32)
    gs = rng.normal(size=(STEPS, 3, 2)).astype(np.float32)
    run = functools.partial(_ours, name)
    found = jax.jit(lambda w, gs: [run(FUNCTIONS[name](**kwargs), w, gs) for kwargs in cases])(w, gs)
    for kwargs, ours in zip(cases, found, strict=True):
        theirs = _theirs(name, kwargs, w, gs)
        off = float(np.max(np.abs(ours - theirs)) / np.max(np.abs(theirs)))
        words = ", ".join(f"{key}={x!r}" if not hasattr(x, "shape") else f"{key} a tensor" for key, x in kwargs.items())
        yield f"{name}({words})", "" if off <= 2e-6 else f"off by {off:.1e}"


def _ours(name: str, tx: Any, w: Any, gs: Any) -> Any:
    extra = {"value_fn": lambda w: jnp.sum((w - gs[0]) ** 2)} if name == "LBFGS" else {}
    state = tx.init(w)
    for g in gs:
        g = gx.Rows(jnp.asarray(ROWS), g, w.shape) if name == "SparseAdam" else g
        updates, state = tx.update(g, state, w, **extra)
        w = gx.apply_updates(w, updates)
    return w


def _theirs(name: str, kwargs: dict[str, Any], w: Any, gs: Any) -> Any:
    import torch

    leaf = torch.nn.Parameter(torch.tensor(w))
    opt = getattr(torch.optim, name)(
        [leaf], **jax.tree.map(lambda x: torch.tensor(x) if hasattr(x, "shape") else x, kwargs)
    )

    def closure() -> Any:
        opt.zero_grad()
        loss = ((leaf - torch.tensor(gs[0])) ** 2).sum()
        loss.backward()
        return loss

    for g in gs:
        leaf.grad = torch.tensor(g)
        if name == "SparseAdam":
            leaf.grad = torch.sparse_coo_tensor(ROWS[None], torch.tensor(g), leaf.shape)
        opt.step(closure if name == "LBFGS" else None)
    return leaf.detach().numpy()


P, TWO = {"w": jnp.ones((3, 2))}, np.ones(2)
COMPLEX = {"w": jnp.ones((2, 2), complex)}
BETAS = ("Adam", "AdamW", "NAdam", "RAdam", "SparseAdam")
CALLS: dict[str, tuple[Callable[[], Any], tuple[type[Exception], ...]]] = {
    **{
        f"{name}: {title}": (functools.partial(FUNCTIONS[name], **kwargs), (ValueError,))
        for name, title, kwargs in [
            *((name, "a rate of two elements", {"lr": TWO}) for name in OPTIMIZERS),
            *((name, "a negative decay", {"weight_decay": -1}) for name in ("Adam", "AdamW", "ASGD", "RAdam")),
            *((name, "a first beta of 1", {"betas": (1.0, 0.0)}) for name in BETAS),
            *((name, "a negative momentum", {"momentum": -0.5}) for name in ("SGD", "RMSprop")),
            ("Adadelta", "a rho above 1", {"rho": 1.1}),
            ("Adafactor", "a negative epsilon", {"eps": (-1e-30, 1e-3)}),
            ("Adafactor", "a threshold below 1", {"d": 0.0}),
            ("Adafactor", "a positive decay of the second beta", {"beta2_decay": 0.8}),
            ("Adagrad", "a negative decay of the rate", {"lr_decay": -0.5}),
            ("Adamax", "a second beta of 1", {"betas": (0.0, 1.0)}),
            ("NAdam", "a negative decay of the momentum", {"momentum_decay": -0.2}),
            ("Rprop", "etas that do not enclose 1", {"etas": (1.0, 0.5)}),
            ("Muon", "an unknown adjustment of the rate", {"adjust_lr_fn": "arbitrary"}),
        ]
    },
    **{f"{name}: a parameter in place of parameters": (functools.partial(make, P["w"], lr=0.1), (TypeError,))
       for name, make in FUNCTIONS.items()},
    **{
        f"{name}: a parameter in two groups": (
            lambda make=make: make(groups=[{"params": ["w"]}, {"params": ["w"]}]).init(P), (ValueError,)
        )
        for name, make in FUNCTIONS.items()
    },
    "Muon: a vector": (lambda: compat.muon().init({"b": jnp.ones(3)}), (ValueError,)),
    "Muon: complex parameters": (lambda: compat.muon().init(COMPLEX), (TypeError, ValueError)),
    "Adafactor: complex parameters": (lambda: compat.adafactor().init(COMPLEX), (TypeError, ValueError)),
    "SparseAdam: a dense gradient": (
        lambda: compat.sparse_adam().update(P, compat.sparse_adam().init(P), P), (RuntimeError,)
    ),
    **{
        f"schedulers: {title}": (call, (error,))
        for title, call, error in [
            ("a line from 0", lambda: lrs.LinearLR(0.1, 0.0), ValueError),
            ("a line from above 1", lambda: lrs.LinearLR(0.1, 1.1), ValueError),
            ("triangles of an unknown mode", lambda: lrs.CyclicLR(0.0, 0.1, mode="CATS"), ValueError),
            ("a cycle of an unknown shape", lambda: lrs.OneCycleLR(1e-3, 10, anneal_strategy="CATS"), ValueError),
            ("a cycle that rises beyond its end", lambda: lrs.OneCycleLR(1e-3, 10, pct_start=1.1), ValueError),
            ("a cycle of no length", lambda: lrs.OneCycleLR(1e-3), ValueError),
            ("a cycling momentum without one", lambda: compat.rprop(lrs.CyclicLR(1.0, 5.0)), ValueError),
            ("a number as a function", lambda: lrs.MultiplicativeLR(0.1, 0.95), TypeError),
            ("averaging by an unknown shape", lambda: lrs.SWALR(0.1, 1.0, 10, "exponential"), ValueError),
            ("averaging in -1 epochs", lambda: lrs.SWALR(0.1, 1.0, -1), ValueError),
            ("averaging in 1.7 epochs", lambda: lrs.SWALR(0.1, 1.0, 1.7), TypeError),
            ("three rates of averaging", lambda: lrs.SWALR(0.1, [1.0, 0.1, 0.01]), TypeError),
            ("least rates for other groups", lambda: _grown(), ValueError),
            ("a metric in a chain", lambda: lrs.ChainedScheduler([lrs.ReduceLROnPlateau(0.1)]), ValueError),
            ("a metric in a sequence", lambda: lrs.SequentialLR([lrs.ReduceLROnPlateau(0.1)], []), ValueError),
            ("an epoch to begin with", lambda: lrs.StepLR(0.1, 3, last_epoch=1), ValueError),
        ]
    },
}  # fmt: skip


def _grown() -> Any:
    """A third group beside two least rates."""
    scheduler = lrs.ReduceLROnPlateau(0.1, min_lr=[1e-5, 1e-4])
    names = [{"params": [name]} for name in "abc"]
    state = compat.sgd(scheduler, groups=names).init({name: jnp.ones(1) for name in "abc"})
    return scheduler.step(state, scheduler.init(), 1.0)


FAMILIES: dict[str, Callable[[], Iterator[tuple[str, str]]]] = {
    "Schedulers, from the start and from a state dict": schedulers,
    "Two schedulers in turn, and other epochs": loops,
    "Schedulers with a metric": metrics,
    **{f"{name}, its arguments": functools.partial(optimizers, name) for name in OPTIMIZERS},
    "What is refused": lambda: refusals(CALLS),
}
DECIDED = {
    "schedulers: an epoch to begin with": "the count lives in the optimizer's state, and `last_epoch` is -1",
    "schedulers: averaging in 1.7 epochs": "a wrong kind is a TypeError here, a ValueError there",
    "schedulers: three rates of averaging": "each group has a schedule of its own, so a list is a TypeError",
    "schedulers: least rates for other groups": "a ValueError at every step; there a RuntimeError at a reduction",
    "Muon: complex parameters": "a refusal of the kind at `init`; there a RuntimeError at the step",
    "Adafactor: complex parameters": "a refusal of the kind at `init`; there a RuntimeError at the step",
}
"""Where it ends otherwise here, and why."""
