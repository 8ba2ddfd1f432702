"""Clipping, at the station "cleanse": bound the gradient before anything remembers it."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.chain import Chain, lift
from gradxform.core.hyper import Hyper
from gradxform.core.numbers import abs_sq, global_norm
from gradxform.core.rule import Reach, Rule, TreeRule


class Clip(Rule):
    max_delta: Hyper
    real_only = True
    keeps_zero = True

    def check(self) -> None:
        check.nonnegative(max_delta=self.max_delta)

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        return jnp.minimum(jnp.maximum(g, -self.max_delta), self.max_delta), s


class ClipByNorm(Rule):
    max_norm: Hyper
    reach = Reach.ARRAY

    def check(self) -> None:
        check.positive(max_norm=self.max_norm)

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        return g * jnp.minimum(1.0, self.max_norm / jnp.sqrt(jnp.sum(abs_sq(g)))), s


class ClipByBlockRms(Rule):
    threshold: Hyper
    reach = Reach.ARRAY

    def check(self) -> None:
        check.positive(threshold=self.threshold)

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        return g * jnp.minimum(1.0, self.threshold / jnp.sqrt(jnp.mean(abs_sq(g)))), s


class ClipByGlobalNorm(TreeRule):
    max_norm: Hyper
    axis_name: Any = None
    keeps_zero = True

    def check(self) -> None:
        check.positive(max_norm=self.max_norm)
        if self.axis_name is not None:
            check.axis(axis_name=self.axis_name)

    @property
    def norm_bound(self) -> Any:
        return self.max_norm

    def measure(self, gs: list[Any], s: Any, t: Any) -> tuple[Any, Any]:
        return jnp.minimum(1.0, self.max_norm / global_norm(gs, axis_name=self.axis_name)), s

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        return g * k, s


def clip(max_delta: Any) -> Chain:
    """Clip every element: `u = min(max(g, -max_delta), max_delta)`.

    Changes the gradient's direction; `clip_by_norm` and `clip_by_global_norm` keep it.
    Reach: element. State: none.
    Raises: ValueError if max_delta < 0 or the parameter is complex.
    """
    return lift(Clip(max_delta))


def clip_by_norm(max_norm: Any) -> Chain:
    """Clip each array by its own L2 norm: `u = g · min(1, max_norm / ‖g‖₂)`.

    Keeps each array's direction, not the whole gradient's.
    Reach: array. State: none.
    Raises: ValueError if max_norm <= 0.
    """
    return lift(ClipByNorm(max_norm))


def clip_by_block_rms(threshold: Any) -> Chain:
    """Clip each array by its root mean square: `u = g · min(1, threshold / rms(g))`.

    Adafactor's update clipping; unlike a norm, the bound does not depend on the array's size.
    Reach: array. State: none.
    Raises: ValueError if threshold <= 0.
    Source: Shazeer, Stern 2018, arXiv:1804.04235, section 6.
    """
    return lift(ClipByBlockRms(threshold))


def clip_by_global_norm(max_norm: Any, *, axis_name: Any = None) -> Chain:
    """Clip the whole gradient by its global L2 norm: `u = g · min(1, max_norm / √Σ‖gᵢ‖²)`.

    One scalar for all arrays, summed in float32 or wider. First in the chain, so that nothing remembers the excess.
    axis_name: mesh axis (or a tuple) over which arrays are split inside `shard_map` or `pmap`; squares add up over it,
    and an array that `shard_map` knows to be the same along it counts once.
    Reach: tree. State: none.
    Raises: ValueError if max_norm <= 0, or if a leaf varies over a manual mesh axis and axis_name is missing.
    Source: Pascanu et al. 2012, arXiv:1211.5063, algorithm 1.
    """
    return lift(ClipByGlobalNorm(max_norm, axis_name))
