"""Cases that nobody recorded, in the grammar of the recorded ones: other schedules, groups, decays, clips and rows.

Each is written to a file, built from its config and replayed; the truth is the live torch, or a transcript.
"""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.compat import mindspore_transcript, replay
from tests.compat.live.draws import SHAPES
from tests.compat.paddle_transcript import transcript as paddle_transcript

GROUPS = (["embed/table", "bn/gamma", "conv/kernel"], ["dense/kernel", "alphabeta/w"])
STEPS = 12
Arrays = dict[str, Any]


def start(seed: int, dtype: str) -> tuple[np.random.Generator, Arrays]:
    rng = np.random.default_rng(seed)
    return rng, {leaf: rng.normal(size=shape).astype(dtype) for leaf, shape in SHAPES.items()}


def maybe(rng: np.random.Generator, given: dict[str, Any]) -> dict[str, Any]:
    """Some of the options."""
    return {key: x for key, x in given.items() if rng.random() < 0.6}


def number(rng: np.random.Generator, low: float, high: float) -> float:
    return round(float(rng.uniform(low, high)), 3)


def reproduced(folder: Path, params: Arrays, grads: list[Arrays], after: list[Arrays], state: Arrays, **config: Any):
    """Write the case and replay it. A gradient is an array, a pair of indices and values, or None."""
    arrays: Arrays = {f"param/{leaf}": w for leaf, w in params.items()}
    dtype = params["dense/kernel"].dtype
    for t, (now, then) in enumerate(zip(grads, after, strict=True), start=1):
        for leaf, w in then.items():
            arrays[f"after/{t}/{leaf}"] = w.astype(dtype)
        for leaf, g in now.items():
            if isinstance(g, tuple):
                arrays[f"grad_indices/{t}/{leaf}"], arrays[f"grad_values/{t}/{leaf}"] = g
            elif g is not None:
                arrays[f"grad/{t}/{leaf}"] = g
    arrays |= {f"state/{STEPS}/{name}": x for name, x in state.items()}
    names = sorted({name.split("/")[0] for name in state})
    leaves = [[leaf, list(shape)] for leaf, shape in SHAPES.items()]
    about = {"n_steps": STEPS, "leaves": leaves, "dtype": dtype.name, "state_names": names, "quirk": ""}
    np.savez(folder / "case.npz", **arrays, config=np.array(json.dumps({**about, **config})))
    result = replay.replay(folder / "case.npz")
    assert result.verdict == "reproduced", result.detail


TORCH: list[dict[str, Any] | None] = [
    None,
    {"type": "StepLR", "step_size": 4},
    {"type": "MultiStepLR", "milestones": [2, 7], "gamma": 0.3},
    {"type": "ConstantLR", "factor": 0.4, "total_iters": 3},
    {"type": "LinearLR", "start_factor": 0.2, "end_factor": 0.9, "total_iters": 7},
    {"type": "ExponentialLR", "gamma": 0.8},
    {"type": "PolynomialLR", "total_iters": 9, "power": 1.7},
    {"type": "CosineAnnealingLR", "T_max": 5, "eta_min": 0.002},
    {"type": "CosineAnnealingWarmRestarts", "T_0": 3, "T_mult": 2, "eta_min": 0.001},
    {"type": "LambdaLR", "lr_lambda": "lambda k: 0.95 ** k"},
    {"type": "MultiplicativeLR", "lr_lambda": "lambda k: 0.95"},
    {"type": "CyclicLR", "base_lr": [0.01, 0.02], "max_lr": [0.1, 0.2], "step_size_up": 3, "mode": "triangular2"},
    {"type": "OneCycleLR", "max_lr": [0.1, 0.2], "total_steps": 13, "base_momentum": 0.7, "three_phase": True},
    {"type": "OneCycleLR", "max_lr": 0.2, "total_steps": 15, "cycle_momentum": False, "anneal_strategy": "linear"},
    {
        "type": "SequentialLR",
        "schedulers": [{"type": "ConstantLR", "factor": 0.5}, {"type": "ExponentialLR", "gamma": 0.9}],
        "milestones": [4],
    },
    {"type": "ChainedScheduler", "schedulers": [{"type": "StepLR", "step_size": 3}, {"type": "LinearLR"}]},
]


def made(module: Any, spec: dict[str, Any], opt: Any) -> Any:
    """torch's own scheduler."""
    fields = {key: x for key, x in spec.items() if key != "type"}
    if "schedulers" in fields:
        fields["schedulers"] = [made(module, part, opt) for part in fields["schedulers"]]
    if "lr_lambda" in fields:
        fields["lr_lambda"] = {"LambdaLR": lambda k: 0.95**k, "MultiplicativeLR": lambda k: 0.95}[spec["type"]]
    if spec["type"] == "ChainedScheduler":
        return module.ChainedScheduler(fields["schedulers"], opt)
    return getattr(module, spec["type"])(opt, **fields)


@pytest.mark.parametrize("i", range(len(TORCH)), ids=lambda i: f"{i}-{(TORCH[i] or {}).get('type')}")
def test_torch(i: int, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    rng, params = start(i, ("float32", "float64")[i % 2])
    own = {"momentum": number(rng, 0, 1), "weight_decay": number(rng, 0, 0.2), "dampening": number(rng, -0.2, 0.5)}
    kwargs = {"lr": 0.1, "momentum": 0.8, **maybe(rng, {**own, "maximize": True, "foreach": False})}
    groups = [{"params": GROUPS[0]}, {"params": GROUPS[1], "lr": number(rng, 0.01, 0.2), **maybe(rng, own)}]
    spec, leaves = TORCH[i], {leaf: torch.tensor(w, requires_grad=True) for leaf, w in params.items()}
    opt = torch.optim.SGD(
        [{**group, "params": [leaves[leaf] for leaf in group["params"]]} for group in groups], **kwargs
    )
    scheduler, grads, after, rates = spec and made(torch.optim.lr_scheduler, spec, opt), [], [], []
    for t in range(1, STEPS + 1):
        now = {leaf: rng.normal(size=w.shape).astype(w.dtype) for leaf, w in params.items()}
        grads.append(now | ({"bn/gamma": None} if t in (1, 4) else {}))
        rates.append([group["lr"] for group in opt.param_groups])
        for leaf, g in grads[-1].items():
            leaves[leaf].grad = None if g is None else torch.tensor(g)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the argument `epoch`, which torch passes to itself
            opt.step()
            if scheduler:
                scheduler.step()
        after.append({leaf: w.detach().numpy().copy() for leaf, w in leaves.items()})
    kept = {leaf: opt.state[w].get("momentum_buffer") for leaf, w in leaves.items()}
    state = {f"momentum_buffer/{leaf}": x.numpy() for leaf, x in kept.items() if x is not None}
    about = {"framework": "torch", "optimizer": "SGD", "kwargs": kwargs, "groups": groups, "lr_schedule": spec}
    reproduced(tmp_path, params, grads, after, state, **about, lr_per_step=rates)


NOAM = {"type": "NoamDecay", "d_model": 24, "warmup_steps": 5, "learning_rate": 0.7}
PADDLE: list[tuple[Any, Any]] = [
    (0.05, lambda k: 0.05),
    ({"type": "StepDecay", "learning_rate": 0.1, "step_size": 4}, lambda k: 0.1 * 0.1 ** (k // 4)),
    ({"type": "MultiStepDecay", "learning_rate": 0.1, "milestones": [2, 7]}, lambda k: 0.1 ** (1 + (k > 1) + (k > 6))),
    ({"type": "ExponentialDecay", "learning_rate": 0.1, "gamma": 0.7, "verbose": False}, lambda k: 0.1 * 0.7**k),
    ({"type": "NaturalExpDecay", "learning_rate": 0.1, "gamma": 0.3}, lambda k: 0.1 * math.exp(-0.3 * k)),
    ({"type": "InverseTimeDecay", "learning_rate": 0.1, "gamma": 0.3}, lambda k: 0.1 / (1 + 0.3 * k)),
    (
        {"type": "PolynomialDecay", "learning_rate": 0.1, "decay_steps": 6, "end_lr": 0.01, "power": 2.0},
        lambda k: 0.09 * (1 - min(k, 6) / 6) ** 2 + 0.01,
    ),
    (
        {"type": "PiecewiseDecay", "boundaries": [2, 5], "values": [0.1, 0.07, 0.02]},
        lambda k: (0.1, 0.07, 0.02)[(k > 1) + (k > 4)],
    ),
    (NOAM, lambda k: 0.0 if k == 0 else 0.7 * 24**-0.5 * min(k**-0.5, k * 5**-1.5)),
    (
        {"type": "CosineAnnealingDecay", "learning_rate": 0.1, "T_max": 14, "eta_min": 0.02},
        lambda k: 0.02 + 0.04 * (1 + math.cos(math.pi * k / 14)),
    ),
    ({"type": "LambdaDecay", "learning_rate": 0.1, "lr_lambda": "lambda k: 0.9 ** k"}, lambda k: 0.1 * 0.9**k),
    (
        {
            "type": "LinearWarmup",
            "learning_rate": {"type": "LambdaDecay", "learning_rate": 0.1, "lr_lambda": "lambda k: 0.9 ** k"},
            "warmup_steps": 4,
            "start_lr": 0.01,
            "end_lr": 0.05,
        },
        lambda k: 0.01 + 0.01 * k if k < 4 else 0.1 * 0.9 ** (k - 4),
    ),
    ({"type": "ReduceOnPlateau", "learning_rate": 0.1}, lambda k: 0.1 if k < 5 else 0.01),
]
CLIPS: list[tuple[Any, Any]] = [
    (None, None),
    ({"type": "ClipGradByValue", "max": 0.8, "min": -0.4}, ("value", 0.8)),
    ({"type": "ClipGradByGlobalNorm", "clip_norm": 2.5, "group_name": "g", "auto_skip_clip": True}, ("global", 2.5)),
]
DECAYS: list[tuple[Any, Any]] = [
    (None, None),
    (0.03, ("L2", 0.03)),
    (1, ("L2", 1.0)),
    ({"type": "L2Decay", "coeff": 0.1}, ("L2", 0.1)),
    ({"type": "L1Decay", "coeff": 0.07}, ("L1", 0.07)),
]


def paddle_options(rng: np.random.Generator) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options as a config writes them, and as the transcript does."""
    pairs = {"grad_clip": CLIPS[rng.integers(len(CLIPS))], "weight_decay": DECAYS[rng.integers(len(DECAYS))]}
    plain = {"momentum": number(rng, 0, 0.95), "use_nesterov": bool(rng.random() < 0.5)}
    chosen = maybe(rng, {**pairs, **{key: (x, x) for key, x in plain.items()}})
    return tuple({key: x[side] for key, x in chosen.items()} for side in (0, 1))  # type: ignore[return-value]


@pytest.mark.parametrize("i", range(len(PADDLE)))
def test_paddle(i: int, tmp_path: Path) -> None:
    rng, params = start(i, ("float32", "float64")[i % 2])
    grads = [{leaf: rng.normal(size=w.shape).astype(w.dtype) for leaf, w in params.items()} for _ in range(STEPS)]
    kwargs, base = paddle_options(rng)
    base = {"momentum": 0.9, "use_nesterov": False, "weight_decay": None, "grad_clip": None, **base}
    base["learning_rate"] = 1.0
    given: dict[str, Any] = {"groups": None, "param_attr": {}}
    own: dict[str, Any] = {}
    if i % 3 == 0:
        given["param_attr"] = {
            "dense/kernel": {"learning_rate": 0.3, "regularizer": {"type": "L1Decay", "coeff": 0.2}},
            "bn/gamma": {"need_clip": False, "regularizer": {"type": "L2Decay", "coeff": 0.0}},
        }
        own = {
            "dense/kernel": {"learning_rate": 0.3, "regularizer": ("L1", 0.2)},
            "bn/gamma": {"need_clip": False, "regularizer": ("L2", 0.0)},
        }
        groups = [{"names": list(SHAPES), **base}]
    else:
        written, said = zip(*(paddle_options(rng) for _ in GROUPS), strict=True)
        for group in written:
            if isinstance(group.get("weight_decay"), int):  # a group of Paddle takes a float alone
                group["weight_decay"] = float(group["weight_decay"])
        rate = {"learning_rate": number(rng, 0.1, 2.0)}
        given["groups"] = [{"params": GROUPS[0], **written[0]}, {"params": GROUPS[1], **written[1], **rate}]
        groups = [{"names": GROUPS[0], **base, **said[0]}, {"names": GROUPS[1], **base, **said[1], **rate}]
    wide = [{leaf: g.astype(np.float64) for leaf, g in now.items()} for now in grads]
    first = {leaf: w.astype(np.float64) for leaf, w in params.items()}
    after = [paddle_transcript(first, wide[:t], groups, PADDLE[i][1], own) for t in range(1, STEPS + 1)]
    about = {"framework": "paddle", "optimizer": "Momentum", "kwargs": {**kwargs, "learning_rate": PADDLE[i][0]}}
    rates = [PADDLE[i][1](k) for k in range(STEPS)]
    reproduced(tmp_path, params, grads, after, {}, **about, **given, lr_per_step=rates)


VECTOR = [round(0.1 / (1 + k), 4) for k in range(STEPS)]
RATES: list[tuple[Any, Any]] = [
    (0.05, 0.05),
    (1, 1.0),
    ({"type": "Tensor", "value": 0.07}, 0.07),
    *[({"type": kind, "values": VECTOR}, VECTOR) for kind in ("list", "tuple", "generator", "ndarray")],
    ({"type": "Tensor", "value": VECTOR}, VECTOR),
    (
        {"type": "ExponentialDecayLR", "learning_rate": 0.1, "decay_rate": 0.6, "decay_steps": 5},
        lambda s: 0.1 * 0.6 ** (s / 5),
    ),
    (
        {"type": "NaturalExpDecayLR", "learning_rate": 0.1, "decay_rate": 0.2, "decay_steps": 4, "is_stair": True},
        lambda s: 0.1 * math.exp(-0.2 * (s // 4 * 4)),
    ),
    (
        {"type": "InverseDecayLR", "learning_rate": 0.1, "decay_rate": 0.5, "decay_steps": 3, "is_stair": True},
        lambda s: 0.1 / (1 + 0.5 * (s // 3)),
    ),
    (
        {"type": "CosineDecayLR", "min_lr": 0.02, "max_lr": 0.1, "decay_steps": 7},
        lambda s: 0.02 + 0.04 * (1 + math.cos(math.pi * min(s, 7) / 7)),
    ),
    (
        {
            "type": "PolynomialDecayLR",
            "learning_rate": 0.1,
            "end_learning_rate": 0.01,
            "decay_steps": 5,
            "power": 1.5,
            "update_decay_steps": True,
        },
        lambda s: 0.09 * (1 - s / (5 * max(1, math.ceil(s / 5)))) ** 1.5 + 0.01,
    ),
    ({"type": "WarmUpLR", "learning_rate": 0.1, "warmup_steps": 6}, lambda s: 0.1 * min(s, 6) / 6),
    ({"type": "linear_in_step_schedule", "base": 0.1, "slope": -0.005}, lambda s: 0.1 - 0.005 * s),
    ({"type": "a_function_of_somebody"}, lambda s: 0.1 / (1 + s)),
]
CELLS: list[tuple[Any, Any]] = [
    (0.0, 0.0),
    (0.04, 0.04),
    (1, 1.0),
    ({"type": "linear_in_step_cell", "base": 0, "slope": 0.01}, lambda s: 0.01 * s),
]
KERNELS: dict[str, tuple[type[mindspore_transcript.Rule], dict[str, Any], dict[str, str]]] = {
    "Momentum": (mindspore_transcript.Momentum, {"momentum": 0.7, "use_nesterov": False}, {"moments": "v"}),
    "Adam": (
        mindspore_transcript.Adam,
        {"beta1": 0.8, "beta2": 0.9, "eps": 0.02, "use_nesterov": True, "use_amsgrad": False, "use_lazy": True},
        {"moment1": "m", "moment2": "v"},
    ),
    "ProximalAdagrad": (mindspore_transcript.ProximalAdagrad, {"accum": 0.2, "l1": 0.03, "l2": 0.2}, {"accum": "a"}),
}


@pytest.mark.parametrize("i", range(len(RATES)))
def test_mindspore(i: int, tmp_path: Path) -> None:
    """The optimizers in turn; groups for two rates of three; repeated rows where they are taken."""
    rng, params = start(i, "float32")
    optimizer = list(KERNELS)[i // 2 % 3]
    make, options, kept = KERNELS[optimizer]
    (rate, lr), (cell, decay), scale = RATES[i], CELLS[rng.integers(len(CELLS))], (1.0, 128.0, 1000)[i % 3]
    kwargs = {**options, "learning_rate": rate, "weight_decay": cell, "loss_scale": scale}
    shared: dict[str, Any] = {"lr": lr, "decay": decay, "loss_scale": float(scale), "centralized": False}
    each, groups = {leaf: {"decay": 0.0} for leaf in ("bn/gamma", "alphabeta/w")}, None
    if i % 3:
        cell, decay = CELLS[rng.integers(len(CELLS))]
        groups = [
            {"params": GROUPS[0], "weight_decay": cell, "grad_centralization": True},
            {"order_params": list(rng.permutation(sorted(SHAPES)))},
            {"params": GROUPS[1], "lr": 0.03, "grad_centralization": False},
        ]
        fixed = 0.03 if isinstance(lr, float) else float(np.float32(0.03) + np.float32(1) - np.float32(1))
        each = {leaf: {"decay": decay, "centralized": True} for leaf in GROUPS[0]}
        each |= {leaf: {"lr": fixed} for leaf in GROUPS[1]}
    grads: list[Arrays] = []
    for _ in range(STEPS):
        now: Arrays = {leaf: (scale * rng.normal(size=w.shape)).astype(w.dtype) for leaf, w in params.items()}
        if optimizer != "Momentum" and not i % 3:  # rows in a group that is centralised are refused
            rows = rng.integers(0, 11, 6)
            now["embed/table"] = rows, (scale * rng.normal(size=(6, 16))).astype(np.float32)
        grads.append(now)
    rules = {leaf: make(w, **options) for leaf, w in params.items()}
    after = []
    for t, now in enumerate(grads, start=1):
        for leaf, g in now.items():
            rules[leaf].step(g, t, **{**shared, **each.get(leaf, {})})
        after.append({leaf: rule.w.copy() for leaf, rule in rules.items()})
    state = {f"{name}/{leaf}": getattr(rules[leaf], at) for name, at in kept.items() for leaf in params}
    about = {"framework": "mindspore", "optimizer": optimizer, "kwargs": kwargs, "groups": groups, "target": "CPU"}
    used = [mindspore_transcript.at(lr, s) for s in range(STEPS)]
    reproduced(tmp_path, params, grads, after, state, **about, grad_scale=scale, lr_per_step=used)
