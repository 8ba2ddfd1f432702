"""Muon: a direction made orthogonal."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import abs_sq, quotient, root
from gradxform.core.chain import Chain, lift
from gradxform.core.facts import Facts, Reach, Station
from gradxform.core.hyper import Hyper
from gradxform.core.rule import Rule
from gradxform.core.sizes import squarable
from gradxform.core.types import Array, Memory, Param, Scalars

Coefficients = tuple[tuple[float, float, float], ...]
JORDAN: Coefficients = ((3.4445, -4.7750, 2.0315),) * 5


class Orthogonalize(Rule):
    coefficients: Coefficients = JORDAN
    eps: Hyper = 1e-7
    facts = Facts(reach=Reach.ARRAY, station=Station.DIRECT, matrix=True)

    def check(self) -> None:
        check.nonnegative(eps=self.eps)

    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Array, Memory]:
        x = squarable(g.T.conj() if g.shape[0] > g.shape[1] else g, g.size)
        x = quotient(x, root(jnp.sum(abs_sq(x))) + self.eps, self.eps)
        x, _ = jax.lax.scan(_polynomial, x, jnp.asarray(self.coefficients, x.real.dtype))
        return (x.T.conj() if g.shape[0] > g.shape[1] else x), s


def _polynomial(x: Array, abc: Array) -> tuple[Array, Any]:
    """`a·x + (b·xxᴴ + c·(xxᴴ)²)·x`, which moves every singular value s to `a·s + b·s³ + c·s⁵`."""
    a, b, c = abc
    gram = _product(x, x.T.conj())
    return a * x + _product(b * gram + c * _product(gram, gram), x), None


def _product(x: Array, y: Array) -> Array:
    return jnp.matmul(x, y, precision=jax.lax.Precision.HIGHEST)


def orthogonalize(eps: Hyper = 1e-7) -> Chain:
    """Make each matrix nearly orthogonal: `u ≈ U·Vᴴ` of `g = U·S·Vᴴ`, every singular value brought to about 1.

    Five Newton-Schulz steps `x <- a·x + (b·xxᴴ + c·(xxᴴ)²)·x` from `g / (‖g‖ + eps)`, with the authors' numbers: those
    of singular values between 0.7 and 1.2. For what has another number of axes than two: `matrices`, `groups`.
    Reach: array. State: none.
    Raises: ValueError if eps < 0, or at init for an array that is no matrix.
    Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks".
    """
    return lift(Orthogonalize(eps=eps))
