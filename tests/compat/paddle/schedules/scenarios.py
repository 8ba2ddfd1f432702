"""What Paddle's own tests of schedulers go through (test/legacy_test/test_lr_scheduler.py), beside formulas.

A family gives each scenario's name and what is wrong with it, nothing where all is right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.compat import paddle
from gradxform.compat import paddle_schedules as lr

EPOCHS = 20


def cycle(k: int, up: float, down: float, height: Callable[[int, int], float]) -> float:
    """Triangles between 0.5 and 1."""
    since = k % (up + down)
    return 0.5 + 0.5 * (since / up if since <= up else (up + down - since) / down) * height(k, k // int(up + down) + 1)


def once(k: int, peak: float, turns: list[tuple[float, float]], cosine: bool) -> float:
    """One cycle through (step, rate) turning points; from the first to the last."""
    for (a, low), (b, high) in pairwise(turns):
        if k <= b or b == turns[-1][0]:
            share = (k - a) / (b - a)
            return high + (low - high) * (1 + math.cos(math.pi * share)) / 2 if cosine else low + (high - low) * share
    return peak


def restarts(k: int) -> float:
    """Half a cosine of length 1, then 2, then 4, and so on."""
    length = 1
    while k >= length:
        k, length = k - length, 2 * length
    return 0.25 * (1 + math.cos(math.pi * k / length))


def held(k: int, boundaries: list[int], values: list[float]) -> float:
    return values[sum(b <= k for b in boundaries)]


MILESTONES = [3, 6, 9, 15, 20]
SIXTHS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
WARM = {"warmup_steps": 10, "start_lr": 0, "end_lr": 0.5}
UP_DOWN = {"base_learning_rate": 0.5, "max_learning_rate": 1.0, "step_size_up": 15, "step_size_down": 5}
SCHEDULERS: dict[str, tuple[Any, Callable[[int], float]]] = {
    "Noam": (
        lr.NoamDecay(d_model=0.01, warmup_steps=100),
        lambda k: 0.01**-0.5 * min(1.0 if k == 0 else k**-0.5, k * 100**-1.5),
    ),
    "pieces": (lr.PiecewiseDecay(MILESTONES, SIXTHS, verbose=False), lambda k: held(k, MILESTONES, SIXTHS)),
    "natural exponential": (lr.NaturalExpDecay(0.5, 0.1, verbose=True), lambda k: 0.5 * math.exp(-0.1 * k)),
    "inverse time": (lr.InverseTimeDecay(0.5, 0.1), lambda k: 0.5 / (1 + 0.1 * k)),
    "a line to 0": (lr.PolynomialDecay(0.5, 20, end_lr=0, power=1.0), lambda k: 0.5 * (1 - k / 20)),
    "a line to 0, cycling": (lr.PolynomialDecay(0.5, 20, 0, 1.0, cycle=True), lambda k: 0.5 * (1 - k / 20)),
    "warm-up to a number": (lr.LinearWarmup(0.5, **WARM), lambda k: 0.05 * min(k, 10)),
    "warm-up to pieces": (
        lr.LinearWarmup(lr.PiecewiseDecay([3, 6], [0.5, 0.2, 0.1]), **WARM),
        lambda k: 0.05 * k if k < 10 else held(k - 10, [3, 6], [0.5, 0.2, 0.1]),
    ),
    "warm-up to a natural exponential": (
        lr.LinearWarmup(lr.NaturalExpDecay(0.5, 0.1), 10, 0.0, 0.1),
        lambda k: 0.01 * k if k < 10 else 0.5 * math.exp(-0.1 * (k - 10)),
    ),
    "exponential": (lr.ExponentialDecay(0.5, 0.9), lambda k: 0.5 * 0.9**k),
    "milestones": (lr.MultiStepDecay(0.5, MILESTONES, 0.8), lambda k: 0.5 * 0.8 ** sum(m <= k for m in MILESTONES)),
    "steps of two": (lr.StepDecay(0.5, 2, 0.8), lambda k: 0.5 * 0.8 ** (k // 2)),
    "a factor by a function": (lr.LambdaDecay(0.5, lambda k: 0.95**k, verbose=True), lambda k: 0.5 * 0.95**k),
    "a product of a function": (lr.MultiplicativeDecay(0.5, lambda k: 0.95), lambda k: 0.5 * 0.95**k),
    "a cosine, and back": (lr.CosineAnnealingDecay(0.5, 10), lambda k: 0.25 * (1 + math.cos(math.pi * k / 10))),
    "cosines with warm restarts": (lr.CosineAnnealingWarmRestarts(0.5, 1, 2), restarts),
    "one cycle of cosines": (
        lr.OneCycleLR(0.1, 20, 5, 0.0001, 0.3, "cos"),
        lambda k: once(k, 0.1, [(0, 0.02), (5, 0.1), (19, 0.0001)], True),
    ),
    "one cycle of lines": (
        lr.OneCycleLR(0.5, 20, 10, 0.001, 0.4, "linear"),
        lambda k: once(k, 0.5, [(0, 0.05), (7, 0.5), (19, 0.001)], False),
    ),
    "one cycle of cosines in three phases": (
        lr.OneCycleLR(1.0, 20, 9, 0.0001, 0.3, "cos", three_phase=True),
        lambda k: once(k, 1.0, [(0, 1 / 9), (5, 1.0), (10, 1 / 9), (19, 0.0001)], True),
    ),
    "one cycle of lines in three phases": (
        lr.OneCycleLR(0.3, 20, 25, 0.0005, 0.2, "linear", three_phase=True),
        lambda k: once(k, 0.3, [(0, 0.012), (3, 0.3), (6, 0.012), (19, 0.0005)], False),
    ),
    "triangles": (lr.CyclicLR(**UP_DOWN, mode="triangular"), lambda k: cycle(k, 15, 5, lambda k, n: 1.0)),
    "triangles by halves": (
        lr.CyclicLR(**UP_DOWN, mode="triangular2"),
        lambda k: cycle(k, 15, 5, lambda k, n: 0.5 ** (n - 1)),
    ),
    "triangles by powers": (
        lr.CyclicLR(**UP_DOWN, mode="exp_range", exp_gamma=0.8),
        lambda k: cycle(k, 15, 5, lambda k, n: 0.8**k),
    ),
    "triangles by a function of the cycle": (
        lr.CyclicLR(**UP_DOWN, mode="exp_range", scale_fn=lambda n: 0.95**n, scale_mode="cycle"),
        lambda k: cycle(k, 15, 5, lambda k, n: 0.95**n),
    ),
    "triangles by a function of the step": (
        lr.CyclicLR(**UP_DOWN, mode="exp_range", scale_fn=lambda k: 0.95, scale_mode="iterations"),
        lambda k: cycle(k, 15, 5, lambda k, n: 0.95),
    ),
}  # fmt: skip


def schedulers() -> Iterator[tuple[str, str]]:
    """Twenty epochs of each, all in one compiled program."""
    found = jax.jit(lambda ks: [scheduler(ks) for scheduler, _ in SCHEDULERS.values()])(jnp.arange(EPOCHS))
    for (name, (_, rate)), rates in zip(SCHEDULERS.items(), found, strict=True):
        off = np.abs(np.asarray(rates, np.float64) - [rate(k) for k in range(EPOCHS)]).max()
        yield name, "" if off < 1e-6 else f"off by {off:.1e}"


def resumed() -> Iterator[tuple[str, str]]:
    """A second optimizer from the state dict of the first, at every epoch."""
    params = {"w": jnp.ones(2)}
    tx = paddle.adam(SCHEDULERS["warm-up to pieces"][0])
    state, wrong = tx.init(params), ""
    for k in range(EPOCHS):
        now = state._replace(count=jnp.asarray(k))
        saved = paddle.save_state(now, params, tx=tx)
        if int(paddle.load_state(saved, params, tx=tx).count) != k:
            wrong = f"begins elsewhere than at {k}"
        inner = saved["LR_Scheduler"]["LinearWarmup_LR"]
        if inner["last_epoch"] != max(k - 10, 0):
            wrong = f"the scheduler behind the warm-up is at {inner['last_epoch']} after {k} epochs"
    yield "a warm-up's state dict", wrong


def metrics() -> Iterator[tuple[str, str]]:
    """Thirty epochs with the sine of the epoch as metric, in each mode, and a second one from the state dict."""
    params = {"w": jnp.ones(2)}
    for mode, kind in [("min", "rel"), ("max", "rel"), ("min", "abs"), ("max", "abs")]:
        scheduler = lr.ReduceOnPlateau(1.0, mode, 0.5, 3, 1e-4, kind, 1, 0, 1e-8)
        tx = paddle.adam(scheduler)

        def epoch(carry: Any, metric: Any, scheduler: Any = scheduler) -> Any:
            carry = scheduler.step(*carry, metric)
            return carry, carry[0].hyper["learning_rate"]

        losses = np.sin(np.arange(30, dtype=np.float32))
        run = jax.jit(lambda carry, losses, epoch=epoch: jax.lax.scan(epoch, carry, losses))
        (state, plateau), rates = run((tx.init(params), scheduler.init()), losses)
        expected = plateaus(losses, mode, kind)
        wrong = "" if np.array_equal(rates, np.float32(expected)) else f"gives {rates}, not {expected}"
        known = scheduler.state_dict(state, plateau)
        again = scheduler.set_state_dict(tx.init(params), known)
        yield (
            f"a metric, {mode} and {kind}",
            wrong or ("" if scheduler.state_dict(*again) == known else "is not resumed"),
        )


def plateaus(losses: Any, mode: str, kind: str) -> list[float]:
    """Factor 0.5, patience 3, threshold 1e-4, cooldown 1, in words of the documentation."""
    best, rate, rest, bad, rates = None, 1.0, 0, 0, []
    for loss in map(float, losses):
        sign = 1 if mode == "min" else -1
        if rest:
            rest -= 1
        elif best is None or sign * (best - loss) > sign * (best * 1e-4 * sign if kind == "rel" else 1e-4 * sign):
            best, bad = loss, 0
        else:
            bad += 1
            if bad > 3:
                rest, bad, rate = 1, 0, rate / 2
        rates.append(rate)
    return rates
