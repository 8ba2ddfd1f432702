"""MindSpore's Adam and its kin."""

from __future__ import annotations

from typing import Any

import jax

from gradxform.compat.common.constructors import constructor
from gradxform.compat.common.float32 import in_float32
from gradxform.compat.common.groups import Groups
from gradxform.compat.common.moments import EpsilonHat
from gradxform.compat.mindspore.assembly import assembled, is_decayed, kernel
from gradxform.compat.mindspore.checks import (
    LearningRate,
    WeightDecay,
    floats,
    inside_unit,
    read_learning_rate,
    read_weight_decay,
)
from gradxform.compat.mindspore.groups import Group, grouped
from gradxform.compat.mindspore.rules import EpsilonBesideAdamax, EpsilonHatAmsgrad, PoweredAdam
from gradxform.core import check
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.hyper import Hyper, Tunable
from gradxform.core.plain import got
from gradxform.core.types import Scalars
from gradxform.params.select import mindspore_decayed
from gradxform.strategies.lazy import lazy
from gradxform.strategies.offloaded import offloaded
from gradxform.transforms.decay import add_decayed_weights
from gradxform.transforms.scale import scale_by_learning_rate


class UncorrectedAdam(EpsilonHat):
    """Without corrections. mu, nu: shaped like p, nu real."""

    name = "adam"
    corrects = False

    def scalars(self, t: Any) -> Scalars:
        return 1.0


@constructor("params")
def adam(
    learning_rate: LearningRate = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    use_locking: bool = False,
    use_nesterov: bool = False,
    weight_decay: WeightDecay = 0.0,
    loss_scale: float = 1.0,
    use_amsgrad: bool = False,
    groups: Groups | None = None,
    **kwargs: bool,
) -> Chain:
    """`mindspore.nn.Adam`: `w <- w - learning_rate·√(1-beta2ᵗ)/(1-beta1ᵗ) · m / (√v + eps)`.

    eps stands beside √v (`gx.adam` has it beside √v̂). use_nesterov: `beta1·m + (1-beta1)·g` for m, with the new m.
    use_amsgrad: the running maximum of v, and no use_nesterov. use_locking changes nothing: a pure function has no
    variable that two threads could write. `use_lazy=True`: rows that a sparse gradient does not name rest (`gx.lazy`).
    `use_offload=True`: the statistics live in host memory (`gx.offloaded`), and nothing is centralised.
    learning_rate: a number, an array of 0 or 1 axes, an iterable (the last value stays), or a schedule. The powers of
    the betas are multiplied up in float32, with their rounding, as there.
    Reach: element, row with grad_centralization. State: mu, nu (nu_max), as p; b1_power, b2_power, float32 scalars.
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
    rule = EpsilonHatAmsgrad(b1, b2, eps) if use_amsgrad else PoweredAdam(b1, b2, eps, use_nesterov)

    def body(rate: Hyper) -> Chain:
        direction = lift(rule)
        if use_lazy:
            direction = lazy(direction)
        if use_offload:
            direction = offloaded(direction)
        sparse = ValueError if use_amsgrad or use_offload else None
        return chain(kernel(direction, "adam", sparse=sparse), scale_by_learning_rate(rate))

    return assembled(body, learning_rate, weight_decay, loss_scale, groups, centralizes=not use_offload)


@constructor("params")
def lazy_adam(
    learning_rate: LearningRate = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    use_locking: bool = False,
    use_nesterov: bool = False,
    weight_decay: WeightDecay = 0.0,
    loss_scale: float = 1.0,
    groups: Groups | None = None,
) -> Chain:
    """`mindspore.nn.LazyAdam`: `adam(..., use_lazy=True)`.

    Raises: as `adam`; TypeError for a weight_decay that is no float, as an int or a schedule, which groups may have.
    Source: mindspore 2.10, nn/optim/lazyadam.py.
    """
    if not isinstance(weight_decay, float | Tunable | jax.core.Tracer):
        raise TypeError(f"weight_decay of lazy_adam must be a float, {got(weight_decay)}")
    options = (learning_rate, beta1, beta2, eps, use_locking, use_nesterov, weight_decay, loss_scale)
    return adam(*options, groups=groups, use_lazy=True)


@constructor("params")
def adam_offload(
    learning_rate: LearningRate = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    use_locking: bool = False,
    use_nesterov: bool = False,
    weight_decay: WeightDecay = 0.0,
    loss_scale: float = 1.0,
    groups: Groups | None = None,
) -> Chain:
    """`mindspore.nn.AdamOffload`: `adam(..., use_offload=True)`.

    Source: mindspore 2.10, nn/optim/adam.py.
    """
    options = (learning_rate, beta1, beta2, eps, use_locking, use_nesterov, weight_decay, loss_scale)
    return adam(*options, groups=groups, use_offload=True)


@constructor("params")
def adam_weight_decay(
    learning_rate: LearningRate = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-6,
    weight_decay: WeightDecay = 0.0,
    groups: Groups | None = None,
) -> Chain:
    """`mindspore.nn.AdamWeightDecay`: `w <- w - learning_rate·(m / (√v + eps) + weight_decay·w)`, without corrections.

    No loss scale, and nothing is centralised.
    Reach: element. State: mu, nu, shaped like p.
    Raises: as `adam`.
    Source: mindspore 2.10, nn/optim/adam.py.
    """
    inside_unit(beta1=beta1, beta2=beta2)
    floats(eps=eps)
    check.positive(eps=eps)
    rule = UncorrectedAdam(*map(in_float32, (beta1, beta2, eps)))

    def make(group: Group) -> Chain:
        stages = [kernel(lift(rule), "adam_weight_decay", float64=True)]
        if is_decayed(group.weight_decay):
            where = mindspore_decayed if groups is None else None
            stages.append(add_decayed_weights(in_float32(group.weight_decay), where))
        return chain(*stages, scale_by_learning_rate(group.learning_rate))

    return grouped(groups, read_learning_rate(learning_rate), read_weight_decay(weight_decay), make)


@constructor("params")
def adamax(
    learning_rate: LearningRate = 0.001,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: WeightDecay = 0.0,
    loss_scale: float = 1.0,
    groups: Groups | None = None,
) -> Chain:
    """`mindspore.nn.AdaMax`: `u <- max(beta2·u, |g|)`, `w <- w - learning_rate / (1 - beta1ᵗ) · m / (u + eps)`.

    Reach: element, row with grad_centralization. State: mu, nu, shaped like p; b1_power, float32 scalar.
    Raises: as `adam`.
    Source: mindspore 2.10, nn/optim/ada_max.py.
    """
    inside_unit(beta1=beta1, beta2=beta2)
    floats(eps=eps)
    check.positive(eps=eps)
    rule = EpsilonBesideAdamax(*map(in_float32, (beta1, beta2, eps)))

    def body(rate: Hyper) -> Chain:
        return chain(kernel(lift(rule), "adamax"), scale_by_learning_rate(rate))

    return assembled(body, learning_rate, weight_decay, loss_scale, groups)
