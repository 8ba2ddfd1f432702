"""Random configurations of Paddle's optimizers."""

from __future__ import annotations

from typing import Any

from tests.compat.live.draws import SHAPES, STEPS, Draw, Option, between, flag, one_of

ADAM: dict[str, Option] = {
    "beta1": one_of(0.0, between(0.5, 0.95)),
    "beta2": between(0.8, 0.9999),
    "epsilon": one_of(1e-8, 1e-3, 0.1),
}
WITHOUT_DECAY = "none of 'gamma','beta'"
OPTIMIZERS: dict[str, dict[str, Option]] = {
    "Momentum": {"momentum": one_of(0, between(0.0, 0.95)), "use_nesterov": flag(0.5), "use_multi_tensor": flag(0.2)},
    "SGD": {},
    "Adam": {**ADAM, "amsgrad": flag(0.4)},
    "AdamW": {**ADAM, "amsgrad": flag(0.4), "apply_decay_param_fun": one_of(WITHOUT_DECAY)},
    "Adamax": ADAM,
    "NAdam": {**ADAM, "momentum_decay": between(0.0, 0.1)},
    "RAdam": ADAM,
    "Lamb": {
        **ADAM,
        "lamb_weight_decay": one_of(0.0, between(0.0, 0.3)),
        "always_adapt": flag(0.3),
        "exclude_from_weight_decay_fn": one_of("with 'gamma','beta'"),
    },
    "Adagrad": {"epsilon": one_of(1e-6, 0.01), "initial_accumulator_value": between(0.0, 0.5)},
    "Adadelta": {"epsilon": one_of(1e-6, 0.01), "rho": between(0.5, 0.99)},
    "RMSProp": {
        "rho": between(0.5, 0.99),
        "epsilon": one_of(1e-6, 0.01),
        "momentum": between(0.0, 0.9),
        "centered": flag(0.4),
    },
}
SPARSE = {"Momentum", "SGD"}


def rate(d: Draw, deep: bool = True) -> Any:
    """A number, or a scheduler as a config writes it."""
    lr, gamma = d.number(0.01, 0.3), d.number(0.3, 0.95)
    shared = {"learning_rate": lr}
    kinds: list[Any] = [
        {
            "type": "NoamDecay",
            "d_model": d.whole(4, 32),
            "warmup_steps": d.whole(1, 5),
            "learning_rate": d.one(1.0, lr),
        },
        {"type": "PiecewiseDecay", "boundaries": [2, d.whole(3, 6)], "values": [lr, lr / 2, lr / 8]},
        {"type": "NaturalExpDecay", **shared, "gamma": gamma},
        {"type": "InverseTimeDecay", **shared, "gamma": gamma},
        {
            "type": "PolynomialDecay",
            **shared,
            "decay_steps": d.whole(2, 9),
            "end_lr": lr / 10,
            "power": d.one(1.0, 2.0, 0.5),
            "cycle": d.chance(0.5),
        },
        {"type": "ExponentialDecay", **shared, "gamma": gamma},
        {"type": "MultiStepDecay", **shared, "milestones": [1, d.whole(2, 6)], "gamma": gamma},
        {"type": "StepDecay", **shared, "step_size": d.whole(1, 4), "gamma": gamma},
        {"type": "LambdaDecay", **shared, "lr_lambda": "lambda k: 0.9 ** k"},
        {"type": "MultiplicativeDecay", **shared, "lr_lambda": "lambda k: 1 - 0.05 * k"},
        {"type": "CosineAnnealingDecay", **shared, "T_max": d.whole(2, 9), "eta_min": d.one(0.0, lr / 5)},
        {"type": "CosineAnnealingWarmRestarts", **shared, "T_0": d.whole(1, 4), "T_mult": d.whole(1, 2)},
        {
            "type": "LinearLR",
            **shared,
            "total_steps": d.whole(1, 9),
            "start_factor": gamma,
            "end_factor": d.one(1.0, 0.5),
        },
        {
            "type": "OneCycleLR",
            "max_learning_rate": lr,
            "total_steps": d.whole(STEPS, 2 * STEPS),
            "phase_pct": d.number(0.2, 0.45),
            "anneal_strategy": d.one("cos", "linear"),
            "three_phase": d.chance(0.5),
        },
        {
            "type": "CyclicLR",
            "base_learning_rate": lr / 5,
            "max_learning_rate": lr,
            "step_size_up": d.whole(1, 4),
            "step_size_down": d.one(None, 3),
            "mode": d.one("triangular", "triangular2", "exp_range"),
            "exp_gamma": gamma,
        },
    ]
    if deep:
        warmed = {"type": "LinearWarmup", "warmup_steps": d.whole(1, 6), "start_lr": 0.0, "end_lr": lr}
        kinds += 3 * [{**warmed, "learning_rate": rate(d, deep=False)}]
    return lr if d.chance(0.4) else d.one(*kinds)


def decay(d: Draw, numbers: bool = True) -> Any:
    coeff = d.one(0.0, d.number(0.0, 0.3))
    kinds = [{"type": "L2Decay", "coeff": coeff}, {"type": "L1Decay", "coeff": coeff}]
    return d.one(*kinds, *([coeff, None] if numbers else []))


def clip(d: Draw, wide: bool) -> Any:
    bound = d.number(0.1, 3.0)
    by_norm = [] if wide else [{"type": "ClipGradByNorm", "clip_norm": bound}]  # it has no float64 kernel
    return d.one(
        None,
        {"type": "ClipGradByValue", "max": bound},
        {"type": "ClipGradByValue", "max": bound, "min": -0.5},
        {"type": "ClipGradByGlobalNorm", "clip_norm": bound},
        *by_norm,
    )


def configuration(d: Draw, optimizer: str) -> dict[str, Any]:
    """A config in the grammar of the recorded runs; clips by value end Paddle's process where a gradient is sparse."""
    wide = d.chance(0.2)
    sparse = optimizer in SPARSE and d.chance(0.15)
    options: dict[str, Option] = {**OPTIMIZERS[optimizer], "grad_clip": lambda d: clip(d, wide)}
    if optimizer == "AdamW":
        options["weight_decay"] = between(0.0, 0.3)
    elif optimizer != "Lamb":
        options["weight_decay"] = decay
    kwargs = {"learning_rate": rate(d), **d.given(options)}
    if isinstance(kwargs.get("weight_decay"), float) and d.chance(0.2) and optimizer != "AdamW":
        kwargs["weight_decay"] = 1
    if wide or sparse:
        kwargs.pop("use_multi_tensor", None)
    if d.chance(0.2):
        kwargs["name"] = "mine"
    groups, attributes = None, {}
    if d.chance(0.5):
        inside = {**options, "learning_rate": between(0.1, 2.0), "foreign": one_of(1)}
        inside.pop("use_multi_tensor", None)
        groups = [{"params": part, **d.given(inside, 0.4)} for part in d.parts(d.whole(1, 3))]
    if d.chance(0.4):
        said: dict[str, Option] = {
            "learning_rate": between(0.1, 2.0),
            "regularizer": lambda d: decay(d, numbers=False),
            "need_clip": flag(0.5),
            "trainable": flag(0.8),
        }
        attributes = {leaf: d.given(said, 0.4) for leaf in SHAPES if d.chance(0.4)}
        if kwargs.get("use_multi_tensor"):
            attributes = {}
    rests = [] if kwargs.get("use_multi_tensor") or d.chance(0.7) else [[d.whole(1, STEPS), leaf] for leaf in SHAPES]
    sparse = sparse and "ClipGradByValue" not in str([kwargs, groups])
    return {
        "dtype": "float64" if wide else "float32",
        "kwargs": kwargs,
        "groups": groups,
        "param_attr": attributes,
        "none_grads": rests,
        "sparse_leaves": ["embed/table"] if sparse else [],
        "rows": "sorted",
        "grad_scale": 1.0,
        "quirk": "",
    }
