"""LaProp: momentum of normalised gradients, where Adam normalises a momentum."""

from __future__ import annotations

from gradxform.core import check
from gradxform.core.arithmetic import abs_sq, quotient, root
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.codec import stored_in
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.sizes import squarable
from gradxform.core.types import Array, Dtype, Mask, Param, Scalars
from gradxform.optimizers.adam import AdamLike, Moments
from gradxform.transforms.decay import add_decayed_weights
from gradxform.transforms.scale import descend


class ScaleByLaprop(AdamLike):
    eps: Hyper = 1e-15

    def remember(self, g: Array, s: Moments, p: Param, k: Scalars) -> Moments:
        g = squarable(g)
        nu = self.b2 * s.nu + (1 - self.b2) * abs_sq(g)
        unit = quotient(g, root(nu / k[1] + self.eps_root) + self.eps, self.eps)
        return Moments(self.b1 * s.mu + (1 - self.b1) * unit, nu)

    def emit(self, g: Array, s: Moments, p: Param, k: Scalars) -> Array:
        u: Array = s.mu / k[0]
        return u


def scale_by_laprop(
    b1: Beta = 0.9, b2: Beta = 0.999, eps: Hyper = 1e-15, eps_root: Hyper = 0.0, mu_dtype: Dtype | None = None
) -> Chain:
    """Average normalised gradients: `m <- b1·m + (1-b1)·g / (√(v̂ + eps_root) + eps)`, `u = m / (1-b1ᵗ)`.

    `v <- b2·v + (1-b2)·|g|²`, `v̂ = v / (1-b2ᵗ)`. Any b1 goes with any b2. The authors' code averages the products
    with the learning rate: the same for a constant rate. mu_dtype: store m in this dtype instead of float32.
    Reach: element. State: mu, nu, shaped like p, float32 or wider (nu real for complex p).
    Raises: ValueError if b1 or b2 is not in [0, 1), eps < 0 or eps_root < 0.
    Source: Ziyin et al. 2020, arXiv:2002.04839, algorithm 1.
    """
    check.floating(mu_dtype=mu_dtype)
    return lift(stored_in(ScaleByLaprop(b1, b2, eps, eps_root), mu=mu_dtype))


def laprop(
    learning_rate: Hyper, b1: Beta = 0.9, b2: Beta = 0.999, eps: Hyper = 1e-15, eps_root: Hyper = 0.0,
    mu_dtype: Dtype | None = None, weight_decay: Hyper = 0.0, mask: Mask = None,
) -> Chain:  # fmt: skip
    """LaProp: `scale_by_laprop`, `add_decayed_weights(weight_decay, mask)`, `scale_by_learning_rate`.

    The authors' decay is not times the learning rate: `chain(laprop(...), subtract_decayed_weights(weight_decay))`.
    Source: Ziyin et al. 2020, arXiv:2002.04839, algorithm 1.
    """
    direction = scale_by_laprop(b1, b2, eps, eps_root, mu_dtype)
    return chain(direction, add_decayed_weights(weight_decay, mask), descend(learning_rate))
