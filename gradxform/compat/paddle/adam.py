"""paddle's Adam and its kin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from gradxform.compat.common.float32 import in_float32
from gradxform.compat.common.groups import Groups, Members, flags
from gradxform.compat.common.parameters import ByParameter, Parameter
from gradxform.compat.common.unchecked import unchecked
from gradxform.compat.paddle.assembly import assembled
from gradxform.compat.paddle.attributes import GradientClip
from gradxform.compat.paddle.checks import (
    LearningRate,
    NumberLike,
    ParamAttrs,
    WeightDecay,
    at_least_zero,
    fractions,
    function_or_none,
    not_none,
    number,
)
from gradxform.compat.paddle.names import named
from gradxform.compat.paddle.rules import InItsDtype, PoweredAdam, PoweredAdamax, PoweredNadam, PoweredRadam, TrustRatio
from gradxform.core.arithmetic import is_zero
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.donated import refuse_deleted
from gradxform.core.hyper import Hyper, coerce
from gradxform.core.plain import got
from gradxform.core.rule import Rule
from gradxform.core.types import ArrayLike
from gradxform.params.select import Selector
from gradxform.strategies.lazy import lazy
from gradxform.transforms.decay import AddDecayedWeights


@named
def adam(
    learning_rate: LearningRate = 0.001,
    beta1: NumberLike = 0.9,
    beta2: NumberLike = 0.999,
    epsilon: NumberLike = 1e-8,
    weight_decay: WeightDecay = None,
    grad_clip: GradientClip | None = None,
    lazy_mode: bool = False,
    amsgrad: bool = False,
    groups: Groups | None = None,
    *,
    param_attr: ParamAttrs | None = None,
    frozen: Members | None = None,
) -> Chain:
    """`paddle.optimizer.Adam`: `w <- w - learning_rate·m̂ / (√v̂ + epsilon)`; other arguments as in `momentum`.

    lazy_mode: rows that a sparse gradient does not name rest (`gx.lazy`). amsgrad: for v the running maximum of v,
    taken before the correction. Each parameter counts its own steps, those at which it had a gradient.
    Reach: element; array or tree with a clip by norm. State: mu, nu (nu_max), as p; b1_power, b2_power, scalars.
    Raises: ValueError for None, a beta outside [0, 1) or epsilon < 0, and as `momentum`.
    Source: paddle 3.3.1, optimizer/adam.py.
    """
    _check(learning_rate, beta1, beta2, epsilon)

    def body(scaled: Chain, beta1: NumberLike, beta2: NumberLike, epsilon: NumberLike, lazy_mode: bool) -> Chain:
        return chain(_direction(beta1, beta2, epsilon, lazy_mode, amsgrad), scaled)

    options: dict[str, Any] = {"beta1": beta1, "beta2": beta2, "epsilon": epsilon, "lazy_mode": lazy_mode}
    return assembled(body, learning_rate, weight_decay, grad_clip, groups, param_attr, frozen, **options)


@named
def adamw(
    learning_rate: LearningRate = 0.001,
    beta1: NumberLike = 0.9,
    beta2: NumberLike = 0.999,
    epsilon: NumberLike = 1e-8,
    weight_decay: NumberLike | ArrayLike = 0.01,
    lr_ratio: Callable[[Any], float] | None = None,
    apply_decay_param_fun: Callable[[str], bool] | None = None,
    grad_clip: GradientClip | None = None,
    lazy_mode: bool = False,
    amsgrad: bool = False,
    groups: Groups | None = None,
    *,
    param_attr: ParamAttrs | None = None,
    frozen: Members | None = None,
) -> Chain:
    """`paddle.optimizer.AdamW`: `w <- w - learning_rate·(m̂ / (√v̂ + epsilon) + weight_decay·w)`.

    apply_decay_param_fun: a function of a parameter's name, here its path: whether it decays. lr_ratio: not on the
    CPU there, and not here; `param_attr` and `groups` have factors.
    Reach, state: as `adam`.
    Raises: as `adam`; TypeError for a weight_decay that is no number, NotImplementedError for lr_ratio.
    Source: paddle 3.3.1, optimizer/adamw.py.
    """
    _check(learning_rate, beta1, beta2, epsilon)
    _coefficient(weight_decay)
    if lr_ratio is not None:
        raise NotImplementedError(f"lr_ratio is not there on the CPU, {got(lr_ratio)}")
    function_or_none(apply_decay_param_fun=apply_decay_param_fun)
    where = None if apply_decay_param_fun is None else ByParameter(apply_decay_param_fun, by_name=True)

    def body(
        scaled: Chain,
        weight_decay: NumberLike | ArrayLike,
        beta1: NumberLike,
        beta2: NumberLike,
        epsilon: NumberLike,
        lazy_mode: bool,
    ) -> Chain:
        direction = _direction(beta1, beta2, epsilon, lazy_mode, amsgrad)
        return chain(direction, _decayed(in_float32(_coefficient(weight_decay)), where), scaled)

    options: dict[str, Any] = {"beta1": beta1, "beta2": beta2, "epsilon": epsilon, "lazy_mode": lazy_mode}
    shared = (learning_rate, weight_decay, grad_clip, groups, param_attr, frozen)
    return assembled(body, *shared, decoupled=True, **options)


@named
def adamax(
    learning_rate: LearningRate = 0.001,
    beta1: NumberLike = 0.9,
    beta2: NumberLike = 0.999,
    epsilon: NumberLike = 1e-8,
    weight_decay: WeightDecay = None,
    grad_clip: GradientClip | None = None,
    groups: Groups | None = None,
    *,
    param_attr: ParamAttrs | None = None,
    frozen: Members | None = None,
) -> Chain:
    """`paddle.optimizer.Adamax`: `u <- max(|g|, beta2·u + epsilon)`, `w <- w - learning_rate / (1 - beta1ᵗ)·m / u`.

    Reach: as `adam`. State: mu, nu (u), shaped like p; b1_power, scalar.
    Raises: as `adam`.
    Source: paddle 3.3.1, optimizer/adamax.py.
    """
    _check(learning_rate, beta1, beta2, epsilon)

    def body(scaled: Chain, **numbers: NumberLike) -> Chain:
        return chain(lift(_powered(PoweredAdamax(), **numbers)), scaled)

    options: dict[str, Any] = {"beta1": beta1, "beta2": beta2, "epsilon": epsilon}
    return assembled(body, learning_rate, weight_decay, grad_clip, groups, param_attr, frozen, **options)


@named
def nadam(
    learning_rate: LearningRate = 0.002,
    beta1: NumberLike = 0.9,
    beta2: NumberLike = 0.999,
    epsilon: NumberLike = 1e-8,
    momentum_decay: NumberLike = 0.004,
    weight_decay: WeightDecay = None,
    grad_clip: GradientClip | None = None,
    groups: Groups | None = None,
    *,
    param_attr: ParamAttrs | None = None,
    frozen: Members | None = None,
) -> Chain:
    """`paddle.optimizer.NAdam`: as `compat.torch.nadam`, with a momentum that warms up.

    Reach: as `adam`. State: mu, nu, shaped like p; decay_power, b2_power, mu_product, scalars of p's width.
    Raises: as `adam`; ValueError if momentum_decay < 0.
    Source: paddle 3.3.1, optimizer/nadam.py; Dozat 2016.
    """
    _check(learning_rate, beta1, beta2, epsilon)
    at_least_zero(momentum_decay=momentum_decay)

    def body(scaled: Chain, momentum_decay: NumberLike, **numbers: NumberLike) -> Chain:
        warming = in_float32(number("momentum_decay", momentum_decay))
        return chain(lift(unchecked(_moments(PoweredNadam(), **numbers), momentum_decay=warming)), scaled)

    options: dict[str, Any] = {"beta1": beta1, "beta2": beta2, "epsilon": epsilon, "momentum_decay": momentum_decay}
    return assembled(body, learning_rate, weight_decay, grad_clip, groups, param_attr, frozen, **options)


@named
def radam(
    learning_rate: LearningRate = 0.001,
    beta1: NumberLike = 0.9,
    beta2: NumberLike = 0.999,
    epsilon: NumberLike = 1e-8,
    weight_decay: WeightDecay = None,
    grad_clip: GradientClip | None = None,
    groups: Groups | None = None,
    *,
    param_attr: ParamAttrs | None = None,
    frozen: Members | None = None,
) -> Chain:
    """`paddle.optimizer.RAdam`: as `compat.torch.radam`, with epsilon beside √v.

    Reach: as `adam`. State: mu, nu, shaped like p; b1_power, b2_power, rho, scalars of p's width.
    Raises: as `adam`.
    Source: paddle 3.3.1, optimizer/radam.py; Liu et al. 2019, arXiv:1908.03265.
    """
    _check(learning_rate, beta1, beta2, epsilon)

    def body(scaled: Chain, **numbers: NumberLike) -> Chain:
        return chain(lift(_moments(PoweredRadam(), **numbers)), scaled)

    options: dict[str, Any] = {"beta1": beta1, "beta2": beta2, "epsilon": epsilon}
    return assembled(body, learning_rate, weight_decay, grad_clip, groups, param_attr, frozen, **options)


@named
def lamb(
    learning_rate: LearningRate = 0.001,
    lamb_weight_decay: NumberLike = 0.01,
    beta1: NumberLike = 0.9,
    beta2: NumberLike = 0.999,
    epsilon: NumberLike = 1e-6,
    grad_clip: GradientClip | None = None,
    exclude_from_weight_decay_fn: Callable[[Parameter], bool] | None = None,
    always_adapt: bool = False,
    groups: Groups | None = None,
    *,
    param_attr: ParamAttrs | None = None,
    frozen: Members | None = None,
) -> Chain:
    """`paddle.optimizer.Lamb`: `r = m̂ / (√v̂ + epsilon) + lamb_weight_decay·w`, `w <- w - learning_rate·(‖w‖ / ‖r‖)·r`.

    exclude_from_weight_decay_fn: a function of a parameter (its `name` is the path): whether it does not decay. Where
    nothing decays the ratio of norms is 1, unless always_adapt, which a group can't say; it is 1 where a norm is 0.
    Reach: array. State: as `adam`.
    Raises: ValueError for None, TypeError and so on as `momentum`.
    Source: paddle 3.3.1, optimizer/lamb.py; You et al. 2019, arXiv:1904.00962.
    """
    not_none(learning_rate=learning_rate, beta1=beta1, beta2=beta2, epsilon=epsilon)
    number("lamb_weight_decay", lamb_weight_decay)
    flags(always_adapt=always_adapt)

    def body(
        scaled: Chain,
        lamb_weight_decay: NumberLike,
        exclude_from_weight_decay_fn: Callable[[Parameter], bool] | None,
        **numbers: NumberLike,
    ) -> Chain:
        function_or_none(exclude_from_weight_decay_fn=exclude_from_weight_decay_fn)
        decay, excluded = in_float32(number("lamb_weight_decay", lamb_weight_decay)), exclude_from_weight_decay_fn
        where = None if excluded is None else ~ByParameter(excluded)
        adapted = lift(TrustRatio(), None if always_adapt else where)
        if is_zero(decay) and not always_adapt:
            adapted = chain()
        return chain(lift(_powered(PoweredAdam(), **numbers)), _decayed(decay, where), adapted, scaled)

    options: dict[str, Any] = {"beta1": beta1, "beta2": beta2, "epsilon": epsilon}
    options |= {"lamb_weight_decay": lamb_weight_decay, "exclude_from_weight_decay_fn": exclude_from_weight_decay_fn}
    return assembled(body, learning_rate, None, grad_clip, groups, param_attr, frozen, **options)


def _check(learning_rate: LearningRate, beta1: NumberLike, beta2: NumberLike, epsilon: NumberLike) -> None:
    not_none(learning_rate=learning_rate, beta1=beta1, beta2=beta2, epsilon=epsilon)
    fractions(beta1=beta1, beta2=beta2)
    at_least_zero(epsilon=epsilon)


def _moments(rule: Rule, beta1: NumberLike, beta2: NumberLike, epsilon: NumberLike) -> Rule:
    b1, b2, eps = map(in_float32, (number("beta1", beta1), number("beta2", beta2), number("epsilon", epsilon)))
    return unchecked(rule, b1=b1, b2=b2, eps=eps)


def _powered(rule: PoweredAdam | PoweredAdamax, beta1: NumberLike, beta2: NumberLike, epsilon: NumberLike) -> Rule:
    """The kernel has the betas in float32; the framework makes the first powers, in the parameter's dtype."""
    given = number("beta1", beta1), number("beta2", beta2)
    rule = rule.with_fields(begins=given if all(isinstance(x, float) for x in given) else None)
    return _moments(rule, beta1, beta2, epsilon)


def _direction(beta1: NumberLike, beta2: NumberLike, epsilon: NumberLike, lazy_mode: bool, amsgrad: bool) -> Chain:
    numbers = {"b1": number("beta1", beta1), "b2": number("beta2", beta2), "eps": number("epsilon", epsilon)}
    flags(amsgrad=amsgrad)
    direction = lift(InItsDtype(unchecked(PoweredAdam(amsgrad=bool(amsgrad)), **numbers)))
    return lazy(direction) if lazy_mode else direction


def _decayed(coefficient: Hyper, where: Selector | None) -> Chain:
    return chain() if is_zero(coefficient) else lift(unchecked(AddDecayedWeights(0.0), weight_decay=coefficient), where)


def _coefficient(x: object) -> Hyper:
    """AdamW's decay: a number, an array of one element, a schedule; neither a regularizer nor None."""
    refuse_deleted(weight_decay=x)
    if isinstance(x, jax.Array | np.ndarray) and not isinstance(x, jax.core.Tracer) and x.size == 1:
        return coerce("weight_decay", x.reshape(()))
    if x is None or isinstance(x, np.float32):
        raise TypeError(f"weight_decay must be a number, {got(x)}")
    return number("weight_decay", x)
