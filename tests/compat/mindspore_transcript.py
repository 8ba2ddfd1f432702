"""What MindSpore's optimizers execute on the CPU, in float64 NumPy, leaf by leaf, in the framework's order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def f32(x: Any) -> float:
    return float(np.float32(x))


def at(x: Any, s: int) -> float:
    """A number, a vector or a function at global step s, as a float32 number."""
    if callable(x):
        return f32(x(s))
    return f32(x[s]) if isinstance(x, list) else f32(x)


class Rule:
    """One leaf: its parameter, its statistics, and what every optimizer does before its kernel."""

    lazy = False

    def __init__(self, w: Any, **options: Any) -> None:
        self.w, self.options = np.array(w, np.float64), options
        self.start()

    def start(self) -> None:
        raise NotImplementedError

    def kernel(self, g: Any, lr: float, t: int, rows: Any) -> None:
        """One step of the rows `rows` (all of them: `slice(None)`), in place."""
        raise NotImplementedError

    def step(self, g: Any, t: int, *, lr: Any, decay: Any, loss_scale: float, centralized: bool) -> None:
        """g: an array, or (indices, values)."""
        indices, g = g if isinstance(g, tuple) else (None, g)
        g = np.array(g, np.float64)
        coefficient = at(decay, t - 1) * loss_scale if callable(decay) else f32(decay * loss_scale)
        g = g + coefficient * (self.w if indices is None else self.w[indices])
        if centralized and self.w.ndim > 1 and self.w.shape[1] % 16 == 0:
            g = g - g.mean(axis=tuple(range(1, g.ndim)), keepdims=True)
        if loss_scale != 1.0:
            g = g * f32(1.0 / loss_scale)
        rows: Any = slice(None)
        if indices is not None:
            dense = np.zeros_like(self.w)
            np.add.at(dense, indices, g)
            rows = np.unique(indices) if self.lazy else slice(None)
            g = dense[rows]
        self.kernel(g, at(lr, t - 1), t, rows)


class Momentum(Rule):
    def start(self) -> None:
        self.v = np.zeros_like(self.w)

    def kernel(self, g: Any, lr: float, t: int, rows: Any) -> None:
        mu = f32(self.options["momentum"])
        self.v = mu * self.v + g
        self.w -= (g * lr + self.v * mu * lr) if self.options["use_nesterov"] else lr * self.v


class Adam(Rule):
    def start(self) -> None:
        self.m, self.v, self.x = (np.zeros_like(self.w) for _ in range(3))
        self.lazy = self.options["use_lazy"]

    def kernel(self, g: Any, lr: float, t: int, rows: Any) -> None:
        b1, b2, eps = (f32(self.options[name]) for name in ("beta1", "beta2", "eps"))
        c = lr * np.sqrt(1 - b2**t) / (1 - b1**t)
        m = self.m[rows] = b1 * self.m[rows] + (1 - b1) * g
        v = self.v[rows] = b2 * self.v[rows] + (1 - b2) * g * g
        if self.options["use_amsgrad"]:
            v = self.x[rows] = np.maximum(self.x[rows], v)
        elif self.options["use_nesterov"]:
            m = b1 * m + (1 - b1) * g
        self.w[rows] -= c * m / (np.sqrt(v) + eps)


class ProximalAdagrad(Rule):
    lazy = True

    def start(self) -> None:
        self.a = np.full_like(self.w, f32(self.options["accum"]))

    def kernel(self, g: Any, lr: float, t: int, rows: Any) -> None:
        l1, l2 = f32(self.options["l1"]), f32(self.options["l2"])
        a = self.a[rows] = self.a[rows] + g * g
        e = lr / np.sqrt(a)
        p = self.w[rows] - e * g
        self.w[rows] = np.sign(p) * np.maximum(np.abs(p) - e * l1, 0) / (1 + e * l2)


def run(
    rule: Callable[..., Rule], params: dict[str, Any], grads: list[dict[str, Any]], shared: Any, each: Any, options: Any
) -> list[dict[str, Any]]:
    """The parameters after each step. shared: what `step` takes, for all leaves; each: for some, by name."""
    rules = {name: rule(w, **options) for name, w in params.items()}
    found = []
    for t, now in enumerate(grads, start=1):
        for name, g in now.items():
            rules[name].step(g, t, **{**shared, **each.get(name, {})})
        found.append({name: rule.w.copy() for name, rule in rules.items()})
    return found
