"""ASGD: descent at a rate that falls, and the mean of where it has been."""

from __future__ import annotations

from gradxform.core import check
from gradxform.core.chain import Chain, chain
from gradxform.core.hyper import Hyper
from gradxform.core.types import Array
from gradxform.schedules.timed import Timed
from gradxform.transforms.average import polyak_average
from gradxform.transforms.decay import add_decayed_weights
from gradxform.transforms.scale import descend


class FallingRate(Timed):
    learning_rate: Hyper
    lambd: Hyper
    alpha: Hyper

    def check(self) -> None:
        check.nonnegative(learning_rate=self.learning_rate, lambd=self.lambd, alpha=self.alpha)

    def at(self, count: Array) -> Array:
        rate: Array = self.learning_rate * (1 + self.lambd * self.learning_rate * count) ** -self.alpha
        return rate


def asgd(learning_rate: float, lambd: float = 1e-4, alpha: float = 0.75, t0: int = 1_000_000) -> Chain:
    """Descent with decay at a falling rate: `u = -η·(g + lambd·p)`, `η = lr / (1 + lambd·lr·(t-1))^alpha`.

    lr is learning_rate, a number, as lambd and alpha are. `eval_params` gives the mean of the iterates since step t0,
    as `polyak_average(t0 + 1)`.
    Reach: element. State: average, shaped like p, float32 or wider.
    Raises: ValueError if an argument is negative or params are missing; TypeError if one is a schedule.
    Source: Polyak, Juditsky 1992; Bottou 2010; the numbers of torch's ASGD.
    """
    check.integer(at_most=2**31 - 2, t0=t0)
    rate = FallingRate(learning_rate, lambd, alpha)
    return chain(add_decayed_weights(rate.lambd), descend(rate), polyak_average(t0 + 1))
