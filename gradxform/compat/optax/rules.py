"""Rules in optax's arithmetic, where that of the stage of ours is another on purpose, or keeps something else."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from gradxform.core.arithmetic import abs_sq, debias, root
from gradxform.core.facts import Facts, Reach, Station
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.rule import Halves, Rule, TreeRule
from gradxform.core.types import Array, ArrayLike, Count, Param, Scalars
from gradxform.optimizers import sm3
from gradxform.transforms.plateau import Plateau, averaged, begun


class AdanMemory(NamedTuple):
    """Shaped like p: means of the gradient, of its change, of their square; the last gradient."""

    m: Array
    v: Array
    n: Array
    g: Array


class Adan(Halves):
    """The change weighs `1 - b2`."""

    b1: Beta
    b2: Beta
    b3: Beta
    eps: Hyper
    eps_root: Hyper

    def init(self, p: Array) -> AdanMemory:
        return AdanMemory(*(jnp.zeros_like(p) for _ in range(4)))

    def scalars(self, t: Count) -> Scalars:
        return [t == 1, *(debias(b, t) for b in (self.b1, self.b2, self.b3))]

    def remember(self, g: Array, s: AdanMemory, p: Param, k: Scalars) -> AdanMemory:
        change = jnp.where(k[0], 0, g - s.g)
        m, v = self.b1 * s.m + (1 - self.b1) * g, self.b2 * s.v + (1 - self.b2) * change
        return AdanMemory(m, v, self.b3 * s.n + (1 - self.b3) * abs_sq(g + (1 - self.b2) * change), g)

    def emit(self, g: Array, s: AdanMemory, p: Param, k: Scalars) -> Array:
        _, c1, c2, c3 = k
        u: Array = (s.m / c1 + (1 - self.b2) * s.v / c2) / (root(s.n / c3 + self.eps_root) + self.eps)
        return u


class RpropMemory(NamedTuple):
    """Shaped like p."""

    step_sizes: Array
    prev_updates: Array


class Rprop(Rule):
    """Moves by the step before, so that the first gradient only sets the sign."""

    learning_rate: Hyper
    eta_minus: Hyper
    eta_plus: Hyper
    min_step_size: Hyper
    max_step_size: Hyper

    def init(self, p: Array) -> RpropMemory:
        return RpropMemory(self.learning_rate * jnp.ones_like(p), jnp.zeros_like(p))

    def update(self, g: Array, s: RpropMemory, p: Param, k: Scalars) -> tuple[Array, RpropMemory]:
        along = g * s.prev_updates
        moved = s.step_sizes * jnp.where(along > 0, self.eta_plus, self.eta_minus)
        sizes = jnp.where(along == 0, s.step_sizes, jnp.clip(moved, self.min_step_size, self.max_step_size))
        turned = along < 0
        return jnp.where(turned, 0, s.prev_updates), RpropMemory(sizes, jnp.where(turned, 0, sizes * jnp.sign(g)))


class Found(NamedTuple):
    """found_nan: scalar, bool."""

    found_nan: Array


class ZeroNans(Rule):
    """Says where it found one."""

    facts = Facts(reach=Reach.ARRAY, station=Station.CLEANSE)

    def init(self, p: Array) -> Found:
        return Found(jnp.zeros((), bool))

    def update(self, g: Array, s: Found, p: Param, k: Scalars) -> tuple[Array, Found]:
        nan = jnp.isnan(g)
        return jnp.where(nan, 0, g), Found(jnp.any(nan))


class Sm3Memory(NamedTuple):
    """mu: a vector for each axis. nu: shaped like p."""

    mu: tuple[Array, ...]
    nu: Array


class Sm3(Rule):
    """Keeps its sums as vectors."""

    b1: Beta
    b2: Hyper
    eps: Hyper
    facts = sm3.ScaleBySm3.facts

    def init(self, p: Array) -> Sm3Memory:
        return Sm3Memory(tuple(jnp.zeros(n, p.dtype) for n in p.shape), jnp.zeros_like(p))

    def update(self, g: Array, s: Sm3Memory, p: Param, k: Scalars) -> tuple[Array, Sm3Memory]:
        sums = tuple(jnp.expand_dims(x, [*range(i), *range(i + 1, g.ndim)]) for i, x in enumerate(s.mu))
        rule = sm3.ScaleBySm3(self.b1, self.b2, self.eps)
        u, new = rule.update(g, sm3.Sm3Memory(sums, s.nu), p, k)
        return u, Sm3Memory(tuple(x.ravel() for x in new.sums), new.mu)


class Travelled(NamedTuple):
    """max_dist: scalar, real. grad_sum_of_squares: of one element, real. init_params: shaped like p, as it was."""

    max_dist: Array
    grad_sum_of_squares: Array
    init_params: Array


class DistanceOverGradients(Rule):
    """Counts the start as a distance of `reps_rel·(1 + ‖p‖)`, array by array."""

    reps_rel: Hyper
    eps: Hyper
    global_scale: Hyper
    facts = Facts(reach=Reach.ARRAY, station=Station.STEP, needs_params=True, real_only=True)

    def init(self, p: Array) -> Travelled:
        if not p.ndim:
            raise ValueError("optax makes a vector of a number here")
        return Travelled(self.reps_rel * (1 + root(jnp.sum(p * p))), jnp.zeros(1, p.dtype), p)

    def update(self, g: Array, s: Travelled, p: Array, k: Scalars) -> tuple[Array, Travelled]:
        far = jnp.maximum(s.max_dist, root(jnp.sum((p - s.init_params) ** 2)))
        squares = s.grad_sum_of_squares + jnp.sum(g * g)
        return self.global_scale * far / root(squares + self.eps) * g, Travelled(far, squares, s.init_params)


class ReduceOnPlateau(TreeRule):
    """A gain is a value under `(1 - rtol)·best - atol`."""

    factor: Hyper
    patience: Hyper
    rtol: Hyper
    atol: Hyper
    cooldown: Hyper
    accumulation_size: Hyper
    min_scale: Hyper
    facts = Facts(reach=Reach.TREE, station=Station.STEP, needs=("value",), keeps_zero=True)

    def init_tree(self, ps: list[Array]) -> Plateau:
        return begun()

    def measure(self, gs: list[Array], s: Plateau, t: Count, value: ArrayLike | None = None) -> tuple[Scalars, Plateau]:
        def judged(mean: Array) -> Plateau:
            better, cooling = mean < (1 - self.rtol) * s.best_value - self.atol, s.cooldown_count > 0
            bad = jnp.where(better, 0, s.plateau_count + 1)
            worn = bad == self.patience
            scale = jnp.maximum(s.scale * jnp.where(worn, self.factor, 1), self.min_scale)
            return s._replace(
                scale=jnp.where(cooling, s.scale, scale),
                best_value=jnp.where(better, mean, s.best_value),
                plateau_count=jnp.where(cooling | worn, 0, bad),
                cooldown_count=jnp.where(cooling, s.cooldown_count - 1, jnp.where(worn, self.cooldown, 0)),
            )

        new = averaged(s, value, self.accumulation_size, judged)
        return new.scale, new

    def update(self, g: Array, s: None, p: Param, k: Array) -> tuple[Array, None]:
        return g * k, None


RULES: dict[str, type[Rule]] = {
    "scale_by_adan": Adan, "scale_by_rprop": Rprop, "zero_nans": ZeroNans, "scale_by_sm3": Sm3,
    "scale_by_distance_over_gradients": DistanceOverGradients, "reduce_on_plateau": ReduceOnPlateau,
}  # fmt: skip
"""By the names of optax's stages, whose arguments are their fields."""
