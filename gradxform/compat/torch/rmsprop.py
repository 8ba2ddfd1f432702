"""torch's RMSprop."""

from __future__ import annotations

from typing import Any

from gradxform.compat.common.groups import Groups, grouped
from gradxform.compat.common.overflows import Overflows
from gradxform.compat.common.unchecked import unchecked
from gradxform.compat.torch.checks import REFUSALS, NumberLike, constructor, nonnegative, number, refuse_fixed
from gradxform.compat.torch.parts import apart
from gradxform.compat.torch.stages import assembled
from gradxform.core.arithmetic import is_zero
from gradxform.core.chain import Chain, chain, lift
from gradxform.optimizers.rmsprop import ScaleByRms, ScaleByStddev
from gradxform.transforms.momentum import Trace


@constructor
def rmsprop(
    lr: NumberLike = 1e-2,
    alpha: NumberLike = 0.99,
    eps: NumberLike = 1e-8,
    weight_decay: NumberLike = 0,
    momentum: NumberLike = 0,
    centered: bool = False,
    *,
    maximize: bool = False,
    groups: Groups | None = None,
) -> Chain:
    """`torch.optim.RMSprop`: `v <- alpha·v + (1-alpha)·g²`, `b <- momentum·b + g / (√v + eps)`, `w <- w - lr·b`.

    centered: less the square of the mean of g, under the root. Momentum sums directions (`gx.rmsprop` sums steps).
    Reach: element. State: nu (mu), trace, shaped like p; count, int32 scalar.
    Raises: TypeError, ValueError, KeyError as torch does; RuntimeError for a sparse gradient.
    Source: torch 2.13, optim/rmsprop.py.
    """
    nonnegative(lr=lr, eps=eps, momentum=momentum, weight_decay=weight_decay, alpha=alpha)
    options = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum}
    return grouped(groups, {**options, "centered": centered, "maximize": maximize}, _rmsprop, REFUSALS)


def _rmsprop(alpha: NumberLike, eps: NumberLike, momentum: NumberLike, centered: bool, **rest: Any) -> Chain:
    divide = (ScaleByStddev if centered else ScaleByRms)(eps_in_sqrt=False)
    mu = number("momentum", momentum)
    refuse_fixed("momentum", mu, rest["lr"])
    direction = apart(unchecked(divide, decay=number("alpha", alpha), eps=number("eps", eps)))
    summed = chain() if is_zero(mu) else lift(Overflows(unchecked(Trace(0.0), decay=mu)))
    return assembled("rmsprop", chain(direction, summed), **rest)
