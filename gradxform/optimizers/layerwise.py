"""LARS and LAMB: a step as long as a fixed fraction of each array."""

from __future__ import annotations

from gradxform.core import check
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.types import Mask
from gradxform.optimizers.adam import scale_by_adam
from gradxform.params.masks import mask_selector
from gradxform.transforms.decay import AddDecayedWeights, add_decayed_weights
from gradxform.transforms.momentum import trace
from gradxform.transforms.scale import ScaleByTrustRatio, descend, scale_by_trust_ratio


def lamb(
    learning_rate: Hyper, b1: Beta = 0.9, b2: Beta = 0.999, eps: Hyper = 1e-6, eps_root: Hyper = 0.0,
    weight_decay: Hyper = 0.0, mask: Mask = None,
) -> Chain:  # fmt: skip
    """LAMB: `scale_by_adam`, `add_decayed_weights(weight_decay, mask)`, `scale_by_trust_ratio()`, learning rate.

    Source: You et al. 2019, arXiv:1904.00962, algorithm 2.
    """
    direction = chain(scale_by_adam(b1, b2, eps, eps_root), add_decayed_weights(weight_decay, mask))
    return chain(direction, scale_by_trust_ratio(), descend(learning_rate))


def lars(
    learning_rate: Hyper, weight_decay: Hyper = 0.0, weight_decay_mask: Mask = True, trust_coefficient: Hyper = 0.001,
    eps: Hyper = 0.0, trust_ratio_mask: Mask = True, momentum: Hyper = 0.9, nesterov: bool = False,
) -> Chain:  # fmt: skip
    """LARS: `add_decayed_weights`, `scale_by_trust_ratio(0, trust_coefficient, eps)`, learning rate, `trace(momentum)`.

    The masks choose parameters as in `add_decayed_weights`; True stands for all. Momentum sums steps.
    Source: You et al. 2017, arXiv:1708.03888, algorithm 1.
    """
    decay = lift(AddDecayedWeights(weight_decay), mask_selector(weight_decay_mask, "weight_decay_mask"))
    ratio = ScaleByTrustRatio(0.0, trust_coefficient, eps)
    direction = chain(decay, lift(ratio, mask_selector(trust_ratio_mask, "trust_ratio_mask")))
    return chain(direction, descend(learning_rate), trace(check.given(check.nonnegative, momentum=momentum), nesterov))
