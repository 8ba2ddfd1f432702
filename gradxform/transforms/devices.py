"""Between devices: gradients averaged over a mesh axis."""

from __future__ import annotations

from typing import Any

import jax

from gradxform.core import check
from gradxform.core.chain import Chain, lift
from gradxform.core.devices import along, gathered, varying_axes
from gradxform.core.facts import Facts, Station
from gradxform.core.rows import Rows
from gradxform.core.rule import Rule
from gradxform.core.types import Array, AxisName, Memory, Param, Scalars


class MeanAcross(Rule):
    axis_name: AxisName
    facts = Facts(station=Station.CLEANSE, keeps_zero=True, homogeneous=True)

    def check(self) -> None:
        check.axis(axis_name=self.axis_name)

    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Array, Memory]:
        kept = varying_axes(along(self.axis_name))
        if not kept <= varying_axes(g):
            raise ValueError(
                f"mean_across({self.axis_name!r}) got a gradient that is the same on all devices: inside shard_map "
                "jax.grad has summed it over them already; take the mean in the loss (jax.lax.pmean) and leave "
                'mean_across out, differentiate at jax.lax.pcast(params, axis, to="varying"), or give check_vma=False'
            )
        return jax.lax.pmean(g, self.axis_name), s

    def update_rows(self, g: Rows, s: Memory, p: Param, k: Scalars) -> tuple[Rows, Any]:
        indices, values = (gathered(x, self.axis_name) for x in (g.places(), g.values))
        return Rows(indices, values / jax.lax.psum(1, self.axis_name), g.shape), s


def mean_across(axis_name: AxisName) -> Chain:
    """Average gradients over devices: `u = (1/n) Σ g over axis_name`, inside `pmap` or `shard_map`.

    First in the chain, before anything remembers the gradient. Sparse rows are gathered, not averaged. Inside
    `shard_map` jax.grad at parameters that are the same everywhere has summed over the devices already; such a gradient
    is refused.
    axis_name: a mesh or `pmap` axis, or a tuple of them.
    Reach: element. State: none.
    Raises: TypeError if axis_name is no such name; ValueError if the gradient does not vary over the axis.
    """
    return lift(MeanAcross(axis_name))
