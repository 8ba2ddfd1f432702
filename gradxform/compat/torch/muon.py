"""torch's Muon."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gradxform.compat.common.groups import Groups, grouped
from gradxform.compat.common.overflows import Overflows
from gradxform.compat.common.unchecked import unchecked
from gradxform.compat.torch.checks import (
    REFUSALS,
    NumberLike,
    constructor,
    nonnegative,
    number,
    refuse_fixed,
)
from gradxform.compat.torch.stages import assembled
from gradxform.core import check
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.facts import Facts, Reach, Station
from gradxform.core.hyper import Hyper
from gradxform.core.plain import got
from gradxform.core.rule import Rule
from gradxform.core.types import Array, Memory, Param, Scalars
from gradxform.optimizers.muon import MuonMomentum, product
from gradxform.optimizers.newton_schulz import JORDAN, Coefficients


class TorchOrthogonal(Rule):
    """A matrix made nearly orthogonal in bfloat16, rounded where torch rounds, times a factor of its shape."""

    coefficients: Coefficients = JORDAN * 5
    eps: Hyper = 1e-7
    adjust: str | None = None
    facts = Facts(reach=Reach.ARRAY, station=Station.DIRECT, matrix=True, real_only=True)

    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Array, Memory]:
        rows, columns = g.shape
        x = _bfloat16(g.T if rows > columns else g)
        x = _bfloat16(x / _bfloat16(jnp.maximum(jnp.sqrt(jnp.sum(x * x)), self.eps)))

        def step(x: Array, abc: Array) -> tuple[Array, None]:
            a, b, c = abc
            gram = _bfloat16(product(x, x.T))
            change = _bfloat16(b * gram + c * product(gram, gram))
            return _bfloat16(a * x + product(change, x)), None

        polynomials = jnp.asarray(self.coefficients, jnp.float32).reshape(-1, 3)
        x = jax.lax.scan(step, x, polynomials)[0].astype(g.dtype)
        factor = max(1.0, rows / columns) ** 0.5
        if self.adjust == "match_rms_adamw":
            factor = 0.2 * math.sqrt(max(rows, columns))
        return factor * (x.T if rows > columns else x), s


def _bfloat16(x: Array) -> Array:
    """Rounded to bfloat16, and held in float32."""
    return jax.lax.reduce_precision(x.astype(jnp.float32), exponent_bits=8, mantissa_bits=7)


@constructor
def muon(
    lr: NumberLike = 1e-3,
    weight_decay: NumberLike = 0.1,
    momentum: NumberLike = 0.95,
    nesterov: bool = True,
    ns_coefficients: Sequence[float] = JORDAN[0],
    eps: NumberLike = 1e-7,
    ns_steps: int = 5,
    adjust_lr_fn: str | None = None,
    *,
    groups: Groups | None = None,
) -> Chain:
    """`torch.optim.Muon`: `m <- momentum·m + (1 - momentum)·g`, `w <- w - lr·(f·O(m) + weight_decay·w)` for matrices.

    O is Newton-Schulz in bfloat16, of `(1 - momentum)·g + momentum·m` with nesterov. f is `√max(1, rows/columns)`, or
    `0.2·√max(rows, columns)` for adjust_lr_fn="match_rms_adamw". Rows are those of the array: a kernel that stands
    transposed here gets them by `gx.matrices`.
    Reach: array. State: mu, shaped like p.
    Raises: TypeError, ValueError, KeyError as torch does, ValueError at init for what is no matrix.
    Source: torch 2.13, optim/_muon.py; Jordan et al. 2024.
    """
    nonnegative(lr=lr, momentum=momentum, weight_decay=weight_decay)
    options: dict[str, Any] = {
        "lr": lr,
        "weight_decay": weight_decay,
        "momentum": momentum,
        "nesterov": nesterov,
        "eps": eps,
    }
    options |= {"ns_coefficients": ns_coefficients, "ns_steps": ns_steps, "adjust_lr_fn": adjust_lr_fn}
    return grouped(groups, options, _muon, REFUSALS)


def _muon(
    momentum: NumberLike,
    nesterov: bool,
    ns_coefficients: Sequence[float],
    eps: NumberLike,
    ns_steps: int,
    adjust_lr_fn: str | None,
    **rest: Any,
) -> Chain:
    if not isinstance(adjust_lr_fn, str | None) or adjust_lr_fn not in (None, "original", "match_rms_adamw"):
        raise ValueError(f"adjust_lr_fn must be None, 'original' or 'match_rms_adamw', {got(adjust_lr_fn)}")
    given = check.sequence("3 numbers", ns_coefficients=ns_coefficients)
    if len(given) != 3:
        raise ValueError(f"ns_coefficients must be 3 numbers, {got(ns_coefficients)}")
    check.integer(0, 99, ns_steps=ns_steps)
    mu = number("momentum", momentum)
    refuse_fixed("momentum", mu, rest["lr"])
    a, b, c = (check.number(check.finite, ns_coefficients=x) for x in given)
    mean = lift(Overflows(unchecked(MuonMomentum(nesterov=bool(nesterov)), beta=mu)))
    orthogonal = unchecked(TorchOrthogonal(((a, b, c),) * int(ns_steps), adjust=adjust_lr_fn), eps=number("eps", eps))
    return assembled("muon", chain(mean, lift(orthogonal)), decoupled=True, **rest)
