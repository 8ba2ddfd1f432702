"""optax's wrappers that steer where a step lands, by our rules."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import optax
import optax.contrib

from gradxform.compat.optax.stages import REFUSALS, in_dtypes_of
from gradxform.core.arithmetic import compute_dtype, safe_increment
from gradxform.core.state import State
from gradxform.core.types import Array, Dtype, OptState, Params, Structure, Tree, Updates
from gradxform.optimizers.mechanic import LearnScale, Start, Wealth
from gradxform.transforms.schedule_free import ScheduleFree, average_schedule_free, averaged

NAME = "average_schedule_free"
"""Of the stage, in its state."""
Update = Callable[..., tuple[Updates, OptState]]


def schedule_free(
    base_optimizer: optax.GradientTransformation, learning_rate: Any, b1: Any = 0.9, weight_lr_power: Any = 2.0,
    state_dtype: Dtype | None = None,
) -> optax.GradientTransformationExtraArgs:  # fmt: skip
    """Average the iterates of an optimizer."""
    made = optax.contrib.schedule_free(base_optimizer, learning_rate, b1, weight_lr_power, state_dtype)
    base = optax.with_extra_args_support(base_optimizer).update

    def update(grads: Updates, state: Any, params: Params | None, **extra: Any) -> tuple[Updates, OptState]:
        rate = learning_rate(state.step_count) if callable(learning_rate) else learning_rate
        average = average_schedule_free(rate, b1, weight_lr_power)
        us, inner = base(grads, state.base_optimizer_state, params, **extra)
        shared = _wide((state.weight_sum, state.max_lr, state.b1))
        kept = State(state.step_count - 1, [{NAME: ScheduleFree(z, *shared)} for z in _wide(state.z)], {}, {})
        moved, after = average.update(_wide(us), kept, _wide(params))
        new, structure = [memory[NAME] for memory in after.leaves], cast(Structure, jax.tree.structure(us))
        return structure.unflatten(moved), state._replace(
            weight_sum=new[0].weight_sum, step_count=safe_increment(state.step_count), max_lr=new[0].max_lr,
            base_optimizer_state=inner, z=structure.unflatten([memory.z for memory in new]),
        )  # fmt: skip

    return made._replace(update=_or_optaxs(update, made.update))


def schedule_free_eval_params(state: Any, params: Params) -> Params:
    """The average."""
    theirs = optax.contrib.schedule_free_eval_params
    try:
        b1, z = jnp.asarray(state.b1, compute_dtype(state.b1.dtype)), state.z
        averages = [averaged(*pair, b1) for pair in zip(_wide(params), _wide(z), strict=True)]
    except (AttributeError, *REFUSALS):
        return theirs(state, params)
    return in_dtypes_of(theirs, cast(Structure, jax.tree.structure(params)).unflatten(averages), state, params)


def mechanize(
    base_optimizer: optax.GradientTransformation, weight_decay: Any = 1e-2, eps: Any = 1e-8, s_init: Any = 1e-6,
    num_betas: Any = 6,
) -> optax.GradientTransformationExtraArgs:  # fmt: skip
    """Learn the scale of an optimizer's steps."""
    made = optax.contrib.mechanize(base_optimizer, weight_decay, eps, s_init, num_betas)
    base = optax.with_extra_args_support(base_optimizer).update

    def update(updates: Updates, state: Any, params: Params | None, **extra: Any) -> tuple[Updates, OptState]:
        rule = LearnScale(weight_decay, eps, s_init, num_betas)
        us, inner = base(updates, state.base_optimizer_state, params, **extra)
        x0 = jax.tree.map(lambda p, x: jnp.where(state.count == 0, p, x), params, state.x0)
        gs, ps, starts = _wide(updates), _wide(params), list(map(Start, _wide(x0)))
        wealth = Wealth(*_wide((state.r, state.m, state.v, state.s)))
        k, wealth = rule.measure([], wealth, state.count, grads=gs, ps=ps, ms=starts)
        moved = [rule.update(u, s, p, k)[0] for u, s, p in zip(_wide(us), starts, ps, strict=True)]
        return cast(Structure, jax.tree.structure(us)).unflatten(moved), state._replace(
            base_optimizer_state=inner, count=safe_increment(state.count), x0=x0, **wealth._asdict()
        )

    return made._replace(update=_or_optaxs(update, made.update))


def _or_optaxs(ours: Update, theirs: Update) -> Update:
    """Our update in the dtypes of optax's, which makes the step where ours refuses."""

    @functools.wraps(theirs)
    def update(
        updates: Updates, state: OptState, params: Params | None = None, **extra: Any
    ) -> tuple[Updates, OptState]:
        try:
            result = ours(updates, state, params, **extra)
        except REFUSALS:
            return theirs(updates, state, params, **extra)
        given: tuple[Updates, OptState] = in_dtypes_of(theirs, result, updates, state, params, **extra)
        return given

    return update


def _wide(tree: Tree) -> list[Array]:
    return [jnp.asarray(x, compute_dtype(jnp.result_type(x))) for x in jax.tree.leaves(tree)]
