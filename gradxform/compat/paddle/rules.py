"""What paddle computes that no stage of the library does."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from gradxform.compat.common.float32 import in_float32
from gradxform.compat.common.moments import PoweredInfinityMoments, PoweredMaxMoments, PoweredMoments
from gradxform.core import check
from gradxform.core.arithmetic import abs_sq, power, real_dtype
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


def _means(rule: Any, g: Array, s: Any) -> tuple[Array, Array]:
    return rule.b1 * s.mu + (1 - rule.b1) * g, rule.b2 * s.nu + (1 - rule.b2) * abs_sq(g)


class PoweredAdam(Rule):
    """Adam by powers of the betas that are multiplied up, as they round, at the steps of their parameter.

    amsgrad: for v the running maximum of v, taken before the correction.
    begins: the betas before they were rounded to float32, the first powers of a float64 parameter.
    """

    b1: Beta = 0.9
    b2: Beta = 0.999
    eps: Hyper = 1e-8
    amsgrad: bool = False
    begins: tuple[Any, Any] | None = None
    name = "adam"

    def init(self, p: Array) -> Memory:
        one = jnp.ones((), real_dtype(p.dtype))
        powers = {f"b{i + 1}_power": b * one for i, b in enumerate(_in_width(self, one))}
        if self.amsgrad:
            return PoweredMaxMoments(jnp.zeros_like(p), jnp.zeros_like(p.real), jnp.zeros_like(p.real), **powers)
        return PoweredMoments(jnp.zeros_like(p), jnp.zeros_like(p.real), **powers)

    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Any, Memory]:
        mu, nu = _means(self, g, s)
        new = s._replace(mu=mu, nu=nu, b1_power=self.b1 * s.b1_power, b2_power=self.b2 * s.b2_power)
        if self.amsgrad:
            nu = jnp.maximum(s.nu_max, nu)
            new = new._replace(nu_max=nu)
        root = jnp.sqrt(1 - s.b2_power)
        return root / (1 - s.b1_power) * mu / (jnp.sqrt(nu) + self.eps * root), new


class PoweredAdamax(Rule):
    """AdaMax by such a power, with epsilon added to the old maximum: `u <- max(|g|, b2·u + eps)`.

    begins: of these are all powers of a float64 parameter.
    """

    b1: Beta = 0.9
    b2: Beta = 0.999
    eps: Hyper = 1e-8
    begins: tuple[Any, Any] | None = None
    name = "adamax"

    def init(self, p: Array) -> PoweredInfinityMoments:
        one = jnp.ones((), real_dtype(p.dtype))
        return PoweredInfinityMoments(jnp.zeros_like(p), jnp.zeros_like(p.real), _in_width(self, one)[0] * one)

    def update(self, g: Array, s: PoweredInfinityMoments, p: Param, k: Scalars) -> tuple[Any, PoweredInfinityMoments]:
        mu = self.b1 * s.mu + (1 - self.b1) * g
        nu = jnp.maximum(jnp.abs(g), self.b2 * s.nu + self.eps)
        b1_power = _in_width(self, s.b1_power)[0] * s.b1_power
        return mu / (1 - s.b1_power) / nu, PoweredInfinityMoments(mu, nu, b1_power)


def _in_width(rule: PoweredAdam | PoweredAdamax, x: Array) -> tuple[Any, Any]:
    """The betas in the width of x."""
    return (rule.b1, rule.b2) if rule.begins is None or x.dtype != jnp.float64 else rule.begins


class PoweredNadamMoments(NamedTuple):
    """mu, nu: shaped like p; decay_power, b2_power, mu_product: scalars, of p's width."""

    mu: Array
    nu: Array
    decay_power: Array
    b2_power: Array
    mu_product: Array


class PoweredNadam(Rule):
    """NAdam by such powers; the momentum warms up, `μₜ = b1·(1 - 0.96^(t·momentum_decay) / 2)`."""

    b1: Beta = 0.9
    b2: Beta = 0.999
    eps: Hyper = 1e-8
    momentum_decay: Hyper = 0.004
    name = "nadam"

    def init(self, p: Array) -> PoweredNadamMoments:
        one = jnp.ones((), real_dtype(p.dtype))
        return PoweredNadamMoments(jnp.zeros_like(p), jnp.zeros_like(p.real), one, one, one)

    def update(self, g: Array, s: PoweredNadamMoments, p: Param, k: Scalars) -> tuple[Any, PoweredNadamMoments]:
        decay_power, b2_power = 0.96 * s.decay_power, self.b2 * s.b2_power
        warm = 0.5 * decay_power**self.momentum_decay
        now, after = self.b1 * (1 - warm), self.b1 * (1 - warm * power(0.96, self.momentum_decay))
        product = s.mu_product * now
        mu, nu = _means(self, g, s)
        ahead = after * mu / (1 - product * after) + (1 - now) * g / (1 - product)
        new = PoweredNadamMoments(mu, nu, decay_power, b2_power, product)
        return ahead / (jnp.sqrt(nu / (1 - b2_power)) + self.eps), new


class PoweredRadamMoments(NamedTuple):
    """mu, nu: shaped like p; b1_power, b2_power, rho: scalars, of p's width."""

    mu: Array
    nu: Array
    b1_power: Array
    b2_power: Array
    rho: Array


class PoweredRadam(Rule):
    """RAdam by such powers, epsilon beside √v. rho: `t·b2ᵗ / (1 - b2ᵗ)`, by a recursion."""

    b1: Beta = 0.9
    b2: Beta = 0.999
    eps: Hyper = 1e-8
    name = "radam"

    def init(self, p: Array) -> PoweredRadamMoments:
        one = jnp.ones((), real_dtype(p.dtype))
        return PoweredRadamMoments(jnp.zeros_like(p), jnp.zeros_like(p.real), one, one, one)

    def update(self, g: Array, s: PoweredRadamMoments, p: Param, k: Scalars) -> tuple[Any, PoweredRadamMoments]:
        b1_power, b2_power = self.b1 * s.b1_power, self.b2 * s.b2_power
        rho = (s.rho * (self.b2 - b2_power) + b2_power) / (1 - b2_power)
        mu, nu = _means(self, g, s)
        longest = 2 / (1 - self.b2) - 1
        length = longest - 2 * rho
        trusted = length > 5
        at = jnp.where(trusted, length, 5)
        rect = jnp.sqrt((at - 4) * (at - 2) * longest / ((longest - 4) * (longest - 2) * at))
        m_hat, root = mu / (1 - b1_power), jnp.sqrt(1 - b2_power) / (jnp.sqrt(nu) + self.eps)
        return jnp.where(trusted, m_hat * rect * root, m_hat), PoweredRadamMoments(mu, nu, b1_power, b2_power, rho)


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
