"""Adam whose rate is a running estimate of the distance to the solution: D-Adaptation, and Prodigy, which is faster."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import debias, is_zero, power, quotient, root
from gradxform.core.chain import Chain, lift
from gradxform.core.facts import Facts, Reach, Station
from gradxform.core.hyper import Beta, Decay, Hyper
from gradxform.core.norms import total
from gradxform.core.rule import TreeRule
from gradxform.core.sizes import squarable
from gradxform.core.types import Array, AxisName, Count, Scalars


class Estimate(NamedTuple):
    """estim_lr, d, max_lr, the largest d found, numerator_weighted: scalars, float32."""

    estim_lr: Array
    max_lr: Array
    numerator_weighted: Array


class Estimates(TreeRule, abstract=True):
    """What the two have in common: Adam's letters, and d, which grows to the largest value that the sums prove."""

    learning_rate: Hyper = 1.0
    b1: Beta = 0.9
    b2: Beta = 0.999
    eps: Hyper = 1e-8
    estim_lr0: float = 1e-6
    weight_decay: Decay = 0.0
    bias_correction: bool = False
    growth_rate: float = math.inf
    axis_name: AxisName | None = None
    facts = Facts(
        reach=Reach.TREE, station=Station.STEP, needs_params=True, real_only=True, turns=True, measures_memory=True
    )

    def check(self) -> None:
        check.nonnegative(learning_rate=self.learning_rate, eps=self.eps, weight_decay=self.weight_decay)
        check.axis_or_none(axis_name=self.axis_name)

    @property
    def corrects(self) -> bool:
        return self.bias_correction

    def init_tree(self, ps: list[Array]) -> Estimate:
        d = jnp.asarray(self.estim_lr0, float)
        return Estimate(d, jnp.copy(d), 0 * d)

    def rate(self, d: Array, t: Count) -> Array:
        rate: Array = d * self.learning_rate
        return rate * (root(debias(self.b2, t)) / debias(self.b1, t)) if self.bias_correction else rate

    def landed(self, u: Array, p: Array, rate: Array) -> Array:
        return -u if is_zero(self.weight_decay) else -u - rate * self.weight_decay * p


class Moments(NamedTuple):
    """mu, nu, grad_sum: shaped like p."""

    mu: Array
    nu: Array
    grad_sum: Array


class DadaptAdamw(Estimates):
    def init(self, p: Array) -> Moments:
        return Moments(jnp.zeros_like(p), jnp.zeros_like(p), jnp.zeros_like(p))

    def measure(self, gs: list[Array], s: Estimate, t: Count, ps: Any = (), ms: Any = ()) -> tuple[Scalars, Estimate]:
        d, rate, (b, c) = s.estim_lr, self.rate(s.estim_lr, t), (power(self.b2, 0.5), debias(self.b2, 0.5))
        pairs = [(squarable(g, sum(g.size for g in gs)), m) for g, m in zip(gs, ms, strict=True)]
        along = [jnp.sum(g * quotient(m.grad_sum, root(m.nu) + self.eps, self.eps)) for g, m in pairs]
        sizes = [jnp.sum(jnp.abs(b * m.grad_sum + c * rate * g)) for g, m in pairs]
        numerator = b * s.numerator_weighted + c * rate * total(along, self.axis_name)
        found = quotient(numerator, c * total(sizes, self.axis_name), 0.0)
        grown = found if self.growth_rate == math.inf else jnp.minimum(found, d * self.growth_rate)
        new = Estimate(jnp.maximum(d, grown), jnp.maximum(s.max_lr, found), numerator)
        return (rate, b, c), new

    def update(self, g: Array, s: Moments, p: Array, k: Scalars) -> tuple[Array, Moments]:
        (rate, b, c), g = k, squarable(g)
        mu = self.b1 * s.mu + (1 - self.b1) * rate * g
        nu = self.b2 * s.nu + (1 - self.b2) * g * g
        u = quotient(mu, root(nu) + self.eps, self.eps)
        return self.landed(u, p, rate), Moments(mu, nu, b * s.grad_sum + c * rate * g)


class MomentsFrom(NamedTuple):
    """mu, nu, grad_sum, params0, what p was at first: shaped like p."""

    mu: Array
    nu: Array
    grad_sum: Array
    params0: Array


class Prodigy(Estimates):
    beta3: Beta | None = None
    estim_lr_coef: Hyper = 1.0
    safeguard_warmup: bool = False

    def check(self) -> None:
        super().check()
        check.positive(estim_lr_coef=self.estim_lr_coef)

    def init(self, p: Array) -> MomentsFrom:
        return MomentsFrom(jnp.zeros_like(p), jnp.zeros_like(p), jnp.zeros_like(p), p)

    def measure(self, gs: list[Array], s: Estimate, t: Count, ps: Any = (), ms: Any = ()) -> tuple[Scalars, Estimate]:
        d, rate = s.estim_lr, self.rate(s.estim_lr, t)
        b = power(self.b2, 0.5) if self.beta3 is None else self.beta3
        share = d / self.estim_lr0
        weight = share * (d if self.safeguard_warmup else rate)
        leaves = [(squarable(g, sum(g.size for g in gs)), p, m) for g, p, m in zip(gs, ps, ms, strict=True)]
        along = total([jnp.sum(g * (m.params0 - p)) for g, p, m in leaves], self.axis_name)
        size = total([jnp.sum(jnp.abs(b * m.grad_sum + weight * g)) for g, _, m in leaves], self.axis_name)
        numerator = b * s.numerator_weighted + share * rate * along
        found = quotient(self.estim_lr_coef * numerator, size, 0.0)
        top = jnp.maximum(s.max_lr, found)
        new = top
        if self.growth_rate != math.inf:
            new = jnp.minimum(top, jnp.where(d == self.estim_lr0, jnp.maximum(d, found), d) * self.growth_rate)
        return (d, rate, weight, b, new), Estimate(new, top, numerator)

    def update(self, g: Array, s: MomentsFrom, p: Array, k: Scalars) -> tuple[Array, MomentsFrom]:
        (d, rate, weight, b, new), g = k, squarable(g)
        mu = self.b1 * s.mu + (1 - self.b1) * d * g
        nu = self.b2 * s.nu + (1 - self.b2) * squarable(d * g) ** 2
        u = rate * quotient(mu, root(nu) + new * self.eps, 0.0)
        return self.landed(u, p, rate), MomentsFrom(mu, nu, b * s.grad_sum + weight * g, s.params0)


def _betas(betas: Any) -> dict[str, Any]:
    pair = check.pair("two decay rates", betas=betas)
    return dict(zip(("b1", "b2"), [check.given(check.fraction, betas=b) for b in pair], strict=True))


def dadapt_adamw(
    learning_rate: Hyper = 1.0, betas: tuple[Beta, Beta] = (0.9, 0.999), eps: Hyper = 1e-8, estim_lr0: float = 1e-6,
    weight_decay: Hyper = 0.0, *, bias_correction: bool = False, growth_rate: float = math.inf,
    axis_name: AxisName | None = None,
) -> Chain:  # fmt: skip
    """AdamW that finds its rate: `u = -(m / (√v + eps) + r·weight_decay·p)`, `r = d·learning_rate`, m a mean of r·g.

    d begins at estim_lr0 and grows to what the gradients prove of the distance to the solution, at most by growth_rate
    a step. learning_rate: a schedule up to 1. bias_correction: r times `√(1-b2ᵗ) / (1-b1ᵗ)`, as in optax always. A
    gradient of zero leaves d as it is. axis_name: axes of `shard_map` over which leaves are split.
    Reach: tree. State: mu, nu, grad_sum, shaped like p, float32 or wider; in `tree` estim_lr (d), max_lr,
    numerator_weighted, scalars.
    Raises: ValueError for arguments out of range, missing params, a complex parameter.
    Source: Defazio, Mishchenko 2023, arXiv:2301.07733, algorithm 5 as in their code.
    """
    start = check.number(check.divisor, estim_lr0=estim_lr0)
    growth = check.number(check.positive, infinite=True, growth_rate=growth_rate)
    return lift(DadaptAdamw(
        learning_rate, **_betas(betas), eps=eps, estim_lr0=start, weight_decay=weight_decay,
        bias_correction=bias_correction, growth_rate=growth, axis_name=axis_name,
    ))  # fmt: skip


def prodigy(
    learning_rate: Hyper = 1.0, betas: tuple[Beta, Beta] = (0.9, 0.999), beta3: Beta | None = None, eps: Hyper = 1e-8,
    estim_lr0: float = 1e-6, estim_lr_coef: Hyper = 1.0, weight_decay: Hyper = 0.0, safeguard_warmup: bool = False, *,
    bias_correction: bool = False, growth_rate: float = math.inf, axis_name: AxisName | None = None,
) -> Chain:  # fmt: skip
    """AdamW that finds its rate: `u = -r·(m / (√v + d·eps) + weight_decay·p)`, `r = d·learning_rate`, m a mean of d·g.

    d begins at estim_lr0 and grows to estim_lr_coef times what the gradients prove of the distance to the solution, at
    most by growth_rate a step; sums of them decay by beta3, √b2 unless given. learning_rate: a schedule up to 1;
    safeguard_warmup weighs gradients without it. bias_correction: r times `√(1-b2ᵗ) / (1-b1ᵗ)`, as in optax always. A
    gradient of zero leaves d as it is. axis_name: axes of `shard_map` over which leaves are split.
    Reach: tree. State: mu, nu, grad_sum, params0 (p at first), shaped like p, float32 or wider; in `tree` estim_lr (d),
    max_lr, numerator_weighted, scalars.
    Raises: ValueError for arguments out of range, missing params, a complex parameter.
    Source: Mishchenko, Defazio 2023, arXiv:2306.06101, algorithm 4 as in their code.
    """
    start = check.number(check.divisor, estim_lr0=estim_lr0)
    growth = check.number(check.positive, infinite=True, growth_rate=growth_rate)
    return lift(Prodigy(
        learning_rate, **_betas(betas), eps=eps, estim_lr0=start, weight_decay=weight_decay,
        bias_correction=bias_correction, growth_rate=growth, axis_name=axis_name, beta3=beta3,
        estim_lr_coef=estim_lr_coef, safeguard_warmup=safeguard_warmup,
    ))  # fmt: skip
