"""What Paddle's own tests go through (test/legacy_test: test_lr_scheduler.py, test_momentum_op.py), beside formulas.

`FAMILIES` are functions that give each scenario's name and what is wrong with it, nothing where all is right;
`DECIDED` says why a scenario ends otherwise here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gradxform as gx
from gradxform.compat import paddle
from gradxform.compat import paddle_schedules as lr
from tests.compat.paddle.schedules.scenarios import metrics, resumed, schedulers
from tests.compat.paddle_transcript import transcript
from tests.compat.refusals import refusals

STEPS = 4
PARAMS = {"w": np.linspace(-1.0, 1.0, 6).reshape(3, 2), "b": np.array([0.5, -0.25])}
BASE: dict[str, Any] = {
    "names": ["w", "b"],
    "momentum": 0.9,
    "use_nesterov": False,
    "weight_decay": None,
    "grad_clip": None,
    "learning_rate": 1.0,
}
L2, L1 = paddle.L2Decay(0.5), paddle.L1Decay(0.1)
ONE_ATTRIBUTE = {"w": paddle.ParamAttr(regularizer=L2)}
GROUPS = [
    {"params": ["w"], "weight_decay": 0.001, "learning_rate": 0.1, "momentum": 0.99},
    {"params": ["b"], "use_nesterov": True},
]
MOMENTUM: dict[str, tuple[dict[str, Any], list[dict[str, Any]], dict[str, Any]]] = {
    "momentum 0.9": ({}, [BASE], {}),
    "Nesterov's": ({"use_nesterov": True}, [{**BASE, "use_nesterov": True}], {}),
    "decay as a number": ({"weight_decay": 0.5}, [{**BASE, "weight_decay": ("L2", 0.5)}], {}),
    "decay as a regularizer": ({"weight_decay": L2}, [{**BASE, "weight_decay": ("L2", 0.5)}], {}),
    "L1 decay": ({"weight_decay": L1}, [{**BASE, "weight_decay": ("L1", 0.1)}], {}),
    "decay of one parameter's attribute": (
        {"param_attr": ONE_ATTRIBUTE},
        [BASE],
        {"w": {"regularizer": ("L2", 0.5)}},
    ),
    "L1 of the optimizer beside L2 of an attribute": (
        {"weight_decay": L1, "param_attr": ONE_ATTRIBUTE},
        [{**BASE, "weight_decay": ("L1", 0.1)}],
        {"w": {"regularizer": ("L2", 0.5)}},
    ),
    "groups": (
        {"groups": GROUPS},
        [
            {**BASE, "names": ["w"], "weight_decay": ("L2", 0.001), "learning_rate": 0.1, "momentum": 0.99},
            {**BASE, "names": ["b"], "use_nesterov": True},
        ],
        {},
    ),
    "many tensors at once": (
        {"use_multi_tensor": True, "weight_decay": 0.5},
        [{**BASE, "weight_decay": ("L2", 0.5)}],
        {},
    ),
    "a clip by the global norm": (
        {"grad_clip": paddle.ClipGradByGlobalNorm(1.0)},
        [{**BASE, "grad_clip": ("global", 1.0)}],
        {},
    ),
}


def momentum() -> Iterator[tuple[str, str]]:
    """Four steps of each in one compiled program; the same with sparse rows and a scheduler."""
    rng = np.random.default_rng(5)
    grads = [{name: rng.normal(size=p.shape) for name, p in PARAMS.items()} for _ in range(STEPS)]
    rates = lr.PiecewiseDecay([2], [0.1, 0.02])
    made = [paddle.momentum(rates, 0.9, multi_precision=False, **given) for given, _, _ in MOMENTUM.values()]
    found = jax.jit(lambda p, gs: [walked(tx, p, gs) for tx in made])(PARAMS, grads)
    for (name, (_, groups, own)), ours in zip(MOMENTUM.items(), found, strict=True):
        yield name, apart(ours, transcript(PARAMS, grads, groups, lambda k: 0.1 if k < 2 else 0.02, own))
    for nesterov in (False, True):
        values = [rng.normal(size=(3, 2)).astype(np.float32) for _ in range(STEPS)]
        sparse = [{"w": gx.Rows(jnp.array([0, 2, 2]), x, (3, 2))} for x in values]
        dense = [{"w": np.zeros((3, 2))} for _ in range(STEPS)]
        for x, g in zip(values, dense, strict=True):
            np.add.at(g["w"], [0, 2, 2], x)
        group = {**BASE, "names": ["w"], "use_nesterov": nesterov}
        ours = walked(paddle.momentum(0.1, 0.9, nesterov), {"w": jnp.asarray(PARAMS["w"], float)}, sparse)
        expected = transcript({"w": PARAMS["w"]}, dense, [group], lambda k: 0.1, {})
        yield f"sparse rows{', Nesterovs' if nesterov else ''}", apart(ours, expected)


def walked(tx: Any, params: Any, grads: list[Any]) -> Any:
    params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float32), params)
    state = tx.init(params)
    for g in grads:
        updates, state = tx.update(g, state, params)
        params = gx.apply_updates(params, updates)
    return params


def apart(ours: Any, theirs: Any) -> str:
    off = max(float(np.max(np.abs(ours[name] - theirs[name]))) for name in theirs)
    return "" if off < 2e-6 else f"off by {off:.1e}"


PLATEAU = lr.ReduceOnPlateau(0.5)
CALLS: dict[str, tuple[Callable[[], Any], type[Exception]]] = {
    "a scheduler of no kind": (lambda: lr.LRScheduler()(0), NotImplementedError),
    "milestones: a rate that is no number": (lambda: lr.MultiStepDecay("test", [1, 2, 3]), TypeError),
    "milestones that are none": (lambda: lr.MultiStepDecay(0.5, "test"), TypeError),
    "milestones that fall": (lambda: lr.MultiStepDecay(0.5, [3, 2, 1]), ValueError),
    "milestones: a factor of 2": (lambda: lr.MultiStepDecay(0.5, [1, 2, 3], 2), ValueError),
    "one cycle: a peak that is no number": (lambda: lr.OneCycleLR("test", 20), TypeError),
    "one cycle: a peak below 0": (lambda: lr.OneCycleLR(-1.5, 20), ValueError),
    "one cycle: an end that is no number": (lambda: lr.OneCycleLR(0.1, 20, end_learning_rate="test"), TypeError),
    "one cycle: an end below 0": (lambda: lr.OneCycleLR(0.1, 20, end_learning_rate=-1), ValueError),
    "one cycle: a length that is no number": (lambda: lr.OneCycleLR(0.1, "test"), TypeError),
    "one cycle: a length below 0": (lambda: lr.OneCycleLR(0.1, -10), ValueError),
    "one cycle: an unknown shape": (lambda: lr.OneCycleLR(0.1, 20, anneal_strategy="test"), ValueError),
    "one cycle: phases longer than all": (lambda: lr.OneCycleLR(0.1, 20, phase_pct=0.6, three_phase=True), ValueError),
    "triangles: a peak that is no number": (lambda: lr.CyclicLR(0.5, "test", 10), TypeError),
    "triangles: a peak below 0": (lambda: lr.CyclicLR(0.5, -1, 10), ValueError),
    "triangles: a way up that is no number": (lambda: lr.CyclicLR(0.5, 1.0, "test"), TypeError),
    "triangles: a way up below 0": (lambda: lr.CyclicLR(0.5, 1.0, -1), ValueError),
    "triangles: a way down that is no number": (lambda: lr.CyclicLR(0.5, 1.0, 500, "test"), TypeError),
    "triangles: a way down below 0": (lambda: lr.CyclicLR(0.5, 1.0, 500, -1), ValueError),
    "triangles: an unknown mode": (lambda: lr.CyclicLR(0.5, 1.0, 500, 500, "test"), ValueError),
    "triangles: an unknown scale mode": (lambda: lr.CyclicLR(0.5, 1.0, 500, 500, scale_mode="test"), ValueError),
    "pieces without boundaries": (lambda: lr.PiecewiseDecay([], []), ValueError),
    "pieces without values": (lambda: lr.PiecewiseDecay([100, 200], []), ValueError),
    "as many pieces as boundaries": (lambda: lr.PiecewiseDecay([100, 200], [0.5, 0.1]), ValueError),
    "restarts: a length of -1": (lambda: lr.CosineAnnealingWarmRestarts(0.5, -1), ValueError),
    "restarts: a length of 1.0": (lambda: lr.CosineAnnealingWarmRestarts(0.5, 1.0), TypeError),
    "restarts: a factor of -1": (lambda: lr.CosineAnnealingWarmRestarts(0.5, 1, -1), ValueError),
    "restarts: a factor of 1.0": (lambda: lr.CosineAnnealingWarmRestarts(0.5, 1, 1.0), TypeError),
    "a metric: a factor of 2": (lambda: lr.ReduceOnPlateau(1.0, factor=2.0), ValueError),
    "a metric: an unknown mode": (lambda: lr.ReduceOnPlateau(1.0, mode="test"), ValueError),
    "a metric: an unknown threshold": (lambda: lr.ReduceOnPlateau(1.0, threshold_mode="test"), ValueError),
    "a metric: a rate that is no number": (lambda: lr.ReduceOnPlateau("test"), TypeError),
    "a metric that is no number": (
        lambda: PLATEAU.step(paddle.adam(PLATEAU).init({"w": jnp.ones(1)}), PLATEAU.init(), "test"),
        TypeError,
    ),
    "momentum without a rate": (lambda: paddle.momentum(None), ValueError),
    "momentum of None": (lambda: paddle.momentum(0.1, None), ValueError),
}  # fmt: skip


FAMILIES: dict[str, Callable[[], Iterator[tuple[str, str]]]] = {
    "Schedulers": schedulers,
    "Schedulers from a state dict": resumed,
    "Schedulers with a metric": metrics,
    "Momentum": momentum,
    "What is refused": lambda: refusals(CALLS),
}
DECIDED = {
    "restarts: a length of 1.0": "a wrong kind is a TypeError here, a ValueError there",
    "restarts: a factor of 1.0": "a wrong kind is a TypeError here, a ValueError there",
}
"""Where it ends otherwise here, and why."""
