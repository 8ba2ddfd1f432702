"""torch's Rprop."""

from __future__ import annotations

from collections.abc import Sequence

from gradxform.compat.common.groups import Groups, grouped
from gradxform.compat.common.unchecked import unchecked
from gradxform.compat.torch.checks import (
    REFUSALS,
    NumberLike,
    constructor,
    nonnegative,
    number,
    pair,
    refuse_cycles,
    seen,
)
from gradxform.compat.torch.parts import apart
from gradxform.compat.torch.rules import TorchRprop
from gradxform.compat.torch.stages import assembled
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.plain import got
from gradxform.optimizers.rprop import ScaleByRprop
from gradxform.transforms.scale import Turn


@constructor
def rprop(
    lr: NumberLike = 1e-2,
    etas: Sequence[NumberLike] = (0.5, 1.2),
    step_sizes: Sequence[NumberLike] = (1e-6, 50),
    *,
    maximize: bool = False,
    groups: Groups | None = None,
) -> Chain:
    """`torch.optim.Rprop`: `gx.rprop` with torch's arguments; `lr` is the first size of a step.

    Reach: element. State: step_size, prev, shaped like p; count, int32 scalar.
    Raises: TypeError, ValueError, KeyError as torch does; RuntimeError for a sparse gradient.
    Source: torch 2.13, optim/rprop.py.
    """
    nonnegative(lr=lr)
    minus, plus = map(seen, pair("etas", etas))
    if minus is not None and plus is not None and not 0.0 < minus < 1.0 < plus:
        raise ValueError(f"etas must be one below 1 and one above it, {got(etas)}")
    options = {"lr": lr, "etas": etas, "step_sizes": step_sizes, "maximize": maximize}
    return grouped(groups, options, _rprop, REFUSALS)


def _rprop(lr: NumberLike, etas: Sequence[NumberLike], step_sizes: Sequence[NumberLike], maximize: bool) -> Chain:
    refuse_cycles("rprop", lr)
    (minus, plus), (least, most) = pair("etas", etas), pair("step_sizes", step_sizes)
    numbers = {"eta_minus": minus, "eta_plus": plus, "min_step_size": least, "max_step_size": most}
    rule = TorchRprop(unchecked(ScaleByRprop(0.0), learning_rate=number("lr", lr), **numbers))
    return assembled("rprop", chain(apart(rule), lift(Turn())), maximize=maximize)
