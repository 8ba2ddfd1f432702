"""Rows of padding in a sparse gradient: to every optimizer that takes one, they are not there."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat import mindspore, paddle, torch

TAKE_ROWS = {
    "mindspore.adam": mindspore.adam(0.1, weight_decay=0.1, loss_scale=4.0),
    "mindspore.adam, lazy": mindspore.adam(0.1, weight_decay=0.1, loss_scale=4.0, use_lazy=True),
    "mindspore.proximal_adagrad": mindspore.proximal_adagrad(l1=0.1, weight_decay=0.1),
    "mindspore.ftrl": mindspore.ftrl(l1=0.1, weight_decay=0.1),
    "torch.sgd": torch.sgd(0.1, momentum=0.9, weight_decay=0.1),
    "torch.adagrad": torch.adagrad(),
    "torch.sparse_adam": torch.sparse_adam(),
    "paddle.momentum": paddle.momentum(weight_decay=0.1, grad_clip=paddle.ClipGradByGlobalNorm(0.5)),
    "paddle.adam, lazy": paddle.adam(lazy_mode=True),
}


@pytest.mark.parametrize("name", TAKE_ROWS)
def test_padding_changes_nothing(name: str) -> None:
    """Indices below 0 and past the end, between rows that repeat."""
    rng = np.random.default_rng(0)
    table = jnp.asarray(rng.normal(size=(6, 3)), jnp.float32)
    values = rng.normal(size=(5, 3)).astype(np.float32)
    padded = gx.Rows(jnp.array([2, -1, 2, 6, 0]), jnp.asarray(values), (6, 3))
    bare = gx.Rows(jnp.array([2, 2, 0]), jnp.asarray(values[[0, 2, 4]]), (6, 3))
    tx, found = TAKE_ROWS[name], []
    for rows in (padded, bare):
        params, state = {"table": table}, tx.init({"table": table})
        for _ in range(3):
            updates, state = tx.update({"table": rows}, state, params)
            params = gx.apply_updates(params, updates)
        found.append(params["table"])
    assert np.any(np.asarray(found[0]) != np.asarray(table))
    np.testing.assert_array_equal(*found)
