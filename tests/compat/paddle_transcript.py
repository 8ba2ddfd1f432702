"""What paddle's Momentum executes, in float64 NumPy, with clips, decays, groups and attributes."""

from __future__ import annotations

from typing import Any

import numpy as np


def clipped(clip: Any, grads: dict[str, Any]) -> dict[str, Any]:
    """One group's gradients."""
    if clip is None:
        return grads
    kind, c = clip
    if kind == "value":
        return {name: np.clip(g, -c / 2, c) for name, g in grads.items()}
    if kind == "norm":
        return {name: g * min(1.0, c / np.linalg.norm(g)) for name, g in grads.items()}
    norm = np.sqrt(sum((g**2).sum() for g in grads.values()))
    return {name: g * c / max(norm, c) for name, g in grads.items()}


def transcript(params: dict[str, Any], grads: list[dict[str, Any]], groups: list[dict[str, Any]], rate: Any, own: Any):
    """groups: `names` and all options of each, `beside` the optimizer's L1 decay; own: attributes of parameters."""
    w = dict(params)
    v = {name: np.zeros_like(x) for name, x in params.items()}
    for k, now in enumerate(grads):
        for group in groups:
            mine = {name: now[name] for name in group["names"]}
            free = {name: g for name, g in mine.items() if own.get(name, {}).get("need_clip", True)}
            for name, g in {**mine, **clipped(group["grad_clip"], free)}.items():
                said = own.get(name, {})
                for kind, by in filter(None, (group.get("beside"), said.get("regularizer") or group["weight_decay"])):
                    g = g + (by * np.sign(w[name]) if kind == "L1" else float(np.float32(by)) * w[name])
                mu = float(np.float32(group["momentum"]))
                v[name] = mu * v[name] + g
                step = g + mu * v[name] if group["use_nesterov"] else v[name]
                w[name] = w[name] - rate(k) * group["learning_rate"] * said.get("learning_rate", 1.0) * step
    return w
