"""SOAP: Adam in the eigenbasis of Shampoo's two factors."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import debias, quotient, root
from gradxform.core.chain import Chain, lift
from gradxform.core.facts import Facts, Reach, Station
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.rule import Halves, Rule
from gradxform.core.sizes import squarable
from gradxform.core.types import Array, Count, Mask, Param, Path, Scalars, Where
from gradxform.optimizers.adam import adamw
from gradxform.optimizers.muon import beside, product
from gradxform.params.masks import shared_mask
from gradxform.params.select import ndim_at_least

Moments = Any
"""A memory with the fields of `SoapMoments`."""
AT_LEAST_TWO = ndim_at_least(2)


class SoapMoments(NamedTuple):
    """mu, nu: shaped like p, in the eigenbasis. left, right: means of g·gᵀ and gᵀ·g. left_basis, right_basis: their
    eigenvectors, by columns. The four are 0 for a side that is too long."""

    mu: Array
    nu: Array
    left: Array
    right: Array
    left_basis: Array
    right_basis: Array


def sides(p: Array, longest: int) -> tuple[list[Array], list[Array]]:
    """Zeros and unit matrices of the sides of p; scalars for sides that are too long."""
    kept = [n if n <= longest else None for n in p.shape]
    zeros = [jnp.zeros((n, n) if n is not None else (), p.dtype) for n in kept]
    return zeros, [x if x.ndim == 0 else jnp.eye(len(x), dtype=p.dtype) for x in map(jnp.copy, zeros)]


def outer(old: Array, g: Array, decay: Scalars, new: Scalars) -> Array:
    """`decay` times what is kept of a side plus `new` times g·gᵀ."""
    return old if old.ndim == 0 else decay * old + new * product(g, g.T)


def between(left: Array, x: Array, right: Array) -> Array:
    """left · x · right, where a scalar stands for no factor."""
    x = x if left.ndim == 0 else product(left, x)
    return x if right.ndim == 0 else product(x, right)


class Periodic(Halves, abstract=True):
    """A rule whose dear work is done every so many steps; staggered: at steps that the leaf's path picks."""

    precondition_frequency: int = 10
    staggered: bool = False
    phase: int = dataclasses.field(default=0, repr=False)

    def for_leaf(self, path: Path, p: Array) -> Rule:
        if not self.staggered:
            return self
        return self.with_fields(phase=zlib.crc32(path.encode()) % self.precondition_frequency)

    def turn(self, t: Count) -> Array:
        """Whether the dear work is due at step t."""
        return jnp.equal((t + self.phase) % self.precondition_frequency, 0)

    def shared(self, due: Callable[[Count], Array], t: Count) -> Scalars:
        """What is due at this step, for `scalars`: of all leaves, or the step."""
        return t if self.staggered else due(t)

    def own(self, due: Callable[[Count], Array], k: Scalars) -> Array:
        """What is due for this leaf, from what `shared` gave."""
        return due(k) if self.staggered else k


def which_bases(rule: Periodic) -> Callable[[Count], Array]:
    """Which bases a step starts with: 0 those of before, 1 the first, 2 turned ones."""
    return lambda t: jnp.where(t == 2, 1, 2 * ((t > 2) & rule.turn(t - 2)))


def unit(factor: Array) -> tuple[Array, Array]:
    """A factor of largest element 1, as a constant for derivatives, and what that element was."""
    factor = jax.lax.stop_gradient(factor)
    size = jnp.max(jnp.abs(factor))
    return quotient(factor, size, 0.0), size


class ScaleBySoap(Periodic):
    b1: Beta = 0.95
    b2: Beta = 0.95
    eps: Hyper = 1e-8
    shampoo_beta: Beta = 0.95
    max_precond_dim: int = 10000
    facts = Facts(reach=Reach.ARRAY, station=Station.DIRECT, real_only=True, matrix=True)

    def check(self) -> None:
        check.nonnegative(eps=self.eps)
        check.integer(1, precondition_frequency=self.precondition_frequency)
        check.integer(0, max_precond_dim=self.max_precond_dim)

    def init(self, p: Array) -> SoapMoments:
        zeros, ones = sides(p, self.max_precond_dim)
        return SoapMoments(jnp.zeros_like(p), jnp.zeros_like(p), *zeros, *ones)

    def scalars(self, t: Count) -> Scalars:
        """Adam begins at t = 2."""
        past = jnp.maximum(t - 1, 1)
        corrected = jnp.sqrt(debias(self.b2, past)) / debias(self.b1, past)
        return self.shared(which_bases(self), t), jnp.where(t == 1, 0, corrected)

    def remember(self, g: Array, s: SoapMoments, p: Param, k: Scalars) -> SoapMoments:
        which, corrected = self.own(which_bases(self), k[0]), k[1]
        g = squarable(g, g.size)
        s = jax.lax.switch(which, [lambda s: s, first_bases, turned], s)
        x = between(s.left_basis.T, g, s.right_basis)
        begun = corrected > 0
        mu = jnp.where(begun, self.b1 * s.mu + (1 - self.b1) * x, s.mu)
        nu = jnp.where(begun, self.b2 * s.nu + (1 - self.b2) * x * x, s.nu)
        b, new = self.shampoo_beta * 1, 1 - self.shampoo_beta
        return s._replace(mu=mu, nu=nu, left=outer(s.left, g, b, new), right=outer(s.right, g.T, b, new))

    def emit(self, g: Array, s: SoapMoments, p: Param, k: Scalars) -> Array:
        u = k[1] * quotient(s.mu, root(s.nu) + self.eps, self.eps)
        return between(s.left_basis, u, s.right_basis.T)


def first_bases(s: Moments) -> Moments:
    """Eigenvectors as bases, by falling eigenvalues."""
    left, right = (x if x.ndim == 0 else jnp.linalg.eigh(unit(x)[0])[1][:, ::-1] for x in (s.left, s.right))
    return s._replace(left_basis=left, right_basis=right)


def turned(s: Moments, ordered: bool = True) -> Moments:
    """Bases after one power iteration; ordered: columns by falling eigenvalues. nu moves with columns, mu is turned."""
    mu, nu, bases = between(s.left_basis, s.mu, s.right_basis.T), s.nu, []
    for axis, (factor, basis) in enumerate(((s.left, s.left_basis), (s.right, s.right_basis))):
        if factor.ndim:
            image = product(unit(factor)[0], basis)
            if ordered:
                order = jnp.argsort(-jnp.sum(basis * image, axis=0))
                nu, image = jnp.take(nu, order, axis), image[:, order]
            basis = jnp.linalg.qr(image)[0]
        bases.append(basis)
    left, right = bases
    return s._replace(mu=between(left.T, mu, right), nu=nu, left_basis=left, right_basis=right)


def adams_numbers(
    learning_rate: Hyper, b1: Beta, b2: Beta, eps: Hyper, weight_decay: Hyper
) -> tuple[Hyper, Beta, Beta, Hyper, Hyper]:
    """The numbers of AdamW, checked by their names."""
    return (
        check.given(check.nonnegative, learning_rate=learning_rate),
        check.given(check.fraction, b1=b1),
        check.given(check.fraction, b2=b2),
        check.given(check.nonnegative, eps=eps),
        check.given(check.nonnegative, weight_decay=weight_decay),
    )


def beside_adamw(
    direction: Chain, name: str, where: Where, numbers: tuple[Hyper, Beta, Beta, Hyper, Hyper], mask: Mask
) -> Chain:
    """A direction with decay and learning rate for the matrices, AdamW with the same numbers for all others."""
    (rate, b1, b2, eps, decay), mask = numbers, shared_mask(mask)
    return beside(adamw(rate, b1, b2, eps, weight_decay=decay, mask=mask), direction, name, where, rate, decay, mask)


def scale_by_soap(
    b1: Beta = 0.95, b2: Beta = 0.95, eps: Hyper = 1e-8, *, shampoo_beta: Beta | None = None,
    precondition_frequency: int = 10, max_precond_dim: int = 10000, staggered: bool = False,
) -> Chain:  # fmt: skip
    """Adam in the eigenbases of `L <- b·L + (1-b)·g·gᵀ` and `R <- b·R + (1-b)·gᵀ·g`: `u = Q_L·adam(Q_Lᵀ·g·Q_R)·Q_Rᵀ`.

    Before a gradient comes in: at step 2 Q are eigenvectors, then every precondition_frequency steps one power
    iteration and QR; m is turned along and v sorted, as in the authors' code. The first step is zero: it only looks.
    eps stands beside `√v`, uncorrected.
    shampoo_beta: b, which is b2 unless given. max_precond_dim: a longer side has no basis. staggered: each leaf turns
    at steps that its path picks, so that steps take equally long. Others than matrices, also where the authors merge
    dimensions: `matrices`, `groups`.
    Reach: array. State: mu, nu, shaped like p; left, right, left_basis, right_basis, `[n, n]`; float32 or wider.
    Raises: ValueError if a beta is not in [0, 1) or eps < 0, or at init for an array that is no matrix.
    Source: Vyas et al. 2024, arXiv:2409.11321, algorithm 3; its code, nikhilvyas/SOAP.
    """
    b2 = check.given(check.fraction, b2=b2)
    beta = b2 if shampoo_beta is None else shampoo_beta
    return lift(
        ScaleBySoap(
            precondition_frequency, staggered, b1=b1, b2=b2, eps=eps, shampoo_beta=beta, max_precond_dim=max_precond_dim
        )
    )


def soap(
    learning_rate: Hyper, b1: Beta = 0.95, b2: Beta = 0.95, eps: Hyper = 1e-8, weight_decay: Hyper = 0.01,
    mask: Mask = None, *, shampoo_beta: Beta | None = None, precondition_frequency: int = 10,
    max_precond_dim: int = 10000, staggered: bool = False, where: Where = AT_LEAST_TWO,
) -> Chain:  # fmt: skip
    """SOAP for matrices: `scale_by_soap`, decay, learning rate; AdamW with the same numbers for all others.

    The groups are "soap" and "default". The authors' decay shrinks what the step has moved, this one what it started
    from; their Adam of vectors skips the first gradient too.
    where: selector of the matrices.
    Source: Vyas et al. 2024, arXiv:2409.11321, algorithm 3.
    """
    numbers = _, b1, b2, eps, _ = adams_numbers(learning_rate, b1, b2, eps, weight_decay)
    direction = scale_by_soap(
        b1, b2, eps, shampoo_beta=shampoo_beta, precondition_frequency=precondition_frequency,
        max_precond_dim=max_precond_dim, staggered=staggered,
    )  # fmt: skip
    return beside_adamw(direction, "soap", where, numbers, mask)
