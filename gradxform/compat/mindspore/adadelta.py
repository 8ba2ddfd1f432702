"""MindSpore's Adadelta."""

from __future__ import annotations

from gradxform.compat.common.constructors import constructor
from gradxform.compat.common.float32 import in_float32
from gradxform.compat.common.groups import Groups
from gradxform.compat.mindspore.assembly import assembled, kernel
from gradxform.compat.mindspore.checks import LearningRate, WeightDecay, nonnegative_floats
from gradxform.core import check
from gradxform.core.chain import Chain, chain
from gradxform.core.hyper import Hyper
from gradxform.optimizers.adadelta import scale_by_adadelta
from gradxform.transforms.scale import scale_by_learning_rate


@constructor("params")
def adadelta(
    learning_rate: LearningRate = 1.0,
    rho: float = 0.9,
    epsilon: float = 1e-6,
    loss_scale: float = 1.0,
    weight_decay: WeightDecay = 0.0,
    groups: Groups | None = None,
) -> Chain:
    """`mindspore.nn.Adadelta`: `gx.adadelta` with MindSpore's arguments.

    Reach: element, row with grad_centralization. State: e_g, e_x, shaped like p.
    Raises: TypeError and ValueError as the framework does.
    Source: mindspore 2.10, nn/optim/adadelta.py.
    """
    nonnegative_floats(rho=rho, epsilon=epsilon)
    check.fraction(rho=rho)
    check.positive(epsilon=in_float32(epsilon))

    def body(rate: Hyper) -> Chain:
        direction = scale_by_adadelta(in_float32(rho), in_float32(epsilon))
        return chain(kernel(direction, "adadelta"), scale_by_learning_rate(rate))

    return assembled(body, learning_rate, weight_decay, loss_scale, groups)
