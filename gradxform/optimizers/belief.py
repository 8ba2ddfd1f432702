"""AdaBelief: Adam with the variance about the mean in the denominator."""

from __future__ import annotations

from gradxform.core.arithmetic import abs_sq, quotient, root
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.sizes import squarable
from gradxform.core.types import Array, Param, Scalars
from gradxform.optimizers.adam import AdamLike, Moments
from gradxform.transforms.scale import descend


class ScaleByBelief(AdamLike):
    eps: Hyper = 1e-16
    eps_root: Hyper = 1e-16
    nesterov: bool = False

    def remember(self, g: Array, s: Moments, p: Param, k: Scalars) -> Moments:
        mu = self.b1 * s.mu + (1 - self.b1) * squarable(g)
        # A last sum of two arrays: adding eps_root last, the compiler would add again from a copy of the old memory.
        return Moments(mu, self.b2 * s.nu + ((1 - self.b2) * abs_sq(squarable(g - mu)) + self.eps_root))

    def emit(self, g: Array, s: Moments, p: Param, k: Scalars) -> Array:
        c1, c2, c1_next = k
        m_hat = self.ahead(g, s.mu, c1, c1_next) if self.nesterov else s.mu / c1
        return quotient(m_hat, root(s.nu / c2) + self.eps, self.eps)


def scale_by_belief(
    b1: Beta = 0.9, b2: Beta = 0.999, eps: Hyper = 1e-16, eps_root: Hyper = 1e-16, *, nesterov: bool = False
) -> Chain:
    """Divide a mean of gradients by the deviation from it: `u = m̂ / (√ŝ + eps)`.

    `s <- b2·s + (1-b2)·|g - m|² + eps_root`; m, its correction and nesterov as in `scale_by_adam`; `ŝ = s / (1-b2ᵗ)`.
    Long steps where gradients agree.
    Reach: element. State: mu, nu, shaped like p, float32 or wider (nu real for complex p).
    Raises: ValueError if b1 or b2 is not in [0, 1), eps < 0 or eps_root < 0.
    Source: Zhuang et al. 2020, arXiv:2010.07468, algorithm 2.
    """
    return lift(ScaleByBelief(b1, b2, eps, eps_root, nesterov))


def adabelief(
    learning_rate: Hyper, b1: Beta = 0.9, b2: Beta = 0.999, eps: Hyper = 1e-16, eps_root: Hyper = 1e-16, *,
    nesterov: bool = False,
) -> Chain:  # fmt: skip
    """AdaBelief: `chain(scale_by_belief(b1, b2, eps, eps_root), scale_by_learning_rate(learning_rate))`.

    Source: Zhuang et al. 2020, arXiv:2010.07468, algorithm 2.
    """
    return chain(scale_by_belief(b1, b2, eps, eps_root, nesterov=nesterov), descend(learning_rate))
