"""Schedule-free+: AdamW around an average, its rate found from the loss by Polyak's rule."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import debias, quotient, root
from gradxform.core.barriers import in_place
from gradxform.core.chain import Chain, lift
from gradxform.core.dither import APART, plus, turn
from gradxform.core.facts import Facts, Reach, Station
from gradxform.core.hyper import Beta, Decay, Hyper
from gradxform.core.norms import total
from gradxform.core.rule import TreeRule
from gradxform.core.sizes import squarable
from gradxform.core.types import Array, ArrayLike, AxisName, Count, Scalars
from gradxform.transforms.schedule_free import averaged, travelled


class PlusMoments(NamedTuple):
    """mu, nu, z: shaped like p, z a copy of it at first. b1: of the average, a scalar, real."""

    mu: Array
    nu: Array
    z: Array
    b1: Array


class PlusSums(NamedTuple):
    """weight_sum, max_lr, grad_l1: scalars, real."""

    weight_sum: Array
    max_lr: Array
    grad_l1: Array


class ScheduleFreePlus(TreeRule):
    learning_rate: Hyper = 1.0
    b1: Beta = 0.9
    b2: Beta = 0.95
    eps: Hyper = 1e-8
    weight_decay: Decay = 0.0
    sf_beta1: Beta = 0.9
    sf_beta1_max: Beta = 0.965
    sf_beta1_anneal_steps: int = 0
    polyak_beta: Beta = 0.0
    weight_lr_power: Hyper = 2.0
    r: Hyper = 0.0
    c_warmup: int = 0
    axis_name: AxisName | None = None
    facts = Facts(
        reach=Reach.TREE, station=Station.LAND, needs_params=True, needs=("value",), real_only=True, turns=True,
        measures_memory=True,
    )  # fmt: skip

    def check(self) -> None:
        check.nonnegative(learning_rate=self.learning_rate, eps=self.eps, weight_decay=self.weight_decay, r=self.r)
        check.nonnegative(weight_lr_power=self.weight_lr_power)
        check.divisor(sf_beta1=self.sf_beta1, sf_beta1_max=self.sf_beta1_max)
        check.integer(0, sf_beta1_anneal_steps=self.sf_beta1_anneal_steps, c_warmup=self.c_warmup)
        check.axis_or_none(axis_name=self.axis_name)

    @property
    def corrects(self) -> bool:
        return True

    def init(self, p: Array) -> PlusMoments:
        return PlusMoments(jnp.zeros_like(p), jnp.zeros_like(p), p, jnp.zeros((), p.dtype) + self.sf_beta1 * 1.0)

    def init_tree(self, ps: list[Array]) -> PlusSums:
        zero = jnp.zeros((), float)
        return PlusSums(zero, zero + self.eps, jnp.copy(zero))

    def measure(
        self, gs: list[Array], s: PlusSums, t: Count, value: ArrayLike | None = None, ps: Any = (), ms: Any = ()
    ) -> tuple[Scalars, PlusSums]:
        n, b = sum(g.size for g in gs), self.sf_beta1 * 1.0
        gs = [squarable(g, n) for g in gs]
        if self.sf_beta1_anneal_steps:
            gone = jnp.minimum((t - 1.0) / self.sf_beta1_anneal_steps, 1.0)
            b = 1 - (1 - self.sf_beta1) ** (1 - gone) * (1 - self.sf_beta1_max) ** gone
        back = total([jnp.sum(g * (m.z - p)) / m.b1 for g, p, m in zip(gs, ps, ms, strict=True)], self.axis_name)
        l1 = math.sqrt(math.pi / 2) * total([jnp.sum(jnp.abs(g)) for g in gs], self.axis_name)
        l1 = self.polyak_beta * s.grad_l1 + (1 - self.polyak_beta) * l1
        excess = jnp.maximum(jnp.asarray(value, l1.dtype) + b * back, 0.0)
        polyak = quotient(excess, l1 / debias(self.polyak_beta, t), 0.0)
        rate = squarable(jnp.maximum(self.learning_rate, self.eps) * polyak)
        max_lr, threshold = jnp.maximum(s.max_lr, rate), turn(t)
        weight = jnp.where(t > self.c_warmup, t * 1.0, 0.0) ** self.r * max_lr**self.weight_lr_power
        weight_sum = jnp.where(t > self.c_warmup, plus(s.weight_sum, weight, threshold), s.weight_sum)
        c = jnp.where(t > self.c_warmup, quotient(weight, weight_sum, 0.0), 1.0)
        corrections = debias(self.b1, t), debias(self.b2, t)
        return (rate, c, b, corrections, n, threshold, turn(t, APART)), PlusSums(weight_sum, max_lr, l1)

    def update(self, g: Array, s: PlusMoments, p: Array, k: Scalars) -> tuple[Array, PlusMoments]:
        rate, c, b, (c1, c2), n, threshold, apart = k
        g = squarable(g, n)
        mu, nu = self.b1 * s.mu + (1 - self.b1) * g, self.b2 * s.nu + (1 - self.b2) * g * g
        u = quotient(mu / c1, root(nu / c2) + self.eps, self.eps)
        z = plus(s.z, -rate * (u + rate * self.weight_decay * p), threshold)
        new = PlusMoments(mu, nu, z, in_place(b * jnp.ones_like(s.b1), s.b1))
        return travelled(p, s, new, b, c, apart), new

    def evaluate(self, p: Array, s: PlusMoments, t: Array) -> Array:
        return averaged(p, s.z, s.b1)


def schedule_free_plus(
    learning_rate: Hyper = 1.0, b1: Beta = 0.9, b2: Beta = 0.95, eps: Hyper = 1e-8, weight_decay: Hyper = 0.0, *,
    sf_beta1: Beta = 0.9, sf_beta1_max: Beta = 0.965, sf_beta1_anneal_steps: int = 0, polyak_beta: Beta = 0.0,
    weight_lr_power: Hyper = 2.0, r: Hyper = 0.0, c_warmup: int = 0, axis_name: AxisName | None = None,
) -> Chain:  # fmt: skip
    """Schedule-free+: `z <- z - η·(m̂ / (√v̂ + eps) + η·weight_decay·y)`, `x <- x + c·(z - x)`, y between x and z.

    `update` takes the loss as `value`: `η = learning_rate·max(0, value + b·⟨g, z - x⟩) / (√(π/2)·Σ|g|)`, where Σ|g| is
    a mean with polyak_beta. The parameters are `y = b·x + (1-b)·z`, `eval_params` gives x. b is sf_beta1, or goes to
    sf_beta1_max in sf_beta1_anneal_steps; `c = w / Σw`, `w = tʳ·(the largest η)^weight_lr_power`, 1 for c_warmup steps.
    weight_decay: of 20 or 50. axis_name: axes of `shard_map` over which leaves are split; the loss is the whole one.
    Reach: tree. State: mu, nu, z, shaped like p, b1, a scalar, float32 or wider; in `tree` weight_sum, max_lr, grad_l1.
    Raises: ValueError for arguments out of range, missing params, a complex parameter; at update if value is missing.
    Source: facebookresearch/schedule_free, AdamC with schedule-free+; Defazio et al. 2024, arXiv:2405.15682.
    """
    return lift(ScheduleFreePlus(
        learning_rate, b1, b2, eps, weight_decay, sf_beta1, sf_beta1_max, sf_beta1_anneal_steps, polyak_beta,
        weight_lr_power, r, c_warmup, axis_name,
    ))  # fmt: skip
