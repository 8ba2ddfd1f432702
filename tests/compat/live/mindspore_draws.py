"""Random configurations of MindSpore's optimizers."""

from __future__ import annotations

from typing import Any

from tests.compat.live.draws import SHAPES, STEPS, Draw, Option, between, flag, one_of

ADAM: dict[str, Option] = {
    "beta1": between(0.5, 0.95),
    "beta2": between(0.8, 0.9999),
    "eps": one_of(1e-8, 1e-3, 0.1),
    "use_nesterov": flag(0.4),
}
MOMENTS = {name: ADAM[name] for name in ("beta1", "beta2", "eps")}
OPTIMIZERS: dict[str, dict[str, Option]] = {
    "Momentum": {"momentum": one_of(0.0, between(0.0, 0.95)), "use_nesterov": flag(0.1)},
    "Adam": {**ADAM, "use_locking": flag(0.5)},
    "ProximalAdagrad": {
        "accum": between(0.05, 1.0),
        "l1": between(0.0, 0.3),
        "l2": between(0.0, 0.5),
        "use_locking": flag(0.5),
    },
    "SGD": {"momentum": one_of(0, between(0.05, 0.95)), "dampening": between(0.0, 0.5)},
    "AdamWeightDecay": MOMENTS,
    "AdamOffload": ADAM,
    "LazyAdam": ADAM,
    "AdaMax": MOMENTS,
    "Adadelta": {"rho": between(0.5, 0.99), "epsilon": one_of(1e-6, 0.01)},
    "Adagrad": {"accum": between(0.0, 0.5), "update_slots": one_of(True, True, False)},
    "RMSProp": {
        "decay": between(0.5, 0.99),
        "momentum": between(0.0, 0.9),
        "epsilon": one_of(1e-10, 0.01),
        "centered": flag(0.4),
    },
    "FTRL": {
        "initial_accum": between(0.05, 0.5),
        "lr_power": one_of(-0.5, 0.0, between(-1.0, -0.1)),
        "l1": one_of(0.0, 0.0, 0.05),
        "l2": between(0.0, 0.3),
    },
}
WIDE = {"Momentum", "AdamWeightDecay", "Adagrad"}
SPARSE = {"Adam", "LazyAdam", "ProximalAdagrad", "FTRL"}


def rate(d: Draw, vectors: tuple[str, ...] = ("list", "tuple", "ndarray")) -> Any:
    """A number, a vector of them, or a schedule, as a config writes them."""
    lr, vector = d.number(0.01, 0.3), [d.number(0.0, 0.3) for _ in range(STEPS)]
    shared: dict[str, Any] = {"learning_rate": lr, "decay_steps": d.whole(1, 9)}
    falls = {**shared, "decay_rate": d.number(0.3, 0.95), "is_stair": d.chance(0.5)}
    return d.one(
        lr,
        lr,
        1,
        {"type": "Tensor", "value": lr},
        *[{"type": kind, "values": vector} for kind in vectors],
        {"type": "Tensor", "value": vector},
        {"type": "ExponentialDecayLR", **falls},
        {"type": "NaturalExpDecayLR", **falls},
        {"type": "InverseDecayLR", **falls},
        {"type": "CosineDecayLR", "min_lr": lr / 10, "max_lr": lr, "decay_steps": shared["decay_steps"]},
        {
            "type": "PolynomialDecayLR",
            **shared,
            "end_learning_rate": lr / 10,
            "power": d.one(1.0, 2.0, 0.5),
            "update_decay_steps": d.chance(0.5),
        },
        {"type": "WarmUpLR", "learning_rate": lr, "warmup_steps": d.whole(1, 9)},
        {"type": "linear_in_step_schedule", "base": lr, "slope": -lr / 20},
    )


def decay(d: Draw) -> Any:
    return d.one(0.0, d.number(0.0, 0.3), 1, {"type": "linear_in_step_cell", "base": d.number(0.0, 0.1), "slope": 0.01})


def configuration(d: Draw, optimizer: str) -> dict[str, Any]:
    """A config in the grammar of the recorded runs. idle: statistics that are saved there and never touched."""
    wide = optimizer in WIDE and d.chance(0.2)
    kwargs = d.given(OPTIMIZERS[optimizer])
    kwargs |= {"momentum": 0.9} if optimizer == "Momentum" and "momentum" not in kwargs else {}
    kind = d.one("use_lazy", "use_offload", "use_amsgrad", None, None) if optimizer == "Adam" else None
    kwargs |= {kind: True} if kind else {}
    sparse = optimizer in SPARSE and kind not in ("use_amsgrad", "use_offload") and d.chance(0.25)
    number = optimizer in ("SGD", "LazyAdam")
    steady = optimizer == "FTRL"
    kwargs["learning_rate"] = d.number(0.01, 0.3) if steady else rate(d, ("list", "tuple", "ndarray", "generator"))
    scale = 1.0 if optimizer == "AdamWeightDecay" else d.one(1.0, 1.0, 128.0, 1000.0, 1024)
    if scale != 1.0:
        kwargs["loss_scale"] = scale
    if d.chance(0.6):
        kwargs["weight_decay"] = d.number(0.0, 0.3) if number else decay(d)
    if optimizer == "SGD" and kwargs.get("momentum") and not kwargs.get("dampening") and d.chance(0.5):
        kwargs["nesterov"] = True
    groups = None
    if d.chance(0.5):
        options: dict[str, Option] = {"weight_decay": between(0.0, 0.3) if number else decay}
        options |= {} if steady else {"lr": rate}
        parts = d.parts(d.whole(1, 3))
        groups = [{"params": part, **d.given(options, 0.4)} for part in parts]
        for group in groups:
            if d.chance(0.4) and not (sparse and "embed/table" in group["params"]):
                group["grad_centralization"] = True
        if d.chance(0.3):
            listed = [leaf for part in parts for leaf in part]
            groups.insert(d.whole(0, len(groups)), {"order_params": [str(x) for x in d.rng.permutation(listed)]})
    plain = optimizer == "Adam" and kind is None
    nesterov = kwargs.get("use_nesterov", False)
    return {
        "dtype": "float64" if wide else "float32",
        "kwargs": kwargs,
        "groups": groups,
        "none_grads": [[t, leaf] for t in range(1, STEPS + 1) for leaf in outside(groups)],
        "sparse_leaves": ["embed/table"] if sparse and "embed/table" not in outside(groups) else [],
        "rows": "sorted" if plain and nesterov else "any",
        "target": None if plain and nesterov else "CPU",
        "grad_scale": float(scale),
        "idle": ["accum", "stat"] if optimizer == "SGD" and not kwargs.get("momentum") else [],
        "quirk": quirk(optimizer, kwargs),
    }


def quirk(optimizer: str, kwargs: Any) -> str:
    """A defect of a kernel that is not reproduced here."""
    if optimizer == "Momentum" and kwargs.get("use_nesterov"):
        return "use_nesterov is ignored by the CPU kernel"
    if optimizer == "FTRL" and kwargs.get("l1"):
        return "the CPU kernel adds +l1 where z is negative"
    if optimizer == "RMSProp" and kwargs.get("epsilon", 0.0) > 1e-6 and not kwargs.get("centered"):
        return "the CPU kernel adds epsilon beside the root in whole blocks of eight numbers"
    return "update_slots is ignored by the CPU kernel" if not kwargs.get("update_slots", True) else ""


def outside(groups: Any) -> set[str]:
    """The leaves that are in no group."""
    return set(SHAPES) - {leaf for group in groups for leaf in group.get("params", [])} if groups else set()
