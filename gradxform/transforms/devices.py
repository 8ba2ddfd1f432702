"""Between devices: gradients averaged over a mesh axis."""

from __future__ import annotations

from typing import Any

import jax

from gradxform.core import check
from gradxform.core.chain import Chain, lift
from gradxform.core.rows import Rows
from gradxform.core.rule import Rule


class MeanAcross(Rule):
    axis_name: Any
    keeps_zero = True

    def check(self) -> None:
        check.axis(axis_name=self.axis_name)

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        return jax.lax.pmean(g, self.axis_name), s

    def update_rows(self, g: Rows, s: Any, p: Any, k: Any) -> tuple[Rows, Any]:
        indices, values = (jax.lax.all_gather(x, self.axis_name, tiled=True) for x in (g.places(), g.values))
        count = jax.lax.psum(1, self.axis_name)
        return Rows(indices, values / count, g.shape), s


def mean_across(axis_name: Any) -> Chain:
    """Average gradients over devices: `u = (1/n) Σ g over axis_name`, inside `pmap` or `shard_map`.

    First in the chain, before anything remembers the gradient. Sparse rows are gathered, not averaged.
    axis_name: a mesh or `pmap` axis, or a tuple of them.
    Reach: element. State: none.
    Raises: TypeError if axis_name is no such name.
    """
    return lift(MeanAcross(axis_name))
