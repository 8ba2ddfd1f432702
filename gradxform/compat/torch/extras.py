"""More of torch's optimizers: RMSprop, Adagrad, Adadelta, Rprop and ASGD."""

from __future__ import annotations

from typing import Any

from gradxform.compat.common.groups import grouped
from gradxform.compat.common.moments import EpsilonBesideRss
from gradxform.compat.common.own_clock import own_clock
from gradxform.compat.common.unchecked import unchecked
from gradxform.compat.torch.checks import REFUSALS, nonnegative, number, pair, seen
from gradxform.compat.torch.rules import Asgd, TorchRprop
from gradxform.compat.torch.stages import assembled, decayed, stepped, turned
from gradxform.core.arithmetic import is_zero
from gradxform.core.chain import Chain, chain, lift
from gradxform.optimizers.adadelta import ScaleByAdadelta
from gradxform.optimizers.rmsprop import ScaleByRms, ScaleByStddev
from gradxform.transforms.momentum import Trace
from gradxform.transforms.scale import Scale


def rmsprop(
    lr: Any = 1e-2,
    alpha: Any = 0.99,
    eps: Any = 1e-8,
    weight_decay: Any = 0,
    momentum: Any = 0,
    centered: bool = False,
    *,
    maximize: bool = False,
    groups: Any = None,
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


def _rmsprop(alpha: Any, eps: Any, momentum: Any, centered: Any, **rest: Any) -> Chain:
    divide = (ScaleByStddev if centered else ScaleByRms)(eps_in_sqrt=False)
    mu = number("momentum", momentum)
    direction = own_clock(unchecked(divide, decay=number("alpha", alpha), eps=number("eps", eps)))
    summed = chain() if is_zero(mu) else lift(unchecked(Trace(0.0), decay=mu))
    return assembled("rmsprop", chain(direction, summed), **rest)


def adagrad(
    lr: Any = 1e-2,
    lr_decay: Any = 0,
    weight_decay: Any = 0,
    initial_accumulator_value: Any = 0,
    eps: Any = 1e-10,
    *,
    maximize: bool = False,
    groups: Any = None,
) -> Chain:
    """`torch.optim.Adagrad`: `a <- a + g²`, `w <- w - lr / (1 + (t-1)·lr_decay)·g / (√a + eps)`.

    Reach: element. State: sum_of_squares (a), shaped like p; count, int32 scalar.
    Raises: TypeError, ValueError, KeyError as torch does.
    Source: torch 2.13, optim/adagrad.py.
    """
    nonnegative(lr=lr, lr_decay=lr_decay, weight_decay=weight_decay)
    nonnegative(initial_accumulator_value=initial_accumulator_value, eps=eps)
    options = {"lr": lr, "lr_decay": lr_decay, "weight_decay": weight_decay, "eps": eps, "maximize": maximize}
    return grouped(groups, {**options, "initial_accumulator_value": initial_accumulator_value}, _adagrad, REFUSALS)


def _adagrad(
    lr: Any, lr_decay: Any, weight_decay: Any, initial_accumulator_value: Any, eps: Any, maximize: Any
) -> Chain:
    numbers = {"eps": number("eps", eps), "rate_decay": number("lr_decay", lr_decay)}
    start = number("initial_accumulator_value", initial_accumulator_value)
    rule = unchecked(EpsilonBesideRss(), initial_accumulator_value=start, **numbers)
    return chain(turned(maximize), decayed(weight_decay), own_clock(rule), stepped(lr))


def adadelta(
    lr: Any = 1.0,
    rho: Any = 0.9,
    eps: Any = 1e-6,
    weight_decay: Any = 0,
    *,
    maximize: bool = False,
    groups: Any = None,
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


def _adadelta(rho: Any, eps: Any, **rest: Any) -> Chain:
    rule = unchecked(ScaleByAdadelta(), rho=number("rho", rho), eps=number("eps", eps))
    return assembled("adadelta", own_clock(rule), **rest)


def rprop(
    lr: Any = 1e-2,
    etas: Any = (0.5, 1.2),
    step_sizes: Any = (1e-6, 50),
    *,
    maximize: bool = False,
    groups: Any = None,
) -> Chain:
    """`torch.optim.Rprop`: `gx.rprop` with torch's arguments; `lr` is the first size of a step.

    Reach: element. State: step_size, prev, shaped like p; count, int32 scalar.
    Raises: TypeError, ValueError, KeyError as torch does; RuntimeError for a sparse gradient.
    Source: torch 2.13, optim/rprop.py.
    """
    nonnegative(lr=lr)
    minus, plus = map(seen, pair("etas", etas))
    if minus is not None and plus is not None and not 0.0 < minus < 1.0 < plus:
        raise ValueError(f"etas must be one below 1 and one above it, got {etas!r}")
    options = {"lr": lr, "etas": etas, "step_sizes": step_sizes, "maximize": maximize}
    return grouped(groups, options, _rprop, REFUSALS)


def _rprop(lr: Any, etas: Any, step_sizes: Any, maximize: Any) -> Chain:
    (minus, plus), (least, most) = pair("etas", etas), pair("step_sizes", step_sizes)
    numbers = {"eta_minus": minus, "eta_plus": plus, "min_step_size": least, "max_step_size": most}
    rule = unchecked(TorchRprop(0.0), learning_rate=number("lr", lr), **numbers)
    return assembled("rprop", chain(own_clock(rule), lift(Scale(-1.0))), maximize=maximize)


def asgd(
    lr: Any = 1e-2,
    lambd: Any = 1e-4,
    alpha: Any = 0.75,
    t0: Any = 1e6,
    weight_decay: Any = 0,
    maximize: bool = False,
    *,
    groups: Any = None,
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


def _asgd(lr: Any, lambd: Any, alpha: Any, t0: Any, **rest: Any) -> Chain:
    numbers = {"lambd": number("lambd", lambd), "alpha": number("alpha", alpha), "t0": number("t0", t0)}
    return assembled("asgd", lift(unchecked(Asgd(), learning_rate=number("lr", lr), **numbers)), **rest)
