"""Centralisation, at the station "cleanse"."""

from __future__ import annotations

from gradxform.core.chain import Chain, lift
from gradxform.core.facts import Facts, Reach, Station
from gradxform.core.rule import Rule
from gradxform.core.sizes import tame
from gradxform.core.types import Array, Memory, Param, Scalars


class Centralize(Rule):
    facts = Facts(reach=Reach.ROW, station=Station.CLEANSE, keeps_zero=True, cheap=True, homogeneous=True)

    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Array, Memory]:
        if g.ndim < 2:
            return g, s
        return g - tame(g.mean(axis=tuple(range(1, g.ndim)), keepdims=True)), s


def centralize() -> Chain:
    """Give every row zero mean: `u = g - mean(g over all axes but the first)`, for arrays of 2 or more axes.

    Acts on each row (an output channel where the first axis is that) alone; vectors and scalars pass through.
    Reach: row. State: none.
    Source: Yong et al. 2020, arXiv:2004.01461.
    """
    return lift(Centralize())
