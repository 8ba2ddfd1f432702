"""KL-SOAP: SOAP, with factors that are next to the gradients' covariance in the Kullback-Leibler divergence."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import inverse_root, quotient, root
from gradxform.core.chain import Chain, lift
from gradxform.core.facts import Facts, Reach, Station
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.sizes import squarable
from gradxform.core.types import Array, Count, Mask, Param, Scalars, Where
from gradxform.optimizers.soap import (
    AT_LEAST_TWO,
    Periodic,
    adams_numbers,
    beside_adamw,
    between,
    first_bases,
    outer,
    sides,
    turned,
    which_bases,
)


class KlSoapMoments(NamedTuple):
    """mu, nu: shaped like p, in the eigenbasis. left, right: the factors, `[n, n]`. left_basis, right_basis: their
    eigenvectors, by columns. left_values, right_values: their eigenvalues. The six are numbers for a side that is too
    long, 1 for its values."""

    mu: Array
    nu: Array
    left: Array
    right: Array
    left_basis: Array
    right_basis: Array
    left_values: Array
    right_values: Array


class ScaleByKlSoap(Periodic):
    b1: Beta = 0.9
    b2: Beta = 0.98
    eps: Hyper = 1e-8
    shampoo_beta: Beta = 0.98
    init_factor: Hyper = 0.1
    max_clamp_value: int = 4000
    max_precond_dim: int = 10000
    facts = Facts(reach=Reach.ARRAY, station=Station.DIRECT, real_only=True, matrix=True)

    def check(self) -> None:
        check.nonnegative(eps=self.eps)
        check.positive(init_factor=self.init_factor)
        check.integer(1, precondition_frequency=self.precondition_frequency, max_clamp_value=self.max_clamp_value)
        check.integer(0, max_precond_dim=self.max_precond_dim)

    def init(self, p: Array) -> KlSoapMoments:
        zeros, ones = sides(p, self.max_precond_dim)
        return KlSoapMoments(
            jnp.zeros_like(p), jnp.zeros_like(p), *zeros, *ones, *(jnp.ones(x.shape[:1], p.dtype) for x in zeros)
        )

    def scalars(self, t: Count) -> Scalars:
        """Adam and the eigenvalues begin at t = 2."""
        return self.shared(which_bases(self), t), t > 1

    def remember(self, g: Array, s: KlSoapMoments, p: Param, k: Scalars) -> KlSoapMoments:
        which, begun = self.own(which_bases(self), k[0]), k[1]
        g, (rows, columns), none = squarable(g, g.size * self.most(g.size) ** 2), g.shape, jnp.zeros(())
        s = jax.lax.switch(which, [lambda s: s, self.first, lambda s: turned(s, ordered=False)], s)
        by_row, by_column = inverse_root(s.left_values, 0.0)[..., None], inverse_root(s.right_values, 0.0)
        x = between(s.left_basis.T, g, s.right_basis)
        b, new = self.shampoo_beta * 1, 1 - self.shampoo_beta
        across, down = between(none, g, s.right_basis) * by_column, between(s.left_basis.T, g, none) * by_row

        def values(old: Array, squares: Array) -> Array:
            learnt = jnp.maximum(b * old + new * squares, self.most(old.size) ** -2.0)
            return jnp.where(begun, learnt, old) if old.ndim else old

        return KlSoapMoments(
            mu=jnp.where(begun, self.b1 * s.mu + (1 - self.b1) * x, s.mu),
            nu=jnp.where(begun, self.b2 * s.nu + (1 - self.b2) * x * x, s.nu),
            left=outer(s.left, across, b, new / columns),
            right=outer(s.right, down.T, b, new / rows),
            left_basis=s.left_basis,
            right_basis=s.right_basis,
            left_values=values(s.left_values, jnp.mean((x * by_column) ** 2, axis=1)),
            right_values=values(s.right_values, jnp.mean((x * by_row) ** 2, axis=0)),
        )

    def first(self, s: KlSoapMoments) -> KlSoapMoments:
        left, right = (jnp.full_like(x, self.init_factor if x.ndim else 1.0) for x in (s.left_values, s.right_values))
        begun: KlSoapMoments = first_bases(s._replace(left_values=left, right_values=right))
        return begun

    def most(self, n: int) -> int:
        """The largest inverse root of an eigenvalue among n."""
        return max(10, min(n, self.max_clamp_value))

    def emit(self, g: Array, s: KlSoapMoments, p: Param, k: Scalars) -> Array:
        return between(s.left_basis, quotient(s.mu, root(s.nu) + self.eps, self.eps), s.right_basis.T)


def scale_by_kl_soap(
    b1: Beta = 0.9, b2: Beta = 0.98, eps: Hyper = 1e-8, *, shampoo_beta: Beta | None = None, init_factor: Hyper = 0.1,
    precondition_frequency: int = 10, max_clamp_value: int = 4000, max_precond_dim: int = 10000,
    staggered: bool = False,
) -> Chain:  # fmt: skip
    """SOAP with `L <- b·L + (1-b)·g·R⁻¹·gᵀ/columns` and `R <- b·R + (1-b)·gᵀ·L⁻¹·g/rows`, uncorrected means.

    The inverses are of the bases and of eigenvalues that every step learns, from init_factor on, each at least 1/c²
    with `c = max(10, min(side, max_clamp_value))`. Bases and staggered as in `scale_by_soap`, but never
    sorted. The authors run it in bfloat16, this in float32 or wider.
    shampoo_beta: b, which is b2 unless given. max_precond_dim: a longer side has no basis, and counts as the identity.
    Reach: array. State: mu, nu, shaped like p; left, right, left_basis, right_basis, `[n, n]`; left_values,
    right_values, `[n]`.
    Raises: as `scale_by_soap`; ValueError if init_factor <= 0.
    Source: Lin et al. 2025, arXiv:2509.03378; its code, yorkerlin/KL-Methods.
    """
    b2 = check.given(check.fraction, b2=b2)
    beta = b2 if shampoo_beta is None else shampoo_beta
    return lift(
        ScaleByKlSoap(
            precondition_frequency, staggered, b1=b1, b2=b2, eps=eps, shampoo_beta=beta, init_factor=init_factor,
            max_clamp_value=max_clamp_value, max_precond_dim=max_precond_dim,
        )
    )  # fmt: skip


def kl_soap(
    learning_rate: Hyper, b1: Beta = 0.9, b2: Beta = 0.98, eps: Hyper = 1e-8, weight_decay: Hyper = 0.01,
    mask: Mask = None, *, shampoo_beta: Beta | None = None, init_factor: Hyper = 0.1, precondition_frequency: int = 10,
    max_clamp_value: int = 4000, max_precond_dim: int = 10000, staggered: bool = False, where: Where = AT_LEAST_TWO,
) -> Chain:  # fmt: skip
    """KL-SOAP for matrices: `scale_by_kl_soap`, decay, learning rate; AdamW with the same numbers for all others.

    The groups are "kl_soap" and "default". The authors' decay shrinks what the step has moved, this one what it
    started from. where: selector of the matrices.
    Source: Lin et al. 2025, arXiv:2509.03378.
    """
    numbers = _, b1, b2, eps, _ = adams_numbers(learning_rate, b1, b2, eps, weight_decay)
    direction = scale_by_kl_soap(
        b1, b2, eps, shampoo_beta=shampoo_beta, init_factor=init_factor, max_clamp_value=max_clamp_value,
        precondition_frequency=precondition_frequency, max_precond_dim=max_precond_dim, staggered=staggered,
    )  # fmt: skip
    return beside_adamw(direction, "kl_soap", where, numbers, mask)
