"""paddle's Adagrad."""

from __future__ import annotations

from typing import Any

from gradxform.compat.common.float32 import in_float32
from gradxform.compat.common.moments import EpsilonBesideRss
from gradxform.compat.common.unchecked import unchecked
from gradxform.compat.paddle.assembly import assembled
from gradxform.compat.paddle.checks import given, number
from gradxform.core.chain import Chain, chain, lift


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
