"""PSGD Kron: a gradient between factors that are learnt to make it white."""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import debias, quotient, root
from gradxform.core.chain import Chain, lift
from gradxform.core.facts import Facts, Reach, Station
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.keys import OwnKey, kept_key
from gradxform.core.rule import Halves
from gradxform.core.sizes import squarable, within
from gradxform.core.types import Array, Count, Key, Mask, Param, Scalars, Transformation, Where
from gradxform.optimizers.adam import adamw
from gradxform.optimizers.muon import beside, product
from gradxform.optimizers.soap import AT_LEAST_TWO
from gradxform.schedules.decays import exponential_decay

PROBABILITY = exponential_decay(1.0, 1000, math.exp(-1.0), 500, end_value=0.03)


class KronMoments(NamedTuple):
    """mu: shaped like p. left, right: the factors, triangular `[n, n]`, or diagonal `[n]`."""

    mu: Array
    left: Array
    right: Array


class SmoothMoments(NamedTuple):
    """mu, left, right: as in `KronMoments`, the factors square or diagonal. left_size, right_size: scalars."""

    mu: Array
    left: Array
    right: Array
    left_size: Array
    right_size: Array


class Kron(Halves, abstract=True):
    b1: Beta = 0.9
    preconditioner_update_probability: Hyper = PROBABILITY
    max_size_triangular: int = 8192
    memory_save_mode: str | None = None
    momentum_into_precond_update: bool = True
    precond_lr: Hyper = 0.1
    precond_init_scale: Hyper = 1.0
    key: OwnKey = 0
    facts = Facts(reach=Reach.ARRAY, station=Station.DIRECT, real_only=True, matrix=True)

    def check(self) -> None:
        check.unit(preconditioner_update_probability=self.preconditioner_update_probability)
        check.integer(0, max_size_triangular=self.max_size_triangular)
        check.choice(None, "smart_one_diag", "one_diag", "all_diag", memory_save_mode=self.memory_save_mode)
        check.nonnegative(precond_lr=self.precond_lr)
        check.divisor(precond_init_scale=self.precond_init_scale)

    def zeros(self, p: Array) -> KronMoments:
        scale = self.precond_init_scale**0.5
        ones = (jnp.ones(n, p.dtype) if self.diagonal(p.shape, axis) else jnp.eye(n) for axis, n in enumerate(p.shape))
        return KronMoments(jnp.zeros_like(p), *((scale * x).astype(p.dtype) for x in ones))

    def diagonal(self, shape: tuple[int, ...], axis: int) -> bool:
        """Whether a side has a diagonal factor."""
        n, other, mode = shape[axis], shape[1 - axis], self.memory_save_mode
        longest = n > other or (n == other and axis == 1 and mode == "one_diag")
        saved = mode == "all_diag" or (longest and mode is not None)
        return saved or n == 1 or n > self.max_size_triangular

    def chances(self) -> Scalars:
        """Whether a step learns, and whether it makes the factors even in size."""
        drawn = jax.random.uniform(self.key, (2,))
        return drawn[0] < self.preconditioner_update_probability, drawn[1] < 0.01


class ScaleByPsgdKron(Kron):
    def init(self, p: Array) -> KronMoments:
        return self.zeros(p)

    def scalars(self, t: Count) -> Scalars:
        return *self.chances(), debias(self.b1, t)

    def remember(self, g: Array, s: KronMoments, p: Param, k: Scalars) -> KronMoments:
        (now, balanced, c1), g = k, squarable(g, g.size)
        mu = self.b1 * s.mu + (1 - self.b1) * g
        seen = jax.lax.stop_gradient((mu / c1 if self.momentum_into_precond_update else g, *s[1:]))
        left, right = jax.lax.cond(now, lambda: self.learnt(balanced, *seen), lambda: seen[1:])
        return KronMoments(mu, left, right)

    def learnt(self, balanced: Array, g: Array, left: Array, right: Array) -> tuple[Array, Array]:
        """The factors after a step on `‖Q·g‖² + ‖Q⁻ᵀ·v‖²`, v normal."""
        v = jax.random.normal(self.key, g.shape, g.dtype)
        g = g + jnp.finfo(jnp.float32).eps ** 0.5 * jnp.mean(jnp.abs(g)) * v
        left, right = even(balanced, left, right)
        a = squarable(times(right, times(left, g).T).T, g.size)
        b = squarable(over(right, over(left, v).T).T, g.size)
        return self.stepped(left, a, b), self.stepped(right, a.T, b.T)

    def stepped(self, q: Array, a: Array, b: Array) -> Array:
        """A factor after a step, which its own size and that of `a·aᵀ + b·bᵀ` scale."""
        if q.ndim == 1:
            more, less = (jnp.sum(x * x, axis=1) for x in (a, b))
            by: Array = q * quotient(more - less, jnp.max(more + less), 0.0)
        else:
            more, less = product(a, a.T), product(b, b.T)
            by = product(jnp.triu(quotient(more - less, spectral(more + less), 0.0)), q)
        return within(q - self.precond_lr * by, 2.0 ** (jnp.finfo(q.dtype).maxexp // 4 - 8))

    def emit(self, g: Array, s: KronMoments, p: Param, k: Scalars) -> Array:
        u = white(s.mu / k[2], s.left, s.right)
        clipped: Array = u * jnp.minimum(1.0, 1.1 / (root(jnp.mean(u * u)) + 1e-12))
        return clipped


class Procrustes(Kron):
    name = "scale_by_psgd_kron"

    def init(self, p: Array) -> SmoothMoments:
        return SmoothMoments(*self.zeros(p), jnp.zeros((), p.dtype), jnp.zeros((), p.dtype))

    def scalars(self, t: Count) -> Scalars:
        return *self.chances(), jnp.maximum(1.0 / t, 1 - self.b1)

    def remember(self, g: Array, s: SmoothMoments, p: Param, k: Scalars) -> SmoothMoments:
        (now, balanced, share), g = k, squarable(g, g.size)
        mu = (1 - share) * s.mu + share * g
        seen = jax.lax.stop_gradient((mu if self.momentum_into_precond_update else g, *s[1:]))
        return SmoothMoments(mu, *jax.lax.cond(now, lambda: self.learnt(balanced, *seen), lambda: seen[1:]))

    def learnt(self, balanced: Array, g: Array, left: Array, right: Array, *sizes: Array) -> tuple[Array, ...]:
        """The factors and sizes after a step on `‖P^½·g‖² + ‖P^-½·v‖²`, v normal, P = Q'Q."""
        (key, other), (m, n) = jax.random.split(self.key), g.shape
        v, rows = jax.random.normal(key, g.shape, g.dtype), jax.random.normal(other, (64, m + n), g.dtype)
        a = white(g + (1e-9 + jnp.finfo(g.dtype).eps * jnp.abs(g)) * v, left, right)
        left, left_size = self.stepped(left, sizes[0], a, rows[:, :m])
        right, right_size = self.stepped(right, sizes[1], a.T, rows[:, m:])
        return *even(balanced, left, right), left_size, right_size

    def stepped(self, q: Array, size: Array, a: Array, rows: Array) -> tuple[Array, Array]:
        """A factor after a step of `Q^½·(1 - a·aᵀ / n)·Q^1½`, and the size that scales the step."""
        n, diagonal = a.shape[1], q.ndim == 1
        gram = jnp.sum(a * a, axis=1) if diagonal else product(a, a.T)
        ell = n + (jnp.max(gram) if diagonal else spectral_of_many(gram, jnp.max(jnp.diagonal(gram)), rows[:32]))
        size = jnp.maximum(0.9 * size + 0.1 * ell, ell)
        more = gram * q if diagonal else product(gram, q)
        q = within(q - self.precond_lr * quotient(more - n * q, size, 0.0), 2.0 ** (jnp.finfo(q.dtype).maxexp // 4 - 8))
        return (q if diagonal else nearer_symmetric(q, rows[32:])), size

    def emit(self, g: Array, s: SmoothMoments, p: Param, k: Scalars) -> Array:
        u = white(s.mu, s.left, s.right)
        return jnp.clip(u * jnp.minimum(1.0, quotient(2.0, root(jnp.mean(u * u)), 0.0)), -10.0, 10.0)


def even(balanced: Array, left: Array, right: Array) -> list[Array]:
    """The factors, of equal largest elements where they are to be balanced."""
    sizes = [jnp.max(jnp.abs(q)) for q in (left, right)]
    mean = root(sizes[0]) * root(sizes[1])
    return [q * jnp.where(balanced, quotient(mean, n, 0.0), 1) for q, n in zip((left, right), sizes, strict=True)]


def white(g: Array, left: Array, right: Array) -> Array:
    """`L'L·g·R'R`."""
    u = times(right, times(left, g).T).T
    u = squarable(u, u.size)
    return squarable(times(right.T, times(left.T, u).T).T, u.size)


def nearer_symmetric(q: Array, rows: Array) -> Array:
    """q, turned by a small angle towards where it is symmetric, by Procrustes' problem."""
    r = q.T - q
    r = quotient(r, spectral_of_many(r, jnp.max(jnp.abs(r)), rows), 0.0)
    once = product(r, q)
    twice = product(r, once)
    along, bend = jnp.trace(once), jnp.trace(twice)
    angle = jnp.where(bend < 0, jnp.minimum(quotient(along, -bend, 0.0), 0.125), 0.125)
    return q + angle * (once + 0.5 * angle * twice)


def times(q: Array, x: Array) -> Array:
    return q[:, None] * x if q.ndim == 1 else product(q, x)


def over(q: Array, x: Array) -> Array:
    """q⁻ᵀ · x."""
    if q.ndim == 1:
        return quotient(x, q[:, None], 0.0)
    return jax.scipy.linalg.solve_triangular(q, x, trans="T")


def spectral(x: Array) -> Array:
    """A lower bound of the largest singular value of a symmetric matrix: two products from its largest column."""
    size = jnp.max(jnp.abs(x))
    x = quotient(x, size, 0.0)
    y = product(x[:, jnp.argmax(jnp.sum(x * x, axis=0))], x)
    y = product(x, quotient(y, root(jnp.sum(y * y)), 0.0))
    return size * root(jnp.sum(y * y))


def spectral_of_many(x: Array, size: Array, vs: Array) -> Array:
    """The same of a symmetric or skew matrix, of the size of its elements: four products from random rows."""
    x = quotient(x, size, 0.0)
    row = x[jnp.argmax(jnp.sum(x * x, axis=1))]
    vs = row + jnp.sign(jnp.sum(row * vs, axis=1, keepdims=True)) * vs
    for _ in range(2):
        vs = product(vs, x)
        vs = product(quotient(vs, root(jnp.sum(vs * vs, axis=1, keepdims=True)), 0.0), x)
    return size * root(jnp.max(jnp.sum(vs * vs, axis=1)))


def scale_by_psgd_kron(
    b1: Beta = 0.9, *, preconditioner_update_probability: Hyper = PROBABILITY, max_size_triangular: int = 8192,
    memory_save_mode: str | None = None, momentum_into_precond_update: bool = True, precond_lr: Hyper = 0.1,
    precond_init_scale: Hyper = 1.0, geometry: str = "EQ", key: Key = 0,
) -> Chain:  # fmt: skip
    """Whiten: `u = L'L·m̂·R'R`, at most 1.1 in root mean square; L and R, triangular, learn from m̂ and normal v.

    `L <- L - η·triu(A·A' - B·B')·L / ‖A·A' + B·B'‖`, with `A = L·m̂·R'`, `B = L⁻ᵀ·v·R⁻¹`, η precond_lr, and so R. A step
    learns with a probability, 1 for 500 steps and then falling to 0.03 unless given, drawn once for all leaves, as the
    authors' JAX code does; their torch code counts `1 / probability` steps, and preconditions m̂ with a noise that is
    here in A alone.
    geometry: "Q0.5EQ1.5", Li's default of today: L and R, no triangles, are turned to be symmetric, and need no solver;
    `L <- L - η·(A·A' - n·1)·L / l`, `A = L'L·m·R'R`, n its columns, l the largest `‖A·A'‖ + n` of late, m the mean of
    the first gradients, then their EMA; u at most 2 in root mean square, 10 in an element. Li learns at each step, and
    with memory_save_mode "smart_one_diag".
    momentum_into_precond_update: False learns from g. memory_save_mode: "one_diag" of the longer side, "smart_one_diag"
    where one is longer, "all_diag". max_size_triangular: a longer side has a diagonal factor. key: an integer or a key.
    Reach: array. State: mu, shaped like p; left, right, `[n, n]` or `[n]`; with "Q0.5EQ1.5" left_size, right_size, l;
    float32 or wider.
    Raises: ValueError if b1 is not in [0, 1) or a probability not in [0, 1], or at init for what is no matrix.
    Source: Li 2015, arXiv:1512.04202; Li 2024, arXiv:2402.11858; evanatyourservice/kron_torch, lixilinx/psgd_torch.
    """
    check.boolean(momentum_into_precond_update=momentum_into_precond_update)
    check.choice("EQ", "Q0.5EQ1.5", geometry=geometry)
    numbers = max_size_triangular, memory_save_mode, momentum_into_precond_update, precond_lr, precond_init_scale
    rule = ScaleByPsgdKron if geometry == "EQ" else Procrustes
    return lift(rule(b1, preconditioner_update_probability, *numbers, kept_key("key", key)))


def psgd_kron(
    learning_rate: Hyper, b1: Beta = 0.9, weight_decay: Hyper = 0.0, mask: Mask = None, *,
    preconditioner_update_probability: Hyper = PROBABILITY, max_size_triangular: int = 8192,
    memory_save_mode: str | None = None, momentum_into_precond_update: bool = True, precond_lr: Hyper = 0.1,
    precond_init_scale: Hyper = 1.0, geometry: str = "EQ", key: Key = 0, default: Transformation | None = None,
    where: Where = AT_LEAST_TWO,
) -> Chain:  # fmt: skip
    """PSGD Kron for matrices: `scale_by_psgd_kron`, decay, learning rate (3e-4 is the authors'); AdamW for all others.

    The groups are "psgd_kron" and "default". default: of the others, `adamw(learning_rate, b1)` without decay unless
    given; the authors' vectors have diagonal factors. where: selector of the matrices.
    Source: Li 2015, arXiv:1512.04202; evanatyourservice/kron_torch.
    """
    rate, b1 = check.given(check.nonnegative, learning_rate=learning_rate), check.given(check.fraction, b1=b1)
    direction = scale_by_psgd_kron(
        b1, preconditioner_update_probability=preconditioner_update_probability, memory_save_mode=memory_save_mode,
        max_size_triangular=max_size_triangular, momentum_into_precond_update=momentum_into_precond_update,
        precond_lr=precond_lr, precond_init_scale=precond_init_scale, geometry=geometry, key=key,
    )  # fmt: skip
    rest = adamw(rate, b1, weight_decay=0.0) if default is None else default
    return beside(rest, direction, "psgd_kron", where, rate, weight_decay, mask)
