"""Slow copies of parameters that follow them between steps: target networks, averages kept by hand."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core import check
from gradxform.core.arithmetic import cast, compute_dtype
from gradxform.core.types import Array, ArrayLike, Params


def incremental_update(new_tensors: Params, old_tensors: Params, step_size: ArrayLike) -> Params:
    """Move a slow copy of the parameters towards them: `step_size·new + (1 - step_size)·old`, leaf by leaf.

    For a target network, or an average kept beside the training; `ema_of_params` keeps one in the state. Computed in
    float32 or wider, and rounded once to the copy's dtype, which never changes. A leaf that is None stays None.
    step_size: a number or a scalar array; in [0, 1] it is a mean.
    Raises: ValueError for trees that differ, or a step_size by element.
    """
    if np.ndim(step_size):
        raise ValueError(f"step_size must be a scalar, got shape {np.shape(step_size)}")

    def moved(new: Any, old: Any) -> Array | None:
        if new is None:
            return None
        wide = jnp.promote_types(*(compute_dtype(jnp.result_type(x)) for x in (new, old)))
        share = jnp.asarray(step_size, wide)
        return cast(share * jnp.asarray(new, wide) + (1 - share) * jnp.asarray(old, wide), jnp.result_type(old))

    return jax.tree.map(moved, new_tensors, old_tensors, is_leaf=lambda x: x is None)


def periodic_update(new_tensors: Params, old_tensors: Params, steps: ArrayLike, update_period: ArrayLike) -> Params:
    """Take the parameters for the slow copy at every update_period-th step, and keep it otherwise.

    `new if steps mod update_period = 0 else old`, leaf by leaf, in the copy's dtype: as target networks are renewed.
    steps: the number of updates done, a number or a scalar array.
    Raises: ValueError for trees that differ, steps of more than one number, or update_period below 1.
    """
    if not isinstance(update_period, jax.core.Tracer):
        check.integer(1, update_period=update_period)
    if np.ndim(steps):
        raise ValueError(f"steps must be a scalar, got shape {np.shape(steps)}")
    due = jnp.mod(jnp.asarray(steps), update_period) == 0
    return jax.tree.map(
        lambda new, old: jnp.where(due, cast(jnp.asarray(new), jnp.result_type(old)), old), new_tensors, old_tensors
    )
