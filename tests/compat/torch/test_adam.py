"""torch's Adam and its kin beside torch itself, step by step."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat import torch as compat
from tests.compat.torch.live import RTOL, STEPS, agree_in_groups, ours
from tests.trajectories import double, near

torch = pytest.importorskip("torch")

KIN: list[tuple[str, dict[str, Any]]] = [
    ("Adam/adam", {"lr": 0.1, "betas": (0.8, 0.95), "weight_decay": 0.1, "amsgrad": True}),
    ("AdamW/adamw", {"lr": 0.1, "betas": (0.8, 0.95), "weight_decay": 0.1, "maximize": True}),
    ("Adamax/adamax", {"lr": 0.1, "betas": (0.8, 0.95), "weight_decay": 0.1}),
    ("NAdam/nadam", {"lr": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam/radam", {"lr": 0.1, "betas": (0.8, 0.95), "weight_decay": 0.1}),
]


@pytest.mark.parametrize("dtype", RTOL)
@pytest.mark.parametrize(("name", "kwargs"), KIN, ids=[name.split("/")[1] for name, _ in KIN])
def test_adam_and_its_kin(name: str, kwargs: dict[str, Any], dtype: str) -> None:
    agree_in_groups(name, dtype, **kwargs)


@pytest.mark.parametrize("dtype", RTOL)
def test_sparse_adam(dtype: str) -> None:
    """Rows 0 and 2 at turns, row 1 twice at each step."""
    rng = np.random.default_rng(2)
    start = rng.normal(size=(4, 3)).astype(dtype)
    indices = [np.array([1, 2 * (k % 2), 1]) for k in range(STEPS)]
    values = rng.normal(size=(STEPS, 3, 3)).astype(dtype)
    w = torch.tensor(start, requires_grad=True)
    opt, expected = torch.optim.SparseAdam([w], lr=0.1, betas=(0.8, 0.95)), []
    for at, rows in zip(indices, values, strict=True):
        w.grad = torch.sparse_coo_tensor(torch.tensor(at)[None], torch.tensor(rows), w.shape, check_invariants=True)
        opt.step()
        expected.append({"table": w.detach().numpy().copy()})
    with double() if dtype == "float64" else nullcontext():
        grads = [
            {"table": gx.Rows(jnp.asarray(at), jnp.asarray(rows), start.shape)}
            for at, rows in zip(indices, values, strict=True)
        ]
        found = ours(compat.sparse_adam(0.1, (0.8, 0.95)), {"table": start}, grads)
        for now, then in zip(found, expected, strict=True):
            near(now, then, RTOL[dtype])
