"""torch's Adafactor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from gradxform.compat.common.gradients import TakesDense
from gradxform.compat.common.groups import Groups, grouped
from gradxform.compat.common.overflows import clocked
from gradxform.compat.common.unchecked import unchecked
from gradxform.compat.torch.checks import REFUSALS, NumberLike, constructor, nonnegative, number, refuse_cycles, seen
from gradxform.compat.torch.stages import turned
from gradxform.core.arithmetic import root
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.facts import Facts, Reach
from gradxform.core.hyper import Hyper
from gradxform.core.plain import got
from gradxform.core.rule import Rule
from gradxform.core.types import Array, Memory, Path, Scalars


class Variances(NamedTuple):
    """variance: shaped like p, real."""

    variance: Array


class FactoredVariances(NamedTuple):
    """row_var: shaped like p with a last axis of 1. col_var: with a second to last axis of 1. Both real."""

    row_var: Array
    col_var: Array


class TorchAdafactor(Rule):
    """Adafactor that factors the last two axes, with steps relative to the size of the parameter."""

    learning_rate: Hyper = 1e-2
    beta2_decay: Hyper = -0.8
    eps1: Hyper = None
    eps2: Hyper = 1e-3
    d: Hyper = 1.0
    weight_decay: Hyper = 0.0
    name = "adafactor"
    facts = Facts(reach=Reach.ARRAY, needs_params=True, turns=True, real_only=True)

    def for_leaf(self, path: Path, p: Array) -> Rule:
        return self if self.eps1 is not None else self.with_fields(eps1=float(jnp.finfo(p.dtype).eps))

    def init(self, p: Array) -> Memory:
        if p.ndim < 2:
            return Variances(jnp.zeros_like(p))
        return FactoredVariances(jnp.zeros_like(p[..., :1]), jnp.zeros_like(p[..., :1, :]))

    def scalars(self, t: Any) -> Scalars:
        steps = jnp.asarray(t, float)
        return steps**self.beta2_decay, jnp.minimum(self.learning_rate, steps**-0.5)

    def update(self, g: Array, s: Memory, p: Any, k: Scalars) -> tuple[Array, Memory]:
        share, rho = k
        square = g * g
        if g.ndim < 2:
            s = Variances(s.variance + share * (square - s.variance))
            variance = s.variance
        else:
            means = square.mean(-1, keepdims=True), square.mean(-2, keepdims=True)
            s = FactoredVariances(*(old + share * (mean - old) for old, mean in zip(s, means, strict=True)))
            variance = s.row_var * s.col_var / jnp.maximum(s.row_var.mean(-2, keepdims=True), self.eps1)
        u = g / root(jnp.maximum(variance, self.eps1 * self.eps1))
        alpha = jnp.maximum(self.eps2, _rms(p)) * rho / jnp.maximum(1.0, _rms(u) / self.d)
        return -alpha * u - self.learning_rate * self.weight_decay * p, s


def _rms(x: Array) -> Array:
    return root(jnp.mean(x * x))


@constructor
def adafactor(
    lr: NumberLike = 1e-2,
    beta2_decay: NumberLike = -0.8,
    eps: Sequence[NumberLike | None] = (None, 1e-3),
    d: NumberLike = 1.0,
    weight_decay: NumberLike = 0.0,
    *,
    maximize: bool = False,
    groups: Groups | None = None,
) -> Chain:
    """`torch.optim.Adafactor`: `w <- w - max(eps[1], RMS(w))·min(lr, t^-1/2)·u / max(1, RMS(u)/d)`, `u = g / √v`.

    v of two and more axes is `r·c / mean(r)`, of means r over the last axis and c over the last but one (`gx.adafactor`
    takes the largest two); their memories move by `t^beta2_decay`. `lr·weight_decay·w` goes off beside it.
    eps: that of the roots, None for the epsilon of the parameter's dtype, and the least size of w.
    Reach: array. State: variance, or row_var and col_var, with an axis of 1 each; count, int32 scalar.
    Raises: TypeError, ValueError, KeyError as torch does; RuntimeError for a sparse gradient.
    Source: torch 2.13, optim/_adafactor.py; Shazeer & Stern 2018, arXiv:1804.04235.
    """
    nonnegative(lr=lr, weight_decay=weight_decay)
    if (decay := seen(number("beta2_decay", beta2_decay))) is not None and not decay <= 0.0:
        raise ValueError(f"beta2_decay must be at most 0, got {decay}")
    if (threshold := seen(number("d", d))) is not None and not threshold >= 1.0:
        raise ValueError(f"d must be at least 1, got {threshold}")
    nonnegative(**{f"eps[{i}]": x for i, x in enumerate(_pair(eps)) if x is not None})
    options = {"lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d, "weight_decay": weight_decay}
    return grouped(groups, {**options, "maximize": maximize}, _adafactor, REFUSALS)


def _pair(eps: Any) -> tuple[NumberLike | None, NumberLike]:
    if isinstance(eps, str) or not isinstance(eps, Sequence) or len(eps) != 2 or eps[1] is None:
        raise TypeError(f"eps must be a pair of numbers, the first of which may be None, {got(eps)}")
    return eps[0], eps[1]


def _adafactor(lr: NumberLike, eps: Sequence[NumberLike | None], maximize: bool, **rest: NumberLike) -> Chain:
    refuse_cycles("adafactor", lr)
    eps1, eps2 = _pair(eps)
    numbers = {name: number(name, x) for name, x in rest.items()}
    numbers |= {"learning_rate": number("lr", lr), "eps2": number("eps[1]", eps2)}
    if eps1 is not None:
        numbers["eps1"] = number("eps[0]", eps1)
    return chain(lift(TakesDense("adafactor")), turned(maximize), clocked(unchecked(TorchAdafactor(), **numbers)))
