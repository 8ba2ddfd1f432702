"""Penalties on the parameters: L2 where it stands before the direction, decoupled where it stands behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import is_zero
from gradxform.core.chain import Chain, lift, map_rules
from gradxform.core.facts import Facts, Reach, Station
from gradxform.core.hyper import Decay, Hyper, Rate, hyper_fields
from gradxform.core.lens import Wrapper
from gradxform.core.plain import shown
from gradxform.core.rows import Rows
from gradxform.core.rule import Keep, Rule, dense
from gradxform.core.types import Array, Mask, Memory, Param, Scalars, Transformation
from gradxform.params.masks import mask_selector


class DecaysWeights(Rule, abstract=True):
    weight_decay: Decay
    name = "weight_decay"
    facts = Facts(station=Station.DECAY, needs_params=True, cheap=True)

    def check(self) -> None:
        check.nonnegative(weight_decay=self.weight_decay)


class AddDecayedWeights(DecaysWeights):
    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Array, Memory]:
        return (g if is_zero(self.weight_decay) else g + self.weight_decay * p), s


class SubtractDecayedWeights(DecaysWeights):
    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Array, Memory]:
        return (g if is_zero(self.weight_decay) else g - self.weight_decay * p), s


class AddCorrectedDecay(DecaysWeights):
    weight_decay: Hyper
    learning_rate: Hyper
    max_learning_rate: Hyper | None = None

    def check(self) -> None:
        check.nonnegative(weight_decay=self.weight_decay, learning_rate=self.learning_rate)
        check.divisor(max_learning_rate=self.max_learning_rate)
        if self.max_learning_rate is None and not isinstance(self.learning_rate, float | jax.core.Tracer):
            raise ValueError(f"corrected decay needs max_learning_rate, the largest value of {self.learning_rate!r}")

    def scalars(self, t: Array) -> Scalars:
        return 1.0 if self.max_learning_rate is None else self.learning_rate / self.max_learning_rate

    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Array, Memory]:
        return g + self.weight_decay * k * p, s


class AddL1(Rule):
    l1: Rate
    facts = Facts(station=Station.DECAY, needs_params=True, real_only=True)

    def check(self) -> None:
        check.nonnegative(l1=self.l1)

    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Array, Memory]:
        return g + self.l1 * jnp.sign(p), s


class CautiousDecay(Wrapper):
    @property
    def facts(self) -> Facts:
        return self.rule.facts.with_fields(real_only=True)

    def __repr__(self) -> str:
        return f"cautious_decay({self.rule!r})"

    def advance(
        self, g: Array | Rows, factors: list[Any], s: Memory, p: Param, k: Scalars, keep: Keep
    ) -> tuple[Array, Memory]:
        x = dense(g, factors)
        u, s = self.rule.advance(x, [], s, p, k, keep)
        return jnp.where(jnp.sign(u - x) * jnp.sign(x) >= 0, u, x), s


def add_decayed_weights(weight_decay: Hyper = 0.0, mask: Mask = None) -> Chain:
    """Add the parameters: `u = g + weight_decay · p`.

    Before the direction (momentum, Adam) it is L2 regularisation, behind it decoupled decay (AdamW). Decay is per
    step in units of the learning rate that follows.
    weight_decay: at least 0, or a schedule. mask: which parameters: a selector such as `weights_only` or
    `~named("bias")`, a regular expression, a tree of booleans, or a function from params to one. None: all.
    Reach: element. State: none.
    Raises: ValueError if weight_decay < 0, if params are missing, or if the mask does not fit them.
    Source: Loshchilov, Hutter 2017, arXiv:1711.05101.
    """
    return lift(AddDecayedWeights(weight_decay), mask_selector(mask))


def subtract_decayed_weights(weight_decay: Hyper = 0.0, mask: Mask = None) -> Chain:
    """Subtract the parameters from a step: `u = g - weight_decay · p`.

    Behind the learning rate, where g is a displacement: decay that does not depend on the rate. To let both follow one
    schedule (the paper's multiplier), give it to weight_decay too. mask: as in `add_decayed_weights`.
    Reach: element. State: none.
    Raises: ValueError if weight_decay < 0, or if params are missing.
    Source: Loshchilov, Hutter 2017, arXiv:1711.05101, algorithm 2, with multiplier 1.
    """
    return lift(SubtractDecayedWeights(weight_decay), mask_selector(mask))


def add_corrected_decay(
    weight_decay: Hyper, learning_rate: Hyper, max_learning_rate: Hyper | None = None, mask: Mask = None
) -> Chain:
    """Add the parameters in proportion to the rate: `u = g + weight_decay · (learning_rate / max_learning_rate) · p`.

    Before a learning-rate stage of the same rate, so that decay per step goes with its square, and a normalised
    layer's gradient does not grow while the rate falls. max_learning_rate: the largest value of the schedule; None
    with a constant rate, for which the quotient is 1. mask: as in `add_decayed_weights`.
    Reach: element. State: none.
    Raises: ValueError if an argument is negative, or max_learning_rate is missing where the rate may change.
    Source: Defazio 2025, arXiv:2506.02285, algorithm 1 (AdamC).
    """
    return lift(AddCorrectedDecay(weight_decay, learning_rate, max_learning_rate), mask_selector(mask))


def cautious_decay(decay: Chain) -> Chain:
    """Let a decay act only where it pulls the way the update goes: `u = decay(g)` if `g · (decay(g) - g) >= 0`, else g.

    decay: a stage that adds a multiple of p, such as `add_decayed_weights(0.1)`, behind the direction.
    Reach: element. State: none.
    Raises: TypeError for a transformation that is not made of rules; ValueError for one that looks at more than one
    element, or if the parameter is complex.
    Source: Chen et al. 2025, arXiv:2510.12402, algorithm 1.
    """
    return map_rules(decay, _cautious, "cautious_decay")


def _cautious(rule: Rule) -> Rule:
    if rule.facts.reach != Reach.ELEMENT:
        raise ValueError(f"cautious_decay works element by element, and {rule!r} looks at more than one")
    return CautiousDecay(rule)


def add_l1(l1: Hyper, mask: Mask = None) -> Chain:
    """Add the subgradient of an L1 penalty: `u = g + l1 · sign(p)`, with sign(0) = 0.

    Pulls towards zero without reaching it; `proximal_l1` gives exact zeros. mask: as in `add_decayed_weights`.
    Reach: element. State: none.
    Raises: ValueError if l1 < 0, if params are missing, or if the parameter is complex.
    """
    return lift(AddL1(l1), mask_selector(mask))


def with_weight_decay(
    tx: Chain,
    weight_decay: Hyper,
    kind: str = "decoupled",
    *,
    mask: Mask = None,
    cautious: bool = False,
    max_learning_rate: Hyper | None = None,
) -> Chain:
    """Give a chain with a learning rate η a weight decay λ of a kind, at the right place.

    `"l2"`: λ·p joins the gradient, behind clipping and before the direction. `"decoupled"`: `u = -η·(d + λ·p)`.
    `"independent"`: `u = -η·d - λ·p`. `"corrected"`: `u = -η·(d + λ·(η / max_learning_rate)·p)`. mask: as in
    `add_decayed_weights`. cautious: as `cautious_decay`; not with `"l2"`, which meets no update.
    Raises: TypeError if tx is not a chain; ValueError if it has no learning-rate stage or several, or decays already,
    for an unknown kind, or as the stage itself.
    Source: Loshchilov, Hutter 2017, arXiv:1711.05101; Defazio 2025, arXiv:2506.02285; Chen et al. 2025,
    arXiv:2510.12402.
    """
    check.choice("l2", "decoupled", "independent", "corrected", kind=kind)
    check.boolean(cautious=cautious)
    if cautious and kind == "l2":
        raise ValueError("cautious decay compares the parameter with the update, and l2 decay stands before it")
    if max_learning_rate is not None and kind != "corrected":
        raise ValueError(f"max_learning_rate is for corrected decay, got kind={kind!r}")
    stages, place = _rate_stage(tx)
    if kind == "corrected":
        rate = hyper_fields(stages[place].rule)["learning_rate"]
        decay = add_corrected_decay(weight_decay, rate, max_learning_rate, mask)
    else:
        decay = (subtract_decayed_weights if kind == "independent" else add_decayed_weights)(weight_decay, mask)
    if kind == "l2":
        place = _direction(stages)
    elif kind == "independent":
        place += 1
    added = (cautious_decay(decay) if cautious else decay).stages
    return Chain((*stages[:place], *added, *stages[place:]))


def _rate_stage(tx: Transformation) -> tuple[tuple[Any, ...], int]:
    """The stages of a chain, and the place of its one learning rate."""
    if not isinstance(tx, Chain):
        raise TypeError(f"with_weight_decay works on a chain of stages; put it inside {shown(tx)}, not around it")
    decays = [stage for stage in tx.stages if stage.only_rule and "weight_decay" in hyper_fields(stage.only_rule)]
    decays = [stage for stage in decays if stage.facts.station == Station.DECAY]
    if decays:
        raise ValueError(f"the chain decays already: {decays[0]!r}")
    rates = [i for i, stage in enumerate(tx.stages) if stage.only_rule and _is_rate(stage.only_rule)]
    if len(rates) != 1:
        problem = "several learning-rate stages" if rates else "no learning-rate stage of its own"
        raise ValueError(f"weight decay needs one learning rate to stand beside, and {tx!r} has {problem}")
    if not getattr(tx.stages[rates[0]].only_rule, "flip_sign", True):
        raise ValueError("weight decay needs the learning-rate stage that turns the sign: flip_sign is False")
    return tx.stages, rates[0]


def _is_rate(rule: Rule) -> bool:
    return rule.facts.station == Station.STEP and "learning_rate" in hyper_fields(rule)


def _direction(stages: Sequence[Any]) -> int:
    """The place of the direction: behind what cleanses, and behind rules that say no station before one with memory."""
    stations = [stage.facts.station for stage in stages]
    said = next(i for i, s in enumerate(stations) if s not in (None, Station.CLEANSE))
    unsaid = [i for i in range(said) if stations[i] is None]
    remembers = [i for i in unsaid if stages[i].only_rule is None or stages[i].only_rule.remembers]
    if remembers:
        return remembers[0]
    return said if stations[said] == Station.DIRECT or not unsaid else unsaid[0]
