"""What MindSpore computes that no stage of the library does: epsilon beside √v, decay by rows, kernels that refuse."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from gradxform.compat.common.moments import EpsilonHatAdam
from gradxform.core.arithmetic import abs_sq, rounded
from gradxform.core.rows import Rows
from gradxform.core.rule import Rule, Wrapper
from gradxform.optimizers.adam import MaxMoments
from gradxform.params.select import Selector
from gradxform.transforms.decay import AddDecayedWeights
from gradxform.transforms.momentum import Trace, TraceMemory


class ScaledDecay(AddDecayedWeights):
    """L2 decay of a gradient that is still multiplied by the loss scale; of sparse rows, each value row alone."""

    loss_scale: float = 1.0
    name = "weight_decay"
    stored_params = True

    def scalars(self, t: Any) -> Any:
        decay = self.weight_decay
        if isinstance(decay, float):
            return float(np.float32(decay * self.loss_scale))
        decay = rounded(jnp.asarray(decay, float), jnp.float32)
        return rounded(decay * float(np.float32(self.loss_scale)), jnp.float32)

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        return g + k * p.astype(g.dtype), s

    def update_rows(self, g: Rows, s: Any, p: Any, k: Any) -> tuple[Rows, Any]:
        seen = p.at[g.places()].get(mode="fill", fill_value=0)
        return g.with_values(g.values + k * seen.astype(g.dtype)), s


class EpsilonHatAmsgrad(EpsilonHatAdam):
    """The same over the running maximum of v, uncorrected, without Nesterov's numerator."""

    name = "amsgrad"

    def init(self, p: Any) -> MaxMoments:  # type: ignore[override]
        return MaxMoments(jnp.zeros_like(p), jnp.zeros_like(p.real), jnp.zeros_like(p.real))

    def update(self, g: Any, s: MaxMoments, p: Any, k: Any) -> tuple[Any, MaxMoments]:  # type: ignore[override]
        mu = self.b1 * s.mu + (1 - self.b1) * g
        nu = self.b2 * s.nu + (1 - self.b2) * abs_sq(g)
        nu_max = jnp.maximum(s.nu_max, nu)
        return k * mu / (jnp.sqrt(nu_max) + self.eps), MaxMoments(mu, nu, nu_max)


class MomentumKernel(Trace):
    """Momentum whose kernel is float32: a float64 parameter's numbers are rounded to it, operation by operation."""

    name = "trace"

    def update(self, g: Any, s: TraceMemory, p: Any, k: Any) -> tuple[Any, Any]:
        if g.dtype != jnp.float64:
            return super().update(g, s, p, k)
        g = rounded(g, jnp.float32)
        v = rounded(rounded(self.decay * s.trace, jnp.float32) + g, jnp.float32)
        return (g + rounded(self.decay * v, jnp.float32) if self.nesterov else v), TraceMemory(v)


class LandInFloat32(Rule):
    """Round where the step lands, as that kernel does."""

    needs_params = True

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        return rounded(rounded(p, jnp.float32) + rounded(g, jnp.float32), jnp.float32) - p, s


class Wide(Selector):
    """The float64 parameters."""

    def matches(self, path: str, leaf: Any) -> bool:
        return bool(leaf.dtype == jnp.float64)


class Kernel(Wrapper):
    """A rule with the limits of the framework's kernel for it."""

    optimizer: str
    float64: bool = False
    sparse: type[Exception] | None = None
    """What a sparse gradient raises; None where the kernel takes one."""

    def __repr__(self) -> str:
        return repr(self.rule)

    def init(self, p: Any) -> Any:
        if p.dtype != jnp.float32 and not self.float64:
            raise TypeError(f"{self.optimizer} takes parameters of float32 and narrower, got {p.dtype}")
        return self.rule.init(p)

    def update_rows(self, g: Rows, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        if self.sparse is not None:
            raise self.sparse(f"{self.optimizer} with these options takes dense gradients, got {type(g).__name__}")
        return self.rule.update_rows(g, s, p, k)


class Centralized(Selector):
    """Where MindSpore's centralisation acts: 2 or more axes, and a second one that is a multiple of 16."""

    def matches(self, path: str, leaf: Any) -> bool:
        return bool(leaf.ndim > 1 and leaf.shape[1] % 16 == 0)
