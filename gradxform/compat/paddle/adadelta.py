"""paddle's Adadelta."""

from __future__ import annotations

from gradxform.compat.common.float32 import in_float32
from gradxform.compat.common.groups import Groups, Members
from gradxform.compat.common.overflows import Overflows
from gradxform.compat.common.unchecked import unchecked
from gradxform.compat.paddle.assembly import assembled
from gradxform.compat.paddle.attributes import GradientClip
from gradxform.compat.paddle.checks import LearningRate, NumberLike, ParamAttrs, WeightDecay, number
from gradxform.compat.paddle.names import named
from gradxform.core.chain import Chain, chain, lift
from gradxform.optimizers.adadelta import ScaleByAdadelta


@named
def adadelta(
    learning_rate: LearningRate = 0.001,
    epsilon: NumberLike = 1e-6,
    rho: NumberLike = 0.95,
    weight_decay: WeightDecay = None,
    grad_clip: GradientClip | None = None,
    groups: Groups | None = None,
    *,
    param_attr: ParamAttrs | None = None,
    frozen: Members | None = None,
) -> Chain:
    """`paddle.optimizer.Adadelta`: `gx.adadelta` with paddle's arguments.

    Reach: as `sgd`. State: e_g, e_x, shaped like p.
    Raises: ValueError for None, and as `momentum`.
    Source: paddle 3.3.1, optimizer/adadelta.py.
    """
    number("epsilon", epsilon)
    number("rho", rho)

    def body(scaled: Chain, epsilon: NumberLike, rho: NumberLike) -> Chain:
        numbers = {"eps": in_float32(number("epsilon", epsilon)), "rho": in_float32(number("rho", rho))}
        return chain(lift(Overflows(unchecked(ScaleByAdadelta(), **numbers))), scaled)

    shared = (learning_rate, weight_decay, grad_clip, groups, param_attr, frozen)
    return assembled(body, *shared, epsilon=epsilon, rho=rho)
