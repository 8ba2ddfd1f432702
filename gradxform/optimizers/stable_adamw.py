"""StableAdamW: AdamW whose step is shortened where the second moment lags behind the gradient."""

from __future__ import annotations

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import abs_sq, quotient, root
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.codec import stored_in
from gradxform.core.facts import Facts, Reach
from gradxform.core.hyper import Beta, Decay, Hyper
from gradxform.core.rule import Rule
from gradxform.core.sizes import squarable
from gradxform.core.stage import Chooses
from gradxform.core.types import Array, Dtype, Mask, Param, Path, Scalars, Where
from gradxform.optimizers.adam import AdamLike, Moments
from gradxform.params.masks import mask_selector
from gradxform.transforms.clip import clip_factor
from gradxform.transforms.scale import descend


class ScaleByStableAdamw(AdamLike):
    b2: Beta = 0.99
    eps: Hyper = 1e-6
    weight_decay: Decay = 0.2
    mask: Chooses | None = None
    clip_threshold: Hyper = 1.0
    decayed: bool = True
    facts = Facts(reach=Reach.ARRAY, needs_params=True)

    def check(self) -> None:
        super().check()
        check.nonnegative(weight_decay=self.weight_decay)
        check.positive_bound(clip_threshold=self.clip_threshold)

    def for_leaf(self, path: Path, p: Array) -> Rule:
        return self if self.mask is None else self.with_fields(mask=None, decayed=self.mask.matches(path, p))

    @property
    def selectors(self) -> tuple[Where, ...]:
        return () if self.mask is None else (self.mask,)

    def emit(self, g: Array, s: Moments, p: Param, k: Scalars) -> Array:
        c1, c2, _ = k
        nu = s.nu / c2
        ahead = quotient(abs_sq(squarable(g, g.size)), jnp.maximum(nu, self.eps**2), 0.0)
        shortened = clip_factor(self.clip_threshold, root(jnp.mean(ahead)))
        direction = quotient(s.mu / c1, root(nu + self.eps_root) + self.eps, self.eps)
        u: Array = shortened * (direction + self.weight_decay * p if self.decayed else direction)
        return u


def stable_adamw(
    learning_rate: Hyper, b1: Beta = 0.9, b2: Beta = 0.99, eps: Hyper = 1e-6, eps_root: Hyper = 0.0,
    mu_dtype: Dtype | None = None, weight_decay: Hyper = 0.2, mask: Mask = None, *, clip_threshold: Hyper = 1.0,
) -> Chain:  # fmt: skip
    """AdamW, shorter where v lags behind: `u = -learning_rate·c·(m̂ / (√(v̂ + eps_root) + eps) + weight_decay·p)`.

    `c = min(1, clip_threshold / rms)`, rms the root of the array's mean of `|g|² / max(v̂, eps²)`: it takes the place of
    gradient clipping. m̂ and v̂ as in `scale_by_adam`; c shortens the decay too, which therefore is no stage.
    mask: which parameters decay, as in `add_decayed_weights`. mu_dtype: store m in this dtype instead of float32.
    Reach: array. State: mu, nu, shaped like p, float32 or wider (nu real for complex p).
    Raises: ValueError if b1 or b2 is not in [0, 1), clip_threshold <= 0 or another argument is negative.
    Source: Wortsman et al. 2023, arXiv:2304.13013, algorithm 2.
    """
    check.floating(mu_dtype=mu_dtype)
    rule = ScaleByStableAdamw(b1, b2, eps, eps_root, weight_decay, mask_selector(mask), clip_threshold)
    return chain(lift(stored_in(rule, mu=mu_dtype)), descend(learning_rate))
