"""One step with gradients of one: what the tables of good and bad arguments look at."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

import gradxform as gx

PARAMS = {"a": jnp.ones((3, 5)), "b": jnp.ones(3)}
GRADS = jax.tree.map(jnp.ones_like, PARAMS)


def stepped(tx: gx.GradientTransformation, grads: Any = GRADS, params: Any = PARAMS) -> Any:
    """The parameters after one step."""
    updates, _ = tx.update(grads, tx.init(params), params)
    return gx.apply_updates(params, updates)
