"""torch's Adadelta."""

from __future__ import annotations

from typing import Any

from gradxform.compat.common.groups import Groups, grouped
from gradxform.compat.common.unchecked import unchecked
from gradxform.compat.torch.checks import REFUSALS, NumberLike, constructor, nonnegative, number, refuse_cycles, seen
from gradxform.compat.torch.parts import apart
from gradxform.compat.torch.stages import assembled
from gradxform.core.chain import Chain
from gradxform.optimizers.adadelta import ScaleByAdadelta


@constructor
def adadelta(
    lr: NumberLike = 1.0,
    rho: NumberLike = 0.9,
    eps: NumberLike = 1e-6,
    weight_decay: NumberLike = 0,
    *,
    maximize: bool = False,
    groups: Groups | None = None,
) -> Chain:
    """`torch.optim.Adadelta`: `gx.adadelta` with torch's arguments.

    Reach: element. State: e_g, e_x, shaped like p; count, int32 scalar.
    Raises: TypeError, ValueError, KeyError as torch does; RuntimeError for a sparse gradient.
    Source: torch 2.13, optim/adadelta.py.
    """
    nonnegative(lr=lr, rho=rho, eps=eps, weight_decay=weight_decay)
    if (value := seen(number("rho", rho))) is not None and value > 1.0:
        raise ValueError(f"rho must be in [0, 1], got {value}")
    options = {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
    return grouped(groups, options, _adadelta, REFUSALS)


def _adadelta(lr: NumberLike, rho: NumberLike, eps: NumberLike, **rest: Any) -> Chain:
    refuse_cycles("adadelta", lr)
    rule = unchecked(ScaleByAdadelta(), rho=number("rho", rho), eps=number("eps", eps))
    return assembled("adadelta", apart(rule), lr=lr, **rest)
