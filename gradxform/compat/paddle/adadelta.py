"""paddle's Adadelta."""

from __future__ import annotations

from typing import Any

from gradxform.compat.common.float32 import in_float32
from gradxform.compat.common.unchecked import unchecked
from gradxform.compat.paddle.assembly import assembled
from gradxform.compat.paddle.checks import number
from gradxform.core.chain import Chain, chain, lift
from gradxform.optimizers.adadelta import ScaleByAdadelta


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
