"""paddle's RMSProp."""

from __future__ import annotations

from typing import Any

from gradxform.compat.common.float32 import in_float32
from gradxform.compat.common.unchecked import unchecked
from gradxform.compat.paddle.assembly import assembled
from gradxform.compat.paddle.checks import at_least_zero, number
from gradxform.core.chain import Chain, chain, lift, named_chain
from gradxform.optimizers.rmsprop import ScaleByRms, ScaleByStddev
from gradxform.transforms.momentum import Trace


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
