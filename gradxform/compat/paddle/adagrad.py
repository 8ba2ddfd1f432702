"""paddle's Adagrad."""

from __future__ import annotations

from typing import Any

from gradxform.compat.common.float32 import in_float32
from gradxform.compat.common.groups import Groups, Members
from gradxform.compat.common.moments import EpsilonBesideRss
from gradxform.compat.common.overflows import Overflows
from gradxform.compat.common.unchecked import unchecked
from gradxform.compat.paddle.assembly import assembled
from gradxform.compat.paddle.attributes import GradientClip
from gradxform.compat.paddle.checks import LearningRate, NumberLike, ParamAttrs, WeightDecay, not_none, number
from gradxform.compat.paddle.names import named
from gradxform.core.chain import Chain, chain, lift


@named
def adagrad(
    learning_rate: LearningRate,
    epsilon: NumberLike = 1e-6,
    weight_decay: WeightDecay = None,
    grad_clip: GradientClip | None = None,
    initial_accumulator_value: NumberLike = 0.0,
    groups: Groups | None = None,
    *,
    param_attr: ParamAttrs | None = None,
    frozen: Members | None = None,
) -> Chain:
    """`paddle.optimizer.Adagrad`: `a <- a + g²`, `w <- w - learning_rate·g / (√a + epsilon)`.

    Reach: as `sgd`. State: sum_of_squares (a), shaped like p.
    Raises: ValueError for None, and as `momentum`.
    Source: paddle 3.3.1, optimizer/adagrad.py.
    """
    not_none(learning_rate=learning_rate, epsilon=epsilon)
    number("initial_accumulator_value", initial_accumulator_value)

    def body(scaled: Chain, epsilon: NumberLike, initial_accumulator_value: NumberLike) -> Chain:
        start = number("initial_accumulator_value", initial_accumulator_value)
        eps = in_float32(number("epsilon", epsilon))
        return chain(lift(Overflows(unchecked(EpsilonBesideRss(), initial_accumulator_value=start, eps=eps))), scaled)

    options: dict[str, Any] = {"epsilon": epsilon, "initial_accumulator_value": initial_accumulator_value}
    return assembled(body, learning_rate, weight_decay, grad_clip, groups, param_attr, frozen, **options)
