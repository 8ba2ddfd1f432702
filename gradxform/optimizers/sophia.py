"""Sophia and AdaHessian: means of gradients over what is known of the Hessian's diagonal, which comes as a tree."""

from __future__ import annotations

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import abs_sq, debias, quotient
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.codec import stored_in
from gradxform.core.facts import Facts, Reach
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.keys import OwnExtra
from gradxform.core.rule import Halves, Rule
from gradxform.core.sizes import squarable
from gradxform.core.types import Array, Dtype, Mask, Param, Path, Scalars
from gradxform.optimizers.adam import Moments
from gradxform.params.masks import mask_selector
from gradxform.transforms.decay import AddDecayedWeights, add_decayed_weights
from gradxform.transforms.scale import descend


class ScaleBySophia(Halves):
    b1: Beta = 0.965
    b2: Beta = 0.99
    eps: Hyper = 1e-15
    gamma: Hyper = 0.04
    clip_threshold: Hyper = 1.0
    update_interval: int = 10
    bias_correction: bool = False
    hessian: OwnExtra = "hessian"
    facts = Facts(real_only=True)

    def check(self) -> None:
        check.nonnegative(eps=self.eps, gamma=self.gamma)
        check.positive_bound(clip_threshold=self.clip_threshold)
        check.integer(1, update_interval=self.update_interval)

    @property
    def corrects(self) -> bool:
        return self.bias_correction

    def init(self, p: Array) -> Moments:
        return Moments(mu=jnp.zeros_like(p), nu=jnp.zeros_like(p))

    def scalars(self, t: Array) -> Scalars:
        return debias(self.b1, t) if self.bias_correction else 1.0, (t - 1) % self.update_interval == 0

    def remember(self, g: Array, s: Moments, p: Param, k: Scalars) -> Moments:
        mu, nu = self.b1 * s.mu + (1 - self.b1) * g, s.nu
        if self.hessian is not None:
            nu = jnp.where(k[1], self.b2 * nu + (1 - self.b2) * self.hessian, nu)
        return Moments(mu, nu)

    def emit(self, g: Array, s: Moments, p: Param, k: Scalars) -> Array:
        size, mu = jnp.maximum(self.gamma * s.nu, self.eps), s.mu / k[0]
        within = (jnp.abs(mu) < self.clip_threshold * size) | (mu == 0)
        limit = self.clip_threshold * jnp.sign(jnp.where(within, 1.0, mu))
        return jnp.where(within, quotient(mu, jnp.where(within, size, 1.0), self.eps), limit)


class ScaleByAdahessian(Halves):
    b1: Beta = 0.9
    b2: Beta = 0.999
    eps: Hyper = 1e-4
    hessian_power: Hyper = 1.0
    spatial_axes: int | tuple[int, ...] | None = (0, 1)
    hessian: OwnExtra = "hessian"

    @property
    def facts(self) -> Facts:
        return Facts(reach=Reach.ELEMENT if self.spatial_axes is None else Reach.ARRAY, real_only=True)

    def check(self) -> None:
        check.nonnegative(eps=self.eps)
        check.positive(hessian_power=self.hessian_power)
        check.unit(hessian_power=self.hessian_power)
        check.axes(spatial_axes=self.spatial_axes)

    def for_leaf(self, path: Path, p: Array) -> Rule:
        return self if p.ndim == 4 else self.with_fields(spatial_axes=None)

    def init(self, p: Array) -> Moments:
        return Moments(mu=jnp.zeros_like(p), nu=jnp.zeros_like(p))

    def scalars(self, t: Array) -> Scalars:
        return debias(self.b1, t), debias(self.b2, t)

    def remember(self, g: Array, s: Moments, p: Param, k: Scalars) -> Moments:
        mu = self.b1 * s.mu + (1 - self.b1) * g
        if self.hessian is None:
            return Moments(mu, s.nu)
        size = squarable(self.hessian)
        if self.spatial_axes is not None:
            size = jnp.abs(size).mean(self.spatial_axes, keepdims=True)
        return Moments(mu, self.b2 * s.nu + (1 - self.b2) * abs_sq(size))

    def emit(self, g: Array, s: Moments, p: Param, k: Scalars) -> Array:
        seen = s.nu > 0
        size = jnp.where(seen, jnp.where(seen, s.nu / k[1], 1.0) ** (self.hessian_power / 2), 0.0)
        return quotient(s.mu / k[0], size + self.eps, self.eps)


def scale_by_sophia(
    b1: Beta = 0.965, b2: Beta = 0.99, eps: Hyper = 1e-15, gamma: Hyper = 0.04, clip_threshold: Hyper = 1.0,
    update_interval: int = 10, mu_dtype: Dtype | None = None, *, bias_correction: bool = False,
) -> Chain:  # fmt: skip
    """Divide a mean of gradients by a mean of the Hessian's diagonal h, and clip: `u = clip(m / max(gamma·h, eps))`.

    `update` takes the estimate as `hessian=`, a tree of `hutchinson` or `gauss_newton_bartlett`, and reads it at the
    first of every update_interval steps, before it steps; None leaves h as it is. optax takes the objective itself,
    reads h a step later, and corrects m by 1-b1ᵗ (bias_correction), with eps 1e-8 and gamma 0.01.
    clip_threshold: of each element; infinity clips nothing. mu_dtype: store m in this dtype instead of float32.
    Reach: element. State: mu, nu (h), shaped like p, float32 or wider.
    Raises: ValueError if a rate is not in [0, 1), eps or gamma < 0, clip_threshold <= 0, or hessian is missing.
    Source: Liu et al. 2023, arXiv:2305.14342, algorithm 3; its code, Liuhong99/Sophia.
    """
    check.floating(mu_dtype=mu_dtype)
    rule = ScaleBySophia(b1, b2, eps, gamma, clip_threshold, update_interval, bias_correction)
    return lift(stored_in(rule, mu=mu_dtype))


def sophia(
    learning_rate: Hyper, b1: Beta = 0.965, b2: Beta = 0.99, eps: Hyper = 1e-15, weight_decay: Hyper = 0.1,
    weight_decay_mask: Mask = None, gamma: Hyper = 0.04, clip_threshold: Hyper = 1.0, update_interval: int = 10,
    mu_dtype: Dtype | None = None, *, bias_correction: bool = False,
) -> Chain:  # fmt: skip
    """Sophia: `scale_by_sophia`, `add_decayed_weights(weight_decay, weight_decay_mask)`, `scale_by_learning_rate`.

    `update` takes the Hessian's diagonal as `hessian=`. optax's numbers are eps 1e-8, decay 1e-4 and gamma 0.01.
    Source: Liu et al. 2023, arXiv:2305.14342, algorithm 3.
    """
    direction = scale_by_sophia(
        b1, b2, eps, gamma, clip_threshold, update_interval, mu_dtype, bias_correction=bias_correction
    )
    decay = lift(AddDecayedWeights(weight_decay), mask_selector(weight_decay_mask, "weight_decay_mask"))
    return chain(direction, decay, descend(learning_rate))


def scale_by_adahessian(
    b1: Beta = 0.9, b2: Beta = 0.999, eps: Hyper = 1e-4, hessian_power: Hyper = 1.0,
    mu_dtype: Dtype | None = None, *, spatial_axes: int | tuple[int, ...] | None = (0, 1),
) -> Chain:  # fmt: skip
    """Adam with the Hessian's diagonal in place of the gradient under the root: `u = m̂ / (v̂^(hessian_power/2) + eps)`.

    `v <- b2·v + (1-b2)·h²`, m̂ and v̂ as in `scale_by_adam`. `update` takes h as `hessian=`, a tree of `hutchinson`;
    None leaves v as it is. spatial_axes: of arrays of four axes, convolutions, over which |h| is averaged, or None.
    Reach: array, for convolutions; element. State: mu, nu, shaped like p, float32 or wider.
    Raises: ValueError if a rate is not in [0, 1), eps < 0, hessian_power not in (0, 1], or hessian is missing.
    Source: Yao et al. 2020, arXiv:2006.00719, algorithm 1; its code, amirgholami/adahessian.
    """
    check.floating(mu_dtype=mu_dtype)
    return lift(stored_in(ScaleByAdahessian(b1, b2, eps, hessian_power, spatial_axes), mu=mu_dtype))


def adahessian(
    learning_rate: Hyper = 0.15, b1: Beta = 0.9, b2: Beta = 0.999, eps: Hyper = 1e-4, weight_decay: Hyper = 0.0,
    mask: Mask = None, hessian_power: Hyper = 1.0, mu_dtype: Dtype | None = None, *,
    spatial_axes: int | tuple[int, ...] | None = (0, 1),
) -> Chain:  # fmt: skip
    """AdaHessian: `scale_by_adahessian`, `add_decayed_weights(weight_decay, mask)`, `scale_by_learning_rate`.

    `update` takes the Hessian's diagonal as `hessian=`, at every step in the authors' code.
    Source: Yao et al. 2020, arXiv:2006.00719, algorithm 1.
    """
    direction = scale_by_adahessian(b1, b2, eps, hessian_power, mu_dtype, spatial_axes=spatial_axes)
    return chain(direction, add_decayed_weights(weight_decay, mask), descend(learning_rate))
