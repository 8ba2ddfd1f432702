"""optax's wrappers that decide whether a step is taken, without a branch: both cases in one pass over each array."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from gradxform.core.arithmetic import safe_increment
from gradxform.core.types import Array, OptState, Params, Tree, Updates


def apply_if_finite(
    inner: optax.GradientTransformation, max_consecutive_errors: int
) -> optax.GradientTransformationExtraArgs:
    """Leave out updates that are not finite, and take them after so many in a row."""
    made = optax.apply_if_finite(inner, max_consecutive_errors)
    step = optax.with_extra_args_support(inner).update

    def update(
        updates: Updates, state: optax.ApplyIfFiniteState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, optax.ApplyIfFiniteState]:
        finite = jnp.all(jnp.array([jnp.isfinite(x).all() for x in jax.tree.leaves(updates)], bool))
        row = jnp.where(finite, 0, safe_increment(state.notfinite_count))
        new, after = step(updates, state.inner_state, params, **extra)
        taken = finite | (row > max_consecutive_errors)
        found = jnp.where(finite, state.total_notfinite, safe_increment(state.total_notfinite))
        new = jax.tree.map(lambda u: jnp.where(taken, u, jnp.zeros_like(u)), new)
        return new, optax.ApplyIfFiniteState(row, finite, found, chosen(taken, after, state.inner_state))

    return optax.GradientTransformationExtraArgs(made.init, update)


class MultiSteps(optax.MultiSteps):  # type: ignore[misc]
    """optax's, whose step traces the inner one once unless a function of the user's decides about it."""

    def __init__(
        self,
        opt: optax.GradientTransformation,
        every_k_schedule: Any,
        use_grad_mean: bool = True,
        should_skip_update_fn: optax.ShouldSkipUpdateFunction | None = None,
        accumulator_dtype: Any = jnp.float32,
    ) -> None:
        super().__init__(opt, every_k_schedule, use_grad_mean, should_skip_update_fn, accumulator_dtype)
        self.asks = should_skip_update_fn is not None

    def update(
        self, updates: Updates, state: optax.MultiStepsState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, optax.MultiStepsState]:
        if self.asks:
            asked: tuple[Updates, optax.MultiStepsState] = super().update(updates, state, params, **extra)
            return asked
        k, n = self._every_k_schedule(state.gradient_step), state.mini_step
        acc = jax.tree.map(lambda u, a: self._acc_update(u, a, n_acc=n), updates, state.acc_grads)
        grads = jax.tree.map(lambda a, u: a.astype(jnp.result_type(u)), acc, updates)
        new, after = self._opt.update(grads, state.inner_opt_state, params=params, **extra)
        due = n == k - 1
        return jax.tree.map(lambda u: jnp.where(due, u, jnp.zeros_like(u)), new), optax.MultiStepsState(
            mini_step=safe_increment(n) % k,
            gradient_step=jnp.where(due, safe_increment(state.gradient_step), state.gradient_step),
            inner_opt_state=chosen(due, after, state.inner_opt_state),
            acc_grads=jax.tree.map(lambda a: jnp.where(due, 0, a).astype(self._accumulator_dtype), acc),
        )


def chosen(taken: Array, new: OptState, old: OptState) -> Tree:
    """The new state where the step is taken, in the old one's dtypes."""
    return jax.tree.map(lambda n, o: jnp.where(taken, n, o).astype(jnp.result_type(o)), new, old)
