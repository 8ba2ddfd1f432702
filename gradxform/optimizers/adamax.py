"""AdaMax: Adam with the infinity norm in the denominator."""

from __future__ import annotations

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import debias, quotient
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.facts import Facts
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.rule import Halves
from gradxform.core.sizes import addable
from gradxform.core.types import Array, Mask, Param
from gradxform.optimizers.adam import Moments
from gradxform.transforms.decay import add_decayed_weights
from gradxform.transforms.scale import descend


class ScaleByAdamax(Halves):
    b1: Beta = 0.9
    b2: Beta = 0.999
    eps: Hyper = 1e-8
    facts = Facts(decay_rates=("b1", "b2"), monotone=True)

    def check(self) -> None:
        check.positive(eps=self.eps)

    def init(self, p: Array) -> Moments:
        return Moments(mu=jnp.zeros_like(p), nu=jnp.zeros_like(p.real))

    def scalars(self, t: Array) -> Array:
        return debias(self.b1, t)

    def remember(self, g: Array, s: Moments, p: Param, k: Array) -> Moments:
        g = addable(g)
        return Moments(self.b1 * s.mu + (1 - self.b1) * g, jnp.maximum(self.b2 * s.nu, jnp.abs(g) + self.eps))

    def emit(self, g: Array, s: Moments, p: Param, k: Array) -> Array:
        return quotient(s.mu / k, s.nu, self.eps)


def scale_by_adamax(b1: Beta = 0.9, b2: Beta = 0.999, eps: Hyper = 1e-8) -> Chain:
    """Divide a mean of gradients by a decaying maximum: `v <- max(b2·v, |g| + eps)`, `u = m / (1 - b1ᵗ) / v`.

    `m <- b1·m + (1-b1)·g`. The maximum needs no correction.
    Reach: element. State: mu, nu, shaped like p, float32 or wider.
    Raises: ValueError if b1 or b2 is not in [0, 1) or eps <= 0.
    Source: Kingma, Ba 2014, arXiv:1412.6980, algorithm 2.
    """
    return lift(ScaleByAdamax(b1, b2, eps))


def adamax(learning_rate: Hyper, b1: Beta = 0.9, b2: Beta = 0.999, eps: Hyper = 1e-8) -> Chain:
    """AdaMax: `chain(scale_by_adamax(b1, b2, eps), scale_by_learning_rate(learning_rate))`.

    Source: Kingma, Ba 2014, arXiv:1412.6980, algorithm 2.
    """
    return chain(scale_by_adamax(b1, b2, eps), descend(learning_rate))


def adamaxw(
    learning_rate: Hyper, b1: Beta = 0.9, b2: Beta = 0.999, eps: Hyper = 1e-8, weight_decay: Hyper = 1e-4,
    mask: Mask = None,
) -> Chain:  # fmt: skip
    """AdaMax with decoupled decay: `scale_by_adamax`, `add_decayed_weights(weight_decay, mask)`, learning rate.

    Source: Loshchilov, Hutter 2017, arXiv:1711.05101.
    """
    return chain(scale_by_adamax(b1, b2, eps), add_decayed_weights(weight_decay, mask), descend(learning_rate))
