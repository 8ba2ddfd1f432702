"""Caution: of an update, only what goes the way of the gradient."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from gradxform.core.chain import Chain, Split
from gradxform.core.lift import Lifted
from gradxform.core.rule import Reach, Rule, Wrapper
from gradxform.transforms.noise import Noisy


class Cautious(Wrapper):
    real_only = True

    @property
    def reach(self) -> Reach:  # type: ignore[override]
        return max(self.rule.reach, Reach.ARRAY)

    def __repr__(self) -> str:
        return f"cautious({self.rule!r})"

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        u, s = self.rule.update(g, s, p, k)
        agrees = (u * g > 0).astype(u.dtype)
        return u * (agrees / jnp.maximum(agrees.mean(), 1e-3)), s


def cautious(tx: Any) -> Chain:
    """Keep of a direction d what has the gradient's sign, and make up for the rest: `u = d · m / mean(m)`.

    `m = [d·g > 0]`, its mean over an array, at least 0.001. Acts on the last stage of tx that remembers gradients
    (momentum, Adam, Lion, ...), g its input; decay and later stages see u. In groups, on every group with such a stage.
    Reach: array, or that of tx. State: that of tx.
    Raises: TypeError if tx is not made of rules; ValueError if no stage of it remembers gradients, or if a parameter
    is complex.
    Source: Liang et al. 2024, arXiv:2411.16085, algorithm 1, with the authors' bound of the mean.
    """
    if not isinstance(tx, Chain):
        raise TypeError(f"cautious works on transformations made of rules; put it inside {tx!r}, not around it")
    found = _in_chain(tx)
    if found == tx:
        raise ValueError(f"cautious needs a stage that remembers gradients, and {tx!r} has none")
    return found


def _in_chain(tx: Chain) -> Chain:
    stages = list(tx.stages)
    behind = [isinstance(stage, Lifted) and stage.rule.name == "learning_rate" for stage in stages]
    for i, stage in reversed([*enumerate(stages)]):
        if isinstance(stage, Split):
            branches = {name: _in_chain(branch) for name, branch in stage.branches.items()}
            new = stage if branches == stage.branches else stage.with_fields(branches=branches)
        else:
            new = _with_caution(stage, lands=any(behind[:i]))
        if new is not stage:
            return Chain((*stages[:i], new, *stages[i + 1 :]))
    return tx


def _with_caution(stage: Any, lands: bool) -> Any:
    """The stage with caution if it remembers gradients; what looks at the parameters behind the rate averages them."""
    rule = stage.rule if isinstance(stage, Lifted) else None
    while isinstance(rule, Wrapper):
        rule = rule.rule
    if rule is None or isinstance(rule, Noisy) or type(rule).init is Rule.init or (lands and rule.needs_params):
        return stage
    return stage.with_fields(rule=Cautious(stage.rule))
