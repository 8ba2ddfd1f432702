"""What MindSpore computes that no stage of the library does: epsilon beside √v, decay by rows, kernels that refuse."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from gradxform.compat.common.moments import EpsilonHat, PoweredInfinityMoments, PoweredMaxMoments, PoweredMoments
from gradxform.core.arithmetic import power, rounded
from gradxform.core.facts import Facts, Station
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.lens import Wrapper
from gradxform.core.rows import Rows
from gradxform.core.rule import Halves, Keep, Rule, dense
from gradxform.core.sizes import overflowing
from gradxform.core.types import Array, Memory, Param, Scalars
from gradxform.core.value import Child
from gradxform.params.select import Selector
from gradxform.transforms.decay import DecaysWeights
from gradxform.transforms.momentum import Trace, TraceMemory


class ScaledDecay(DecaysWeights):
    """L2 decay of a gradient that is still multiplied by the loss scale; of sparse rows, each value row alone."""

    loss_scale: float = 1.0
    facts = DecaysWeights.facts.with_fields(stored_params=True)

    def scalars(self, t: Any) -> Scalars:
        """The coefficient times the loss scale, as float32 holds it."""
        decay = self.weight_decay
        if isinstance(decay, float):
            return float(np.float32(decay * self.loss_scale))
        decay = rounded(jnp.asarray(decay, float), jnp.float32)
        return rounded(decay * float(np.float32(self.loss_scale)), jnp.float32)

    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Any, Memory]:
        return g + k * p.astype(g.dtype), s

    def update_rows(self, g: Rows, s: Memory, p: Param, k: Scalars) -> tuple[Rows, Memory]:
        seen = p.at[g.places()].get(mode="fill", fill_value=0)
        return g.with_values(g.values + k * seen.astype(g.dtype)), s


UNTOLD = -1.0
"""In the place of a power before the first step, or that a checkpoint did not have: the counter tells it."""


def _untold() -> Array:
    return jnp.full((), UNTOLD, jnp.float32)


def _multiplied(beta: Any, kept: Array, t: Any) -> Any:
    """The power at step t from the one that was kept; the choice keeps compilers from fusing 1 - beta·kept."""
    return jnp.where(kept == UNTOLD, jnp.asarray(power(beta, t), kept.dtype), beta * kept)


class PoweredEpsilonHat(EpsilonHat, abstract=True):
    """Adam corrected by powers of the betas that are multiplied up in float32, as they round, before they are read."""

    facts = Facts(told_by_count=("b1_power", "b2_power"))

    def scalars(self, t: Any) -> Scalars:
        return t

    def init(self, p: Array) -> Memory:
        return PoweredMoments(jnp.zeros_like(p), jnp.zeros_like(p.real), _untold(), _untold())

    def remember(self, g: Array, s: Memory, p: Param, k: Scalars) -> Memory:
        mu, nu = super().remember(g, s, p, k)
        b1_power, b2_power = _multiplied(self.b1, s.b1_power, k), _multiplied(self.b2, s.b2_power, k)
        return s._replace(mu=mu, nu=nu, b1_power=b1_power, b2_power=b2_power)

    def emit(self, g: Array, s: Memory, p: Param, k: Scalars) -> Any:
        return super().emit(g, s, p, jnp.sqrt(1 - s.b2_power) / (1 - s.b1_power))


class PoweredAdam(PoweredEpsilonHat):
    """mu, nu: shaped like p, nu real; b1_power, b2_power: scalars, float32."""


class EpsilonHatAmsgrad(PoweredEpsilonHat):
    """The same over the running maximum of v, uncorrected; without Nesterov's numerator.

    mu, nu, nu_max: shaped like p, the last two real; b1_power, b2_power: scalars, float32.
    """

    name = "amsgrad"

    def init(self, p: Array) -> Memory:
        zero = jnp.zeros_like(p.real)
        return PoweredMaxMoments(jnp.zeros_like(p), zero, zero, _untold(), _untold())

    def remember(self, g: Array, s: Memory, p: Param, k: Scalars) -> Memory:
        new = super().remember(g, s, p, k)
        return new._replace(nu_max=jnp.maximum(s.nu_max, new.nu))

    def emit(self, g: Array, s: Memory, p: Param, k: Scalars) -> Any:
        return super().emit(g, s._replace(nu=s.nu_max), p, k)


class EpsilonBesideAdamax(Halves):
    """Adamax with epsilon beside the maximum, corrected by such a power.

    mu, nu: shaped like p; b1_power: scalar, float32.
    """

    b1: Beta
    b2: Beta
    eps: Hyper
    facts = Facts(told_by_count=("b1_power",))

    def init(self, p: Array) -> PoweredInfinityMoments:
        return PoweredInfinityMoments(jnp.zeros_like(p), jnp.zeros_like(p), _untold())

    def scalars(self, t: Any) -> Scalars:
        return t

    def remember(self, g: Array, s: PoweredInfinityMoments, p: Param, k: Scalars) -> PoweredInfinityMoments:
        mu, nu = self.b1 * s.mu + (1 - self.b1) * g, jnp.maximum(self.b2 * s.nu, jnp.abs(g))
        return PoweredInfinityMoments(mu, nu, _multiplied(self.b1, s.b1_power, k))

    def emit(self, g: Array, s: PoweredInfinityMoments, p: Param, k: Scalars) -> Any:
        return s.mu / (1 - s.b1_power) / (s.nu + self.eps)


class MomentumKernel(Wrapper):
    """Momentum whose kernel is float32: a float64 parameter's numbers are rounded to it, operation by operation.

    trace: shaped like p.
    """

    rule: Child[Trace]

    def __repr__(self) -> str:
        return repr(self.rule)

    def advance(
        self, g: Array | Rows, factors: list[Any], s: TraceMemory, p: Param, k: Scalars, keep: Keep
    ) -> tuple[Any, TraceMemory]:
        if g.dtype != jnp.float64:
            return self.rule.advance(g, factors, s, p, k, keep)
        decay, g = self.rule.decay, rounded(dense(g, factors), jnp.float32)
        s = keep(TraceMemory(rounded(rounded(decay * s.trace, jnp.float32) + g, jnp.float32)), s)
        return (g + rounded(decay * s.trace, jnp.float32) if self.rule.nesterov else s.trace), s


class LandInFloat32(Rule):
    """Round where the step lands, as that kernel does; no memory."""

    facts = Facts(station=Station.LAND, needs_params=True)

    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Any, Memory]:
        return rounded(rounded(p, jnp.float32) + rounded(g, jnp.float32), jnp.float32) - p, s


class Wide(Selector):
    """The float64 parameters."""

    def matches(self, path: str, leaf: Any) -> bool:
        return bool(leaf.dtype == jnp.float64)


class Kernel(Wrapper):
    """A rule with the limits of the framework's kernel for it; its memory."""

    optimizer: str
    float64: bool = False
    sparse: type[Exception] | None = None
    """What a sparse gradient raises; None where the kernel takes one."""

    def __repr__(self) -> str:
        return repr(self.rule)

    def init(self, p: Array) -> Memory:
        if p.dtype != jnp.float32 and not self.float64:
            raise TypeError(f"{self.optimizer} takes parameters of float32 and narrower, got {p.dtype}")
        return self.rule.init(p)

    def advance(
        self, g: Array | Rows, factors: list[Any], s: Memory, p: Param, k: Scalars, keep: Keep
    ) -> tuple[Any, Memory]:
        if self.sparse is not None and isinstance(g, Rows):
            raise self.sparse(f"{self.optimizer} with these options takes dense gradients, got {type(g).__name__}")
        with overflowing():
            return self.rule.advance(g, factors, s, p, k, keep)


class Centralized(Selector):
    """Where MindSpore's centralisation acts: 2 or more axes, and a second one that is a multiple of 16."""

    def matches(self, path: str, leaf: Any) -> bool:
        return bool(leaf.ndim > 1 and leaf.shape[1] % 16 == 0)
