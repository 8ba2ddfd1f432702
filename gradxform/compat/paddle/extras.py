"""More of paddle's optimizers: SGD, Adagrad, Adadelta and RMSProp."""

from __future__ import annotations

from typing import Any

from gradxform.compat.common.float32 import in_float32
from gradxform.compat.common.moments import EpsilonBesideRss
from gradxform.compat.common.unchecked import unchecked
from gradxform.compat.paddle.assembly import assembled
from gradxform.compat.paddle.checks import at_least_zero, given, number
from gradxform.core.chain import Chain, chain, lift, named_chain
from gradxform.optimizers.adadelta import ScaleByAdadelta
from gradxform.optimizers.rmsprop import ScaleByRms, ScaleByStddev
from gradxform.transforms.momentum import Trace


def sgd(
    learning_rate: Any = 0.001,
    weight_decay: Any = None,
    grad_clip: Any = None,
    groups: Any = None,
    *,
    param_attr: Any = None,
    frozen: Any = None,
) -> Chain:
    """`paddle.optimizer.SGD`: `w <- w - learning_rate·g`; arguments as in `momentum`.

    Reach: element; array or tree with a clip by norm. State: none.
    Raises: as `momentum`.
    Source: paddle 3.3.1, optimizer/sgd.py.
    """
    return assembled(lambda scaled: scaled, learning_rate, weight_decay, grad_clip, groups, param_attr, frozen)


def adagrad(
    learning_rate: Any,
    epsilon: Any = 1e-6,
    weight_decay: Any = None,
    grad_clip: Any = None,
    initial_accumulator_value: Any = 0.0,
    groups: Any = None,
    *,
    param_attr: Any = None,
    frozen: Any = None,
) -> Chain:
    """`paddle.optimizer.Adagrad`: `a <- a + g²`, `w <- w - learning_rate·g / (√a + epsilon)`.

    Reach: as `sgd`. State: sum_of_squares (a), shaped like p.
    Raises: AssertionError for None, and as `momentum`.
    Source: paddle 3.3.1, optimizer/adagrad.py.
    """
    given(learning_rate=learning_rate, epsilon=epsilon)
    number("initial_accumulator_value", initial_accumulator_value)

    def body(scaled: Chain, epsilon: Any, initial_accumulator_value: Any) -> Chain:
        start = number("initial_accumulator_value", initial_accumulator_value)
        eps = in_float32(number("epsilon", epsilon))
        return chain(lift(unchecked(EpsilonBesideRss(), initial_accumulator_value=start, eps=eps)), scaled)

    own = {"epsilon": epsilon, "initial_accumulator_value": initial_accumulator_value}
    return assembled(body, learning_rate, weight_decay, grad_clip, groups, param_attr, frozen, **own)


def adadelta(
    learning_rate: Any = 0.001,
    epsilon: Any = 1e-6,
    rho: Any = 0.95,
    weight_decay: Any = None,
    grad_clip: Any = None,
    groups: Any = None,
    *,
    param_attr: Any = None,
    frozen: Any = None,
) -> Chain:
    """`paddle.optimizer.Adadelta`: `gx.adadelta` with paddle's arguments.

    Reach: as `sgd`. State: e_g, e_x, shaped like p.
    Raises: ValueError for None, and as `momentum`.
    Source: paddle 3.3.1, optimizer/adadelta.py.
    """
    number("epsilon", epsilon)
    number("rho", rho)

    def body(scaled: Chain, epsilon: Any, rho: Any) -> Chain:
        numbers = {"eps": in_float32(number("epsilon", epsilon)), "rho": in_float32(number("rho", rho))}
        return chain(lift(unchecked(ScaleByAdadelta(), **numbers)), scaled)

    given_to = (learning_rate, weight_decay, grad_clip, groups, param_attr, frozen)
    return assembled(body, *given_to, epsilon=epsilon, rho=rho)


def rmsprop(
    learning_rate: Any,
    rho: Any = 0.95,
    epsilon: Any = 1e-6,
    momentum: Any = 0.0,
    centered: bool = False,
    weight_decay: Any = None,
    grad_clip: Any = None,
    groups: Any = None,
    *,
    param_attr: Any = None,
    frozen: Any = None,
) -> Chain:
    """`paddle.optimizer.RMSProp`: `b <- momentum·b + learning_rate·g / √(s + epsilon)`, `w <- w - b`.

    `s <- rho·s + (1-rho)·g²`; centered: less the square of the mean of g. Momentum sums steps.
    Reach: as `sgd`. State: nu (mu), trace (-b), shaped like p.
    Raises: ValueError for None or a negative number, and as `momentum`.
    Source: paddle 3.3.1, optimizer/rmsprop.py.
    """
    at_least_zero(rho=rho, epsilon=epsilon, momentum=momentum)

    def body(scaled: Chain, rho: Any, epsilon: Any, momentum: Any, centered: Any) -> Chain:
        divide = (ScaleByStddev if centered else ScaleByRms)()
        numbers = {"decay": in_float32(number("rho", rho)), "eps": in_float32(number("epsilon", epsilon))}
        summed = lift(unchecked(Trace(0.0), decay=in_float32(number("momentum", momentum))))
        return chain(lift(unchecked(divide, **numbers)), scaled, named_chain(("rmsprop_moment", summed)))

    own = {"rho": rho, "epsilon": epsilon, "momentum": momentum, "centered": centered}
    given_to = (learning_rate, weight_decay, grad_clip, groups, param_attr, frozen)
    return assembled(body, *given_to, rate_inside=True, **own)
