"""Rates that are distances over gradients: DoG and DoWG, which take no learning rate."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import abs_sq, cast, compute_dtype, quotient, root
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.facts import Facts, Reach
from gradxform.core.hyper import Hyper
from gradxform.core.norms import total
from gradxform.core.rule import Factor, TreeRule
from gradxform.core.sizes import rootable, saturated, squarable
from gradxform.core.types import Array, AxisName, Count, Mask, Param, Scalars
from gradxform.transforms.decay import add_decayed_weights
from gradxform.transforms.scale import descend


def squared(xs: list[Array], axis_name: AxisName | None) -> Array:
    """Σ|x|² over a tree, at most a quarter of the largest number."""
    n = sum(x.size for x in xs)
    return total([jnp.sum(abs_sq(squarable(cast(x, compute_dtype(x.dtype)), n))) for x in xs], axis_name)


class Start(NamedTuple):
    """init_params: what p was at first."""

    init_params: Array


class FromStart(TreeRule, Factor, abstract=True):
    """A factor that follows from how far the parameters have come, and from the gradients on the way."""

    axis_name: AxisName | None = None
    facts = Facts(reach=Reach.TREE, needs_params=True, measures_memory=True)

    def check(self) -> None:
        check.axis_or_none(axis_name=self.axis_name)

    def init(self, p: Array) -> Start:
        return Start(p)

    def moved(self, ps: list[Array], ms: list[Start]) -> Array:
        """The square of the distance."""
        return squared([p - m.init_params for p, m in zip(ps, ms, strict=True)], self.axis_name)

    def factor(self, g: Array, p: Param, k: Array) -> Array:
        return k


class Distances(NamedTuple):
    """max_dist, sum_sq_norm_grads: scalars, real."""

    max_dist: Array
    sum_sq_norm_grads: Array


class ScaleByDog(FromStart):
    kind: str = "heuristic"
    start: float = 1e-6
    eps: Hyper = 1e-8

    def check(self) -> None:
        super().check()
        check.choice("distance", "learning_rate", "heuristic", init_step=self.kind)
        check.nonnegative(eps=self.eps)

    def init_tree(self, ps: list[Array]) -> Distances:
        return Distances(jnp.zeros((), float), jnp.zeros((), float))

    def measure(self, gs: list[Array], s: Distances, t: Count, ps: Any = (), ms: Any = ()) -> tuple[Scalars, Distances]:
        least: Any = 0.0 if self.kind == "learning_rate" else self.start
        if self.kind == "heuristic":
            least *= 1 + root(squared([m.init_params for m in ms], self.axis_name))
        far = jnp.maximum(jnp.maximum(s.max_dist, least), root(self.moved(ps, ms)))
        summed = saturated(s.sum_sq_norm_grads + squared(gs, self.axis_name))
        rate = quotient(far, root(summed + self.eps), 0.0)
        if self.kind == "learning_rate":
            rate = jnp.where(far == 0, self.start, rate)
        return rate, Distances(far, summed)


class SquaredDistances(NamedTuple):
    """weighted_sq_norm_grads, estim_sq_dist: scalars, real."""

    weighted_sq_norm_grads: Array
    estim_sq_dist: Array


class ScaleByDowg(FromStart):
    least: float | None = None
    eps: Hyper = 1e-4

    def check(self) -> None:
        super().check()
        (check.positive if self.least is None else check.nonnegative)(eps=self.eps)

    def init_tree(self, ps: list[Array]) -> SquaredDistances:
        return SquaredDistances(jnp.zeros((), float), jnp.zeros((), float))

    def measure(
        self, gs: list[Array], s: SquaredDistances, t: Count, ps: Any = (), ms: Any = ()
    ) -> tuple[Scalars, SquaredDistances]:
        least = self.eps if self.least is None else self.least
        far = jnp.maximum(jnp.maximum(s.estim_sq_dist, least), self.moved(ps, ms))
        weighted = saturated(s.weighted_sq_norm_grads + rootable(far * squared(gs, self.axis_name)))
        return quotient(far, root(weighted) + self.eps, 0.0), SquaredDistances(weighted, far)


def scale_by_dog(
    init_step: tuple[str, float] = ("heuristic", 1e-6), eps: Hyper = 1e-8, *, axis_name: AxisName | None = None
) -> Chain:
    """Scale by distance over gradients: `u = g·max‖p - p₁‖ / √(Σ‖g‖² + eps)`, max and sum over the steps till now.

    p₁ is what p was at first. init_step: what the distance is at least, `("distance", r)` or `("heuristic", a)`,
    a·(1 + ‖p₁‖), a = 1e-4 for models with batch normalisation; or `("learning_rate", x)`, the factor as long as nothing
    has moved. axis_name: axes of `shard_map` over which leaves are split.
    Reach: tree. State: init_params, shaped like p, float32 or wider; in `tree` max_dist, sum_sq_norm_grads, scalars.
    Raises: ValueError for an unknown init_step, arguments out of range, or missing params.
    Source: Ivgi et al. 2023, arXiv:2302.12022.
    """
    kind, start = check.pair("a word and a number", init_step=init_step)
    return lift(ScaleByDog(axis_name, kind, check.number(check.positive, init_step=start), eps))


def scale_by_dowg(
    init_estim_sq_dist: float | None = None, eps: Hyper = 1e-4, *, axis_name: AxisName | None = None
) -> Chain:
    """Scale by distance over weighted gradients: `u = g·r² / (√Σr²‖g‖² + eps)`, r the largest `‖p - p₁‖` till now.

    p₁ is what p was at first. init_estim_sq_dist: what r² is at least, eps unless given.
    axis_name: axes of `shard_map` over which leaves are split.
    Reach: tree. State: init_params, shaped like p, float32 or wider; in `tree` weighted_sq_norm_grads, estim_sq_dist,
    scalars.
    Raises: ValueError for arguments out of range, or missing params.
    Source: Khaled et al. 2023, arXiv:2305.16284, algorithm 1.
    """
    given = init_estim_sq_dist
    least = None if given is None else check.number(check.positive, init_estim_sq_dist=given)
    return lift(ScaleByDowg(axis_name, least, eps))


def dog(
    learning_rate: Hyper = 1.0, init_step: tuple[str, float] = ("heuristic", 1e-6), eps: Hyper = 1e-8,
    weight_decay: Hyper = 0.0, mask: Mask = None, *, axis_name: AxisName | None = None,
) -> Chain:  # fmt: skip
    """DoG: `add_decayed_weights(weight_decay, mask)`, `scale_by_dog(init_step, eps)`, `scale_by_learning_rate`.

    The authors evaluate with an average of the iterates, such as `ema_of_params`.
    Source: Ivgi et al. 2023, arXiv:2302.12022.
    """
    decay = add_decayed_weights(weight_decay, mask)
    return chain(decay, scale_by_dog(init_step, eps, axis_name=axis_name), descend(learning_rate))


def dowg(
    learning_rate: Hyper = 1.0, init_estim_sq_dist: float | None = None, eps: Hyper = 1e-4, weight_decay: Hyper = 0.0,
    mask: Mask = None, *, axis_name: AxisName | None = None,
) -> Chain:  # fmt: skip
    """DoWG: `add_decayed_weights(weight_decay, mask)`, `scale_by_dowg`, `scale_by_learning_rate`.

    Source: Khaled et al. 2023, arXiv:2305.16284, algorithm 1.
    """
    decay = add_decayed_weights(weight_decay, mask)
    return chain(decay, scale_by_dowg(init_estim_sq_dist, eps, axis_name=axis_name), descend(learning_rate))
