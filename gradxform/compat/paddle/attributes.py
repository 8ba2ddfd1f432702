"""What paddle hands to an optimizer beside numbers: clips, regularizers, and attributes of single parameters."""

from __future__ import annotations

from typing import SupportsFloat

from gradxform.core import check
from gradxform.core.plain import got
from gradxform.core.value import Value


class Attribute(Value):
    """A value under paddle's name."""

    @classmethod
    def public_name(cls) -> str:
        return cls.__name__


class GradientClip(Attribute):
    """Base of the three clips."""


class ClipGradByValue(GradientClip):
    """Clip every element to [min, max]; min is -max if it is not given.

    Raises: ValueError if max is not positive and min not given, where paddle asserts, or if max < min.
    """

    max: float
    min: float | None = None

    def __post_init__(self) -> None:
        high = _number("max", self.max)
        if self.min is None and not high > 0:
            raise ValueError(f"max must be positive where min is not given, got {self.max!r}")
        low = -high if self.min is None else _number("min", self.min)
        if high < low:
            raise ValueError(f"max must be at least min, got max={high}, min={low}")
        object.__setattr__(self, "max", high)
        object.__setattr__(self, "min", low)


class ClipGradByNorm(GradientClip):
    """Clip each array by its own L2 norm: `g · min(1, clip_norm / ‖g‖)`.

    Raises: ValueError if clip_norm is not positive, TypeError or ValueError if it is no number.
    """

    clip_norm: float

    def __post_init__(self) -> None:
        norm = _number("clip_norm", self.clip_norm)
        if not norm > 0.0:
            raise ValueError(f"clip_norm must be positive, got {norm}")
        object.__setattr__(self, "clip_norm", norm)


class ClipGradByGlobalNorm(GradientClip):
    """Clip all arrays of a group by their common L2 norm: `g · clip_norm / max(‖all‖, clip_norm)`.

    clip_norm is not checked, as in paddle: 0 stops, and a negative one goes uphill. `group_name` and `auto_skip_clip`
    change no number.
    """

    clip_norm: float
    group_name: str = "default_group"
    auto_skip_clip: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.group_name, str):
            raise TypeError(f"group_name must be a name, {got(self.group_name)}")
        check.boolean(auto_skip_clip=self.auto_skip_clip)
        object.__setattr__(self, "clip_norm", _number("clip_norm", self.clip_norm))


class Regularizer(Attribute):
    """Base of the two regularizers."""

    coeff: float = 0.0

    def __post_init__(self) -> None:
        if self.coeff is None:
            raise ValueError("coeff must be a number, got None")
        object.__setattr__(self, "coeff", _number("coeff", self.coeff))


class L1Decay(Regularizer):
    """Add `coeff · sign(w)` to the gradient, behind the clip. Raises: ValueError if coeff is None."""

    coeff: float = 0.0


class L2Decay(Regularizer):
    """Add `coeff · w` to the gradient, behind the clip. Raises: ValueError if coeff is None."""

    coeff: float = 0.0


class ParamAttr(Attribute):
    """Said of single parameters: `param_attr={"bias$": ParamAttr(learning_rate=2.0, regularizer=L2Decay(0.0))}`.

    learning_rate: a factor on the optimizer's, in whose place a group's factor steps. regularizer: instead of the
    optimizer's decay, never beside it (beside AdamW's); a parameter in a group loses it, except in AdamW.
    need_clip=False: neither clipped nor counted in a norm. trainable=False: left alone.
    Raises: TypeError for a wrong kind.
    """

    learning_rate: float = 1.0
    regularizer: Regularizer | None = None
    trainable: bool = True
    need_clip: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "learning_rate", _number("learning_rate", self.learning_rate))
        _check_regularizer(self.regularizer)
        check.boolean(trainable=self.trainable, need_clip=self.need_clip)


def _check_regularizer(x: object) -> None:
    if not isinstance(x, Regularizer | None):
        raise TypeError(f"regularizer must be L1Decay, L2Decay or None, {got(x)}")


def _number(name: str, x: SupportsFloat) -> float:
    """What `float` makes of it, with the argument's name in the error."""
    if isinstance(x, str):
        raise ValueError(f"{name} must be a number, {got(x)}")
    try:
        return float(x)
    except TypeError:
        raise TypeError(f"{name} must be a number, {got(x)}") from None
    except (ValueError, ArithmeticError, RuntimeError):
        raise ValueError(f"{name} must be a number, {got(x)}") from None
