"""What paddle computes that no stage of the library does."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from gradxform.core.rule import Rule
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
