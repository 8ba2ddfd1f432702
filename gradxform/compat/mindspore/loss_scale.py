"""MindSpore's loss scaling: its update cells and scalers, and its training step, with their arguments and checks."""

from __future__ import annotations

from typing import Any

from gradxform.compat.mindspore.checks import floats
from gradxform.control.loss_scale import LossScale, dynamic_loss_scale, static_loss_scale
from gradxform.core import check
from gradxform.core.types import Transformation


def fixed_loss_scale_update_cell(tx: Transformation, loss_scale_value: float) -> LossScale:
    """`mindspore.nn.FixedLossScaleUpdateCell` around an optimizer: a scale that stays, overflowing steps skipped.

    With `gx.scale_loss` this is `TrainOneStepWithLossScaleCell`, for which the optimizer keeps its loss_scale of 1.
    State: that of `gx.static_loss_scale`.
    Raises: ValueError unless loss_scale_value is positive.
    Source: mindspore 2.10, nn/wrap/loss_scale.py.
    """
    _check_scale(0.0, loss_scale_value=loss_scale_value)
    return static_loss_scale(tx, loss_scale_value)


def dynamic_loss_scale_update_cell(
    tx: Transformation, loss_scale_value: float, scale_factor: int, scale_window: int
) -> LossScale:
    """`mindspore.nn.DynamicLossScaleUpdateCell` around an optimizer.

    `scale <- max(scale/scale_factor, 1)` on overflow, `scale <- scale·scale_factor` after scale_window finite steps.
    State: that of `gx.dynamic_loss_scale`; good is `cur_iter - 1 - last_overflow_iter`.
    Raises: ValueError unless loss_scale_value and scale_factor are positive; TypeError unless scale_window is integer.
    Source: mindspore 2.10, nn/wrap/loss_scale.py.
    """
    check.integer(1, scale_window=scale_window)
    _check_scale(1.0, loss_scale_value=loss_scale_value)
    _check_factor(scale_factor)
    return dynamic_loss_scale(tx, loss_scale_value, scale_factor, scale_window, 1.0)


def dynamic_loss_scaler(tx: Transformation, scale_value: float, scale_factor: int, scale_window: int) -> LossScale:
    """`mindspore.amp.DynamicLossScaler` around an optimizer: the rule of `dynamic_loss_scale_update_cell`.

    State: that of `gx.dynamic_loss_scale`; good is its `counter`.
    Raises: ValueError unless scale_value and scale_factor are positive; TypeError unless scale_window is an integer.
    Source: mindspore 2.10, amp.py.
    """
    check.integer(1, scale_window=scale_window)
    _check_scale(1.0, scale_value=scale_value)
    _check_factor(scale_factor)
    return dynamic_loss_scale(tx, scale_value, scale_factor, scale_window, 1.0)


def _check_scale(least: float, **named: Any) -> None:
    number = check.number(check.divisor, **named)
    check.at_least(least, **dict.fromkeys(named, number))
    floats(**dict.fromkeys(named, number))


def _check_factor(scale_factor: float) -> None:
    if not check.number(check.positive, scale_factor=scale_factor) > 1.0:
        raise ValueError(f"scale_factor must be greater than 1, got {scale_factor}")
