"""What MindSpore's optimizers share: the stages around their rules, the limits of their kernels, and groups."""

from __future__ import annotations

from collections.abc import Callable

from gradxform.compat.common.float32 import in_float32
from gradxform.compat.common.gradients import TakesDense
from gradxform.compat.common.groups import Groups
from gradxform.compat.common.overflows import Overflows
from gradxform.compat.mindspore.checks import (
    LearningRate,
    WeightDecay,
    read_learning_rate,
    read_loss_scale,
    read_weight_decay,
)
from gradxform.compat.mindspore.groups import Group, grouped
from gradxform.compat.mindspore.rules import Centralized, Kernel, ScaledDecay
from gradxform.core.chain import Chain, chain, lift, map_rules, named_chain
from gradxform.core.hyper import Hyper
from gradxform.params.select import Selector, mindspore_decayed
from gradxform.transforms.centralize import Centralize
from gradxform.transforms.scale import scale


def kernel(tx: Chain, optimizer: str, *, float64: bool = False, sparse: type[Exception] | None = None) -> Chain:
    """The same rule with the limits of the framework's kernel, its memory under the optimizer's name."""
    return named_chain((optimizer, map_rules(tx, lambda rule: Kernel(rule, optimizer, float64, sparse), optimizer)))


def assembled(
    body: Callable[[Hyper], Chain],
    learning_rate: LearningRate,
    weight_decay: WeightDecay,
    loss_scale: float,
    groups: Groups | None,
    *,
    decayed: Selector | None = mindspore_decayed,
    centralizes: bool = True,
) -> Chain:
    """What all of these optimizers share, around `body`, which makes the rule and the step from a learning rate."""
    by = read_loss_scale(loss_scale)
    decay, rate = read_weight_decay(weight_decay), read_learning_rate(learning_rate)

    def make(group: Group) -> Chain:
        stages = []
        if is_decayed(group.weight_decay):
            stages.append(lift(ScaledDecay(group.weight_decay, by), decayed if groups is None else None))
        if centralizes:
            stages.append(centralized(group))
        if by != 1.0:
            stages.append(named_chain(("unscale", scale(in_float32(1.0 / by)))))
        return chain(*stages, body(group.learning_rate))

    return grouped(groups, rate, decay, make)


def centralized(group: Group) -> Chain:
    """Centralisation of a group's dense gradients, if it asks for that."""
    dense = lift(TakesDense("grad_centralization", TypeError))
    return chain(dense, lift(Overflows(Centralize()), Centralized())) if group.centralized else chain()


def is_decayed(weight_decay: Hyper) -> bool:
    """Whether there is decay at all: a number above 0, or a schedule."""
    return not isinstance(weight_decay, float) or weight_decay > 0.0
