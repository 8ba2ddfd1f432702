"""MindSpore's SGD and its Momentum."""

from __future__ import annotations

from gradxform.compat.common.constructors import constructor
from gradxform.compat.common.float32 import in_float32
from gradxform.compat.common.groups import Groups, listed, said
from gradxform.compat.mindspore.assembly import assembled, kernel
from gradxform.compat.mindspore.checks import LearningRate, WeightDecay, floats, nonnegative_floats
from gradxform.compat.mindspore.rules import LandInFloat32, MomentumKernel, Wide
from gradxform.core import check
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.hyper import Hyper, Schedule, Tunable
from gradxform.core.plain import fitting, got
from gradxform.transforms.momentum import Trace, trace
from gradxform.transforms.scale import scale_by_learning_rate


@constructor("params")
def momentum(
    learning_rate: LearningRate,
    momentum: float,
    weight_decay: WeightDecay = 0.0,
    loss_scale: float = 1.0,
    use_nesterov: bool = False,
    groups: Groups | None = None,
) -> Chain:
    """`mindspore.nn.Momentum`: `v <- momentum·v + g`, `w <- w - learning_rate·v`.

    use_nesterov: `w <- w - learning_rate·(g + momentum·v)`, as documented; the framework's CPU kernel ignores it.
    learning_rate: see `adam`. A float64 parameter moves in float32 numbers, as there.
    Reach: element, row with grad_centralization. State: trace, shaped like p.
    Raises: TypeError, ValueError, KeyError and RuntimeError as the framework does; TypeError for sparse gradients.
    Source: mindspore 2.10, nn/optim/momentum.py.
    """
    floats(momentum=momentum)
    check.nonnegative(momentum=momentum)
    check.boolean(use_nesterov=use_nesterov)

    def body(rate: Hyper) -> Chain:
        direction = lift(MomentumKernel(Trace(in_float32(momentum), use_nesterov)))
        step = chain(kernel(direction, "momentum", float64=True, sparse=TypeError), scale_by_learning_rate(rate))
        return chain(step, lift(LandInFloat32(), Wide()))

    return assembled(body, learning_rate, weight_decay, loss_scale, groups)


@constructor("params")
def sgd(
    learning_rate: LearningRate = 0.1,
    momentum: float = 0.0,
    dampening: float = 0.0,
    weight_decay: float | Tunable = 0.0,
    nesterov: bool = False,
    loss_scale: float = 1.0,
    groups: Groups | None = None,
) -> Chain:
    """`mindspore.nn.SGD`: `v <- momentum·v + (1 - dampening)·g`, v = g at first, `w <- w - learning_rate·v`.

    nesterov: `g + momentum·v` for v. Without momentum there is no v, and dampening has no effect.
    Reach: element, row with grad_centralization. State: trace, shaped like p; seen, scalar bool.
    Raises: as `momentum`; TypeError for a schedule as weight_decay; ValueError for nesterov without momentum, or with
    dampening.
    Source: mindspore 2.10, nn/optim/sgd.py.
    """
    mu = fitting("momentum", momentum) if isinstance(momentum, int) else momentum
    tau = fitting("dampening", dampening) if isinstance(dampening, int) else dampening
    nonnegative_floats(momentum=mu, dampening=tau)
    check.boolean(nesterov=nesterov)
    groups = listed(groups)
    for decay in (weight_decay, *said(groups, "weight_decay")):
        if isinstance(decay, Schedule):
            raise TypeError(f"weight_decay of sgd must be a number, {got(decay)}")
    if nesterov and (mu == 0.0 or tau != 0.0):
        raise ValueError(f"nesterov needs momentum > 0 and no dampening, got {momentum=} and {dampening=}")

    def body(rate: Hyper) -> Chain:
        if mu == 0.0:
            return kernel(scale_by_learning_rate(rate), "sgd", sparse=TypeError)
        direction = trace(in_float32(mu), nesterov, dampening=in_float32(tau), first="gradient")
        return chain(kernel(direction, "sgd", sparse=TypeError), scale_by_learning_rate(rate))

    return assembled(body, learning_rate, weight_decay, loss_scale, groups)
