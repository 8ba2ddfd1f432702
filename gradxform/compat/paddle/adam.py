"""paddle's Adam and its kin."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from gradxform.compat.common.float32 import in_float32
from gradxform.compat.common.moments import EpsilonHatRadam, WarmedNadam
from gradxform.compat.common.own_clock import own_clock
from gradxform.compat.common.unchecked import unchecked
from gradxform.compat.paddle.assembly import assembled
from gradxform.compat.paddle.checks import at_least_zero, fractions, given, number
from gradxform.compat.paddle.rules import ByParameter, InItsDtype, PoweredAdam, PoweredAdamax
from gradxform.core.arithmetic import is_zero
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.rule import Rule
from gradxform.params.select import Selector
from gradxform.strategies.lazy import lazy
from gradxform.transforms.decay import AddDecayedWeights
from gradxform.transforms.scale import ScaleByTrustRatio


def adam(
    learning_rate: Any = 0.001,
    beta1: Any = 0.9,
    beta2: Any = 0.999,
    epsilon: Any = 1e-8,
    weight_decay: Any = None,
    grad_clip: Any = None,
    lazy_mode: bool = False,
    amsgrad: bool = False,
    groups: Any = None,
    *,
    param_attr: Any = None,
    frozen: Any = None,
) -> Chain:
    """`paddle.optimizer.Adam`: `w <- w - learning_rate·m̂ / (√v̂ + epsilon)`; other arguments as in `momentum`.

    lazy_mode: rows that a sparse gradient does not name rest (`gx.lazy`). amsgrad: for v the running maximum of v,
    taken before the correction. Each parameter counts its own steps, those at which it had a gradient.
    Reach: element; array or tree with a clip by norm. State: mu, nu (nu_max), as p; b1_power, b2_power, scalars.
    Raises: AssertionError for None, ValueError for a beta outside [0, 1) or epsilon < 0, and as `momentum`.
    Source: paddle 3.3.1, optimizer/adam.py.
    """
    _check(learning_rate, beta1, beta2, epsilon)

    def body(scaled: Chain, beta1: Any, beta2: Any, epsilon: Any, lazy_mode: Any) -> Chain:
        return chain(_direction(beta1, beta2, epsilon, lazy_mode, amsgrad), scaled)

    own = {"beta1": beta1, "beta2": beta2, "epsilon": epsilon, "lazy_mode": lazy_mode}
    return assembled(body, learning_rate, weight_decay, grad_clip, groups, param_attr, frozen, **own)


def adamw(
    learning_rate: Any = 0.001,
    beta1: Any = 0.9,
    beta2: Any = 0.999,
    epsilon: Any = 1e-8,
    weight_decay: Any = 0.01,
    lr_ratio: Any = None,
    apply_decay_param_fun: Any = None,
    grad_clip: Any = None,
    lazy_mode: bool = False,
    amsgrad: bool = False,
    groups: Any = None,
    *,
    param_attr: Any = None,
    frozen: Any = None,
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
        raise NotImplementedError(f"lr_ratio is not there on the CPU, got {lr_ratio!r}")
    where = None if apply_decay_param_fun is None else ByParameter(apply_decay_param_fun, by_name=True)

    def body(scaled: Chain, weight_decay: Any, beta1: Any, beta2: Any, epsilon: Any, lazy_mode: Any) -> Chain:
        direction = _direction(beta1, beta2, epsilon, lazy_mode, amsgrad)
        return chain(direction, _decayed(in_float32(_coefficient(weight_decay)), where), scaled)

    own = {"beta1": beta1, "beta2": beta2, "epsilon": epsilon, "lazy_mode": lazy_mode}
    given_to = (learning_rate, weight_decay, grad_clip, groups, param_attr, frozen)
    return assembled(body, *given_to, decoupled=True, **own)


def adamax(
    learning_rate: Any = 0.001,
    beta1: Any = 0.9,
    beta2: Any = 0.999,
    epsilon: Any = 1e-8,
    weight_decay: Any = None,
    grad_clip: Any = None,
    groups: Any = None,
    *,
    param_attr: Any = None,
    frozen: Any = None,
) -> Chain:
    """`paddle.optimizer.Adamax`: `u <- max(|g|, beta2·u + epsilon)`, `w <- w - learning_rate / (1 - beta1ᵗ)·m / u`.

    Reach: as `adam`. State: mu, nu (u), shaped like p; b1_power, scalar.
    Raises: as `adam`.
    Source: paddle 3.3.1, optimizer/adamax.py.
    """
    _check(learning_rate, beta1, beta2, epsilon)

    def body(scaled: Chain, **numbers: Any) -> Chain:
        return chain(lift(_moments(PoweredAdamax(), **numbers)), scaled)

    own = {"beta1": beta1, "beta2": beta2, "epsilon": epsilon}
    return assembled(body, learning_rate, weight_decay, grad_clip, groups, param_attr, frozen, **own)


def nadam(
    learning_rate: Any = 0.002,
    beta1: Any = 0.9,
    beta2: Any = 0.999,
    epsilon: Any = 1e-8,
    momentum_decay: Any = 0.004,
    weight_decay: Any = None,
    grad_clip: Any = None,
    groups: Any = None,
    *,
    param_attr: Any = None,
    frozen: Any = None,
) -> Chain:
    """`paddle.optimizer.NAdam`: as `compat.torch.nadam`, with a momentum that warms up.

    Reach: as `adam`. State: mu, nu, shaped like p; mu_product, scalar of p's width; count, int32 scalar.
    Raises: as `adam`; ValueError if momentum_decay < 0.
    Source: paddle 3.3.1, optimizer/nadam.py; Dozat 2016.
    """
    _check(learning_rate, beta1, beta2, epsilon)
    at_least_zero(momentum_decay=momentum_decay)

    def body(scaled: Chain, momentum_decay: Any, **numbers: Any) -> Chain:
        warming = in_float32(number("momentum_decay", momentum_decay))
        return chain(lift(unchecked(_moments(WarmedNadam(), **numbers), momentum_decay=warming)), scaled)

    own = {"beta1": beta1, "beta2": beta2, "epsilon": epsilon, "momentum_decay": momentum_decay}
    return assembled(body, learning_rate, weight_decay, grad_clip, groups, param_attr, frozen, **own)


def radam(
    learning_rate: Any = 0.001,
    beta1: Any = 0.9,
    beta2: Any = 0.999,
    epsilon: Any = 1e-8,
    weight_decay: Any = None,
    grad_clip: Any = None,
    groups: Any = None,
    *,
    param_attr: Any = None,
    frozen: Any = None,
) -> Chain:
    """`paddle.optimizer.RAdam`: as `compat.torch.radam`, with epsilon beside √v.

    Reach: as `adam`. State: mu, nu, shaped like p; count, int32 scalar.
    Raises: as `adam`.
    Source: paddle 3.3.1, optimizer/radam.py; Liu et al. 2019, arXiv:1908.03265.
    """
    _check(learning_rate, beta1, beta2, epsilon)

    def body(scaled: Chain, **numbers: Any) -> Chain:
        return chain(own_clock(_moments(EpsilonHatRadam(), **numbers)), scaled)

    own = {"beta1": beta1, "beta2": beta2, "epsilon": epsilon}
    return assembled(body, learning_rate, weight_decay, grad_clip, groups, param_attr, frozen, **own)


def lamb(
    learning_rate: Any = 0.001,
    lamb_weight_decay: Any = 0.01,
    beta1: Any = 0.9,
    beta2: Any = 0.999,
    epsilon: Any = 1e-6,
    grad_clip: Any = None,
    exclude_from_weight_decay_fn: Any = None,
    always_adapt: bool = False,
    groups: Any = None,
    *,
    param_attr: Any = None,
    frozen: Any = None,
) -> Chain:
    """`paddle.optimizer.Lamb`: `r = m̂ / (√v̂ + epsilon) + lamb_weight_decay·w`, `w <- w - learning_rate·(‖w‖ / ‖r‖)·r`.

    exclude_from_weight_decay_fn: a function of a parameter (its `name` is the path): whether it does not decay. Where
    nothing decays the ratio of norms is 1, unless always_adapt; it is 1 where a norm is 0.
    Reach: array. State: as `adam`.
    Raises: AssertionError for None, TypeError and so on as `momentum`.
    Source: paddle 3.3.1, optimizer/lamb.py; You et al. 2019, arXiv:1904.00962.
    """
    given(learning_rate=learning_rate, beta1=beta1, beta2=beta2, epsilon=epsilon)
    number("lamb_weight_decay", lamb_weight_decay)

    def body(
        scaled: Chain, lamb_weight_decay: Any, exclude_from_weight_decay_fn: Any, always_adapt: Any, **numbers: Any
    ) -> Chain:
        decay, excluded = in_float32(number("lamb_weight_decay", lamb_weight_decay)), exclude_from_weight_decay_fn
        where = None if excluded is None else ~ByParameter(excluded)
        adapted = lift(ScaleByTrustRatio(), None if always_adapt else where)
        if is_zero(decay) and not always_adapt:
            adapted = chain()
        return chain(lift(_moments(PoweredAdam(), **numbers)), _decayed(decay, where), adapted, scaled)

    own = {"beta1": beta1, "beta2": beta2, "epsilon": epsilon, "lamb_weight_decay": lamb_weight_decay}
    own |= {"exclude_from_weight_decay_fn": exclude_from_weight_decay_fn, "always_adapt": always_adapt}
    return assembled(body, learning_rate, None, grad_clip, groups, param_attr, frozen, **own)


def _check(learning_rate: Any, beta1: Any, beta2: Any, epsilon: Any) -> None:
    given(learning_rate=learning_rate, beta1=beta1, beta2=beta2, epsilon=epsilon)
    fractions(beta1=beta1, beta2=beta2)
    at_least_zero(epsilon=epsilon)


def _moments(rule: Rule, beta1: Any, beta2: Any, epsilon: Any) -> Rule:
    b1, b2, eps = map(in_float32, (number("beta1", beta1), number("beta2", beta2), number("epsilon", epsilon)))
    return unchecked(rule, b1=b1, b2=b2, eps=eps)


def _direction(beta1: Any, beta2: Any, epsilon: Any, lazy_mode: Any, amsgrad: Any) -> Chain:
    numbers = {"b1": number("beta1", beta1), "b2": number("beta2", beta2), "eps": number("epsilon", epsilon)}
    direction = lift(InItsDtype(unchecked(PoweredAdam(amsgrad=bool(amsgrad)), **numbers)))
    return lazy(direction) if lazy_mode else direction


def _decayed(coefficient: Any, where: Selector | None) -> Chain:
    return chain() if is_zero(coefficient) else lift(unchecked(AddDecayedWeights(0.0), weight_decay=coefficient), where)


def _coefficient(x: Any) -> Any:
    """AdamW's decay: a number, an array of one element, a schedule; neither a regularizer nor None."""
    if isinstance(x, jax.Array | np.ndarray) and not isinstance(x, jax.core.Tracer) and x.size == 1:
        return float(x.reshape(()))
    if x is None or isinstance(x, np.float32):
        raise TypeError(f"weight_decay must be a number, got {x!r} of type {type(x).__name__}")
    return number("weight_decay", x)
