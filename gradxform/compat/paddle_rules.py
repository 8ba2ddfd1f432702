"""What paddle computes that no stage of the library does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from gradxform.core.rule import Rule
from gradxform.optimizers.adamax import InfinityMoments, ScaleByAdamax
from gradxform.params.select import Selector
from gradxform.transforms.clip import ClipByNorm


class ClipBetween(Rule):
    """`min(max(g, low), high)`."""

    low: float
    high: float
    real_only = True

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        return jnp.minimum(jnp.maximum(g, self.low), self.high), s


class ClipByNormInFloat32(ClipByNorm):
    """A clip by each array's norm, for which the framework has no float64 kernel."""

    name = "clip_by_norm"

    def init(self, p: Any) -> None:
        if p.dtype == jnp.float64:
            raise RuntimeError(f"ClipGradByNorm takes parameters of float32, got {p.dtype}; take ClipGradByGlobalNorm")


class EpsilonInsideAdamax(ScaleByAdamax):
    """AdaMax with epsilon added to the old maximum: `u <- max(|g|, b2·u + eps)`."""

    name = "adamax"

    def update(self, g: Any, s: InfinityMoments, p: Any, k: Any) -> tuple[Any, InfinityMoments]:
        mu = self.b1 * s.mu + (1 - self.b1) * g
        nu = jnp.maximum(jnp.abs(g), self.b2 * s.nu + self.eps)
        return mu / k / nu, InfinityMoments(mu, nu)


class Parameter(NamedTuple):
    """What paddle hands to a user's function of a parameter: its name, here its path, and the like."""

    name: str
    shape: tuple[int, ...]
    dtype: Any


class ByParameter(Selector):
    """The parameters for which a user's function of one holds; it may match nothing."""

    function: Callable[[Any], Any]
    by_name: bool = False

    def __repr__(self) -> str:
        return getattr(self.function, "__name__", repr(self.function))

    def matches(self, path: str, leaf: Any) -> bool:
        return bool(self.function(path if self.by_name else Parameter(path, tuple(leaf.shape), leaf.dtype)))


class Elsewhere(Selector):
    """The parameters that none of some selectors takes; it may match nothing."""

    parts: tuple[Selector, ...]

    def matches(self, path: str, leaf: Any) -> bool:
        return not any(part.matches(path, leaf) for part in self.parts)


class FirstOf(Selector):
    """The parameters of one selector that none of the earlier ones takes; it may match nothing."""

    earlier: tuple[Selector, ...]
    part: Selector

    def __repr__(self) -> str:
        return repr(self.part)

    def matches(self, path: str, leaf: Any) -> bool:
        return self.part.matches(path, leaf) and Elsewhere(self.earlier).matches(path, leaf)
