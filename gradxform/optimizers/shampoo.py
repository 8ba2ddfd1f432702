"""Shampoo: a gradient between inverse roots of its two second moments."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import TINY, abs_sq, debias, quotient, root
from gradxform.core.chain import Chain, lift
from gradxform.core.facts import Facts, Reach, Station
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.sizes import addable, saturated, squarable
from gradxform.core.types import Array, Count, Mask, Param, Scalars, Where
from gradxform.optimizers.muon import product
from gradxform.optimizers.soap import AT_LEAST_TWO, Periodic, beside_adamw, between, outer, sides, unit


class ShampooMoments(NamedTuple):
    """mu: shaped like p. nu: of the grafted method, or 0. left, right: of g·gᵀ and gᵀ·g. left_root, right_root: their
    inverse roots. The four are 0 for a side that is too long."""

    mu: Array
    nu: Array
    left: Array
    right: Array
    left_root: Array
    right_root: Array


class ScaleByShampoo(Periodic):
    b1: Beta = 0.9
    b2: Beta | None = None
    eps: Hyper = 1e-12
    power: Hyper = 0.25
    start_preconditioning_step: int = 1
    max_precond_dim: int = 1024
    grafting: str = "none"
    graft_b2: Beta = 0.999
    graft_eps: Hyper = 1e-8
    facts = Facts(reach=Reach.ARRAY, station=Station.DIRECT, real_only=True, matrix=True)

    def check(self) -> None:
        check.nonnegative(eps=self.eps, graft_eps=self.graft_eps)
        check.unit(power=self.power)
        frequency, start = self.precondition_frequency, self.start_preconditioning_step
        check.integer(1, precondition_frequency=frequency, start_preconditioning_step=start)
        check.integer(0, max_precond_dim=self.max_precond_dim)
        check.choice("none", "sgd", "adagrad", "rmsprop", "adam", grafting=self.grafting)

    def init(self, p: Array) -> ShampooMoments:
        zeros, ones = sides(p, self.max_precond_dim)
        nu = jnp.zeros((), p.dtype) if self.grafting in ("none", "sgd") else jnp.zeros_like(p)
        return ShampooMoments(jnp.zeros_like(p), nu, *zeros, *ones)

    def scalars(self, t: Count) -> Scalars:
        c2 = 1.0 if self.b2 is None else debias(self.b2, t)
        c3 = debias(self.graft_b2, t) if self.grafting == "adam" else 1.0
        return self.shared(self.due, t), t >= self.start_preconditioning_step, debias(self.b1, t), c2, c3

    def due(self, t: Count) -> Array:
        start = self.start_preconditioning_step
        now: Array = (t == start) | ((t > start) & self.turn(t))
        return now

    def remember(self, g: Array, s: ShampooMoments, p: Param, k: Scalars) -> ShampooMoments:
        g, (now, _, _, c2, _) = squarable(g, g.size), k
        nu = s.nu
        if nu.ndim:
            old, new = (1.0, 1.0) if self.grafting == "adagrad" else (self.graft_b2 * 1, 1 - self.graft_b2)
            nu = saturated(old * nu + new * g * g)
        old, new = (1.0, 1.0) if self.b2 is None else (self.b2 * 1, 1 - self.b2)
        left, right = (addable(outer(x, y, old, new), 1) for x, y in ((s.left, g), (s.right, g.T)))
        held = s.left_root, s.right_root
        roots = jax.lax.cond(
            self.own(self.due, now), lambda: tuple(self.inverse_root(x / c2) for x in (left, right)), lambda: held
        )
        return ShampooMoments(self.b1 * s.mu + (1 - self.b1) * g, nu, left, right, *roots)

    def inverse_root(self, factor: Array) -> Array:
        """`(factor + eps)^-power` by eigenvectors, which count as constants; of eigenvalue 0: 0."""
        if factor.ndim == 0:
            return factor
        scaled, size = unit(factor)
        values, vectors = jnp.linalg.eigh(scaled)
        values = size * (values - jnp.minimum(values[0], 0.0)) + self.eps
        powers = jnp.where(values < TINY, 0.0, jnp.maximum(values, TINY) ** -self.power)
        return product(vectors * powers, vectors.T)

    def emit(self, g: Array, s: ShampooMoments, p: Param, k: Scalars) -> Array:
        _, begun, c1, _, c3 = k
        plain: Array = s.mu / c1
        u = between(s.left_root, plain, s.right_root)
        if self.grafting == "none":
            return u
        grafted = plain if self.grafting == "sgd" else quotient(plain, root(s.nu / c3) + self.graft_eps, self.graft_eps)
        norm, own = (root(jnp.sum(abs_sq(squarable(x, x.size)))) for x in (grafted, u))
        return jnp.where(begun, u * quotient(norm, own + 1e-16, 1e-16), grafted)


def scale_by_shampoo(
    b1: Beta = 0.9, b2: Beta | None = None, eps: Hyper = 1e-12, *, power: Hyper = 0.25, precondition_frequency: int = 1,
    start_preconditioning_step: int | None = None, max_precond_dim: int = 1024, grafting: str = "none",
    graft_b2: Beta = 0.999, graft_eps: Hyper = 1e-8, staggered: bool = False,
) -> Chain:  # fmt: skip
    """Put inverse roots on both sides: `u = (L + eps)^-power · m̂ · (R + eps)^-power`, `L <- L + g·gᵀ`, `R <- R + gᵀ·g`.

    `m̂` is Adam's mean. b2: corrected means in place of the sums. power: 1/4 as published; 1/2 is of the best Kronecker
    product. Roots are made every precondition_frequency steps, first at start_preconditioning_step (as many unless
    given), staggered as in `scale_by_soap`. grafting: u gets the norm of this method's direction, and is that before
    there are roots: "sgd", "adagrad", "rmsprop", "adam", of graft_b2 and graft_eps. max_precond_dim: a longer side has
    no root; for blocks: `matrices` with `Matrix("(i a) (j b)", rows="a", columns="b", a=512, b=512)`.
    Reach: array. State: mu, nu (where grafted), shaped like p; left, right, left_root, right_root, `[n, n]`.
    Raises: ValueError if a beta is not in [0, 1), eps < 0, power is not in [0, 1], or at init for what is no matrix.
    Source: Gupta et al. 2018, arXiv:1802.09568; Shi et al. 2023, arXiv:2309.06497; facebookresearch/optimizers.
    """
    start = precondition_frequency if start_preconditioning_step is None else start_preconditioning_step
    return lift(
        ScaleByShampoo(
            precondition_frequency, staggered, b1=b1, b2=b2, eps=eps, power=power, start_preconditioning_step=start,
            max_precond_dim=max_precond_dim, grafting=grafting, graft_b2=graft_b2, graft_eps=graft_eps,
        )
    )  # fmt: skip


def shampoo(
    learning_rate: Hyper, b1: Beta = 0.9, b2: Beta | None = None, eps: Hyper = 1e-12, weight_decay: Hyper = 0.0,
    mask: Mask = None, *, power: Hyper = 0.25, precondition_frequency: int = 1,
    start_preconditioning_step: int | None = None, max_precond_dim: int = 1024, grafting: str = "none",
    graft_b2: Beta = 0.999, graft_eps: Hyper = 1e-8, staggered: bool = False, where: Where = AT_LEAST_TWO,
) -> Chain:  # fmt: skip
    """Shampoo for matrices: `scale_by_shampoo`, decay, learning rate; AdamW of the grafted numbers for all others.

    The groups are "shampoo" and "default". The authors' vectors have a factor too. where: selector of the matrices.
    Source: Gupta et al. 2018, arXiv:1802.09568; Shi et al. 2023, arXiv:2309.06497.
    """
    rate = check.given(check.nonnegative, learning_rate=learning_rate)
    b1, graft_b2 = check.given(check.fraction, b1=b1), check.given(check.fraction, graft_b2=graft_b2)
    lam = check.given(check.nonnegative, weight_decay=weight_decay)
    graft_eps = check.given(check.nonnegative, graft_eps=graft_eps)
    direction = scale_by_shampoo(
        b1, b2, eps, power=power, precondition_frequency=precondition_frequency,
        start_preconditioning_step=start_preconditioning_step, max_precond_dim=max_precond_dim, grafting=grafting,
        graft_b2=graft_b2, graft_eps=graft_eps, staggered=staggered,
    )  # fmt: skip
    return beside_adamw(direction, "shampoo", where, (rate, b1, graft_b2, graft_eps, lam), mask)
