"""Penalties on the parameters: L2 where it stands before the direction, decoupled where it stands behind it."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.chain import Chain, lift
from gradxform.core.hyper import Hyper
from gradxform.core.rule import Rule
from gradxform.params.select import mask_selector


class AddDecayedWeights(Rule):
    weight_decay: Hyper
    name = "weight_decay"
    needs_params = True

    def check(self) -> None:
        check.nonnegative(weight_decay=self.weight_decay)

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        return g + self.weight_decay * p, s


class AddL1(Rule):
    l1: Hyper
    needs_params = True
    real_only = True

    def check(self) -> None:
        check.nonnegative(l1=self.l1)

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        return g + self.l1 * jnp.sign(p), s


def add_decayed_weights(weight_decay: Any = 0.0, mask: Any = None) -> Chain:
    """Add the parameters: `u = g + weight_decay · p`.

    Before the direction (momentum, Adam) it is L2 regularisation, behind it decoupled decay (AdamW). Decay is per
    step in units of the learning rate that follows.
    weight_decay: at least 0, or a schedule. mask: which parameters: a selector such as `weights_only` or
    `~named("bias")`, a regular expression, a tree of booleans, or a function from params to one. None: all.
    Reach: element. State: none.
    Raises: ValueError if weight_decay < 0, if params are missing, or if a name in the mask matches nothing.
    Source: Loshchilov, Hutter 2017, arXiv:1711.05101.
    """
    return lift(AddDecayedWeights(weight_decay), mask_selector(mask))


def add_l1(l1: Any, mask: Any = None) -> Chain:
    """Add the subgradient of an L1 penalty: `u = g + l1 · sign(p)`, with sign(0) = 0.

    Pulls towards zero without reaching it; `proximal_l1` gives exact zeros. mask: as in `add_decayed_weights`.
    Reach: element. State: none.
    Raises: ValueError if l1 < 0, if params are missing, or if the parameter is complex.
    """
    return lift(AddL1(l1), mask_selector(mask))
