"""What torch's optimizers share: what they do with a gradient first, and with the learning rate last."""

from __future__ import annotations

from gradxform.compat.common.gradients import TakesDense
from gradxform.compat.common.unchecked import unchecked
from gradxform.compat.torch.checks import NumberLike, number
from gradxform.core.arithmetic import is_zero
from gradxform.core.chain import Chain, chain, lift
from gradxform.transforms.decay import AddDecayedWeights
from gradxform.transforms.scale import Scale, ScaleByLearningRate


def turned(maximize: bool) -> Chain:
    return lift(Scale(-1.0)) if maximize else chain()


def decayed(weight_decay: NumberLike) -> Chain:
    """L2 decay before a direction, decoupled decay behind it."""
    decay = number("weight_decay", weight_decay)
    return chain() if is_zero(decay) else lift(unchecked(AddDecayedWeights(0.0), weight_decay=decay))


def stepped(lr: NumberLike) -> Chain:
    return lift(unchecked(ScaleByLearningRate(0.0), learning_rate=number("lr", lr)))


def assembled(
    optimizer: str,
    direction: Chain,
    *,
    weight_decay: NumberLike = 0.0,
    maximize: bool = False,
    decoupled: bool = False,
    **rate: NumberLike,
) -> Chain:
    """An optimizer for dense gradients around its direction; without `lr` the direction is the step."""
    decay = decayed(weight_decay)
    stages = (direction, decay) if decoupled else (decay, direction)
    return chain(lift(TakesDense(optimizer)), turned(maximize), *stages, stepped(**rate) if rate else chain())
