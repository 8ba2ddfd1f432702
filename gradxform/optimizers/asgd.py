"""ASGD: descent at a rate that falls, and the mean of where it has been."""

from __future__ import annotations

from gradxform.core import check
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.facts import Facts, Station
from gradxform.core.hyper import Hyper
from gradxform.core.rule import Factor
from gradxform.core.types import Array, Count, Param, Scalars
from gradxform.transforms.average import polyak_average
from gradxform.transforms.decay import add_decayed_weights


class FallingRate(Factor):
    learning_rate: Hyper
    lambd: Hyper = 1e-4
    alpha: Hyper = 0.75
    name = "asgd"
    facts = Facts(station=Station.STEP, keeps_zero=True, turns=True)

    def check(self) -> None:
        check.nonnegative(learning_rate=self.learning_rate, lambd=self.lambd, alpha=self.alpha)

    def scalars(self, t: Count) -> Scalars:
        return -self.learning_rate * (1 + self.lambd * self.learning_rate * (t - 1.0)) ** -self.alpha

    def factor(self, g: Array, p: Param, k: Scalars) -> Scalars:
        return k


def asgd(learning_rate: Hyper, lambd: Hyper = 1e-4, alpha: Hyper = 0.75, t0: int = 1_000_000) -> Chain:
    """Descent with decay at a falling rate: `u = -η·(g + lambd·p)`, `η = lr / (1 + lambd·lr·(t-1))^alpha`.

    lr is learning_rate. `eval_params` gives the mean of the iterates since step t0, as `polyak_average(t0 + 1)`.
    Reach: element. State: average, shaped like p, float32 or wider.
    Raises: ValueError if an argument is negative or params are missing.
    Source: Polyak, Juditsky 1992; Bottou 2010; the numbers of torch's ASGD.
    """
    check.integer(at_most=2**31 - 2, t0=t0)
    rate = FallingRate(learning_rate, lambd, alpha)
    return chain(add_decayed_weights(rate.lambd), lift(rate), polyak_average(t0 + 1))
