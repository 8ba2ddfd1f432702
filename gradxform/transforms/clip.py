"""Clipping, at the station "cleanse": bound the gradient before anything remembers it."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import abs_sq, compute_dtype, next_count, real_dtype, root
from gradxform.core.chain import Chain, lift
from gradxform.core.facts import Facts, Reach, Station
from gradxform.core.hyper import Hyper
from gradxform.core.norms import norm_of
from gradxform.core.rule import Factor, Rule, TreeRule
from gradxform.core.types import Array, AxisName, Memory, Param, Scalars


def clip_factor(bound: Hyper, norm: Array) -> Array:
    """`min(1, bound / norm)`: 1 for a norm of 0, 0 for one that overflows, with derivatives that are finite."""
    inside = norm <= bound
    return jnp.where(inside, 1.0, bound / jnp.where(inside, 1.0, norm))


class Clip(Rule):
    max_delta: Hyper
    facts = Facts(station=Station.CLEANSE, real_only=True, keeps_zero=True)

    def check(self) -> None:
        check.nonnegative_bound(max_delta=self.max_delta)

    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Array, Memory]:
        return jnp.minimum(jnp.maximum(g, -self.max_delta), self.max_delta), s


class ClipByNorm(Factor):
    max_norm: Hyper
    facts = Facts(reach=Reach.ARRAY, station=Station.CLEANSE)

    def check(self) -> None:
        check.positive_bound(max_norm=self.max_norm)

    def factor(self, g: Array, p: Param, k: Scalars) -> Array:
        return clip_factor(self.max_norm, root(jnp.sum(abs_sq(g))))


class ClipByBlockRms(Factor):
    threshold: Hyper
    facts = Facts(reach=Reach.ARRAY, station=Station.CLEANSE)

    def check(self) -> None:
        check.positive_bound(threshold=self.threshold)

    def factor(self, g: Array, p: Param, k: Scalars) -> Array:
        return clip_factor(self.threshold, root(jnp.mean(abs_sq(g))))


class ClipByGlobalNorm(TreeRule, Factor):
    max_norm: Hyper
    axis_name: AxisName | None = None
    facts = Facts(reach=Reach.TREE, station=Station.CLEANSE, keeps_zero=True)

    def check(self) -> None:
        check.positive_bound(max_norm=self.max_norm)
        check.axis_or_none(axis_name=self.axis_name)

    @property
    def norm_bound(self) -> Hyper:
        return self.max_norm

    def measure(self, gs: list[Array], s: Memory, t: Array) -> tuple[Scalars, Memory]:
        return clip_factor(self.max_norm, norm_of(gs, self.axis_name)), s

    def factor(self, g: Array, p: Param, k: Scalars) -> Scalars:
        return k


class AdaptiveGradClip(Rule):
    clipping: Hyper
    eps: Hyper = 1e-3
    axis: int | tuple[int, ...] | None = None
    facts = Facts(reach=Reach.ARRAY, station=Station.CLEANSE, needs_params=True)

    def check(self) -> None:
        check.positive_bound(clipping=self.clipping)
        check.positive(eps=self.eps)
        check.axes(axis=self.axis)

    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Array, Memory]:
        bound = self.clipping * jnp.maximum(jnp.minimum(self.unit_norm(p), jnp.finfo(p.dtype).max), self.eps)
        return g * clip_factor(bound, self.unit_norm(g)), s

    def unit_norm(self, x: Array) -> Array:
        axis = self.axis
        if axis is None and x.size > max(x.shape, default=1):
            axis = 0 if x.ndim == 3 else tuple(range(x.ndim - 1))
        return root(jnp.sum(abs_sq(x), axis=axis, keepdims=True))


class Norms(NamedTuple):
    """norms: shape (window,), real, oldest overwritten first. seen: int32 scalar, how many there have been."""

    norms: Array
    seen: Array


class ClipByPercentile(TreeRule, Factor):
    percentile: Hyper = 10.0
    window: int = 1000
    axis_name: AxisName | None = None
    facts = Facts(reach=Reach.TREE, station=Station.CLEANSE, keeps_zero=True)

    def check(self) -> None:
        check.percentage(percentile=self.percentile)
        check.integer(1, window=self.window)
        check.axis_or_none(axis_name=self.axis_name)

    def init_tree(self, ps: list[Array]) -> Norms:
        dtype = jnp.result_type(jnp.float32, *(real_dtype(compute_dtype(p.dtype)) for p in ps))
        return Norms(jnp.zeros(self.window, dtype), jnp.zeros((), jnp.int32))

    def measure(self, gs: list[Array], s: Norms, t: Array) -> tuple[Scalars, Norms]:
        norm = norm_of(gs, self.axis_name)
        finite = jnp.isfinite(norm)
        at = s.seen % self.window
        norms = s.norms.at[at].set(jnp.where(finite, norm, s.norms[at]).astype(s.norms.dtype))
        seen = jnp.where(finite, next_count(s.seen), s.seen)
        kept = jnp.minimum(seen, self.window)
        place = self.percentile / 100 * jnp.maximum(kept - 1, 0)
        below = jnp.floor(place).astype(int)
        ordered = jnp.sort(jnp.where(jnp.arange(self.window) < kept, norms, jnp.inf))
        low, high = ordered[below], ordered[jnp.minimum(below + 1, jnp.maximum(kept - 1, 0))]
        bound = jnp.where(kept > 0, low + (place - below) * (high - low), 0.0)
        return clip_factor(bound, norm), Norms(norms, seen)

    def factor(self, g: Array, p: Param, k: Scalars) -> Scalars:
        return k


class ZeroNans(Rule):
    facts = Facts(station=Station.CLEANSE, keeps_zero=True)

    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Array, Memory]:
        return jnp.where(jnp.isnan(g), 0, g), s


def clip(max_delta: Hyper) -> Chain:
    """Clip every element: `u = min(max(g, -max_delta), max_delta)`.

    Changes the gradient's direction; `clip_by_norm` and `clip_by_global_norm` keep it.
    Reach: element. State: none.
    Raises: ValueError if max_delta < 0 (infinity clips nothing) or the parameter is complex.
    """
    return lift(Clip(max_delta))


def clip_by_norm(max_norm: Hyper) -> Chain:
    """Clip each array by its own L2 norm: `u = g · min(1, max_norm / ‖g‖₂)`.

    Keeps each array's direction, not the whole gradient's.
    Reach: array. State: none.
    Raises: ValueError if max_norm <= 0 (infinity clips nothing).
    """
    return lift(ClipByNorm(max_norm))


def clip_by_block_rms(threshold: Hyper) -> Chain:
    """Clip each array by its root mean square: `u = g · min(1, threshold / rms(g))`.

    Adafactor's update clipping; unlike a norm, the bound does not depend on the array's size.
    Reach: array. State: none.
    Raises: ValueError if threshold <= 0 (infinity clips nothing).
    Source: Shazeer, Stern 2018, arXiv:1804.04235, section 6.
    """
    return lift(ClipByBlockRms(threshold))


def clip_by_global_norm(max_norm: Hyper, *, axis_name: AxisName | None = None) -> Chain:
    """Clip the whole gradient by its global L2 norm: `u = g · min(1, max_norm / √Σ‖gᵢ‖²)`.

    One scalar for all arrays, summed in float32 or wider. First in the chain, so that nothing remembers the excess.
    axis_name: mesh axis (or a tuple) over which arrays are split inside `shard_map` or `pmap`; squares add up over it,
    and an array that `shard_map` knows to be the same along it counts once.
    Reach: tree. State: none.
    Raises: ValueError if max_norm <= 0, or if a leaf varies over a manual mesh axis and axis_name is missing.
    Source: Pascanu et al. 2012, arXiv:1211.5063, algorithm 1.
    """
    return lift(ClipByGlobalNorm(max_norm, axis_name))


def adaptive_grad_clip(clipping: Hyper, eps: Hyper = 1e-3, axis: int | tuple[int, ...] | None = None) -> Chain:
    """Clip each unit by its parameter's norm: `u = g · min(1, clipping · max(‖p‖, eps) / ‖g‖)`, norms over a unit.

    A unit is what feeds one output: all axes but the last, of an array with three the first alone, and a whole vector
    or scalar. Leave out the last layer (`masked`), as the authors do.
    clipping: about 0.01. eps: lets parameters at 0 move. axis: the axes of a unit, if others.
    Reach: array. State: none.
    Raises: ValueError if clipping <= 0, eps <= 0 or params are missing; TypeError if axis is no axis.
    Source: Brock et al. 2021, arXiv:2102.06171, equation 3.
    """
    return lift(AdaptiveGradClip(clipping, eps, axis))


def clip_by_percentile(percentile: Hyper = 10.0, window: int = 1000, *, axis_name: AxisName | None = None) -> Chain:
    """Clip the whole gradient by its own history: `u = g · min(1, c / ‖g‖)`, c a percentile of the latest norms.

    The history includes this step's norm, and no norm that is not finite; the percentile is interpolated linearly.
    percentile: in [0, 100]. window: how many norms are kept; the authors keep all. axis_name: as in
    `clip_by_global_norm`.
    Reach: tree. State: norms (window,), float32 or wider; seen, int32.
    Raises: ValueError if percentile is not in [0, 100], window < 1, or a leaf varies over a mesh axis not named.
    Source: Seetharaman et al. 2020, arXiv:2007.14469 (AutoClip).
    """
    return lift(ClipByPercentile(percentile, window, axis_name))


def zero_nans() -> Chain:
    """Put 0 where the gradient is NaN; infinities stay.

    To skip such a step whole take `guard`.
    Reach: element. State: none.
    """
    return lift(ZeroNans())
