"""torch's optimizers as they run here, step by step, to stand beside ours."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import jax
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat import torch as compat
from gradxform.compat import torch_schedules
from tests.trajectories import double, near

torch = pytest.importorskip("torch")
SHAPES = {"kernel": (4, 3), "bias": (5,), "scale": (6,)}
STEPS = 6
RTOL = {"float32": 2e-6, "float64": 1e-12}


def data(seed: int, dtype: str, missing: Any = ()) -> tuple[Any, Any]:
    """Parameters, and gradients for each step; missing: pairs of a step and a leaf that has none there."""
    rng = np.random.default_rng(seed)
    params = {name: rng.normal(size=shape).astype(dtype) for name, shape in SHAPES.items()}
    grads = [{name: rng.normal(size=shape).astype(dtype) for name, shape in SHAPES.items()} for _ in range(STEPS)]
    return params, [{n: None if (k, n) in missing else g for n, g in now.items()} for k, now in enumerate(grads)]


def theirs(make: Any, params: Any, grads: Any, groups: Any, **kwargs: Any) -> list[Any]:
    """Copies of the parameters after each step of torch."""
    leaves = {name: torch.tensor(w, requires_grad=True) for name, w in params.items()}
    listed = list(leaves.values())
    if groups is not None:
        listed = [{**group, "params": [leaves[name] for name in group["params"]]} for group in groups]
    opt, after = make(listed, **kwargs), []
    for now in grads:
        for name, g in now.items():
            leaves[name].grad = None if g is None else torch.tensor(g)
        opt.step()
        after.append({name: w.detach().numpy().copy() for name, w in leaves.items()})
    return after


def ours(tx: gx.GradientTransformation, params: Any, grads: Any) -> list[Any]:
    @jax.jit
    def run(params: Any, grads: Any) -> list[Any]:
        state, after = tx.init(params), []
        for now in grads:
            updates, state = tx.update(now, state, params)
            params = gx.apply_updates(params, updates)
            after.append(params)
        return after

    return run(params, grads)


def agree(name: str, seed: int, dtype: str, missing: Any = (), groups: Any = None, **kwargs: Any) -> None:
    """Each leaf after each step, to rounding, relative to its largest value."""
    params, grads = data(seed, dtype, missing)
    theirs_name, ours_name = name.split("/")
    expected = theirs(getattr(torch.optim, theirs_name), params, grads, groups, **kwargs)
    with double() if dtype == "float64" else nullcontext():
        found = ours(getattr(compat, ours_name)(**kwargs, groups=groups), params, grads)
        for now, then in zip(found, expected, strict=True):
            assert {w.dtype.name for w in now.values()} == {dtype}
            near(now, then, RTOL[dtype])


def agree_in_groups(name: str, dtype: str, **kwargs: Any) -> None:
    """One leaf rests at two steps; two groups, one with a rate of its own."""
    groups = [{"params": ["bias"], "lr": 0.05}, {"params": ["scale", "kernel"]}]
    agree(name, 1, dtype, {(0, "bias"), (3, "kernel")}, groups, **kwargs)


def agree_where_the_rate_falls(name: str) -> None:
    """A parameter has no gradient at the first two steps, while the rate falls."""
    theirs_name, ours_name = name.split("/")
    params, grads = data(5, "float32", {(0, "bias"), (1, "bias")})
    leaves = {leaf: torch.tensor(w, requires_grad=True) for leaf, w in params.items()}
    opt = getattr(torch.optim, theirs_name)(list(leaves.values()), lr=0.1)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(opt, 0.5)
    for now in grads:
        for leaf, g in now.items():
            leaves[leaf].grad = None if g is None else torch.tensor(g)
        opt.step()
        scheduler.step()
    found = ours(getattr(compat, ours_name)(torch_schedules.ExponentialLR(0.1, 0.5)), params, grads)[-1]
    near(found, {leaf: w.detach().numpy() for leaf, w in leaves.items()}, RTOL["float32"])
