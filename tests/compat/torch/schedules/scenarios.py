"""What PyTorch's own tests of schedulers go through (test/optim/test_lrscheduler.py), beside torch itself.

A family gives each scenario's name and what is wrong with it, nothing where all is right.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gradxform as gx
from gradxform.compat import torch as compat
from gradxform.compat import torch_schedules as ours
from gradxform.control.tunable import hyperparams_at
from tests.compat.torch.spec import Spec, made

RATES = (0.05, 0.5)
"""Of two groups."""
STEP, MULTI = ("StepLR", {"step_size": 3, "gamma": 0.1}), ("MultiStepLR", {"milestones": [2, 5, 9], "gamma": 0.1})
EXP, COSINE = ("ExponentialLR", {"gamma": 0.9}), ("CosineAnnealingLR", {"T_max": 10, "eta_min": 1e-10})
LINE, CONSTANT = (
    ("LinearLR", {"start_factor": 0.4, "total_iters": 4}),
    ("ConstantLR", {"factor": 0.4, "total_iters": 4}),
)
POLY, TENTH = ("PolynomialLR", {"power": 0.9}), ("ConstantLR", {"factor": 0.1, "total_iters": 3})
RESTARTS = {n: ("CosineAnnealingWarmRestarts", {"T_0": 10, "T_mult": n, "eta_min": 1e-10}) for n in (1, 2, 4)}
TRIANGLES = {"base_lr": 1.0, "max_lr": 5.0, "step_size_up": 4, "base_momentum": 1.0, "max_momentum": 5.0}
UNEVEN = {"step_size_up": 2, "step_size_down": 6}
CYCLE = {"max_lr": 25.0, "base_momentum": 1.0, "max_momentum": 22.0, "total_steps": 10, "final_div_factor": 2.0}


def tenth(epoch: int) -> float:
    return 0.9


def chain(*parts: Spec) -> Spec:
    return "ChainedScheduler", list(parts)


def sequence(milestones: list[int], *parts: Spec) -> Spec:
    return "SequentialLR", (list(parts), milestones)


SCHEDULERS: dict[str, Spec] = {
    "steps of three epochs": STEP,
    "milestones": MULTI,
    "a constant factor": ("ConstantLR", {"factor": 0.5, "total_iters": 5}),
    "a constant factor of a third": ("ConstantLR", {"factor": 1 / 3, "total_iters": 4}),
    "a line to the rate": ("LinearLR", {"start_factor": 0.5, "total_iters": 4}),
    "a line that ends below the rate": ("LinearLR", {"start_factor": 0.25, "end_factor": 0.6, "total_iters": 4}),
    "a line from a third": ("LinearLR", {"start_factor": 1 / 3, "end_factor": 0.7, "total_iters": 4}),
    "powers": EXP,
    "a polynomial": ("PolynomialLR", {"power": 0.9, "total_iters": 5}),
    "a polynomial of the default length": POLY,
    "half a cosine": COSINE,
    "cosines down and up": ("CosineAnnealingLR", {"T_max": 5, "eta_min": 1e-10}),
    "a cosine that rises to a floor above the rate": ("CosineAnnealingLR", {"T_max": 5, "eta_min": 0.1}),
    "a function": ("LambdaLR", {"lr_lambda": lambda e: 0.9**e}),
    "a function of whole tens": ("LambdaLR", {"lr_lambda": lambda e: e // 10}),
    "factors of a function": ("MultiplicativeLR", {"lr_lambda": tenth}),
    **{f"warm restarts, each {n} times as long": RESTARTS[n] for n in RESTARTS},
    "restarts from the default floor": ("CosineAnnealingWarmRestarts", {"T_0": 20}),
    "powers, then steps": sequence([3], ("ExponentialLR", {"gamma": 0.8}), ("StepLR", {"step_size": 4, "gamma": 0.1})),
    "a constant, then powers": sequence([3], TENTH, EXP),
    "three in sequence": sequence([3, 6], TENTH, ("ExponentialLR", {"gamma": 0.8}), ("StepLR", {"step_size": 2})),
    "a sequence that begins with the rate": sequence([10], ("ConstantLR", {"factor": 1.0}), TENTH),
    "a sequence that begins with a chain": sequence(
        [5], chain(("LinearLR", {"start_factor": 0.1}), TENTH), ("ConstantLR", {"factor": 0.5})
    ),
    "a line down, then powers": sequence([5], ("LinearLR", {"start_factor": 0.5, "end_factor": 0.1}), EXP),
    "a line up, then one down": sequence(
        [4], ("LinearLR", {"start_factor": 0.1, "end_factor": 0.8, "total_iters": 4}),
        ("LinearLR", {"start_factor": 0.8, "end_factor": 0.1, "total_iters": 4}),
    ),
    "two constants in sequence": sequence([2], ("ConstantLR", {}), ("ConstantLR", {})),
    "two constants in a chain": chain(("ConstantLR", {}), ("ConstantLR", {})),
    "a chain of one": chain(STEP),
    "a chain of one line": chain(LINE),
    "a line and milestones": chain(LINE, ("MultiStepLR", {"milestones": [4, 8, 10], "gamma": 0.1})),
    "powers, a constant and steps": chain(EXP, CONSTANT, STEP),
    "a polynomial and a constant": chain(("PolynomialLR", {"power": 0.9}), TENTH),
    "steps and milestones": chain(STEP, MULTI),
    "steps and powers": chain(STEP, EXP),
    "milestones and powers": chain(MULTI, EXP),
    "a line and powers": chain(LINE, EXP),
    "steps and a constant": chain(STEP, CONSTANT),
    "milestones and a line": chain(MULTI, LINE),
    "a cosine and steps": chain(COSINE, STEP),
    "a cosine and milestones": chain(COSINE, MULTI),
    "a line and a cosine": chain(LINE, COSINE),
    "a cosine and powers": chain(COSINE, ("ExponentialLR", {"gamma": 0.1})),
    "triangles": ("CyclicLR", TRIANGLES),
    "triangles that leave the momentum": ("CyclicLR", {**TRIANGLES, "cycle_momentum": False}),
    "halved triangles": ("CyclicLR", {**TRIANGLES, "mode": "triangular2"}),
    "triangles by powers": ("CyclicLR", {**TRIANGLES, "mode": "exp_range", "gamma": 0.9}),
    "uneven triangles": ("CyclicLR", {**TRIANGLES, "step_size_down": 6}),
    "uneven halved triangles": ("CyclicLR", {**TRIANGLES, **UNEVEN, "mode": "triangular2"}),
    "uneven triangles by powers": (
        "CyclicLR", {**TRIANGLES, **UNEVEN, "mode": "exp_range", "gamma": 0.9},
    ),
    "triangles of a function": ("CyclicLR", {**TRIANGLES, "scale_fn": lambda x: 0.5}),
    "one cycle of lines": ("OneCycleLR", {**CYCLE, "anneal_strategy": "linear"}),
    "one cycle in three phases": (
        "OneCycleLR", {**CYCLE, "anneal_strategy": "linear", "pct_start": 0.4, "three_phase": True},
    ),
    "one cycle of cosines": ("OneCycleLR", CYCLE),
    "towards the rate of averaging, at once": ("SWALR", {"swa_lr": 0.01, "anneal_epochs": 1}),
    "towards the rate of averaging": ("SWALR", {"swa_lr": 0.5, "anneal_epochs": 3}),
    "towards the rate of averaging in a line": (
        "SWALR", {"swa_lr": 0.02, "anneal_epochs": 4, "anneal_strategy": "linear"},
    ),
}  # fmt: skip
EPOCHS = 30


def optimizer(rates: tuple[float, ...] = RATES, name: str = "SGD") -> Any:
    import torch

    leaves = [torch.nn.Parameter(torch.ones(1)) for _ in rates]
    return getattr(torch.optim, name)([{"params": [w], "lr": lr} for w, lr in zip(leaves, rates, strict=True)], lr=0.1)


def followed(scheduler: Any, opt: Any, epochs: int, save: Callable[[Any], Any] | None = None) -> Any:
    """Rates of each group, and the momentum of the first; save: makes another scheduler at the fifth epoch."""
    rates, momenta = [], []
    for epoch in range(epochs):
        group = opt.param_groups[0]
        rates.append([float(g["lr"]) for g in opt.param_groups])
        momenta.append(group["betas"][0] if "betas" in group else group["momentum"])
        opt.step()
        if save is not None and epoch == 5:
            scheduler = save(scheduler)
        try:
            scheduler.step()
        except ValueError:
            break
    return np.array(rates), np.array(momenta)


def differs(found: Any, expected: Any) -> str:
    off = float(np.max(np.abs(np.asarray(found)[: len(expected)] - expected)))
    return "" if off <= 1e-6 * float(np.max(np.abs(expected))) else f"off by {off:.1e}"


def schedulers() -> Iterator[tuple[str, str]]:
    """The rates of two groups and the momentum, from the start and from a state dict at the fifth epoch."""
    import torch

    made_here = {name: [made(ours, spec, rate) for rate in RATES] for name, spec in SCHEDULERS.items()}
    counts = jnp.arange(EPOCHS)
    rates = jax.jit(lambda n: {name: [s(n) for s in groups] for name, groups in made_here.items()})(counts)
    for name, spec in SCHEDULERS.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            opt, resumed = optimizer(), optimizer()
            expected, momenta = followed(made(torch.optim.lr_scheduler, spec, opt), opt, EPOCHS)

            def save(scheduler: Any, spec: Spec = spec, opt: Any = resumed) -> Any:
                new = made(torch.optim.lr_scheduler, spec, opt)
                new.load_state_dict(scheduler.state_dict())
                for group, lr in zip(opt.param_groups, scheduler.get_last_lr(), strict=True):
                    group["lr"] = lr
                return new

            again, _ = followed(made(torch.optim.lr_scheduler, spec, resumed), resumed, EPOCHS, save)
        found = np.stack(rates[name], axis=1)
        cycled = made_here[name][0].momentum
        wrong = differs(found, expected) or ("" if cycled is None else differs(cycled(counts), momenta))
        yield name, wrong
        yield f"{name}, resumed", differs(found, again)


def loops() -> Iterator[tuple[str, str]]:
    """Two schedulers of one optimizer, of which the loop steps the one and then the other; other optimizers' cycles."""
    import torch

    lr_scheduler = torch.optim.lr_scheduler
    for name, kwargs in {
        "no scheduler, then averaging": {"anneal_epochs": 1},
        "factors, then averaging by cosine": {"anneal_epochs": 5},
        "factors, then averaging by line": {"anneal_epochs": 4, "anneal_strategy": "linear"},
    }.items():
        opt, plain, start, rates = optimizer(), name.startswith("no"), 5, []
        first = None if plain else lr_scheduler.MultiplicativeLR(opt, tenth)
        then = torch.optim.swa_utils.SWALR(opt, swa_lr=[0.01, 0.02], **kwargs)
        for epoch in range(15):
            rates.append([group["lr"] for group in opt.param_groups])
            opt.step()
            if epoch >= start:
                then.step()
            elif first is not None:
                first.step()
        found = []
        for lr, swa_lr in zip(RATES, (0.01, 0.02), strict=True):
            before = ours.MultiplicativeLR(lr, (lambda e: 1.0) if plain else tenth)
            after = ours.SWALR(float(before(start)), swa_lr, **kwargs)
            found.append(gx.join_schedules([before, after], [start])(jnp.arange(15)))
        yield name, differs(np.stack(found, axis=1), np.array(rates))
    opt, rates = optimizer((0.5,)), []
    cosine = lr_scheduler.CosineAnnealingLR(opt, T_max=20, eta_min=0.1)
    cycle = lr_scheduler.CyclicLR(opt, base_lr=0.1, max_lr=0.3, step_size_up=1, step_size_down=3)
    for epoch in range(40):
        opt.step()
        (cosine if epoch <= 20 else cycle).step()
        rates.append(opt.param_groups[0]["lr"])
    ours_cosine, ours_cycle = ours.CosineAnnealingLR(0.5, 20, 0.1), ours.CyclicLR(0.1, 0.3, 1, 3)
    counts = jnp.arange(1, 41)
    yield (
        "a cosine, then triangles",
        differs(jnp.where(counts <= 21, ours_cosine(counts), ours_cycle(jnp.maximum(counts - 21, 0))), np.array(rates)),
    )
    opt = optimizer(name="Adam")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected, betas = followed(lr_scheduler.OneCycleLR(opt, **CYCLE), opt, 10)
    lr = ours.OneCycleLR(**CYCLE)
    tx = compat.adam(lr, betas=(lr.momentum, 0.999))
    used = [hyperparams_at(tx, k) for k in range(10)]
    yield (
        "one cycle moves the first beta of Adam",
        differs([[u["learning_rate"], u["adam/b1"]] for u in used], np.stack([expected[:, 0], betas], axis=1)),
    )
    for n in RESTARTS:
        opt = optimizer()
        scheduler = made(lr_scheduler, RESTARTS[n], opt)
        for title, epochs in (
            ("in tenths of an epoch", np.round(np.arange(0, 30, 0.1), 1)),
            ("there and back", np.array([0, 1, 2, 5, 12, 27, 3, 4, 13, 50], float)),
        ):
            rates = []
            for epoch in epochs:
                scheduler.step(float(epoch))
                rates.append([group["lr"] for group in opt.param_groups])
            found = np.stack([made(ours, RESTARTS[n], lr)(jnp.asarray(epochs)) for lr in RATES], axis=1)
            off = np.max(np.abs(found - np.array(rates)) / np.array(RATES))
            yield f"warm restarts, each {n} times as long, {title}", "" if off < 1e-4 else f"off by {off:.1e}"


FALLS = [10 - 0.0165 * i for i in range(22)]
LOW = [-0.8] * 2 + [-0.234] * 20
RISES, HALVES = [1.5 * 1.005**i for i in range(20)], [1.0] * 7 + [0.6] + [0.5] * 12
METRICS: dict[str, tuple[dict[str, Any], list[float]]] = {
    "it falls fast enough": (
        {"threshold_mode": "abs", "threshold": 0.01, "patience": 5, "cooldown": 5},
        [10 - 0.0167 * i for i in range(20)],
    ),
    "it falls too slowly": ({"threshold_mode": "abs", "threshold": 0.1, "patience": 5}, FALLS),
    "it jumps once, with a cooldown": ({"mode": "max", "threshold_mode": "abs", "patience": 5, "cooldown": 5}, LOW),
    "it rises fast enough": (
        {"mode": "max", "threshold": 0.1, "patience": 3}, [1.5 * 1.025**i for i in range(20)],
    ),
    "it rises by less than a tenth": ({"mode": "max", "threshold": 0.1, "patience": 5, "cooldown": 5}, RISES),
    "it falls by more than a tenth": ({"threshold": 0.1}, [1.5 * 0.85**i for i in range(20)]),
    "it halves, and then stays": ({"threshold": 0.1, "patience": 5, "cooldown": 5}, HALVES),
    "a least rate for each group": (
        {"mode": "max", "threshold": 0.1, "patience": 5, "cooldown": 5, "min_lr": [0.04, 0.3]}, RISES,
    ),
    "no patience": ({"patience": 0}, [1.0, 2.0]),
    "before any metric": ({}, []),
}  # fmt: skip

BESIDE: dict[str, tuple[Spec, dict[str, Any], list[float]]] = {
    "steps": (STEP, *METRICS["it falls fast enough"]),
    "milestones": (("MultiStepLR", {"milestones": [3, 8, 12], "gamma": 0.1}), *METRICS["it falls too slowly"]),
    "powers": (("ExponentialLR", {"gamma": 0.1}), *METRICS["it jumps once, with a cooldown"]),
    "a cosine": (COSINE, *METRICS["it rises fast enough"]),
    "a line": (LINE, *METRICS["it falls too slowly"]),
}
"""A factor of its own behind the optimizer, `gx.scale_by_learning_rate`, beside the scheduler in it."""


def metrics() -> Iterator[tuple[str, str]]:
    """The rates of two groups behind each metric, and on from torch's state dict in the middle."""
    from torch.optim import lr_scheduler

    for name, (options, values) in METRICS.items():
        opt, scheduler = optimizer(), ours.ReduceLROnPlateau(0.05, **options)
        theirs = lr_scheduler.ReduceLROnPlateau(opt, **options)
        tx = compat.sgd(scheduler, groups=[{"params": ["a"]}, {"params": ["b"], "lr": 0.5}])
        fresh = tx.init({"a": jnp.ones(1), "b": jnp.ones(1)})
        carry, resumed, wrong = (fresh, scheduler.init()), None, ["", ""]
        step = jax.jit(scheduler.step)
        for i, value in enumerate(values):
            if i == len(values) // 2:
                resumed = scheduler.load_state_dict(fresh, theirs.state_dict())
            theirs.step(value)
            expected = [group["lr"] for group in opt.param_groups]
            carry = step(*carry, value)
            resumed = None if resumed is None else step(*resumed, value)
            for j, (state, _) in enumerate(filter(None, (carry, resumed))):
                found = [state.hyper[f"group{k}/learning_rate"] for k in range(2)]
                wrong[j] = wrong[j] or differs(found, np.array(expected))
        yield f"a metric: {name}", wrong[0]
        yield f"a metric: {name}, resumed", wrong[1]
    for name, (spec, options, values) in BESIDE.items():
        opt = optimizer((0.5,))
        plateau, other = lr_scheduler.ReduceLROnPlateau(opt, **options), made(lr_scheduler, spec, opt)
        factor, rate, off = ours.ReduceLROnPlateau(1.0, **options, eps=0.0), made(ours, spec, 0.5), 0.0
        tx = gx.chain(compat.sgd(rate), gx.scale_by_learning_rate(factor.tunable, flip_sign=False))
        carry = tx.init({"a": jnp.ones(1)}), factor.init()
        for i, value in enumerate(values):
            opt.step()
            plateau.step(value)
            other.step()
            carry = factor.step(*carry, value)
            found = float(rate(i + 1) * carry[0].hyper["learning_rate"])
            off = max(off, abs(found - opt.param_groups[0]["lr"]))
        # float32 holds 0.5 to 6e-8; torch leaves out reductions of the rate by less than 1e-8, ours has a factor.
        yield f"a metric beside {name}", "" if off <= 1e-7 else f"off by {off:.1e}"
