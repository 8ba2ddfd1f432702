"""MindSpore's optimizers as they execute on the CPU, with its arguments, checks and parameter groups.

Every one does in this order: decay (by the loss scale times too much), centralisation, division by the loss scale, its
rule, the learning rate. What differs from MindSpore's documentation stands on the page "MindSpore".
"""

from __future__ import annotations

from typing import Any

from gradxform.compat.common.float32 import in_float32
from gradxform.compat.common.moments import EpsilonHatAdam
from gradxform.compat.mindspore.assembly import assembled, kernel
from gradxform.compat.mindspore.checks import floats, inside_unit, nonnegative_floats
from gradxform.compat.mindspore.extras import (
    adadelta,
    adagrad,
    adam_weight_decay,
    adamax,
    ftrl,
    rmsprop,
    sgd,
)
from gradxform.compat.mindspore.loss_scale import (
    dynamic_loss_scale_update_cell,
    dynamic_loss_scaler,
    fixed_loss_scale_update_cell,
)
from gradxform.compat.mindspore.rules import (
    EpsilonHatAmsgrad,
    LandInFloat32,
    MomentumKernel,
    Wide,
)
from gradxform.compat.mindspore.state import load_state, save_state
from gradxform.core import check
from gradxform.core.chain import Chain, chain, lift
from gradxform.optimizers.proximal import proximal_adagrad as adaptive_proximal_adagrad
from gradxform.strategies.lazy import lazy
from gradxform.strategies.offloaded import offloaded
from gradxform.transforms.scale import scale_by_learning_rate

__all__ = [
    "adadelta",
    "adagrad",
    "adam",
    "adam_offload",
    "adam_weight_decay",
    "adamax",
    "dynamic_loss_scale_update_cell",
    "dynamic_loss_scaler",
    "fixed_loss_scale_update_cell",
    "ftrl",
    "lazy_adam",
    "load_state",
    "momentum",
    "proximal_adagrad",
    "rmsprop",
    "save_state",
    "sgd",
]


def momentum(
    learning_rate: Any,
    momentum: float,
    weight_decay: Any = 0.0,
    loss_scale: float = 1.0,
    use_nesterov: bool = False,
    groups: Any = None,
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

    def body(rate: Any) -> Chain:
        direction = lift(MomentumKernel(in_float32(momentum), use_nesterov))
        step = chain(kernel(direction, "momentum", float64=True, sparse=TypeError), scale_by_learning_rate(rate))
        return chain(step, lift(LandInFloat32(), Wide()))

    return assembled(body, learning_rate, weight_decay, loss_scale, groups)


def adam(
    learning_rate: Any = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    use_locking: bool = False,
    use_nesterov: bool = False,
    weight_decay: Any = 0.0,
    loss_scale: float = 1.0,
    use_amsgrad: bool = False,
    groups: Any = None,
    **kwargs: Any,
) -> Chain:
    """`mindspore.nn.Adam`: `w <- w - learning_rate·√(1-beta2ᵗ)/(1-beta1ᵗ) · m / (√v + eps)`.

    eps stands beside √v (`gx.adam` has it beside √v̂). use_nesterov: `beta1·m + (1-beta1)·g` for m, with the new m.
    use_amsgrad: the running maximum of v, and no use_nesterov. use_locking changes nothing: a pure function has no
    variable that two threads could write. `use_lazy=True`: rows that a sparse gradient does not name rest (`gx.lazy`).
    `use_offload=True`: the statistics live in host memory (`gx.offloaded`), and nothing is centralised.
    learning_rate: a number, an array of 0 or 1 axes, an iterable (the last value stays), or a schedule.
    Reach: element, row with grad_centralization. State: mu, nu (nu_max), shaped like p.
    Raises: TypeError, ValueError, KeyError and RuntimeError as the framework does.
    Source: mindspore 2.10, nn/optim/adam.py.
    """
    unknown = sorted(set(kwargs) - {"use_lazy", "use_offload"})
    if unknown:
        raise KeyError(f"adam takes use_lazy and use_offload beside its arguments, got {', '.join(unknown)}")
    use_lazy, use_offload = kwargs.get("use_lazy", False), kwargs.get("use_offload", False)
    inside_unit(beta1=beta1, beta2=beta2)
    floats(eps=eps)
    check.positive(eps=eps)
    check.boolean(use_locking=use_locking, use_nesterov=use_nesterov, use_amsgrad=use_amsgrad)
    check.boolean(use_lazy=use_lazy, use_offload=use_offload)
    if use_lazy and use_offload:
        raise ValueError(f"use_lazy and use_offload exclude each other, got {use_lazy=} and {use_offload=}")
    if use_amsgrad and (use_lazy or use_offload):
        raise ValueError(f"use_amsgrad excludes the other two, got {use_amsgrad=}, {use_lazy=} and {use_offload=}")
    b1, b2, eps = map(in_float32, (beta1, beta2, eps))
    rule = EpsilonHatAmsgrad(b1, b2, eps) if use_amsgrad else EpsilonHatAdam(b1, b2, eps, use_nesterov)

    def body(rate: Any) -> Chain:
        direction = lift(rule)
        if use_lazy:
            direction = lazy(direction)
        if use_offload:
            direction = offloaded(direction)
        sparse = ValueError if use_amsgrad or use_offload else None
        return chain(kernel(direction, "adam", sparse=sparse), scale_by_learning_rate(rate))

    return assembled(body, learning_rate, weight_decay, loss_scale, groups, centralizes=not use_offload)


def lazy_adam(
    learning_rate: Any = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    use_locking: bool = False,
    use_nesterov: bool = False,
    weight_decay: Any = 0.0,
    loss_scale: float = 1.0,
    groups: Any = None,
) -> Chain:
    """`mindspore.nn.LazyAdam`: `adam(..., use_lazy=True)`.

    Source: mindspore 2.10, nn/optim/lazyadam.py.
    """
    given = (learning_rate, beta1, beta2, eps, use_locking, use_nesterov, weight_decay, loss_scale)
    return adam(*given, groups=groups, use_lazy=True)


def adam_offload(
    learning_rate: Any = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    use_locking: bool = False,
    use_nesterov: bool = False,
    weight_decay: Any = 0.0,
    loss_scale: float = 1.0,
    groups: Any = None,
) -> Chain:
    """`mindspore.nn.AdamOffload`: `adam(..., use_offload=True)`.

    Source: mindspore 2.10, nn/optim/adam.py.
    """
    given = (learning_rate, beta1, beta2, eps, use_locking, use_nesterov, weight_decay, loss_scale)
    return adam(*given, groups=groups, use_offload=True)


def proximal_adagrad(
    accum: float = 0.1,
    learning_rate: Any = 0.001,
    l1: float = 0.0,
    l2: float = 0.0,
    use_locking: bool = False,
    loss_scale: float = 1.0,
    weight_decay: Any = 0.0,
    groups: Any = None,
) -> Chain:
    """`mindspore.nn.ProximalAdagrad`: `a <- a + g²`, `η = learning_rate/√a`, `w <- shrink(w - η·g, η·l1) / (1 + η·l2)`.

    Threshold and divisor take η (`gx.proximal_adagrad` takes the plain learning rate, as published). Rows that a sparse
    gradient does not name rest. use_locking: see `adam`. accum: what a starts from.
    Reach: element, row with grad_centralization. State: sum_of_squares, shaped like p.
    Raises: TypeError, ValueError, KeyError and RuntimeError as the framework does.
    Source: mindspore 2.10, nn/optim/proximal_ada_grad.py.
    """
    nonnegative_floats(accum=accum, l1=l1, l2=l2)
    check.boolean(use_locking=use_locking)
    start, shrinkage, shortening = map(in_float32, (accum, l1, l2))

    def body(rate: Any) -> Chain:
        step = adaptive_proximal_adagrad(rate, start, shrinkage, shortening, adaptive_threshold=True)
        return kernel(lazy(step), "proximal_adagrad")

    return assembled(body, learning_rate, weight_decay, loss_scale, groups)
