"""torch's Adam and its kin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradxform.compat.common.gradients import TakesRows
from gradxform.compat.common.groups import Groups, grouped
from gradxform.compat.common.moments import EpsilonHatAdam
from gradxform.compat.common.overflows import clocked
from gradxform.compat.common.unchecked import unchecked
from gradxform.compat.torch.checks import (
    REFUSALS,
    NumberLike,
    constructor,
    fractions,
    nonnegative,
    number,
    pair,
    positive,
    refuse_fixed,
)
from gradxform.compat.torch.parts import Parts, apart
from gradxform.compat.torch.rules import EpsilonHatRadam, LateCorrectedAmsgrad, TorchNadam
from gradxform.compat.torch.stages import assembled, stepped, turned
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.rule import Rule
from gradxform.optimizers.adam import ScaleByAdam
from gradxform.optimizers.adamax import ScaleByAdamax
from gradxform.strategies.lazy import lazy

BETAS = (0.9, 0.999)


@constructor
def adam(
    lr: NumberLike = 1e-3,
    betas: Sequence[NumberLike] = BETAS,
    eps: NumberLike = 1e-8,
    weight_decay: NumberLike = 0,
    amsgrad: bool = False,
    *,
    maximize: bool = False,
    decoupled_weight_decay: bool = False,
    groups: Groups | None = None,
) -> Chain:
    """`torch.optim.Adam`: `w <- w - lr·m̂ / (√v̂ + eps)`, with `weight_decay·w` added to g before m and v.

    amsgrad: for v the running maximum of v, taken before the correction. decoupled_weight_decay: `adamw`.
    Each parameter counts its own steps, those at which it had a gradient. Other arguments as in `sgd`.
    Reach: element. State: mu, nu (nu_max), shaped like p; count, int32 scalar.
    Raises: TypeError, ValueError, KeyError as torch does; RuntimeError for a sparse gradient.
    Source: torch 2.13, optim/adam.py.
    """
    nonnegative(lr=lr, eps=eps)
    fractions("betas", betas)
    nonnegative(weight_decay=weight_decay)
    options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad}
    options |= {"maximize": maximize, "decoupled_weight_decay": decoupled_weight_decay}
    return grouped(groups, options, _adam, REFUSALS)


def _adam(
    betas: Sequence[NumberLike], eps: NumberLike, amsgrad: bool, decoupled_weight_decay: bool, **rest: Any
) -> Chain:
    rule = _moments(LateCorrectedAmsgrad() if amsgrad else ScaleByAdam(), betas, eps, rest["lr"])
    return assembled("adam", apart(rule), decoupled=decoupled_weight_decay, **rest)


def _moments(rule: Rule, betas: Sequence[NumberLike], eps: NumberLike, lr: NumberLike) -> Rule:
    b1, b2 = pair("betas", betas)
    refuse_fixed("betas[0]", b1, lr, "betas=(lr.momentum, betas[1])")
    return unchecked(rule, b1=b1, b2=b2, eps=number("eps", eps))


@constructor
def adamw(
    lr: NumberLike = 1e-3,
    betas: Sequence[NumberLike] = BETAS,
    eps: NumberLike = 1e-8,
    weight_decay: NumberLike = 1e-2,
    amsgrad: bool = False,
    *,
    maximize: bool = False,
    groups: Groups | None = None,
) -> Chain:
    """`torch.optim.AdamW`: `adam(..., decoupled_weight_decay=True)`, `w <- w - lr·(m̂ / (√v̂ + eps) + weight_decay·w)`.

    Source: torch 2.13, optim/adamw.py.
    """
    return adam(lr, betas, eps, weight_decay, amsgrad, maximize=maximize, decoupled_weight_decay=True, groups=groups)


@constructor
def adamax(
    lr: NumberLike = 2e-3,
    betas: Sequence[NumberLike] = BETAS,
    eps: NumberLike = 1e-8,
    weight_decay: NumberLike = 0,
    *,
    maximize: bool = False,
    groups: Groups | None = None,
) -> Chain:
    """`torch.optim.Adamax`: `u <- max(b2·u, |g| + eps)`, `w <- w - lr / (1 - b1ᵗ)·m / u`.

    Reach: element. State: mu, nu (u), shaped like p; count, int32 scalar.
    Raises: as `adam`.
    Source: torch 2.13, optim/adamax.py.
    """
    nonnegative(lr=lr, eps=eps)
    fractions("betas", betas)
    nonnegative(weight_decay=weight_decay)
    options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
    return grouped(groups, options, _adamax, REFUSALS)


def _adamax(betas: Sequence[NumberLike], eps: NumberLike, **rest: Any) -> Chain:
    return assembled("adamax", apart(_moments(ScaleByAdamax(), betas, eps, rest["lr"])), **rest)


@constructor
def nadam(
    lr: NumberLike = 2e-3,
    betas: Sequence[NumberLike] = BETAS,
    eps: NumberLike = 1e-8,
    weight_decay: NumberLike = 0,
    momentum_decay: NumberLike = 4e-3,
    decoupled_weight_decay: bool = False,
    *,
    maximize: bool = False,
    groups: Groups | None = None,
) -> Chain:
    """`torch.optim.NAdam`: Adam with Nesterov's numerator and a momentum that warms up.

    `μₜ = b1·(1 - 0.96^(t·momentum_decay) / 2)` in the numerator, b1 in m (`gx.nadam` keeps b1 in both).
    Reach: element. State: mu, nu, shaped like p; mu_product (of all μ), float32 scalar; count, int32 scalar.
    Raises: as `adam`.
    Source: torch 2.13, optim/nadam.py; Dozat 2016.
    """
    nonnegative(lr=lr, eps=eps)
    fractions("betas", betas)
    nonnegative(weight_decay=weight_decay, momentum_decay=momentum_decay)
    options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "momentum_decay": momentum_decay}
    options |= {"decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize}
    return grouped(groups, options, _nadam, REFUSALS)


def _nadam(
    betas: Sequence[NumberLike], eps: NumberLike, momentum_decay: NumberLike, decoupled_weight_decay: bool, **rest: Any
) -> Chain:
    rule = unchecked(
        _moments(TorchNadam(), betas, eps, rest["lr"]), momentum_decay=number("momentum_decay", momentum_decay)
    )
    return assembled("nadam", lift(Parts(rule)), decoupled=decoupled_weight_decay, **rest)


@constructor
def radam(
    lr: NumberLike = 1e-3,
    betas: Sequence[NumberLike] = BETAS,
    eps: NumberLike = 1e-8,
    weight_decay: NumberLike = 0,
    decoupled_weight_decay: bool = False,
    *,
    maximize: bool = False,
    groups: Groups | None = None,
) -> Chain:
    """`torch.optim.RAdam`: `gx.radam` with epsilon beside √v: `w <- w - lr·r·m̂·√(1 - b2ᵗ) / (√v + eps)`.

    Reach: element. State: mu, nu, shaped like p; count, int32 scalar.
    Raises: as `adam`.
    Source: torch 2.13, optim/radam.py; Liu et al. 2019, arXiv:1908.03265.
    """
    nonnegative(lr=lr, eps=eps)
    fractions("betas", betas)
    nonnegative(weight_decay=weight_decay)
    options = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
    options |= {"decoupled_weight_decay": decoupled_weight_decay, "maximize": maximize}
    return grouped(groups, options, _radam, REFUSALS)


def _radam(betas: Sequence[NumberLike], eps: NumberLike, decoupled_weight_decay: bool, **rest: Any) -> Chain:
    rule = _moments(EpsilonHatRadam(), betas, eps, rest["lr"])
    return assembled("radam", apart(rule), decoupled=decoupled_weight_decay, **rest)


@constructor
def sparse_adam(
    lr: NumberLike = 1e-3,
    betas: Sequence[NumberLike] = BETAS,
    eps: NumberLike = 1e-8,
    maximize: bool = False,
    *,
    groups: Groups | None = None,
) -> Chain:
    """`torch.optim.SparseAdam`: Adam for gradients that are `gx.Rows`; rows that do not occur rest, memory included.

    Repeated rows are summed first, and epsilon stands beside √v: `w <- w - lr·√(1 - b2ᵗ)/(1 - b1ᵗ)·m / (√v + eps)`.
    Reach: element. State: mu, nu, shaped like p; count, int32 scalar.
    Raises: as `adam`; ValueError if lr or eps is 0; RuntimeError for a dense gradient.
    Source: torch 2.13, optim/sparse_adam.py.
    """
    positive(lr=lr, eps=eps)
    fractions("betas", betas)
    options = {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize}
    return grouped(groups, options, _sparse_adam, REFUSALS)


def _sparse_adam(lr: NumberLike, betas: Sequence[NumberLike], eps: NumberLike, maximize: bool) -> Chain:
    direction = lazy(clocked(_moments(EpsilonHatAdam(), betas, eps, lr)))
    return chain(lift(TakesRows("sparse_adam")), turned(maximize), direction, stepped(lr))
