"""MindSpore's Lamb."""

from __future__ import annotations

from gradxform.compat.common.constructors import constructor
from gradxform.compat.common.float32 import in_float32
from gradxform.compat.common.groups import Groups
from gradxform.compat.common.overflows import Overflows
from gradxform.compat.mindspore.assembly import centralized, is_decayed, kernel
from gradxform.compat.mindspore.checks import (
    LearningRate,
    WeightDecay,
    floats,
    inside_unit,
    read_learning_rate,
    read_weight_decay,
)
from gradxform.compat.mindspore.groups import Group, grouped
from gradxform.core import check
from gradxform.core.chain import Chain, chain, lift
from gradxform.optimizers.adam import ScaleByAdam
from gradxform.params.select import mindspore_decayed
from gradxform.transforms.decay import add_decayed_weights
from gradxform.transforms.scale import ScaleByTrustRatio, scale_by_learning_rate


@constructor("params")
def lamb(
    learning_rate: LearningRate,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-6,
    weight_decay: WeightDecay = 0.0,
    groups: Groups | None = None,
) -> Chain:
    """`mindspore.nn.Lamb`: `r = m̂ / (√v̂ + eps) + weight_decay·w`, `w <- w - learning_rate·(‖w‖ / ‖r‖)·r`.

    The ratio is 1 where a norm is 0. There is no kernel for a CPU there, and these are the documented steps.
    Reach: array. State: mu, nu, shaped like p.
    Raises: as `adam`.
    Source: mindspore 2.10, nn/optim/lamb.py; You et al. 2019, arXiv:1904.00962, algorithm 2.
    """
    inside_unit(beta1=beta1, beta2=beta2)
    floats(eps=eps)
    check.positive(eps=eps)
    b1, b2, epsilon = map(in_float32, (beta1, beta2, eps))

    def make(group: Group) -> Chain:
        stages = [centralized(group), kernel(lift(ScaleByAdam(b1, b2, epsilon)), "lamb")]
        if is_decayed(group.weight_decay):
            where = mindspore_decayed if groups is None else None
            stages.append(add_decayed_weights(in_float32(group.weight_decay), where))
        return chain(*stages, lift(Overflows(ScaleByTrustRatio())), scale_by_learning_rate(group.learning_rate))

    return grouped(groups, read_learning_rate(learning_rate), read_weight_decay(weight_decay), make)
