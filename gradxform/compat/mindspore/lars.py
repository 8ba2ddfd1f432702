"""MindSpore's LARS, which wraps another of its optimizers."""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp

from gradxform.compat.common.float32 import in_float32
from gradxform.compat.common.gradients import TakesDense
from gradxform.compat.common.overflows import Overflows
from gradxform.compat.common.parameters import ByParameter, Parameter
from gradxform.compat.mindspore.checks import floats, is_dynamic
from gradxform.compat.mindspore.groups import REST
from gradxform.compat.mindspore.rules import Kernel
from gradxform.core import check
from gradxform.core.arithmetic import abs_sq, quotient, root
from gradxform.core.branches import Split
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.facts import Facts, Reach, Station
from gradxform.core.hyper import Hyper, hyper_fields
from gradxform.core.lift import Lifted
from gradxform.core.plain import got
from gradxform.core.rule import Rule
from gradxform.core.stage import Stage
from gradxform.core.types import Array, Memory, Param, Scalars
from gradxform.params.select import Selector
from gradxform.transforms.decay import DecaysWeights


class LayerwiseRate(Rule):
    """`r·(g + λ·w)`, `r = coefficient·‖w‖ / (‖g‖ + λ·‖w‖ + epsilon)`; no memory."""

    epsilon: Hyper
    coefficient: Hyper
    weight_decay: Hyper = 0.0
    learning_rate: Hyper | None = None
    """By which r is divided where it is clipped to 1."""
    name = "lars"
    facts = Facts(reach=Reach.ARRAY, station=Station.DECAY, needs_params=True)

    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Array, Memory]:
        w_norm, g_norm = (root(jnp.sum(abs_sq(x))) for x in (p, g))
        ratio = quotient(self.coefficient * w_norm, g_norm + self.weight_decay * w_norm + self.epsilon, 0.0)
        if self.learning_rate is not None:
            ratio = jnp.where(ratio < self.learning_rate, ratio / self.learning_rate, 1.0)
        return ratio * (g + self.weight_decay * p), s


def neither_normalisation_nor_bias(parameter: Parameter) -> bool:
    """Where the framework's LARS acts by default."""
    return "LayerNorm" not in parameter.name and "bias" not in parameter.name


def lars(
    optimizer: Chain,
    epsilon: float = 1e-05,
    coefficient: float = 0.001,
    use_clip: bool = False,
    lars_filter: Callable[[Parameter], bool] = neither_normalisation_nor_bias,
) -> Chain:
    """`mindspore.nn.LARS`: `g <- r·(g + λ·w)`, `r = coefficient·‖w‖ / (‖g‖ + λ·‖w‖ + epsilon)`, before an optimizer.

    optimizer: one of this module; its weight_decay is λ here, and is not added again. use_clip: `min(r / rate, 1)`
    for r. lars_filter: of an object with name (its path), shape and dtype; other parameters do not decay either. There
    is no kernel for a CPU there, and these are the documented steps; a parameter of zeros stays where it is.
    Reach: array. State: that of the optimizer.
    Raises: TypeError, ValueError as the framework does; TypeError for sparse gradients.
    Source: mindspore 2.10, nn/optim/lars.py; You et al. 2017, arXiv:1708.03888.
    """
    floats(epsilon=epsilon, coefficient=coefficient)
    check.finite(epsilon=epsilon, coefficient=coefficient)
    check.boolean(use_clip=use_clip)
    if not callable(lars_filter):
        raise TypeError(f"lars_filter must be a function of a parameter, {got(lars_filter)}")
    split = optimizer.stages[0] if isinstance(optimizer, Chain) and len(optimizer.stages) == 1 else None
    branches = split.branches if isinstance(split, Split) else {"": optimizer}
    parts = [part for group, part in branches.items() if group != REST]
    if not all(map(_is_of_mindspore, parts)):
        raise TypeError(f"optimizer must be one of compat.mindspore, {got(optimizer)}")
    rates = [*map(_rate, parts)]
    if use_clip and any(map(is_dynamic, rates)) and any(rate != rates[0] for rate in rates):
        raise ValueError(f"use_clip takes rates of groups, or one that changes, not both, got {rates}")
    rule = LayerwiseRate(in_float32(epsilon), in_float32(coefficient))
    where: Selector = ByParameter(lars_filter)

    def around(part: Chain) -> Chain:
        """The loss scale is undone first; centralisation stays behind."""
        unscaled = tuple(stage for stage in part.stages if stage.label == "unscale")
        rest: list[Stage] = []
        decay, here, elsewhere = 0.0, where, None
        for stage in part.stages:
            if isinstance(stage, Lifted) and isinstance(stage.rule, DecaysWeights):
                decay = in_float32(stage.rule.weight_decay)
                if isinstance(stage.where, Selector):
                    here, elsewhere = where & stage.where, where & ~stage.where
            elif stage not in unscaled:
                rest.append(stage)
        own = rule.with_fields(learning_rate=_rate(part) if use_clip else None)
        stages = [lift(Overflows(own.with_fields(weight_decay=decay)), here)]
        stages += [] if elsewhere is None else [lift(Overflows(own), elsewhere)]
        return chain(lift(TakesDense("lars", TypeError)), Chain(unscaled), *stages, Chain(tuple(rest)))

    if not isinstance(split, Split):
        return around(optimizer)
    return Chain((split.map_parts(lambda part, prefix, _: part if prefix == f"{REST}/" else around(part)),))


def _is_of_mindspore(tx: object) -> bool:
    return isinstance(tx, Chain) and any(isinstance(stage.only_rule, Kernel) for stage in tx.stages)


def _rate(part: Chain) -> Hyper | None:
    """The learning rate, wherever it stands."""
    rates = [hyper_fields(stage.only_rule).get("learning_rate") for stage in part.stages if stage.only_rule]
    return next((rate for rate in rates if rate is not None), None)
