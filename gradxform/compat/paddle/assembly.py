"""What paddle's optimizers share: clip, decay, learning-rate factors, groups, and attributes of single parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gradxform.compat.common.groups import Groups, Members, grouped
from gradxform.compat.common.unchecked import unchecked
from gradxform.compat.paddle.attributes import (
    ClipGradByGlobalNorm,
    ClipGradByNorm,
    ClipGradByValue,
    GradientClip,
    L1Decay,
    ParamAttr,
    Regularizer,
)
from gradxform.compat.paddle.checks import (
    REFUSALS,
    LearningRate,
    NumberLike,
    ParamAttrs,
    WeightDecay,
    number,
    read_attributes,
    read_clip,
    read_frozen,
    read_group_decay,
    read_learning_rate,
    read_weight_decay,
)
from gradxform.compat.paddle.rules import ClipBetween, ClipByNormInFloat32, Elsewhere, FirstOf
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.freeze import Freeze
from gradxform.core.hyper import Hyper
from gradxform.core.rule import Rule
from gradxform.core.types import ArrayLike
from gradxform.params.select import Selector
from gradxform.transforms.clip import ClipByGlobalNorm
from gradxform.transforms.decay import AddDecayedWeights, AddL1
from gradxform.transforms.scale import Scale, ScaleByLearningRate

Body = Callable[..., Chain]
Attributes = Sequence[tuple[Selector, ParamAttr]]


def assembled(
    body: Body,
    learning_rate: LearningRate,
    weight_decay: WeightDecay | NumberLike | ArrayLike,
    grad_clip: GradientClip | None,
    groups: Groups | None,
    param_attr: ParamAttrs | None,
    frozen: Members | None,
    *,
    coefficient: Callable[[float], float] = float,
    beside_l1: bool = False,
    decoupled: bool = False,
    rate_inside: bool = False,
    **options: Any,
) -> Chain:
    """What all of these optimizers share, around `body(scaled, **options)`, which makes the direction and scales it.

    coefficient: what an L2 decay's coefficient becomes in the framework. beside_l1: see `_decays`. decoupled: the body
    sees to `weight_decay`. rate_inside: the learning rate is a part of `scaled`, instead of the last stage of all.
    """
    rate, attributes = lift(_rate(learning_rate)), _exclusive(read_attributes(param_attr))
    alone = attributes if groups is None else ()
    read_clip(grad_clip)
    shared = None if decoupled else read_weight_decay(weight_decay)
    written = {"weight_decay": weight_decay if decoupled else shared, "grad_clip": grad_clip, **options}

    def make(learning_rate: NumberLike, weight_decay: Any, grad_clip: GradientClip | None, **options: Any) -> Chain:
        scaled = _factors(number("learning_rate", learning_rate), alone)
        inside = {**options, "weight_decay": weight_decay} if decoupled else options
        decays = () if decoupled else _decays(read_group_decay(weight_decay), shared, beside_l1)
        return chain(
            _clipped(read_clip(grad_clip), attributes),
            _regularized(decays, attributes if decoupled else alone, coefficient),
            body(chain(rate, scaled) if rate_inside else scaled, **inside),
        )

    named = tuple(where for where, _ in read_attributes(param_attr))
    made = grouped(groups, {"learning_rate": 1.0, **written}, make, REFUSALS, named)
    still = [where for where in (read_frozen(frozen),) if where is not None]
    still += [where for where, attribute in attributes if not attribute.trainable]
    return chain(Chain(tuple(map(Freeze, still))), made, chain() if rate_inside else rate)


def _rate(learning_rate: LearningRate) -> Rule:
    return unchecked(ScaleByLearningRate(0.0), learning_rate=read_learning_rate(learning_rate))


def _exclusive(attributes: Attributes) -> Attributes:
    """The same attributes, each for the parameters that no earlier one takes."""
    wheres = tuple(where for where, _ in attributes)
    return tuple((FirstOf(wheres[:i], where), attribute) for i, (where, attribute) in enumerate(attributes))


def _clipped(clip: GradientClip | None, attributes: Attributes) -> Chain:
    if clip is None:
        return chain()
    spared = tuple(where for where, attribute in attributes if not attribute.need_clip)
    return lift(_clip_rule(clip), Elsewhere(spared) if spared else None)


def _clip_rule(clip: GradientClip) -> Rule:
    if isinstance(clip, ClipGradByValue):
        assert clip.min is not None
        return ClipBetween(clip.min, clip.max)
    if isinstance(clip, ClipGradByNorm):
        return ClipByNormInFloat32(clip.clip_norm)
    assert isinstance(clip, ClipGradByGlobalNorm)
    return unchecked(ClipByGlobalNorm(1.0), max_norm=clip.clip_norm)


def _decays(own: Regularizer | None, shared: Regularizer | None, beside_l1: bool) -> tuple[Regularizer | None, ...]:
    """The decays of a group: its own, and the optimizer's in the place of None.

    beside_l1: None stays none, but an L1 decay of the optimizer acts beside all that is not an L1 decay itself: L2
    decay is the kernel's there, and the stage before it finds a parameter without a regularizer.
    """
    if beside_l1:
        return (shared, own) if isinstance(shared, L1Decay) and not isinstance(own, L1Decay) else (own,)
    return (shared if own is None else own,)


def _regularized(
    decays: Sequence[Regularizer | None], attributes: Attributes, coefficient: Callable[[float], float]
) -> Chain:
    singles = [(where, attribute.regularizer) for where, attribute in attributes if attribute.regularizer is not None]
    rest = Elsewhere(tuple(where for where, _ in singles)) if singles else None
    return chain(*(_decay(x, where, coefficient) for where, x in [*((rest, decay) for decay in decays), *singles]))


def _decay(decay: Regularizer | None, where: Selector | None, coefficient: Callable[[float], float]) -> Chain:
    if decay is None or decay.coeff == 0.0:
        return chain()
    if isinstance(decay, L1Decay):
        return lift(unchecked(AddL1(0.0), l1=decay.coeff), where)
    return lift(unchecked(AddDecayedWeights(0.0), weight_decay=coefficient(decay.coeff)), where)


def _factors(factor: Hyper, attributes: Attributes) -> Chain:
    """The factor of a group on the learning rate, or those of single parameters."""
    singles = [(where, attribute.learning_rate) for where, attribute in attributes]
    return chain(*(lift(Scale(x), where) for where, x in [(None, factor), *singles] if x != 1.0))
