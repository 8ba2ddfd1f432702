"""Adafactor: second moments of a matrix kept as one number a row and one a column."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import abs_sq, quotient, root
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.facts import Facts, Reach
from gradxform.core.hyper import Hyper, Schedule, called
from gradxform.core.rule import Halves
from gradxform.core.sizes import saturated, squarable
from gradxform.core.types import Array, Count, Dtype, Mask, Memory, Param, Scalars
from gradxform.params.masks import mask_selector
from gradxform.transforms.clip import clip_by_block_rms
from gradxform.transforms.decay import AddDecayedWeights
from gradxform.transforms.momentum import ema
from gradxform.transforms.normalize import scale_by_param_block_rms
from gradxform.transforms.scale import Turn, scale_by_learning_rate


class Squares(NamedTuple):
    """v: shaped like p, real."""

    v: Array


class FactoredSquares(NamedTuple):
    """v_row: shaped like p without its largest axis. v_col: without its second largest. Both real."""

    v_row: Array
    v_col: Array


def factored_like(p: Array, row: int, column: int) -> FactoredSquares:
    """Zeros for a mean over axis `row`, and one over axis `column`."""
    return FactoredSquares(jnp.zeros_like(p.real.sum(row)), jnp.zeros_like(p.real.sum(column)))


def averaged(
    s: FactoredSquares, g: Array, eps: Hyper, old: Scalars, new: Scalars, row: int, column: int
) -> FactoredSquares:
    """`old` times what is kept plus `new` times the means of `|g|² + eps` over each axis."""
    square = abs_sq(g) + eps
    means = saturated(square.mean(row)), saturated(square.mean(column))
    return FactoredSquares(*(old * v + new * mean for v, mean in zip(s, means, strict=True)))


def over_root(g: Array, s: FactoredSquares, row: int, column: int) -> Array:
    """g over the root of `v_row · v_col / mean(v_row)`."""
    reduced = column - (column > row)
    size = root((s.v_row / g.shape[column]).sum(reduced, keepdims=True))
    sides = jnp.expand_dims(root(s.v_row), row), jnp.expand_dims(root(s.v_col), column)
    for side in (sides[0], quotient(sides[1], jnp.expand_dims(size, row), 0.0)):
        # Where g is 0 its derivative by the side is 0 too, and would be computed from one that overflows.
        g = quotient(g, jnp.where(g == 0, jax.lax.stop_gradient(side), side), 0.0)
    return g


class ScaleByFactoredRms(Halves):
    factored: bool = True
    decay_rate: Hyper = 0.8
    step_offset: int = 0
    min_dim_size_to_factor: int = 128
    epsilon: Hyper = 1e-30
    decay_rate_fn: Callable[[Any, Any], Any] | None = None
    facts = Facts(reach=Reach.ARRAY)

    def check(self) -> None:
        check.positive(decay_rate=self.decay_rate)
        check.nonnegative(epsilon=self.epsilon)
        check.integer(step_offset=self.step_offset, min_dim_size_to_factor=self.min_dim_size_to_factor)
        check.function(decay_rate_fn=self.decay_rate_fn)

    def axes(self, x: Array) -> tuple[int, int] | None:
        """The largest axis and the next, the later of equal ones first; None where there are no two large enough."""
        order = sorted(range(x.ndim), key=lambda axis: x.shape[axis])
        if not self.factored or x.ndim < 2 or x.shape[order[-2]] < self.min_dim_size_to_factor:
            return None
        return order[-1], order[-2]

    def init(self, p: Array) -> Memory:
        axes = self.axes(p)
        return Squares(jnp.zeros_like(p.real)) if axes is None else factored_like(p, *axes)

    def scalars(self, t: Count) -> Scalars:
        step = jnp.maximum(t - self.step_offset, 1)
        if self.decay_rate_fn is not None:
            decay = called("decay_rate_fn", self.decay_rate_fn, step - 1, self.decay_rate)
            return decay, 1 - decay
        power = -self.decay_rate * jnp.log(1.0 * step)
        return -jnp.expm1(power), jnp.exp(power)

    def remember(self, g: Array, s: Memory, p: Param, k: Scalars) -> Memory:
        axes = self.axes(g)
        if axes is not None:
            return averaged(s, g, self.epsilon, k[0], k[1], *axes)
        return Squares(k[0] * s.v + k[1] * (abs_sq(squarable(g)) + self.epsilon))

    def emit(self, g: Array, s: Memory, p: Param, k: Scalars) -> Array:
        axes = self.axes(g)
        return quotient(g, root(s.v), 0.0) if axes is None else over_root(g, s, *axes)


class RelativeStep(Schedule):
    """`scale · min(t^-1/2, 0.01)` at step t."""

    scale: float = 1.0

    def __call__(self, count: Count) -> Array:
        return self.scale * jnp.minimum((count + 1.0) ** -0.5, 0.01)


def scale_by_factored_rms(
    factored: bool = True, decay_rate: Hyper = 0.8, step_offset: int = 0, min_dim_size_to_factor: int = 128,
    epsilon: Hyper = 1e-30, decay_rate_fn: Callable[[Any, Any], Any] | None = None,
) -> Chain:  # fmt: skip
    """Divide by the root of a mean of squares of which a matrix keeps its sides: `u = g / √(r·cᵀ / mean(r))`.

    r and c are the means of v over rows and columns, `v <- βv + (1-β)·(|g|² + epsilon)`, `β = 1 - t^-decay_rate`, with
    t counted from step_offset. The two largest axes count, if both have min_dim_size_to_factor (the authors: matrices,
    of any size); other arrays keep v, and give `u = g / √v`. decay_rate_fn: `(t - 1, decay_rate) -> β` instead.
    Reach: array. State: v_row and v_col, or v shaped like p; real, float32 or wider.
    Raises: ValueError if decay_rate <= 0, epsilon < 0 or a size is negative.
    Source: Shazeer, Stern 2018, arXiv:1804.04235, algorithm 4; Zhai et al. 2021, arXiv:2106.04560 (a bound for β).
    """
    return lift(ScaleByFactoredRms(factored, decay_rate, step_offset, min_dim_size_to_factor, epsilon, decay_rate_fn))


def adafactor(
    learning_rate: Hyper | None = None, min_dim_size_to_factor: int = 128, decay_rate: Hyper = 0.8,
    decay_offset: int = 0, multiply_by_parameter_scale: bool = True, clipping_threshold: Hyper | None = 1.0,
    momentum: Hyper | None = None, dtype_momentum: Dtype = jnp.float32, weight_decay_rate: Hyper | None = None,
    eps: Hyper = 1e-30, factored: bool = True, weight_decay_mask: Mask = None,
) -> Chain:  # fmt: skip
    """Adafactor: `scale_by_factored_rms`, `clip_by_block_rms`, learning rate, `scale_by_param_block_rms`, `ema`, decay.

    Stages whose argument is None are left out, but the rate: None is the authors' `min(t^-1/2, 0.01)`, a twentieth of
    it without multiply_by_parameter_scale (optax's None is `learning_rate=1.0`). Decay is per step, not times the rate.
    Source: Shazeer, Stern 2018, arXiv:1804.04235, algorithm 5.
    """
    check.boolean(multiply_by_parameter_scale=multiply_by_parameter_scale)
    check.floating(dtype_momentum=dtype_momentum)
    if learning_rate is None:
        learning_rate = RelativeStep(1.0 if multiply_by_parameter_scale else 0.05)
    rate = check.given(check.positive, decay_rate=decay_rate)
    check.integer(decay_offset=decay_offset)
    epsilon = check.given(check.nonnegative, eps=eps)
    stages = [scale_by_factored_rms(factored, rate, decay_offset, min_dim_size_to_factor, epsilon)]
    if clipping_threshold is not None:
        threshold = check.given(check.positive_bound, clipping_threshold=clipping_threshold)
        stages.append(clip_by_block_rms(threshold))
    stages.append(scale_by_learning_rate(learning_rate, flip_sign=False))
    if multiply_by_parameter_scale:
        stages.append(scale_by_param_block_rms())
    if momentum is not None:
        stages.append(ema(check.given(check.fraction, momentum=momentum), False, dtype_momentum))
    if weight_decay_rate is not None:
        decay = AddDecayedWeights(check.given(check.nonnegative, weight_decay_rate=weight_decay_rate))
        stages.append(lift(decay, mask_selector(weight_decay_mask, "weight_decay_mask")))
    return chain(*stages, lift(Turn()))
