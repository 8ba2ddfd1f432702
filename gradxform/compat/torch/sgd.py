"""torch's SGD."""

from __future__ import annotations

from gradxform.compat.common.groups import Groups, flags, grouped
from gradxform.compat.common.overflows import Overflows
from gradxform.compat.common.unchecked import unchecked
from gradxform.compat.torch.checks import REFUSALS, NumberLike, constructor, nonnegative, number, refuse_fixed, seen
from gradxform.compat.torch.stages import decayed, stepped, turned
from gradxform.core.arithmetic import is_zero
from gradxform.core.chain import Chain, chain, lift
from gradxform.transforms.momentum import Trace


@constructor
def sgd(
    lr: NumberLike = 1e-3,
    momentum: NumberLike = 0,
    dampening: NumberLike = 0,
    weight_decay: NumberLike = 0,
    nesterov: bool = False,
    *,
    maximize: bool = False,
    groups: Groups | None = None,
) -> Chain:
    """`torch.optim.SGD`: `b <- momentum·b + (1 - dampening)·g`, b = g at first, `w <- w - lr·b`.

    g is negated first by maximize, then `weight_decay·w` is added. nesterov: `g + momentum·b` for b, the new one.
    Without momentum there is no b, and dampening has no effect.
    lr: a number, an array of one element, a schedule, or one of `compat.torch_schedules`. groups: a list of dicts with
    `params` (see the page "Optimizers of other frameworks") and any of the arguments; those are not checked for range.
    Reach: element. State: trace, shaped like p; seen, scalar bool.
    Raises: TypeError, ValueError and KeyError as torch does.
    Source: torch 2.13, optim/sgd.py.
    """
    nonnegative(lr=lr, momentum=momentum, weight_decay=weight_decay)
    number("dampening", dampening)
    flags(nesterov=nesterov)
    mu, tau = (seen(number(name, x)) for name, x in (("momentum", momentum), ("dampening", dampening)))
    if nesterov and (mu == 0.0 or tau not in (0.0, None)):
        raise ValueError(f"nesterov needs momentum > 0 and no dampening, got {momentum=} and {dampening=}")
    options = {
        "lr": lr,
        "momentum": momentum,
        "dampening": dampening,
        "weight_decay": weight_decay,
        "nesterov": nesterov,
        "maximize": maximize,
    }
    return grouped(groups, options, _sgd, REFUSALS)


def _sgd(
    lr: NumberLike,
    momentum: NumberLike,
    dampening: NumberLike,
    weight_decay: NumberLike,
    nesterov: bool,
    maximize: bool,
) -> Chain:
    mu, tau = number("momentum", momentum), number("dampening", dampening)
    refuse_fixed("momentum", mu, lr)
    summed = lift(Overflows(unchecked(Trace(0.0, bool(nesterov), first="gradient"), decay=mu, dampening=tau)))
    return chain(turned(maximize), decayed(weight_decay), chain() if is_zero(mu) else summed, stepped(lr))
