"""What paddle computes that no stage of the library does."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from gradxform.compat.common.float32 import in_float32
from gradxform.compat.common.moments import PoweredInfinityMoments, PoweredMaxMoments, PoweredMoments
from gradxform.core import check
from gradxform.core.arithmetic import abs_sq, real_dtype
from gradxform.core.facts import Facts, Reach, Station
from gradxform.core.hyper import Beta, Hyper, hyper_fields, replace_hyper
from gradxform.core.lens import Wrapper
from gradxform.core.rule import Factor, Rule
from gradxform.core.types import Array, Memory, Param, Path, Scalars
from gradxform.params.select import Selector
from gradxform.transforms.scale import ScaleByTrustRatio


class ClipBetween(Rule):
    """`min(max(g, low), high)`; no memory."""

    low: float
    high: float
    facts = Facts(station=Station.CLEANSE, real_only=True)

    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Any, Memory]:
        return jnp.minimum(jnp.maximum(g, self.low), self.high), s


class TrustRatio(Factor):
    """‖p‖ / ‖g‖, 1 where either is 0; both may overflow."""

    name = "trust_ratio"
    facts = ScaleByTrustRatio.facts

    def factor(self, g: Array, p: Param, k: Scalars) -> Array:
        p_norm, g_norm = (jnp.sqrt(jnp.sum(abs_sq(x))) for x in (p, g))
        return jnp.where((p_norm == 0.0) | (g_norm == 0.0), 1.0, p_norm / g_norm)


class ClipByNormInFloat32(Factor):
    """A clip by each array's norm, for which the framework has no float64 kernel; no memory."""

    max_norm: Hyper
    name = "clip_by_norm"
    facts = Facts(reach=Reach.ARRAY, station=Station.CLEANSE)

    def check(self) -> None:
        check.positive(max_norm=self.max_norm)

    def factor(self, g: Array, p: Param, k: Scalars) -> Any:
        return jnp.minimum(1.0, self.max_norm / jnp.sqrt(jnp.sum(abs_sq(g))))

    def init(self, p: Array) -> None:
        if p.dtype == jnp.float64:
            raise RuntimeError(f"ClipGradByNorm takes parameters of float32, got {p.dtype}; take ClipGradByGlobalNorm")


class PoweredAdam(Rule):
    """Adam by powers of the betas that are multiplied up, as they round, at the steps of their parameter.

    amsgrad: for v the running maximum of v, taken before the correction.
    """

    b1: Beta = 0.9
    b2: Beta = 0.999
    eps: Hyper = 1e-8
    amsgrad: bool = False
    name = "adam"

    def init(self, p: Array) -> Memory:
        one = jnp.ones((), real_dtype(p.dtype))
        powers = {"b1_power": self.b1 * one, "b2_power": self.b2 * one}
        if self.amsgrad:
            return PoweredMaxMoments(jnp.zeros_like(p), jnp.zeros_like(p.real), jnp.zeros_like(p.real), **powers)
        return PoweredMoments(jnp.zeros_like(p), jnp.zeros_like(p.real), **powers)

    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Any, Memory]:
        mu = self.b1 * s.mu + (1 - self.b1) * g
        nu = self.b2 * s.nu + (1 - self.b2) * abs_sq(g)
        new = s._replace(mu=mu, nu=nu, b1_power=self.b1 * s.b1_power, b2_power=self.b2 * s.b2_power)
        if self.amsgrad:
            nu = jnp.maximum(s.nu_max, nu)
            new = new._replace(nu_max=nu)
        root = jnp.sqrt(1 - s.b2_power)
        return root / (1 - s.b1_power) * mu / (jnp.sqrt(nu) + self.eps * root), new


class PoweredAdamax(Rule):
    """AdaMax by such a power, with epsilon added to the old maximum: `u <- max(|g|, b2·u + eps)`."""

    b1: Beta = 0.9
    b2: Beta = 0.999
    eps: Hyper = 1e-8
    name = "adamax"

    def init(self, p: Array) -> PoweredInfinityMoments:
        one = jnp.ones((), real_dtype(p.dtype))
        return PoweredInfinityMoments(jnp.zeros_like(p), jnp.zeros_like(p.real), self.b1 * one)

    def update(self, g: Array, s: PoweredInfinityMoments, p: Param, k: Scalars) -> tuple[Any, PoweredInfinityMoments]:
        mu = self.b1 * s.mu + (1 - self.b1) * g
        nu = jnp.maximum(jnp.abs(g), self.b2 * s.nu + self.eps)
        return mu / (1 - s.b1_power) / nu, PoweredInfinityMoments(mu, nu, self.b1 * s.b1_power)


class InItsDtype(Wrapper):
    """A rule whose numbers are rounded to float32, except for float64 parameters; its memory."""

    def __repr__(self) -> str:
        return repr(self.rule)

    def for_leaf(self, path: Path, p: Array) -> Rule:
        rule = self.rule.for_leaf(path, p)
        if p.dtype == jnp.float64:
            return rule
        return replace_hyper(rule, {name: in_float32(x) for name, x in hyper_fields(rule).items()})


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
