"""paddle's RMSProp."""

from __future__ import annotations

from typing import Any

from gradxform.compat.common.float32 import in_float32
from gradxform.compat.common.groups import Groups, Members
from gradxform.compat.common.overflows import Overflows
from gradxform.compat.common.unchecked import unchecked
from gradxform.compat.paddle.assembly import assembled
from gradxform.compat.paddle.attributes import GradientClip
from gradxform.compat.paddle.checks import LearningRate, NumberLike, ParamAttrs, WeightDecay, at_least_zero, number
from gradxform.compat.paddle.names import named
from gradxform.core.chain import Chain, chain, lift, named_chain
from gradxform.optimizers.rmsprop import ScaleByRms, ScaleByStddev
from gradxform.transforms.momentum import Trace


@named
def rmsprop(
    learning_rate: LearningRate,
    rho: NumberLike = 0.95,
    epsilon: NumberLike = 1e-6,
    momentum: NumberLike = 0.0,
    centered: bool = False,
    weight_decay: WeightDecay = None,
    grad_clip: GradientClip | None = None,
    groups: Groups | None = None,
    *,
    param_attr: ParamAttrs | None = None,
    frozen: Members | None = None,
) -> Chain:
    """`paddle.optimizer.RMSProp`: `b <- momentum·b + learning_rate·g / √(s + epsilon)`, `w <- w - b`.

    `s <- rho·s + (1-rho)·g²`; centered: less the square of the mean of g. Momentum sums steps.
    Reach: as `sgd`. State: nu (mu), trace (-b), shaped like p.
    Raises: ValueError for None or a negative number, and as `momentum`.
    Source: paddle 3.3.1, optimizer/rmsprop.py.
    """
    at_least_zero(rho=rho, epsilon=epsilon, momentum=momentum)

    def body(scaled: Chain, rho: NumberLike, epsilon: NumberLike, momentum: NumberLike, centered: bool) -> Chain:
        divide = (ScaleByStddev if centered else ScaleByRms)()
        numbers = {"decay": in_float32(number("rho", rho)), "eps": in_float32(number("epsilon", epsilon))}
        summed = lift(Overflows(unchecked(Trace(0.0), decay=in_float32(number("momentum", momentum)))))
        return chain(lift(Overflows(unchecked(divide, **numbers))), scaled, named_chain(("rmsprop_moment", summed)))

    options: dict[str, Any] = {"rho": rho, "epsilon": epsilon, "momentum": momentum, "centered": centered}
    shared = (learning_rate, weight_decay, grad_clip, groups, param_attr, frozen)
    return assembled(body, *shared, rate_inside=True, **options)
