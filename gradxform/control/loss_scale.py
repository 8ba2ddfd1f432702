"""Loss scaling: gradients of a scaled loss, unscaled before anything sees them, and overflowing steps skipped."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradxform.control.hold import Asked, Control, axis_or_none, inner_of, multiplied, times, tree_norm, update_if
from gradxform.core import check
from gradxform.core.arithmetic import cast, compute_dtype, next_count
from gradxform.core.orders import refuse_own_gradients, refuse_two_scales
from gradxform.core.transform import GradientTransformation
from gradxform.core.types import Array, ArrayLike, AxisName, OptState, Params, Transformation, Updates

LARGEST = 2.0**126
"""The largest scale whose inverse is a normal number."""


class LossScaleState(NamedTuple):
    """The inner state, the scale, finite steps since it last changed, and the steps skipped so far."""

    inner: OptState
    scale: Array
    good: Array
    skipped: Array


class LossScale(Control):
    initial: float
    factor: float = 1.0
    window: int = 1
    least: float = 0.0
    axis_name: AxisName | None = None
    scales_loss = True

    def __repr__(self) -> str:
        across = "" if self.axis_name is None else f", axis_name={self.axis_name!r}"
        if self.factor == 1.0:
            return f"static_loss_scale({self.inner!r}, {self.initial:g}{across})"
        how = f"init={self.initial:g}, factor={self.factor:g}, window={self.window}, min={self.least:g}"
        return f"dynamic_loss_scale({self.inner!r}, {how}{across})"

    @property
    def name(self) -> str:
        return "loss_scale"

    def _init(self, params: Params) -> LossScaleState:
        zero = jnp.zeros((), jnp.int32)
        scale = jnp.asarray(self.initial, jnp.float32)
        return LossScaleState(self.inner.init(params), scale, zero, jnp.zeros_like(zero))

    def _step(
        self, updates: Updates, state: LossScaleState, params: Params, extra: dict[str, Any], asked: Asked
    ) -> tuple[Updates, LossScaleState]:
        tx, grads, by = multiplied(self.inner, updates, 1.0 / state.scale)
        if extra.get("grad") is not None:
            extra = extra | {"grad": times(extra["grad"], 1.0 / state.scale)}
        finite = jnp.isfinite(tree_norm(grads, self.axis_name, self.name, by))
        new, inner = update_if(asked.where(finite), tx, grads, state.inner, params, extra)
        scale, good = self.rescaled(finite, state.scale, state.good)
        skipped = jnp.where(finite, state.skipped, next_count(state.skipped))
        return new, LossScaleState(inner, scale, good, skipped)

    def rescaled(self, finite: Array, scale: Array, good: Array) -> tuple[Array, Array]:
        """The scale and the count of finite steps since it last changed, after one more step."""
        if self.factor == 1.0:
            return scale, jnp.where(finite, next_count(good), 0)
        good = good + 1
        grown = scale * self.factor
        grows = finite & (good >= self.window)
        less = jnp.maximum(scale / self.factor, self.least)
        scale = jnp.where(finite, jnp.where(grows & (grown <= LARGEST), grown, scale), less)
        return scale, jnp.where(finite & ~grows, good, 0)


def static_loss_scale(tx: Transformation, scale: float, *, axis_name: AxisName | None = None) -> LossScale:
    """Train on gradients of `scale·loss`: `u = tx(g / scale)`, and skip a step whose gradients overflow.

    As `dynamic_loss_scale`, with a scale that stays; `gx.unscale(scale)` divides alone and skips nothing.
    State: the inner one, scale (float32), good and skipped (int32), all scalars.
    Raises: TypeError unless scale is a number, ValueError unless it is positive.
    """
    scale = check.number(check.divisor, scale=scale)
    check.ordered(scale=scale, largest=LARGEST)
    return LossScale(_unscaled("static_loss_scale", tx), scale, axis_name=axis_or_none(axis_name))


def dynamic_loss_scale(
    tx: Transformation,
    init: float = 2.0**15,
    factor: float = 2.0,
    window: int = 2000,
    min: float = 1.0,  # noqa: A002 - what it is called everywhere
    *,
    axis_name: AxisName | None = None,
) -> LossScale:
    """Train on gradients of `scale·loss`: `u = tx(g / scale)`, with the largest scale that does not overflow.

    Gradients are divided in float32 or wider. If any of them is not finite the step is skipped whole (zero update, the
    inner state stands still) and `scale <- max(scale/factor, min)`; after `window` finite steps in a row
    `scale <- scale·factor`. Finite means that the global norm of the unscaled gradients is: above 1.8e19 its square
    overflows float32, and the step counts as an overflow. axis_name: device axes over which to decide together.
    State: the inner one, scale (float32), good and skipped (int32), all scalars.
    Raises: TypeError and ValueError for arguments that are no such numbers; ValueError for another loss scale inside.
    Source: Micikevicius et al. 2018, arXiv 1710.03740, section 3.2; as in MindSpore and flax.
    """
    init, least = check.number(check.divisor, init=init), check.number(check.divisor, min=min)
    check.ordered(min=least, init=init)
    check.ordered(init=init, largest=LARGEST)
    factor = check.number(check.positive, factor=factor)
    if factor <= 1.0:
        raise ValueError(f"factor must be greater than 1, got {factor}")
    check.integer(1, window=window)
    inner = _unscaled("dynamic_loss_scale", tx)
    return LossScale(inner, init, factor, int(window), least, axis_or_none(axis_name))


def _unscaled(what: str, tx: Transformation) -> GradientTransformation:
    """What to wrap in a loss scale, the only one, which sees all gradients."""
    inner = inner_of(tx=tx)
    refuse_two_scales(inner)
    refuse_own_gradients(what, inner)
    return inner


def scale_loss(state: OptState, loss: ArrayLike) -> Array:
    """The loss to differentiate: `loss·scale`, in float32 or wider, with the scale found anywhere in the state.

    Raises: ValueError if the state holds no loss scale, or several.
    """
    scales = scales_in(state)
    if len(scales) != 1:
        raise ValueError(f"the state must hold one loss scale, it holds {len(scales)}; see dynamic_loss_scale")
    loss = jnp.asarray(loss)
    return cast(loss, compute_dtype(loss.dtype)) * scales[0]


def scales_in(state: OptState) -> list[Array]:
    """The loss scales of a state."""
    return [x.scale for x in jax.tree.leaves(state, is_leaf=_is_scaled) if _is_scaled(x)]


def _is_scaled(x: object) -> bool:
    return isinstance(x, LossScaleState)
