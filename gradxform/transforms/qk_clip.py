"""QK-clip: queries and keys shrink where a head's attention logits grew too large."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from gradxform.core import check
from gradxform.core.arithmetic import real_dtype
from gradxform.core.chain import Chain, lift
from gradxform.core.facts import Facts, Reach, Station
from gradxform.core.hyper import Hyper
from gradxform.core.keys import OwnFigures
from gradxform.core.rule import Rule
from gradxform.core.types import Array, Memory, Param, Scalars


class QkClip(Rule):
    tau: Hyper = 100.0
    power: Hyper = 0.5
    axis: int | tuple[int, ...] | None = -2
    max_logits: OwnFigures = "max_logits"
    facts = Facts(Reach.ARRAY, Station.LAND, needs_params=True, placed=True)

    def check(self) -> None:
        check.positive(tau=self.tau)
        check.nonnegative(power=self.power)
        check.axes(axis=self.axis)

    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Array, Memory]:
        if self.max_logits is None:
            return g, s
        most = self.by_axis(jnp.asarray(self.max_logits, real_dtype(p.dtype)), p.shape)
        above = (most > self.tau) & (most < jnp.inf)
        less = jnp.where(above, (self.tau / jnp.where(above, most, self.tau)) ** self.power - 1, 0)
        return g + less * (p + g), s

    def by_axis(self, most: Array, shape: tuple[int, ...]) -> Array:
        """The heads' figures along their axes of the parameter, where each head has an equal part."""
        n, axes = len(shape), () if self.axis is None else tuple(np.atleast_1d(self.axis).tolist())
        places = [a % n for a in axes if -n <= a < n]
        parts = [(shape[i], heads) for i, heads in zip(places, most.shape, strict=False)]
        if most.ndim != len(axes) or len({*places}) < len(axes) or any(not h or size % h for size, h in parts):
            raise ValueError(f"max_logits has shape {most.shape}, and {shape} has no such parts along axes {axes}")
        for i, (size, heads) in enumerate(parts):
            before, after = most.shape[:i], most.shape[i + 1 :]
            each = jnp.expand_dims(most, i + 1)
            most = jnp.broadcast_to(each, (*before, heads, size // heads, *after)).reshape(*before, size, *after)
        return jnp.expand_dims(most.transpose(np.argsort(places)), [i for i in range(n) if i not in places])


def qk_clip(tau: Hyper = 100.0, power: Hyper = 0.5, *, axis: int | tuple[int, ...] | None = -2) -> Chain:
    """Shrink the heads whose attention logits were above tau: `u <- (p + u)·(tau / S)^power - p`.

    Last in the chain, as in MuonClip, which is Muon with it. `update` takes S as `max_logits`, a tree like the
    parameters or with some of their paths: of each head the largest logit of the batch (`q·k / √d`), over micro-batches
    and devices. What has none, as all but queries and keys, and what is not above tau or not finite steps as it is.
    power: a half for queries and for keys; 1 for queries whose keys all heads share, as MLA's rotary ones. axis: of the
    heads, one for each axis of S; `[in, heads, size]`, or 0 for `[heads·size, in]`; None for a number for all heads.
    Keys that several heads share, as in grouped-query attention, take the largest of these heads.
    Reach: array. State: none.
    Raises: ValueError if tau <= 0, power < 0, params or max_logits are missing, or S does not fit its parameter.
    Source: Kimi Team 2025, arXiv:2507.20534, algorithm 1.
    """
    return lift(QkClip(tau, power, axis))
