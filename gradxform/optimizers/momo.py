"""Rates from a model of the loss: MoMo, which is Polyak's step for momentum, and MoMo-Adam."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import debias, is_zero, quotient, root
from gradxform.core.chain import Chain, lift
from gradxform.core.facts import Facts, Reach, Station
from gradxform.core.hyper import Beta, Decay, Hyper
from gradxform.core.norms import total
from gradxform.core.rule import TreeRule
from gradxform.core.sizes import squarable
from gradxform.core.types import Array, ArrayLike, AxisName, Count, Scalars
from gradxform.optimizers.adam import Moments
from gradxform.optimizers.lion import Momentum


class Model(NamedTuple):
    """barf, gamma, means of the loss and of ⟨g, p⟩, and lb, the lower bound: scalars, real."""

    barf: Array
    gamma: Array
    lb: Array


class Modelled(TreeRule, abstract=True):
    """`τ = min(learning_rate / ρ, (f̄ + ⟨m, p⟩ - γ - ρ·lower bound) / ‖m‖²)`, ‖m‖ in the metric of the direction."""

    learning_rate: Hyper = 1.0
    b1: Beta = 0.9
    lower_bound: Hyper = 0.0
    weight_decay: Decay = 0.0
    adapt_lower_bound: bool = False
    axis_name: AxisName | None = None
    facts = Facts(
        reach=Reach.TREE, station=Station.STEP, needs_params=True, needs=("value",), real_only=True, turns=True,
        measures_memory=True,
    )  # fmt: skip

    def check(self) -> None:
        check.nonnegative(learning_rate=self.learning_rate, weight_decay=self.weight_decay)
        check.finite(lower_bound=self.lower_bound)
        check.axis_or_none(axis_name=self.axis_name)

    @property
    def corrects(self) -> bool:
        return True

    def init_tree(self, ps: list[Array]) -> Model:
        zero = jnp.zeros((), float)
        return Model(zero, jnp.copy(zero), zero + self.lower_bound)

    def modelled(self, s: Model, value: ArrayLike | None, b: Any, rho: Any, *added: list[Array]) -> tuple[Array, Model]:
        """The step and the new model, from what each leaf adds to ⟨m, p⟩, ‖m‖² and ⟨g, p⟩."""
        ahead, square, here = (total(parts, self.axis_name) for parts in added)
        barf = b * s.barf + (1 - b) * jnp.asarray(value, s.barf.dtype)
        gamma, lb, grown = b * s.gamma + (1 - b) * here, s.lb, 1 + self.learning_rate * self.weight_decay
        cap = grown * (barf - gamma) + ahead
        if self.adapt_lower_bound:
            lb = jnp.where(cap < grown * rho * lb, jnp.maximum(cap / (2 * grown * rho), self.lower_bound), lb)
        step = quotient(jnp.maximum(cap - grown * rho * lb, 0.0), square, 0.0)
        step = jnp.minimum(self.learning_rate / rho, step)
        if self.adapt_lower_bound:
            lb = jnp.maximum((barf + ahead - gamma - step * square / 2) / rho, self.lower_bound)
        return step, Model(barf, gamma, lb)

    def landed(self, u: Array, p: Array) -> Array:
        """`(p - u) / (1 + learning_rate·weight_decay) - p`."""
        if is_zero(self.weight_decay):
            return -u
        decay = self.learning_rate * self.weight_decay
        moved: Array = -(u + decay * p) / (1 + decay)
        return moved


class Momo(Modelled):
    bias_correction: bool = False

    def init(self, p: Array) -> Momentum:
        return Momentum(jnp.zeros_like(p))

    def measure(
        self, gs: list[Array], s: Model, t: Count, value: ArrayLike | None = None, ps: Any = (), ms: Any = ()
    ) -> tuple[Scalars, Model]:
        b, rho = (self.b1, debias(self.b1, t)) if self.bias_correction else (jnp.where(t == 1, 0.0, self.b1 * 1.0), 1.0)
        n = sum(g.size for g in gs)
        gs = [squarable(g, n) for g in gs]
        mus = [b * m.mu + (1 - b) * g for g, m in zip(gs, ms, strict=True)]
        along, new = ([jnp.sum(x * p) for x, p in zip(xs, ps, strict=True)] for xs in (mus, gs))
        step, model = self.modelled(s, value, b, rho, along, [jnp.sum(mu * mu) for mu in mus], new)
        return (step, b, n), model

    def update(self, g: Array, s: Momentum, p: Array, k: Scalars) -> tuple[Array, Momentum]:
        step, b, n = k
        mu = b * s.mu + (1 - b) * squarable(g, n)
        return self.landed(step * mu, p), Momentum(mu)


class MomoAdam(Modelled):
    b2: Beta = 0.999
    eps: Hyper = 1e-8

    def check(self) -> None:
        super().check()
        check.nonnegative(eps=self.eps)

    def init(self, p: Array) -> Moments:
        return Moments(jnp.zeros_like(p), jnp.zeros_like(p))

    def moved(self, g: Array, s: Moments, c2: Array) -> tuple[Moments, Array]:
        """New moments, and the direction."""
        mu, nu = self.b1 * s.mu + (1 - self.b1) * g, self.b2 * s.nu + (1 - self.b2) * g * g
        return Moments(mu, nu), quotient(mu, root(nu / c2) + self.eps, self.eps)

    def measure(
        self, gs: list[Array], s: Model, t: Count, value: ArrayLike | None = None, ps: Any = (), ms: Any = ()
    ) -> tuple[Scalars, Model]:
        c2, n = debias(self.b2, t), sum(g.size for g in gs)
        gs = [squarable(g, n) for g in gs]
        moved = [self.moved(g, m, c2) for g, m in zip(gs, ms, strict=True)]
        along = [jnp.sum(m.mu * p) for (m, _), p in zip(moved, ps, strict=True)]
        size, new = [jnp.sum(m.mu * u) for m, u in moved], [jnp.sum(g * p) for g, p in zip(gs, ps, strict=True)]
        step, model = self.modelled(s, value, self.b1, debias(self.b1, t), along, size, new)
        return (step, c2, n), model

    def update(self, g: Array, s: Moments, p: Array, k: Scalars) -> tuple[Array, Moments]:
        step, c2, n = k
        s, u = self.moved(squarable(g, n), s, c2)
        return self.landed(step * u, p), s


def momo(
    learning_rate: Hyper = 1.0, beta: Beta = 0.9, lower_bound: Hyper = 0.0, weight_decay: Hyper = 0.0,
    adapt_lower_bound: bool = False, *, bias_correction: bool = False, axis_name: AxisName | None = None,
) -> Chain:  # fmt: skip
    """Momentum with Polyak's step: `p <- (p - τ·m) / (1 + learning_rate·weight_decay)`, m a mean of g.

    `update` takes the loss as `value`. `τ = min(learning_rate, (f̄ + ⟨m, p⟩ - γ - lower_bound) / ‖m‖²)`, f̄ a mean of
    losses, γ of ⟨g, p⟩, each from the first one on, or with bias_correction from 0. adapt_lower_bound: raise the bound
    where losses allow. Decay is the authors'; optax's does not divide τ·m. axis_name: axes of `shard_map` over which
    leaves are split; the loss is the whole one.
    Reach: tree. State: mu, shaped like p, float32 or wider; in `tree` barf (f̄), gamma, lb, scalars.
    Raises: ValueError for arguments out of range, missing params, a complex parameter; at update if value is missing.
    Source: Schaipp et al. 2023, arXiv:2305.07583, algorithm 1.
    """
    b1 = check.given(check.fraction, beta=beta)
    return lift(Momo(learning_rate, b1, lower_bound, weight_decay, adapt_lower_bound, axis_name, bias_correction))


def momo_adam(
    learning_rate: Hyper = 1e-2, b1: Beta = 0.9, b2: Beta = 0.999, eps: Hyper = 1e-8, lower_bound: Hyper = 0.0,
    weight_decay: Hyper = 0.0, adapt_lower_bound: bool = False, *, axis_name: AxisName | None = None,
) -> Chain:  # fmt: skip
    """Adam with Polyak's step: `p <- (p - τ·m / D) / (1 + learning_rate·weight_decay)`, `D = √v̂ + eps`.

    `update` takes the loss as `value`. `τ = min(learning_rate / ρ, (f̄ + ⟨m, p⟩ - γ - ρ·lower_bound) / Σ m² / D)`,
    `ρ = 1 - b1ᵗ`, f̄ a mean of losses, γ of ⟨g, p⟩. adapt_lower_bound, axis_name and the decay as in `momo`.
    Reach: tree. State: mu, nu, shaped like p, float32 or wider; in `tree` barf (f̄), gamma, lb, scalars.
    Raises: ValueError for arguments out of range, missing params, a complex parameter; at update if value is missing.
    Source: Schaipp et al. 2023, arXiv:2305.07583, algorithm 2.
    """
    return lift(MomoAdam(learning_rate, b1, lower_bound, weight_decay, adapt_lower_bound, axis_name, b2, eps))
