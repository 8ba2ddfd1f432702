"""Lion: the sign of an interpolated momentum."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.codec import stored_in
from gradxform.core.facts import Facts
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.rule import Halves, Rule
from gradxform.core.sizes import addable
from gradxform.core.types import Array, Dtype, Mask, Param, Scalars
from gradxform.transforms.decay import add_decayed_weights
from gradxform.transforms.scale import descend


class Momentum(NamedTuple):
    """mu: shaped like p."""

    mu: Array


class Signed(Rule, abstract=True):
    b1: Beta = 0.9
    b2: Beta = 0.99
    mode: str = "hard"
    smooth_beta: Hyper = 1.0
    name = "lion"
    facts = Facts(real_only=True, decay_rates=("b2",), monotone=True)

    def check(self) -> None:
        check.choice("hard", "smooth", "refined", mode=self.mode)
        check.positive(smooth_beta=self.smooth_beta)

    def init(self, p: Array) -> Momentum:
        return Momentum(mu=jnp.zeros_like(p))

    def remember(self, g: Array, s: Momentum, p: Param, k: Scalars) -> Momentum:
        return Momentum(self.b2 * s.mu + (1 - self.b2) * addable(g))

    def bounded(self, x: Array) -> Array:
        if self.mode == "smooth":
            return jnp.tanh(self.smooth_beta * x)
        return jnp.sign(x) if self.mode == "hard" else jnp.clip(x, -1.0, 1.0)


class ScaleByLion(Signed, Halves):
    """Where nothing cancels, u follows from the new m, and the old one needs no copy: x·b2 = b1·m + (b2-b1)·g."""

    def emit(self, g: Array, s: Momentum, p: Param, k: Scalars) -> Array:
        return self.bounded((self.b1 * s.mu + (self.b2 - self.b1) * g) / self.b2)


class ScaleByLionFromOld(Signed):
    """Lion for other rates: from the old m."""

    def update(self, g: Array, s: Momentum, p: Param, k: Scalars) -> tuple[Array, Momentum]:
        return self.bounded(self.b1 * s.mu + (1 - self.b1) * g), self.remember(g, s, p, k)


def scale_by_lion(
    b1: Beta = 0.9, b2: Beta = 0.99, mu_dtype: Dtype | None = None, *, mode: str = "hard", smooth_beta: Hyper = 1.0
) -> Chain:
    """Take the sign of an interpolation: `u = sign(b1·m + (1-b1)·g)`, then `m <- b2·m + (1-b2)·g`.

    mode: `"hard"` (the sign), `"smooth"` (`tanh(smooth_beta · x)`) or `"refined"` (x clipped to [-1, 1]).
    mu_dtype: store m in this dtype instead of float32.
    Reach: element. State: mu, shaped like p, float32 or wider.
    Raises: ValueError if b1 or b2 is not in [0, 1), mode is unknown, or the parameter is complex.
    Source: Chen et al. 2023, arXiv:2302.06675, algorithm 2.
    """
    check.floating(mu_dtype=mu_dtype)
    b1, b2 = check.given(check.fraction, b1=b1), check.given(check.fraction, b2=b2)
    follows = isinstance(b1, float) and isinstance(b2, float) and 0 < b2 >= b1
    rule = (ScaleByLion if follows else ScaleByLionFromOld)(b1, b2, mode, smooth_beta)
    return lift(stored_in(rule, mu=mu_dtype))


def lion(
    learning_rate: Hyper, b1: Beta = 0.9, b2: Beta = 0.99, mu_dtype: Dtype | None = None,
    weight_decay: Hyper = 1e-3, mask: Mask = None,
) -> Chain:  # fmt: skip
    """Lion: `scale_by_lion(b1, b2)`, `add_decayed_weights(weight_decay, mask)`, `scale_by_learning_rate`.

    Takes a learning rate 3 to 10 times smaller than AdamW, with decay as much larger.
    Source: Chen et al. 2023, arXiv:2302.06675.
    """
    return chain(scale_by_lion(b1, b2, mu_dtype), add_decayed_weights(weight_decay, mask), descend(learning_rate))
