"""Optimizers around an average or slow weights: schedule-free ones and lookahead."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.chain import Chain, chain, stages_of
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.orders import refuse_renewal
from gradxform.core.plain import got
from gradxform.core.state import renewed
from gradxform.core.transform import GradientTransformation
from gradxform.core.types import Array, Dtype, OptState, Params, Transformation, Updates
from gradxform.core.value import Child
from gradxform.optimizers.rmsprop import scale_by_rms
from gradxform.optimizers.sgd import sgd
from gradxform.schedules import warmup_constant_schedule
from gradxform.transforms.average import pull_to_slow_weights
from gradxform.transforms.decay import add_decayed_weights
from gradxform.transforms.scale import descend
from gradxform.transforms.schedule_free import average_schedule_free


class RestartState(NamedTuple):
    """steps: int32 scalar, since the last restart. inner: the inner state."""

    steps: Array
    inner: OptState


class Restarted(GradientTransformation):
    """The inner transformation, its state made anew after every so many steps; what is tunable stays as it is set."""

    inner: Child[GradientTransformation]
    period: int
    wraps = ("inner",)
    renews = True
    name = "restarted"
    needs_params = True

    def _init(self, params: Params) -> RestartState:
        return RestartState(jnp.zeros((), jnp.int32), self.inner.init(params))

    def _update(
        self, updates: Updates, state: RestartState, params: Params, extra: dict[str, Any]
    ) -> tuple[Updates, OptState]:
        if params is None:
            raise ValueError("restarted needs the parameters: call update(updates, state, params)")
        state = self._admitted(state, params, updates)
        new, inner = self.inner.update(updates, state.inner, params, **extra)
        steps = (state.steps + 1) % self.period
        fresh = renewed(self.inner.init(params), inner)
        return new, RestartState(steps, jax.tree.map(lambda a, b: jnp.where(steps == 0, a, b), fresh, inner))

    def _evaluate(self, state: RestartState, params: Params) -> Params:
        return self.inner._evaluate(self._admitted(state, params).inner, params)


def lookahead(
    fast_optimizer: Transformation, sync_period: int, slow_step_size: Hyper, reset_state: bool = False
) -> Chain:
    """k steps forward, 1 step back: `chain(fast_optimizer, pull_to_slow_weights(sync_period, slow_step_size))`.

    The parameters are the fast weights, as of any optimizer; the slow ones live in the state, and `eval_params` gives
    them (optax carries both as `LookaheadParams`). reset_state: make the fast optimizer's state anew after each pull.
    Raises: as `pull_to_slow_weights`; TypeError if fast_optimizer is no transformation; ValueError for a control in it
    that would count calls between its steps, or count anew.
    Source: Zhang et al. 2019, arXiv:1907.08610, algorithm 1.
    """
    fast = Chain(stages_of(fast_optimizer, "fast_optimizer"))
    check.integer(1, sync_period=sync_period)
    check.boolean(reset_state=reset_state)
    pull = check.given(check.unit, slow_step_size=slow_step_size)
    if reset_state:
        refuse_renewal("lookahead", fast)
    return chain(Restarted(fast, int(sync_period)) if reset_state else fast, pull_to_slow_weights(sync_period, pull))


def schedule_free(
    base_optimizer: Transformation, learning_rate: Hyper, b1: Beta = 0.9, weight_lr_power: Hyper = 2.0,
    state_dtype: Dtype | None = None,
) -> Chain:  # fmt: skip
    """Make an optimizer without momentum schedule-free: `chain(base_optimizer, average_schedule_free(...))`.

    learning_rate: the base optimizer's, warmup included, no decay; both are read at the same step (optax reads this one
    a step ahead, which shows while it changes).
    Raises: as `average_schedule_free`; TypeError if base_optimizer is no transformation.
    Source: Defazio et al. 2024, arXiv:2405.15682, algorithm 1.
    """
    base = Chain(stages_of(base_optimizer, "base_optimizer"))
    return chain(base, average_schedule_free(learning_rate, b1, weight_lr_power, state_dtype=state_dtype))


def schedule_free_sgd(
    learning_rate: Hyper = 1.0, warmup_steps: int | None = None, b1: Beta = 0.9,
    weight_decay: Hyper | None = None, weight_lr_power: Hyper = 2.0, state_dtype: Dtype | None = None,
) -> Chain:  # fmt: skip
    """Schedule-free SGD: `schedule_free(chain(add_decayed_weights, sgd(learning_rate)), learning_rate, ...)`.

    The decay is taken at y. warmup_steps: raise the rate from 0 in so many steps.
    Source: Defazio et al. 2024, arXiv:2405.15682, equations 3 to 5.
    """
    rate = _warmed(learning_rate, warmup_steps)
    decay = chain() if weight_decay is None else add_decayed_weights(weight_decay)
    return schedule_free(chain(decay, sgd(rate)), rate, b1, weight_lr_power, state_dtype)


def schedule_free_adamw(
    learning_rate: Hyper = 0.0025, warmup_steps: int | None = None, b1: Beta = 0.9, b2: Beta = 0.999, eps: Hyper = 1e-8,
    weight_decay: Hyper = 0.0, weight_lr_power: Hyper = 2.0, state_dtype: Dtype | None = None,
) -> Chain:  # fmt: skip
    """Schedule-free AdamW: Adam without first moment (`scale_by_rms`, corrected), decay, rate, and the average.

    The decay is taken at y. warmup_steps: raise the rate from 0 in so many steps.
    Source: Defazio et al. 2024, arXiv:2405.15682, algorithm 1.
    """
    rate = _warmed(learning_rate, warmup_steps)
    decay = check.given(check.fraction, b2=b2)
    direction = scale_by_rms(decay, eps, eps_in_sqrt=False, bias_correction=True)
    base = chain(direction, add_decayed_weights(weight_decay), descend(rate))
    return schedule_free(base, rate, b1, weight_lr_power, state_dtype)


def _warmed(learning_rate: Hyper, warmup_steps: int | None) -> Hyper:
    rate = check.given(check.nonnegative, learning_rate=learning_rate)
    if warmup_steps is None:
        return rate
    check.integer(1, warmup_steps=warmup_steps)
    if not isinstance(rate, float):
        raise TypeError(f"learning_rate must be a number where warmup_steps is given, {got(rate)}")
    return warmup_constant_schedule(0.0, rate, warmup_steps)
