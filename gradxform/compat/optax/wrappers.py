"""optax's wrappers that decide about a step, both cases in one pass over each array where that is no more work."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from gradxform.core.arithmetic import safe_increment
from gradxform.core.types import Array, OptState, Params, Tree, Updates
from gradxform.transforms import targets


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
    """optax's, whose step traces the inner one once."""

    def update(
        self, updates: Updates, state: optax.MultiStepsState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, optax.MultiStepsState]:
        k, n = self._every_k_schedule(state.gradient_step), state.mini_step
        skips, skip_state = self._should_skip_update_fn(updates, state.gradient_step, params)
        if (skips.dtype, skips.shape) != (jnp.bool_, ()):
            raise ValueError(f"should_skip_update_fn must return a boolean scalar, got {skips.dtype}{skips.shape}")
        acc = jax.tree.map(lambda u, a: self._acc_update(u, a, n_acc=n), updates, state.acc_grads)
        grads = jax.tree.map(lambda a, u: a.astype(jnp.result_type(u)), acc, updates)
        new, after = self._opt.update(grads, state.inner_opt_state, params=params, **extra)
        due = (n == k - 1) & ~skips
        acc = jax.tree.map(lambda a: jnp.where(due, 0, a).astype(self._accumulator_dtype), acc)
        return jax.tree.map(lambda u: jnp.where(due, u, jnp.zeros_like(u)), new), optax.MultiStepsState(
            mini_step=jnp.where(skips, n, safe_increment(n) % k),
            gradient_step=jnp.where(due, safe_increment(state.gradient_step), state.gradient_step),
            inner_opt_state=chosen(due, after, state.inner_opt_state),
            acc_grads=chosen(~skips, acc, state.acc_grads),
            skip_state=skip_state,
        )


def conditionally(
    theirs: Callable[..., optax.GradientTransformation], rest: Callable[[Updates], Updates]
) -> Callable[..., optax.GradientTransformationExtraArgs]:
    """One of optax's wrappers that ask a function whether to transform; rest: the updates where it says no."""

    @functools.wraps(theirs)
    def made(
        inner: optax.GradientTransformation, should_transform_fn: Callable[..., Any], forward_extra_args: bool = False
    ) -> optax.GradientTransformationExtraArgs:
        step = optax.with_extra_args_support(inner).update

        def update(
            updates: Updates, state: Any, params: Params | None = None, **extra: Any
        ) -> tuple[Updates, OptState]:
            new, after = either(
                should_transform_fn(state.step, **(extra if forward_extra_args else {})),
                lambda: step(updates, state.inner_state, params, **extra),
                lambda: (rest(updates), state.inner_state),
            )
            return new, state._replace(inner_state=after, step=safe_increment(state.step))

        return theirs(inner, should_transform_fn, forward_extra_args)._replace(update=update)

    return made


def either(taken: Any, yes: Callable[[], Any], no: Callable[[], Any]) -> Any:
    """One of the two, and nothing to compile where it is known which."""
    if isinstance(taken, jax.core.Tracer):
        return jax.lax.cond(taken, yes, no)
    return yes() if taken else no()


def incremental_update(new_tensors: Params, old_tensors: Params, step_size: Any) -> Params:
    """Move a slow copy of the parameters; optax's dtypes are the copy's where all are float32."""
    alike = all(jnp.result_type(x) == jnp.float32 for x in jax.tree.leaves((new_tensors, old_tensors)))
    move = targets.incremental_update if alike and not jnp.ndim(step_size) else optax.incremental_update
    return move(new_tensors, old_tensors, step_size)


def value_and_grad_from_state(value_fn: Callable[..., Any]) -> Callable[..., tuple[Any, Updates]]:
    """Value and gradient, from the state of a line search where it has them."""

    def value_and_grad(params: Params, *args: Any, state: OptState, **kwargs: Any) -> Any:
        value, grad = (optax.tree_utils.tree_get(state, name) for name in ("value", "grad"))
        if value is None or grad is None:
            raise ValueError("the state holds no value, or no gradient: a line search that stores them keeps both")
        fresh = functools.partial(jax.value_and_grad(value_fn), params, *args, **kwargs)
        return either(jnp.isfinite(value), lambda: (value, grad), fresh)

    return value_and_grad


def apply_every(k: Any = 1) -> optax.GradientTransformation:
    """Add up the updates of a window, and give the sum at its end."""

    def update(
        updates: Updates, state: optax.ApplyEvery, params: Params | None = None
    ) -> tuple[Updates, optax.ApplyEvery]:
        n = state.count % k
        acc = jax.tree.map(lambda u, a: jnp.where(n == 0, u, u + a), updates, state.grad_acc)
        new = jax.tree.map(lambda a: jnp.where(n == k - 1, a, jnp.zeros_like(a)), acc)
        return new, optax.ApplyEvery(safe_increment(state.count) % k, acc)

    return optax.apply_every(k)._replace(update=update)


def lookahead(
    fast_optimizer: optax.GradientTransformation, sync_period: Any, slow_step_size: Any, reset_state: bool = False
) -> optax.GradientTransformation:
    """Pull fast parameters back to slow ones, and those towards them, every so many steps."""

    def update(
        updates: Updates, state: optax.LookaheadState, params: optax.LookaheadParams
    ) -> tuple[optax.LookaheadParams, optax.LookaheadState]:
        us, fast = fast_optimizer.update(updates, state.fast_state, params.fast)
        due = state.steps_since_sync == sync_period - 1
        ahead = jax.tree.map(lambda f, u, s: f + u - s, params.fast, us, params.slow)
        slow = jax.tree.map(lambda d: jnp.where(due, slow_step_size * d, jnp.zeros_like(d)), ahead)
        us = jax.tree.map(lambda u, d: jnp.where(due, u - (1 - slow_step_size) * d, u), us, ahead)
        if reset_state:
            fast = chosen(due, fast_optimizer.init(params.fast), fast)
        steps = (state.steps_since_sync + 1) % sync_period
        return optax.LookaheadParams(us, slow), optax.LookaheadState(fast, steps)

    made = optax.lookahead(fast_optimizer, sync_period, slow_step_size, reset_state)
    return made._replace(update=update)


def sam(
    optimizer: optax.GradientTransformation, adv_optimizer: optax.GradientTransformation, sync_period: Any = 2,
    reset_state: bool = True, opaque_mode: bool = False, batch_axis_name: Any = None,
) -> optax.GradientTransformationExtraArgs:  # fmt: skip
    """Step uphill before each step down, which is from where that began."""
    made = optax.contrib.sam(optimizer, adv_optimizer, sync_period, reset_state, opaque_mode, batch_axis_name)

    def update(updates: Updates, state: Any, params: Params, *, grad_fn: Any = None) -> tuple[Updates, Any]:
        first, last = state.steps_since_sync == 0, state.steps_since_sync == sync_period - 1
        down, adversary = adv_optimizer.update(updates, state.adv_state, params)
        us, inner = optimizer.update(updates, state.opt_state, state.cache)
        us = jax.tree.map(lambda c, p, u, d: jnp.where(last, c - p + u, -d), state.cache, params, us, down)
        start = adv_optimizer.init(params) if reset_state else state.adv_state
        return us, state._replace(
            steps_since_sync=(state.steps_since_sync + 1) % sync_period,
            opt_state=chosen(last, inner, state.opt_state),
            adv_state=chosen(last, start, adversary),
            cache=chosen(first, params, state.cache),
        )

    return made if opaque_mode else made._replace(update=update)


def chosen(taken: Array, new: OptState, old: OptState) -> Tree:
    """The new state where the step is taken, in the old one's dtypes."""

    def one(n: Any, o: Any) -> Array:
        x = jnp.where(taken, n, o)
        return x if x.dtype == jnp.result_type(o) else x.astype(jnp.result_type(o))  # keys have no astype

    return jax.tree.map(one, new, old)
