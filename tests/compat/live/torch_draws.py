"""Random configurations of torch's optimizers."""

from __future__ import annotations

from typing import Any

from tests.compat.live.draws import SHAPES, STEPS, Draw, Option, between, flag, one_of

DECAY: dict[str, Option] = {"weight_decay": between(0.0, 0.3)}
COMMON: dict[str, Option] = {**DECAY, "maximize": flag(0.3), "foreach": one_of(None, False)}
ADAM: dict[str, Option] = {
    "betas": lambda d: [d.one(0.0, d.number(0.5, 0.95)), d.number(0.8, 0.9999)],
    "eps": one_of(1e-8, 1e-3, 0.1),
    **COMMON,
}
OPTIMIZERS: dict[str, dict[str, Option]] = {
    "SGD": {"momentum": one_of(0, between(0.0, 0.95)), "dampening": between(-0.2, 0.5), **COMMON},
    "Adam": {**ADAM, "amsgrad": flag(0.4)},
    "AdamW": {**ADAM, "amsgrad": flag(0.4)},
    "Adamax": ADAM,
    "NAdam": {**ADAM, "momentum_decay": between(0.0, 0.1), "decoupled_weight_decay": flag(0.5)},
    "RAdam": {**ADAM, "decoupled_weight_decay": flag(0.5)},
    "RMSprop": {
        "alpha": between(0.5, 0.99),
        "eps": one_of(1e-8, 0.01),
        "momentum": between(0.0, 0.9),
        "centered": flag(0.4),
        **COMMON,
    },
    "Adagrad": {
        "lr_decay": between(0.0, 0.2),
        "initial_accumulator_value": between(0.0, 0.5),
        "eps": one_of(1e-10, 0.01),
        **COMMON,
    },
    "Adafactor": {
        "beta2_decay": between(-1.0, -0.3),
        "eps": one_of([None, 1e-3], [1e-3, 0.3]),
        "d": between(1.0, 2.0),
        **COMMON,
    },
    "Adadelta": {"rho": between(0.5, 0.99), "eps": one_of(1e-6, 0.01), **COMMON},
    "Rprop": {"etas": one_of([0.5, 1.2], [0.3, 1.5]), "step_sizes": one_of([1e-6, 50], [0.01, 0.2])},
    "SparseAdam": {name: ADAM[name] for name in ("betas", "eps", "maximize")},
    "Muon": {
        **DECAY,
        "momentum": between(0.0, 0.95),
        "nesterov": flag(0.5),
        "ns_coefficients": one_of([3.4445, -4.775, 2.0315], [2.0, -1.5, 0.5]),
        "eps": one_of(1e-7, 0.01),
        "ns_steps": lambda d: d.whole(1, 5),
        "adjust_lr_fn": one_of(None, "original", "match_rms_adamw"),
    },
    "ASGD": {"lambd": between(0.0, 0.1), "alpha": between(0.5, 1.0), "t0": one_of(0, 3, 1e6), **COMMON},
}
MATRICES = {"dense/kernel": [5, 7], "query/kernel": [6, 6], "head/kernel": [7, 2], "gate/kernel": [1, 4]}
"""What Muon is given."""
CYCLED = {"SGD", "Adam", "AdamW", "RMSprop", "Muon"}
"""Those whose momentum OneCycleLR and CyclicLR may move."""


def schedule(d: Draw, optimizer: str, deep: bool = True) -> Any:
    """A scheduler as a config writes it."""
    gamma = d.number(0.3, 0.95)
    kinds: list[Any] = [
        {"type": "StepLR", "step_size": d.whole(1, 4), "gamma": gamma},
        {"type": "MultiStepLR", "milestones": [1, d.whole(2, 6)], "gamma": gamma},
        {"type": "ConstantLR", "factor": gamma, "total_iters": d.whole(0, 9)},
        {"type": "LinearLR", "start_factor": gamma, "end_factor": d.number(0.0, 1.0), "total_iters": d.whole(1, 9)},
        {"type": "ExponentialLR", "gamma": gamma},
        {"type": "PolynomialLR", "total_iters": d.whole(1, 9), "power": d.one(1.0, 2.0, 0.5)},
        {"type": "CosineAnnealingLR", "T_max": d.whole(2, 9), "eta_min": d.one(0.0, 0.002)},
        {"type": "CosineAnnealingWarmRestarts", "T_0": d.whole(1, 4), "T_mult": d.whole(1, 2), "eta_min": 0.001},
        {"type": "LambdaLR", "lr_lambda": "lambda k: 0.95 ** k"},
        {"type": "MultiplicativeLR", "lr_lambda": "lambda k: 1 - 0.05 * k"},
    ]
    if deep:
        parts = [schedule(d, optimizer, deep=False) for _ in range(2)]
        kinds += 2 * [{"type": "SequentialLR", "schedulers": parts, "milestones": [d.whole(1, 6)]}]
        kinds += 2 * [{"type": "ChainedScheduler", "schedulers": parts}]
        third = schedule(d, optimizer, deep=False)
        chain = {"type": "ChainedScheduler", "schedulers": parts}
        sequence = {"type": "SequentialLR", "schedulers": parts, "milestones": [d.whole(1, 6)]}
        kinds += [
            {"type": "SequentialLR", "schedulers": [chain, third], "milestones": [d.whole(1, 6)]},
            {"type": "ChainedScheduler", "schedulers": [sequence, third]},
        ]
    if deep and optimizer in CYCLED:
        kinds += [
            {
                "type": "CyclicLR",
                "base_lr": 0.01,
                "max_lr": 0.1,
                "step_size_up": d.whole(1, 4),
                "mode": d.one("triangular", "triangular2", "exp_range"),
                "gamma": gamma,
                "cycle_momentum": d.chance(0.5),
            },
            {
                "type": "OneCycleLR",
                "max_lr": 0.1,
                "total_steps": d.whole(STEPS, 2 * STEPS),
                "pct_start": d.number(0.2, 0.45),
                "anneal_strategy": d.one("cos", "linear"),
                "three_phase": d.chance(0.5),
                "cycle_momentum": d.chance(0.5),
            },
        ]
    return d.one(*kinds)


def configuration(d: Draw, optimizer: str) -> dict[str, Any]:
    """A config in the grammar of the recorded runs."""
    kwargs = {"lr": d.one(d.number(0.01, 0.3), d.number(0.01, 0.3), "Tensor(0.1)"), **d.given(OPTIMIZERS[optimizer])}
    if optimizer == "SGD" and kwargs.get("momentum") and not kwargs.get("dampening") and d.chance(0.5):
        kwargs["nesterov"] = True
    scheduled = schedule(d, optimizer) if d.chance(0.5) else None
    if scheduled and scheduled.get("cycle_momentum"):
        kwargs["momentum"] = 0.9
        if optimizer.startswith("Adam"):
            kwargs.pop("momentum")
    if scheduled:
        kwargs["lr"] = d.number(0.01, 0.3)
    groups, leaves = None, MATRICES if optimizer == "Muon" else SHAPES
    if d.chance(0.5):
        inside = {**OPTIMIZERS[optimizer], "lr": between(0.01, 0.3)}
        for name in ("momentum", "dampening", "foreach", "betas", "amsgrad"):
            inside.pop(name, None)
        groups = [{"params": part, **d.given(inside, 0.4)} for part in d.parts(d.whole(1, 3), leaves)]
    rests = [] if d.chance(0.7) else [[d.whole(1, STEPS), leaf] for leaf in leaves]
    sparse = optimizer in ("SGD", "Adagrad") and d.chance(0.1) and not kwargs.get("weight_decay")
    sparse = sparse and not kwargs.get("momentum") and not any(group.get("weight_decay") for group in groups or [])
    dtype = d.one("float32", "float32", "float64")
    rounds = dtype == "float64" and kwargs["lr"] == "Tensor(0.1)"
    return {
        "dtype": dtype,
        "kwargs": kwargs,
        "groups": groups,
        "lr_schedule": scheduled,
        "none_grads": rests,
        "leaves": [[leaf, list(shape)] for leaf, shape in leaves.items()],
        "sparse_leaves": [*leaves] if optimizer == "SparseAdam" else ["embed/table"] if sparse else [],
        "rows": "any",
        "grad_scale": 1.0,
        "quirk": "a rate of float32 rounds the length of the step" if rounds else "",
    }
