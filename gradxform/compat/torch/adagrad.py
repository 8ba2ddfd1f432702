"""torch's Adagrad."""

from __future__ import annotations

from functools import partial

from gradxform.compat.common.groups import Groups, grouped
from gradxform.compat.common.moments import EpsilonBesideRss
from gradxform.compat.common.unchecked import unchecked
from gradxform.compat.torch.checks import REFUSALS, NumberLike, constructor, nonnegative, number, refuse_cycles
from gradxform.compat.torch.parts import apart
from gradxform.compat.torch.stages import decayed, stepped, turned
from gradxform.core.chain import Chain, chain
from gradxform.core.hyper import Hyper


@constructor
def adagrad(
    lr: NumberLike = 1e-2,
    lr_decay: NumberLike = 0,
    weight_decay: NumberLike = 0,
    initial_accumulator_value: NumberLike = 0,
    eps: NumberLike = 1e-10,
    *,
    maximize: bool = False,
    groups: Groups | None = None,
) -> Chain:
    """`torch.optim.Adagrad`: `a <- a + g²`, `w <- w - lr / (1 + (t-1)·lr_decay)·g / (√a + eps)`.

    initial_accumulator_value: that of the optimizer; as in torch, one that stands in a group counts for nothing.
    Reach: element. State: sum_of_squares (a), shaped like p; count, int32 scalar.
    Raises: TypeError, ValueError, KeyError as torch does.
    Source: torch 2.13, optim/adagrad.py.
    """
    nonnegative(lr=lr, lr_decay=lr_decay, weight_decay=weight_decay)
    nonnegative(initial_accumulator_value=initial_accumulator_value, eps=eps)
    options = {"lr": lr, "lr_decay": lr_decay, "weight_decay": weight_decay, "eps": eps, "maximize": maximize}
    start = number("initial_accumulator_value", initial_accumulator_value)
    return grouped(groups, options, partial(_adagrad, start=start), REFUSALS)


def _adagrad(
    lr: NumberLike,
    lr_decay: NumberLike,
    weight_decay: NumberLike,
    eps: NumberLike,
    maximize: bool,
    start: Hyper,
) -> Chain:
    refuse_cycles("adagrad", lr)
    numbers = {"eps": number("eps", eps), "rate_decay": number("lr_decay", lr_decay)}
    rule = unchecked(EpsilonBesideRss(), initial_accumulator_value=start, **numbers)
    return chain(turned(maximize), decayed(weight_decay), apart(rule), stepped(lr))
