"""GaLore and APOLLO: Adam's memory of a matrix in few dimensions, for a step there or for the size of each row's."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import abs_sq, debias, quotient, root
from gradxform.core.chain import Chain, lift
from gradxform.core.facts import Facts, Reach, Station
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.keys import OwnKey
from gradxform.core.rule import Halves
from gradxform.core.sizes import squarable
from gradxform.core.types import Array, Count, Key, Mask, Param, Scalars, Where
from gradxform.optimizers.muon import product
from gradxform.optimizers.soap import adams_numbers, beside_adamw
from gradxform.params.select import hidden_matrices

Sides = dict[str, tuple[int | None, ...]]
"""Which dimensions of its matrix each statistic has: how it lies where they are split."""


class LowRankMoments(NamedTuple):
    """mu, nu: `[longer side, rank]`. basis: `[shorter side, rank]`."""

    mu: Array
    nu: Array
    basis: Array

    @staticmethod
    def sides(rows: int, columns: int) -> Sides:
        long, short = (-2, -1) if rows > columns else (-1, -2)
        return {"mu": (long, None), "nu": (long, None), "basis": (short, None)}


class ApolloMoments(NamedTuple):
    """mu, nu, basis: as in `LowRankMoments`. norm: of the last step, a scalar."""

    mu: Array
    nu: Array
    basis: Array
    norm: Array

    @staticmethod
    def sides(rows: int, columns: int) -> Sides:
        return LowRankMoments.sides(rows, columns)


class LowRank(Halves, abstract=True):
    """Adam's moments of the gradient times a basis of the shorter side, which is made anew now and then."""

    b1: Beta = 0.9
    b2: Beta = 0.999
    eps: Hyper = 1e-6
    rank: int = 128
    update_proj_gap: int = 200
    scale: Hyper = 0.25

    def check(self) -> None:
        check.nonnegative(eps=self.eps)
        check.positive(scale=self.scale)
        check.integer(1, rank=self.rank, update_proj_gap=self.update_proj_gap)

    def zeros(self, p: Array) -> LowRankMoments:
        short, long = sorted(p.shape)
        rank = min(self.rank, short)
        return LowRankMoments(*(jnp.zeros((n, rank), p.dtype) for n in (long, long, short)))

    def scalars(self, t: Count) -> Scalars:
        return debias(self.b1, t), debias(self.b2, t), (t - 1) % self.update_proj_gap == 0

    def moved(self, x: Array, mu: Array, nu: Array, basis: Array) -> LowRankMoments:
        low = product(x, basis)
        return LowRankMoments(
            self.b1 * mu + (1 - self.b1) * low, self.b2 * nu + (1 - self.b2) * abs_sq(low), jax.lax.stop_gradient(basis)
        )

    def direction(self, mu: Array, nu: Array) -> Array:
        return quotient(mu, root(nu) + self.eps, self.eps)


def tall(x: Array) -> Array:
    """A matrix with its shorter side, or the one before of equal ones, as columns: what this does it undoes."""
    return x.T if x.shape[0] <= x.shape[1] else x


class ScaleByGalore(LowRank):
    facts = Facts(reach=Reach.ARRAY, station=Station.DIRECT, real_only=True, matrix=True)

    def init(self, p: Array) -> LowRankMoments:
        return self.zeros(p)

    def remember(self, g: Array, s: LowRankMoments, p: Param, k: Scalars) -> LowRankMoments:
        x = tall(squarable(g, g.size))
        basis = jax.lax.cond(k[2], lambda: _leading(jax.lax.stop_gradient(x), s.basis), lambda: s.basis)
        return self.moved(x, s.mu, s.nu, basis)

    def emit(self, g: Array, s: LowRankMoments, p: Param, k: Scalars) -> Array:
        u: Array = product(self.direction(s.mu, s.nu), s.basis.T)
        u = u * (self.scale * jnp.sqrt(k[1]) / k[0])
        return u.T if g.shape[0] <= g.shape[1] else u


def _leading(x: Array, old: Array) -> Array:
    """The leading right singular vectors of x, of their two signs those that are nearer to the old ones."""
    basis = jnp.linalg.svd(x, full_matrices=False)[2][: old.shape[1]].T
    return jnp.where(jnp.sum(basis * old, axis=0) < 0, -basis, basis)


class ScaleByApollo(LowRank):
    rank: int = 256
    scale: Hyper = 1.0
    scale_type: str = "channel"
    key: OwnKey = 0
    facts = Facts(reach=Reach.ARRAY, station=Station.DIRECT, real_only=True, matrix=True)

    def check(self) -> None:
        super().check()
        check.choice("channel", "tensor", scale_type=self.scale_type)

    def init(self, p: Array) -> ApolloMoments:
        return ApolloMoments(*self.zeros(p), jnp.zeros((), p.dtype))

    def remember(self, g: Array, s: ApolloMoments, p: Param, k: Scalars) -> ApolloMoments:
        x = tall(squarable(g, g.size))

        def drawn() -> Array:
            return jax.random.normal(self.key, s.basis.shape, x.dtype) / math.sqrt(s.basis.shape[1])

        new = self.moved(x, s.mu, s.nu, jax.lax.cond(k[2], drawn, lambda: s.basis))
        norm = _norm(self.sizes(x, *new) * _norm(x, 1))
        grown = jnp.maximum(quotient(norm, s.norm + 1e-8, 1e-8) / 1.01, 1.0)
        return ApolloMoments(*new, jnp.where(s.norm > 0, norm / grown, norm))

    def sizes(self, x: Array, mu: Array, nu: Array, basis: Array) -> Array:
        """What gives the rows of x, or all of it, the size that Adam's direction has among few dimensions."""
        axis = 1 if self.scale_type == "channel" else None
        there, low = _norm(self.direction(mu, nu), axis), _norm(product(x, basis), axis)
        return quotient(there, low + 1e-8, 1e-8)

    def emit(self, g: Array, s: ApolloMoments, p: Param, k: Scalars) -> Array:
        x = tall(squarable(g, g.size))
        sizes = self.sizes(x, s.mu, s.nu, s.basis)
        limited = quotient(s.norm, _norm(sizes * _norm(x, 1)), 0.0)
        u: Array = x * (sizes * (limited * jnp.sqrt(self.scale * k[1]) / k[0]))
        return u.T if g.shape[0] <= g.shape[1] else u


def _norm(x: Array, axis: int | None = None) -> Array:
    return root(jnp.sum(abs_sq(x), axis=axis, keepdims=axis is not None))


def scale_by_galore(
    rank: int = 128, b1: Beta = 0.9, b2: Beta = 0.999, eps: Hyper = 1e-6, *, update_proj_gap: int = 200,
    scale: Hyper = 0.25,
) -> Chain:  # fmt: skip
    """Adam on the gradient's projection: `u = scale·√(1-b2ᵗ)/(1-b1ᵗ)·m / (√v + eps)·Qᵀ`, of the moments of `g·Q`.

    Q are the first rank singular vectors of the shorter side, of the gradient at the first of every update_proj_gap
    steps; of the two signs of each, the one nearer to the old (the authors': any). For matrices, as `scale_by_muon`.
    Reach: array. State: mu, nu, `[longer side, rank]`; basis, `[shorter side, rank]`; float32 or wider.
    Raises: ValueError if a rate is not in [0, 1), rank or update_proj_gap < 1, eps < 0 or scale <= 0.
    Source: Zhao et al. 2024, arXiv:2403.03507, algorithm 2; its code, jiaweizzhao/GaLore.
    """
    return lift(ScaleByGalore(b1, b2, eps, rank, update_proj_gap, scale))


def galore(
    learning_rate: Hyper, rank: int = 128, b1: Beta = 0.9, b2: Beta = 0.999, eps: Hyper = 1e-6,
    weight_decay: Hyper = 0.0, mask: Mask = None, *, update_proj_gap: int = 200, scale: Hyper = 0.25,
    where: Where = hidden_matrices,
) -> Chain:  # fmt: skip
    """GaLore for hidden matrices: `scale_by_galore`, decay, learning rate; AdamW with the same numbers for all others.

    The groups are "galore" and "default". where: selector of the matrices.
    Source: Zhao et al. 2024, arXiv:2403.03507, algorithm 2.
    """
    numbers = _, b1, b2, eps, _ = adams_numbers(learning_rate, b1, b2, eps, weight_decay)
    direction = scale_by_galore(rank, b1, b2, eps, update_proj_gap=update_proj_gap, scale=scale)
    return beside_adamw(direction, "galore", where, numbers, mask)


def scale_by_apollo(
    rank: int = 256, b1: Beta = 0.9, b2: Beta = 0.999, eps: Hyper = 1e-6, *, update_proj_gap: int = 200,
    scale: Hyper = 1.0, scale_type: str = "channel", key: Key = 0,
) -> Chain:  # fmt: skip
    """Give each row of g the size that Adam would give it among few dimensions: `u = √scale·g·|d| / |g·Q|`.

    d is `m / (√v + eps)`, of the moments of `g·Q`, and `√(1-b2ᵗ)/(1-b1ᵗ)` a factor; Q, of the shorter side, is drawn
    from a normal distribution at the first of every update_proj_gap steps. The norm of u grows by 1 % a step at most.
    For matrices, as `scale_by_muon`. scale_type: "tensor" for one size for the matrix; with rank 1 and scale 128 that
    is APOLLO-Mini.
    Reach: array. State: mu, nu, `[longer side, rank]`; basis, `[shorter side, rank]`; norm, a scalar; float32 or wider.
    Raises: ValueError if a rate is not in [0, 1), rank or update_proj_gap < 1, eps < 0 or scale <= 0.
    Source: Zhu et al. 2024, arXiv:2412.05270, algorithm 1; its code, zhuhanqing/APOLLO.
    """
    return lift(ScaleByApollo(b1, b2, eps, rank, update_proj_gap, scale, scale_type, key))


def apollo(
    learning_rate: Hyper, rank: int = 256, b1: Beta = 0.9, b2: Beta = 0.999, eps: Hyper = 1e-6,
    weight_decay: Hyper = 0.0, mask: Mask = None, *, update_proj_gap: int = 200, scale: Hyper = 1.0,
    scale_type: str = "channel", key: Key = 0, where: Where = hidden_matrices,
) -> Chain:  # fmt: skip
    """APOLLO for hidden matrices: `scale_by_apollo`, decay, learning rate; AdamW with the same numbers for all others.

    The groups are "apollo" and "default". where: selector of the matrices.
    Source: Zhu et al. 2024, arXiv:2412.05270, algorithm 1.
    """
    numbers = _, b1, b2, eps, _ = adams_numbers(learning_rate, b1, b2, eps, weight_decay)
    direction = scale_by_apollo(
        rank, b1, b2, eps, update_proj_gap=update_proj_gap, scale=scale, scale_type=scale_type, key=key
    )
    return beside_adamw(direction, "apollo", where, numbers, mask)
