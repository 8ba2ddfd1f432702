"""Muon: a mean of gradients made orthogonal."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import abs_sq, cast, debias, inverse_root, quotient, root
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.codec import stored_in
from gradxform.core.facts import Facts, Reach, Station
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.rule import Factor, Halves, Rule
from gradxform.core.sizes import addable, squarable
from gradxform.core.types import Array, Count, Dtype, Mask, Memory, Param, Scalars, Transformation, Where
from gradxform.optimizers.adam import adamw
from gradxform.optimizers.newton_schulz import JORDAN, Coefficients, coefficients, restarts
from gradxform.params.groups import groups
from gradxform.params.masks import mask_selector
from gradxform.params.select import hidden_matrices
from gradxform.transforms.decay import add_decayed_weights
from gradxform.transforms.scale import descend


class Orthogonalize(Rule):
    coefficients: Coefficients = JORDAN * 5
    eps: Hyper = 1e-7
    preconditioning: str = "frobenius"
    adaptive: bool = False
    ns_dtype: Dtype | None = None
    gram_restarts: tuple[int, ...] | None = None
    facts = Facts(reach=Reach.ARRAY, station=Station.DIRECT, matrix=True)

    def check(self) -> None:
        check.nonnegative(eps=self.eps)
        check.choice("frobenius", "aol", "schatten", preconditioning=self.preconditioning)

    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Array, Memory]:
        wide = squarable(g.T.conj() if g.shape[0] > g.shape[1] else g, g.size)
        x = self.bounded(quotient(wide, root(jnp.sum(abs_sq(wide))) + self.eps, self.eps))
        x = x if self.ns_dtype is None else cast(x, self.ns_dtype)
        if self.gram_restarts is None or x.shape[0] == x.shape[1]:
            x, _ = jax.lax.scan(_polynomial, x, jnp.asarray(self.coefficients, x.real.dtype))
        else:
            x = _by_gram(x, self.coefficients, self.gram_restarts, g.dtype)
        x = cast(x, g.dtype)
        x = x * jnp.sum(wide.conj() * x).real if self.adaptive else x
        return (x.T.conj() if g.shape[0] > g.shape[1] else x), s

    def bounded(self, x: Array) -> Array:
        """x, of Frobenius norm 1, with a largest singular value nearer to 1."""
        if self.preconditioning == "frobenius":
            return x
        gram = product(x, x.T.conj())
        if self.preconditioning == "aol":
            return x * inverse_root(jnp.abs(gram).sum(axis=1, keepdims=True), 0.0)
        return x * inverse_root(root(jnp.sum(abs_sq(gram))), 0.0)


def _polynomial(x: Array, abc: Array) -> tuple[Array, Any]:
    """`a·x + (b·xxᴴ + c·(xxᴴ)²)·x`, which moves every singular value s to `a·s + b·s³ + c·s⁵`."""
    a, b, c = abc
    gram = product(x, x.T.conj())
    return a * x + product(b * gram + c * product(gram, gram), x), None


def _by_gram(x: Array, rows: Coefficients, restarts: tuple[int, ...], wide: Dtype) -> Array:
    """The same, where each part's polynomials `z = a + b·xxᴴ + c·(xxᴴ)²` are found from the small xxᴴ, in wide."""
    ends = sorted({0, len(rows), *(i for i in restarts if i < len(rows))})
    for start, end in itertools.pairwise(ends):
        gram, zs = product(x, x.T.conj(), wide), []
        for a, b, c in rows[start:end]:
            zs.append(a * jnp.eye(len(x), dtype=wide) + b * gram + c * product(gram, gram))
            gram = product(zs[-1], product(gram, zs[-1]))
        x = product(cast(functools.reduce(product, zs), x.dtype), x)
    return x


def product(x: Array, y: Array, dtype: Dtype | None = None) -> Array:
    return jnp.matmul(x, y, precision=jax.lax.Precision.HIGHEST, preferred_element_type=dtype)


class Mean(NamedTuple):
    """mu: shaped like p."""

    mu: Array


class MuonMomentum(Halves):
    beta: Beta = 0.95
    nesterov: bool = True
    bias_correction: bool = False
    facts = Facts(decay_rates=("beta",), monotone=True)
    name = "muon"

    @property
    def corrects(self) -> bool:
        return self.bias_correction

    def init(self, p: Array) -> Mean:
        return Mean(jnp.zeros_like(p))

    def scalars(self, t: Count) -> Scalars:
        return [debias(self.beta, now) if self.bias_correction else 1.0 for now in (t, t + 1)]

    def remember(self, g: Array, s: Mean, p: Param, k: Scalars) -> Mean:
        return Mean(self.beta * s.mu + (1 - self.beta) * addable(g))

    def emit(self, g: Array, s: Mean, p: Param, k: Scalars) -> Array:
        c, c_next = k
        if not self.nesterov:
            plain: Array = s.mu / c
            return plain
        ahead: Array = self.beta * (s.mu / c_next) + addable(g) / jnp.maximum(c / (1 - self.beta), 1.0)
        return ahead


class ScaleByShape(Factor):
    shape_factor: str = "jordan"
    consistent_rms: Hyper = 0.2
    facts = Facts(reach=Reach.ARRAY, station=Station.DIRECT, matrix=True)

    def check(self) -> None:
        check.choice("jordan", "moonlight", "spectral", "input", shape_factor=self.shape_factor)
        check.nonnegative(consistent_rms=self.consistent_rms)

    def factor(self, g: Array, p: Param, k: Scalars) -> Hyper:
        rows, columns = g.shape
        if self.shape_factor == "moonlight":
            return self.consistent_rms * max(rows, columns) ** 0.5
        if self.shape_factor == "input":
            return 1 / rows
        ratio = columns / rows
        return float(max(ratio, 1.0) if self.shape_factor == "jordan" else ratio) ** 0.5


def orthogonalize(
    ns_coeffs: str | Sequence[Any] = "jordan", ns_steps: int = 5, eps: Hyper = 1e-7, *, adaptive: bool = False,
    preconditioning: str = "frobenius", ns_dtype: Dtype | None = None, gram_restarts: Sequence[int] | None = None,
) -> Chain:  # fmt: skip
    """Make each matrix nearly orthogonal: `u ≈ U·Vᴴ` of `g = U·S·Vᴴ`, every singular value brought to about 1.

    Newton-Schulz steps `x <- a·x + (b·xxᴴ + c·(xxᴴ)²)·x` from `g / (‖g‖ + eps)`; Jordan's leave singular values from
    0.003 on between 0.68 and 1.21. For what has another number of axes than two: `matrices`, `groups`.
    ns_coeffs: a name, `(a, b, c)`, or a row a step, whatever ns_steps is. "dion": You's, also called quintic. "cans":
    to 1 ± 0.12. "aol": of Turbo-Muon, 4 steps with that preconditioning. "deepseek_v4": 10 steps. "polar_express": the
    paper's algorithm 1, with its 1.01; "polar_express_speedrun": modded-nanogpt's; "polar_express_gram": Dao's, 1.05.
    preconditioning: "aol" (by row sums of |xxᴴ|) or "schatten" (by ‖xxᴴ‖) divides further. adaptive: times `⟨g, u⟩`.
    ns_dtype: of the steps, as the authors' bfloat16, dear on TPUs without; None: float32 or wider. gram_restarts: steps
    on xxᴴ alone, fewer products for what is not square, made anew after these numbers of steps; Dao's: (2,).
    Reach: array. State: none. Raises: ValueError if eps < 0, or at init for an array that is no matrix.
    Source: Jordan et al. 2024, "Muon"; arXiv:2505.16932, 2506.10935, 2512.04632; Dao-AILab/gram-newton-schulz.
    """
    check.floating(ns_dtype=ns_dtype)
    rows = coefficients(ns_coeffs, ns_steps)
    again = restarts(gram_restarts, len(rows))
    return lift(Orthogonalize(rows, eps, preconditioning, adaptive, ns_dtype, again))


def scale_by_muon(
    ns_coeffs: str | Sequence[Any] = "jordan", ns_steps: int = 5, beta: Beta = 0.95, eps: Hyper = 1e-7,
    mu_dtype: Dtype | None = None, *, nesterov: bool = True, adaptive: bool = False,
    preconditioning: str = "frobenius", bias_correction: bool = False, ns_dtype: Dtype | None = None,
    gram_restarts: Sequence[int] | None = None,
) -> Chain:  # fmt: skip
    """Make a mean of gradients orthogonal: `m <- b·m + (1-b)·g`, then `orthogonalize` of `b·m + (1-b)·g`, or of m.

    b is beta; without nesterov it is m. bias_correction, as optax has it: `b·m / (1-bᵗ⁺¹) + (1-b)·g / (1-bᵗ)`. Behind
    it: `scale_by_shape`. For others than matrices, and for the other arguments: see `orthogonalize`.
    Reach: array. State: mu, shaped like p, in mu_dtype, or float32 or wider.
    Raises: as `orthogonalize`; ValueError if beta is not in [0, 1).
    Source: Jordan et al. 2024; its code, KellerJordan/Muon.
    """
    check.floating(mu_dtype=mu_dtype)
    mean = lift(stored_in(MuonMomentum(beta, nesterov, bias_correction), mu=mu_dtype))
    polar = orthogonalize(
        ns_coeffs, ns_steps, eps, adaptive=adaptive, preconditioning=preconditioning, ns_dtype=ns_dtype,
        gram_restarts=gram_restarts,
    )  # fmt: skip
    return chain(mean, polar)


def scale_by_shape(consistent_rms: Hyper | None = None, *, shape_factor: str = "jordan") -> Chain:
    """Multiply each matrix by a number that its shape gives: `√max(1, columns / rows)`, where rows are a layer's input.

    shape_factor: that is "jordan"; "spectral": `√(columns / rows)`; "moonlight": `0.2·√max(rows, columns)`, with which
    AdamW's rates fit; "input": `1 / rows`, for signs. consistent_rms: moonlight's, with this number for 0.2.
    Reach: array. State: none.
    Raises: ValueError if consistent_rms < 0, or at init for an array that is no matrix.
    Source: Jordan et al. 2024; Bernstein, Newhouse 2024, arXiv:2409.20325; Liu et al. 2025, arXiv:2502.16982.
    """
    if consistent_rms is None:
        return lift(ScaleByShape(shape_factor))
    return lift(ScaleByShape("moonlight", consistent_rms))


def beside(
    default: Transformation, direction: Chain, name: str, where: Where, rate: Hyper, weight_decay: Hyper, mask: Mask
) -> Chain:  # fmt: skip
    """A direction with decay and learning rate for the matrices, another method for all others."""
    inner = chain(direction, add_decayed_weights(weight_decay, mask), descend(rate))
    return groups([(where, inner, name)], default=default)


def muon(
    learning_rate: Hyper, ns_coeffs: str | Sequence[Any] = "jordan", ns_steps: int = 5, beta: Beta = 0.95,
    eps: Hyper = 1e-7, weight_decay: Hyper = 0.0, weight_decay_mask: Mask = None, mu_dtype: Dtype | None = None,
    *, nesterov: bool = True, adaptive: bool = False, preconditioning: str = "frobenius", adam_b1: Beta = 0.9,
    adam_b2: Beta = 0.95, adam_eps: Hyper = 1e-10, adam_eps_root: Hyper = 0.0, adam_weight_decay: Hyper = 0.0,
    adam_learning_rate: Hyper | None = None, adam_nesterov: bool = False, consistent_rms: Hyper | None = None,
    shape_factor: str = "jordan", bias_correction: bool = False, ns_dtype: Dtype | None = None,
    gram_restarts: Sequence[int] | None = None, where: Where = hidden_matrices,
) -> Chain:  # fmt: skip
    """Muon for hidden matrices: `scale_by_muon`, `scale_by_shape`, decay, learning rate; AdamW for all others.

    The groups are "muon" and "default". adam_learning_rate: AdamW's, that of Muon unless given; the authors take 3e-4
    and 0.02. Their Adam has no Nesterov momentum and eps of its own; optax: bias_correction, adam_nesterov,
    adam_b2=0.999, eps and adam_eps of 1e-8, where=ndim 2. where: selector of the matrices; stacks of them say how by
    `matrices(muon(...), specs)`.
    Source: Jordan et al. 2024; its code, KellerJordan/Muon.
    """
    direction = scale_by_muon(
        ns_coeffs, ns_steps, beta, eps, mu_dtype, nesterov=nesterov, adaptive=adaptive,
        preconditioning=preconditioning, bias_correction=bias_correction, ns_dtype=ns_dtype,
        gram_restarts=gram_restarts,
    )  # fmt: skip
    learning_rate = check.given(check.nonnegative, learning_rate=learning_rate)
    adam_learning_rate = learning_rate if adam_learning_rate is None else adam_learning_rate
    check.boolean(adam_nesterov=adam_nesterov)
    rest = adamw(
        check.given(check.nonnegative, adam_learning_rate=adam_learning_rate),
        check.given(check.fraction, adam_b1=adam_b1),
        check.given(check.fraction, adam_b2=adam_b2),
        check.given(check.nonnegative, adam_eps=adam_eps),
        check.given(check.nonnegative, adam_eps_root=adam_eps_root),
        mu_dtype,
        check.given(check.nonnegative, adam_weight_decay=adam_weight_decay),
        nesterov=adam_nesterov,
    )
    direction = chain(direction, scale_by_shape(consistent_rms, shape_factor=shape_factor))
    mask = mask_selector(weight_decay_mask, "weight_decay_mask")
    return beside(rest, direction, "muon", where, learning_rate, weight_decay, mask)
