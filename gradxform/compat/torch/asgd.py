"""torch's ASGD, averaged descent."""

from __future__ import annotations

from typing import Any

from gradxform.compat.common.groups import Groups, grouped
from gradxform.compat.common.unchecked import unchecked
from gradxform.compat.torch.checks import REFUSALS, NumberLike, constructor, nonnegative, number, refuse_cycles
from gradxform.compat.torch.rules import Asgd
from gradxform.compat.torch.stages import assembled
from gradxform.core.chain import Chain, lift


@constructor
def asgd(
    lr: NumberLike = 1e-2,
    lambd: NumberLike = 1e-4,
    alpha: NumberLike = 0.75,
    t0: NumberLike = 1e6,
    weight_decay: NumberLike = 0,
    maximize: bool = False,
    *,
    groups: Groups | None = None,
) -> Chain:
    """`torch.optim.ASGD`: `w <- w·(1 - lambd·η) - η·g`, `η <- lr / (1 + lambd·lr·t)^alpha`, and the average ax of w.

    From step t0 on, ax is the mean of the iterates since; before, the last one. `eval_params` gives it.
    Reach: element. State: ax, shaped like p; eta, mu, float32 scalars; count, int32 scalar.
    Raises: TypeError, ValueError, KeyError as torch does; RuntimeError for a sparse gradient.
    Source: torch 2.13, optim/asgd.py; Polyak, Juditsky 1992.
    """
    nonnegative(lr=lr, weight_decay=weight_decay)
    options = {"lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay, "maximize": maximize}
    return grouped(groups, options, _asgd, REFUSALS)


def _asgd(lr: NumberLike, lambd: NumberLike, alpha: NumberLike, t0: NumberLike, **rest: Any) -> Chain:
    refuse_cycles("asgd", lr)
    numbers = {"lambd": number("lambd", lambd), "alpha": number("alpha", alpha), "t0": number("t0", t0)}
    return assembled("asgd", lift(unchecked(Asgd(), learning_rate=number("lr", lr), **numbers)), **rest)
