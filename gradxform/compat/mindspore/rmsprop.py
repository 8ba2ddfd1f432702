"""MindSpore's RMSProp."""

from __future__ import annotations

from gradxform.compat.common.constructors import constructor
from gradxform.compat.common.float32 import in_float32
from gradxform.compat.common.groups import Groups
from gradxform.compat.mindspore.assembly import assembled, kernel
from gradxform.compat.mindspore.checks import LearningRate, WeightDecay, nonnegative_floats
from gradxform.core import check
from gradxform.core.chain import Chain, chain
from gradxform.core.hyper import Hyper
from gradxform.optimizers.rmsprop import scale_by_rms, scale_by_stddev
from gradxform.transforms.momentum import trace
from gradxform.transforms.scale import scale_by_learning_rate


@constructor("params")
def rmsprop(
    learning_rate: LearningRate = 0.1,
    decay: float = 0.9,
    momentum: float = 0.0,
    epsilon: float = 1e-10,
    use_locking: bool = False,
    centered: bool = False,
    loss_scale: float = 1.0,
    weight_decay: WeightDecay = 0.0,
    groups: Groups | None = None,
) -> Chain:
    """`mindspore.nn.RMSProp`: `b <- momentum·b + learning_rate·g / √(s + epsilon)`, `w <- w - b`.

    `s <- decay·s + (1-decay)·g²` starts at 1; centered: less the square of the mean of g.
    Reach: element, row with grad_centralization. State: nu (mu), trace (-b), shaped like p.
    Raises: TypeError and ValueError as the framework does.
    Source: mindspore 2.10, nn/optim/rmsprop.py.
    """
    nonnegative_floats(decay=decay, momentum=momentum, epsilon=epsilon)
    check.fraction(decay=decay)
    check.positive(epsilon=epsilon)
    check.boolean(use_locking=use_locking, centered=centered)
    divide = scale_by_stddev if centered else scale_by_rms

    def body(rate: Hyper) -> Chain:
        direction = divide(in_float32(decay), in_float32(epsilon), 1.0)
        moment = kernel(trace(in_float32(momentum)), "rmsprop_moment")
        return chain(kernel(direction, "rmsprop"), scale_by_learning_rate(rate), moment)

    return assembled(body, learning_rate, weight_decay, loss_scale, groups)
