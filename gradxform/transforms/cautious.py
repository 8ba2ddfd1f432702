"""Caution: of an update, only what goes the way of the gradient."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from gradxform.core.branches import Split
from gradxform.core.chain import Chain
from gradxform.core.facts import Facts, Reach, Station
from gradxform.core.lens import Wrapper
from gradxform.core.plain import shown
from gradxform.core.rows import Rows
from gradxform.core.rule import Keep, dense
from gradxform.core.stage import Stage
from gradxform.core.types import Array, Memory, Param, Scalars, Transformation


class Cautious(Wrapper):
    sees_array = True

    @property
    def facts(self) -> Facts:
        facts = self.rule.facts
        return facts.with_fields(reach=max(facts.reach, Reach.ARRAY), real_only=True)

    def __repr__(self) -> str:
        return f"cautious({self.rule!r})"

    def advance(
        self, g: Array | Rows, factors: list[Any], s: Memory, p: Param, k: Scalars, keep: Keep
    ) -> tuple[Array, Memory]:
        x = dense(g, factors)
        u, s = self.rule.advance(x, [], s, p, k, keep)
        agrees = (u * x > 0).astype(u.dtype)
        return u * (agrees / jnp.maximum(agrees.mean(), 1e-3)), s


def cautious(tx: Transformation) -> Chain:
    """Keep of a direction d what has the gradient's sign, and make up for the rest: `u = d · m / mean(m)`.

    `m = [d·g > 0]`, its mean over an array, at least 0.001. Acts on the last stage of tx that remembers gradients
    (momentum, Adam, Lion, ...), g its input; decay and later stages see u. In groups, on every group with such a stage.
    Reach: array, or that of tx. State: that of tx.
    Raises: TypeError if tx is not made of rules; ValueError if no stage of it remembers gradients, or if a parameter
    is complex.
    Source: Liang et al. 2024, arXiv:2411.16085, algorithm 1, with the authors' bound of the mean.
    """
    if not isinstance(tx, Chain):
        raise TypeError(f"cautious works on transformations made of rules; put it inside {shown(tx)}, not around it")
    new = _in_chain(tx)
    if new == tx:
        raise ValueError(f"cautious needs a stage that remembers gradients, and {tx!r} has none")
    return new


def _in_chain(tx: Chain) -> Chain:
    stepped = [stage.facts.station == Station.STEP for stage in tx.stages]
    for i, stage in reversed([*enumerate(tx.stages)]):
        if _directs(stage, lands=any(stepped[:i])):
            new = stage.map_rules(Cautious, "cautious")
        elif isinstance(stage, Split):
            branches = {name: _in_chain(branch) for name, branch in stage.branches.items()}
            new = stage if branches == stage.branches else stage.with_fields(branches=branches)
        else:
            new = stage
        if new is not stage:
            return Chain((*tx.stages[:i], new, *tx.stages[i + 1 :]))
    return tx


def _directs(stage: Stage, lands: bool) -> bool:
    """Whether a stage remembers gradients; what looks at the parameters behind the rate averages them."""
    facts, rule = stage.facts, stage.only_rule
    said = facts.station == Station.DIRECT
    unsaid = facts.station is None and not (lands and facts.needs_params)
    return rule is not None and rule.remembers and (said or unsaid)
