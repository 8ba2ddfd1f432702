"""What MindSpore's own tests of optimizers go through (tests/ut/python/nn/optim), beside numbers of MindSpore 2.10.

`FAMILIES` are functions that give each scenario's name and what is wrong with it, nothing where all is right;
`DECIDED` says why a scenario ends otherwise here. Their tests compile a step; here three steps are taken, in both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import gradxform as gx
from gradxform.compat import mindspore as ms
from gradxform.compat import mindspore_schedules as rates
from tests.compat.refusals import refusals

STEPS = 3
RNG = np.random.default_rng(11)
WEIGHT, BIAS = (np.round(RNG.normal(size=shape), 2).astype(np.float32) for shape in ((4, 3), 3))
GRADS, GRADS_OF_BIAS = (np.round(RNG.normal(size=(STEPS, *shape)), 2).astype(np.float32) for shape in ((4, 3), (3,)))
PARAMS = {"weight": WEIGHT, "bias": BIAS}
ROWS = np.array([0, 2])


class WarmedLine(rates.LearningRateSchedule):
    """A warm-up, then a line, as the tests of Lamb write it."""

    warmup: Any
    decay: Any

    def construct(self, global_step: Any) -> Any:
        return jnp.where(global_step < 10, self.warmup(global_step), self.decay(global_step))


def line() -> Any:
    return rates.PolynomialDecayLR(0.01, 0.0001, 3, power=1.0)


def listed() -> Any:
    return rates.polynomial_decay_lr(0.01, 0.0001, total_step=10, step_per_epoch=1, decay_epoch=3, power=1.0)


def two(lr: Any) -> list[dict[str, Any]]:
    return [{"params": ["weight"], "lr": lr, "weight_decay": 0.9}, {"params": ["bias"]}]


SCALED = {"weight_decay": 0.9, "loss_scale": 1024.0}
DOUBLED = {"weight_decay": 0.9, "loss_scale": 2.0}
TRAINED: dict[str, tuple[Any, dict[str, Any], list[float]]] = {
    "Momentum": (ms.momentum, {"learning_rate": 0.1, "momentum": 0.9}, [0.21244, -0.12949, 0.11897]),
    "SGD": (ms.sgd, {}, [0.184, 0.002, 0.107]),
    "Adam with decay": (ms.adam, {"learning_rate": 0.1, "weight_decay": 0.9}, [0.0383796, -0.2219165, -0.1162184]),
    "Adam, a list in a group": (
        ms.adam,
        {"learning_rate": 0.1, "groups": two(listed())},
        [0.02499, -0.0754377, -0.1332224],
    ),
    "Adam, a schedule for the others": (
        ms.adam,
        {"learning_rate": line(), "groups": two(0.02)},
        [0.0310772, -0.0930963, -0.1450963],
    ),
    "AMSGrad with decay": (
        ms.adam,
        {"learning_rate": 0.1, "weight_decay": 0.9, "use_amsgrad": True},
        [0.0383796, -0.2219165, -0.1162184],
    ),
    "AMSGrad, a list in a group": (
        ms.adam,
        {"learning_rate": 0.1, "use_amsgrad": True, "groups": two(listed())},
        [0.02499, -0.0754377, -0.1332224],
    ),
    "AMSGrad, a schedule for the others": (
        ms.adam,
        {"learning_rate": line(), "use_amsgrad": True, "groups": two(0.02)},
        [0.0310772, -0.0930963, -0.1450963],
    ),
    "AdamOffload, a schedule for the others": (
        ms.adam_offload,
        {"learning_rate": line(), "groups": two(0.02)},
        [0.0310772, -0.0930963, -0.1450963],
    ),
    "AdamWeightDecay": (ms.adam_weight_decay, {"learning_rate": 0.1}, [0.2219024, -0.6632604, 0.0453244]),
    "AdamWeightDecay, a schedule for the others": (
        ms.adam_weight_decay,
        {"learning_rate": line(), "groups": two(0.02)},
        [0.0683532, -0.1737246, -0.1491583],
    ),
    "LazyAdam": (ms.lazy_adam, {"learning_rate": 0.1, **DOUBLED}, [0.0383796, -0.2219165, -0.1162184]),
    "FTRL": (ms.ftrl, DOUBLED, [0.0142394, -0.0195413, -0.0647495]),
    "ProximalAdagrad": (ms.proximal_adagrad, SCALED, [0.0305719, -0.0606392, -0.1391518]),
    "Adagrad": (ms.adagrad, SCALED, [0.0305719, -0.0606392, -0.1391518]),
    "Adadelta": (ms.adadelta, SCALED, [0.0343043, -0.0616615, -0.1340858]),
    "RMSProp": (ms.rmsprop, {"learning_rate": 0.1}, [0.1864381, -0.0118024, 0.085891]),
    "Adam, sparse rows": (ms.adam, {"learning_rate": 0.1, **SCALED}, [0.0383796, -0.130181, -0.1162184]),
    "LazyAdam, sparse rows": (ms.lazy_adam, {"learning_rate": 0.1, **DOUBLED}, [0.0383796, -0.130181, -0.1162184]),
    "FTRL, sparse rows": (ms.ftrl, DOUBLED, [0.0142394, -0.0329718, -0.0647495]),
    "ProximalAdagrad, sparse rows": (ms.proximal_adagrad, SCALED, [0.0305719, -0.0596558, -0.1391518]),
}
"""Optimizer, arguments, and weight[0, 0], weight[2, 1] and bias[1] after three steps of MindSpore."""


def trained(name: str) -> Any:
    """The three numbers here."""
    make, kwargs, _ = TRAINED[name]
    tx, scale = make(**kwargs), kwargs.get("loss_scale", 1.0)

    def step(carry: Any, g: Any) -> Any:
        (params, state), (weight, bias) = carry, jax.tree.map(lambda x: x * scale, g)
        rows = gx.Rows(jnp.asarray(ROWS), weight[:2], weight.shape) if "sparse" in name else weight
        updates, state = tx.update({"weight": rows, "bias": bias}, state, params)
        return (gx.apply_updates(params, updates), state), None

    start: Any = jax.tree.map(jnp.asarray, PARAMS)
    (params, _), _ = jax.lax.scan(step, (start, tx.init(start)), (GRADS, GRADS_OF_BIAS))
    return jnp.stack([params["weight"][0, 0], params["weight"][2, 1], params["bias"][1]])


def steps() -> Iterator[tuple[str, str]]:
    """All but the offloaded one in one compiled program."""
    together = [name for name in TRAINED if "Offload" not in name]
    found = dict(zip(together, jax.jit(lambda: [trained(name) for name in together])(), strict=True))
    for name, (_, _, theirs) in TRAINED.items():
        off = float(np.abs(np.asarray(found[name] if name in found else trained(name)) - theirs).max())
        yield name, "" if off < 2e-6 else f"off by {off:.1e}"


def layerwise() -> Iterator[tuple[str, str]]:
    """LARS has none either: before descent at 1, the update is the decayed gradient times its ratio."""
    params: Any = jax.tree.map(jnp.asarray, PARAMS)
    grads = {"weight": GRADS[0], "bias": GRADS_OF_BIAS[0]}
    w, g = jnp.linalg.norm(params["weight"]), jnp.linalg.norm(grads["weight"])
    for name, decay in {"LARS": 0.0, "LARS, with decay": 0.1}.items():
        tx = ms.lars(ms.sgd(1.0, weight_decay=decay), epsilon=1e-8, coefficient=0.02, use_clip=True)
        updates, _ = tx.update(grads, tx.init(params), params)
        expected = -0.02 * w / (g + decay * w) * (grads["weight"] + decay * params["weight"])
        left_out = np.array_equal(updates["bias"], -grads["bias"])
        yield name, "" if left_out and np.allclose(updates["weight"], expected, rtol=1e-5) else f"moves by {updates}"


def lambs() -> Iterator[tuple[str, str]]:
    """Lamb has no kernel for a CPU: the update has the parameter's norm times the rate."""
    rate = WarmedLine(rates.WarmUpLR(0.01, 10), rates.PolynomialDecayLR(0.01, 0.0001, 20, 1.0))
    cases: dict[str, tuple[dict[str, Any], tuple[float, float]]] = {
        "Lamb": ({"learning_rate": 0.02, "beta1": 0.9}, (0.02, 0.02)),
        "Lamb, a schedule of one's own": ({"learning_rate": rate}, (0.001, 0.001)),
        "Lamb, a schedule of one's own in a group": ({"learning_rate": 0.02, "groups": two(rate)}, (0.001, 0.02)),
    }
    params: Any = jax.tree.map(jnp.asarray, PARAMS)
    for name, (kwargs, expected) in cases.items():
        tx = ms.lamb(**kwargs)
        state = tx.init(params)._replace(count=jnp.asarray(1))
        updates, _ = tx.update({"weight": GRADS[0], "bias": GRADS_OF_BIAS[0]}, state, params)
        ratios = [float(jnp.linalg.norm(updates[k]) / jnp.linalg.norm(params[k])) for k in ("weight", "bias")]
        yield name, "" if np.allclose(ratios, expected, rtol=1e-4) else f"moves by {ratios}, not {expected}"


def falling() -> Any:
    return rates.WarmUpLR(0.1, 3)


def sparse_amsgrad() -> None:
    tx = ms.adam(0.1, use_amsgrad=True, **SCALED)
    params = jax.tree.map(jnp.asarray, PARAMS)
    rows = gx.Rows(jnp.asarray(ROWS), GRADS[0][:2], (4, 3))
    tx.update({"weight": rows, "bias": GRADS_OF_BIAS[0]}, tx.init(params), params)


CALLS: dict[str, tuple[Callable[[], Any], type[Exception]]] = {
    "a rate of -0.5": (lambda: ms.momentum(-0.5, 0.9), ValueError),
    "SGD: a momentum of -0.1": (lambda: ms.sgd(0.1, -0.1), ValueError),
    "SGD: a schedule as decay": (lambda: ms.sgd(0.1, weight_decay=falling()), TypeError),
    "SGD: a schedule as a group's decay": (
        lambda: ms.sgd(0.1, groups=[{"params": ["weight"], "weight_decay": falling()}, {"params": ["bias"]}]),
        TypeError,
    ),
    "LazyAdam: a rate of -0.1": (lambda: ms.lazy_adam(-0.1), ValueError),
    "LazyAdam: a beta of 2": (lambda: ms.lazy_adam(0.1, beta1=2), TypeError),
    "AdamWeightDecay: a first beta of 1": (lambda: ms.adam_weight_decay(0.1, beta1=1.0), ValueError),
    "AdamWeightDecay: a second beta of 1": (lambda: ms.adam_weight_decay(0.1, beta2=1.0), ValueError),
    "AdamWeightDecay: eps of -0.1": (lambda: ms.adam_weight_decay(0.1, eps=-0.1), ValueError),
    "RMSProp: a momentum of -0.1": (lambda: ms.rmsprop(0.1, momentum=-0.1), ValueError),
    "RMSProp: a momentum of 1": (lambda: ms.rmsprop(0.1, momentum=1), TypeError),
    "AMSGrad: sparse rows": (sparse_amsgrad, ValueError),
    "groups without parameters": (lambda: ms.adam_weight_decay(0.1, groups=[{"params": []}]), ValueError),
    "groups that are none": (lambda: ms.sgd(0.1, groups=[]), ValueError),
    "numbers as groups": (lambda: ms.adam_weight_decay(0.1, groups=(1, 2, 3)), TypeError),
    "a number as groups": (lambda: ms.adam_weight_decay(0.1, groups=9), TypeError),
    "an array as groups": (lambda: ms.sgd(0.1, groups=jnp.zeros((1, 2, 3))), TypeError),
    "a gradient that is no tree of them": (
        lambda: ms.adam().update(jnp.zeros((1, 2, 3)), ms.adam().init(PARAMS), PARAMS),
        ValueError,
    ),
}


FAMILIES: dict[str, Callable[[], Iterator[tuple[str, str]]]] = {
    "Three steps": steps,
    "Lamb": lambs,
    "LARS": layerwise,
    "What is refused": lambda: refusals(CALLS),
}
DECIDED = {"a gradient that is no tree of them": "a ValueError that names the place; there a RuntimeError"}
"""Where it ends otherwise here, and why."""
