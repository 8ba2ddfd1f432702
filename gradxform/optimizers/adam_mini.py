"""Adam-mini: Adam with one second moment for a whole block of parameters."""

from __future__ import annotations

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import abs_sq, quotient, root
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.codec import stored_in
from gradxform.core.facts import Facts, Reach
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.sizes import squarable
from gradxform.core.types import Array, Dtype, Mask, Param, Scalars
from gradxform.optimizers.adam import AdamLike, Moments
from gradxform.transforms.decay import add_decayed_weights
from gradxform.transforms.scale import descend


class ScaleByAdamMini(AdamLike):
    block_axes: int | tuple[int, ...] | None = None
    facts = Facts(reach=Reach.ARRAY)

    def check(self) -> None:
        super().check()
        check.axes(block_axes=self.block_axes)

    def of_blocks(self, square: Array) -> Array:
        """The mean over each block, with axes of length 1 where it was taken."""
        n, axes = square.ndim, self.block_axes
        axes = axes if isinstance(axes, tuple) else () if axes is None else (axes,)
        kept = {axis % n for axis in axes if -n <= axis < n}
        return square.mean(tuple(axis for axis in range(n) if axis not in kept), keepdims=True)

    def init(self, p: Array) -> Moments:
        return Moments(mu=jnp.zeros_like(p), nu=jnp.zeros_like(self.of_blocks(p.real)))

    def remember(self, g: Array, s: Moments, p: Param, k: Scalars) -> Moments:
        square = self.of_blocks(abs_sq(squarable(g, g.size)))
        return Moments(self.b1 * s.mu + (1 - self.b1) * squarable(g), self.b2 * s.nu + (1 - self.b2) * square)

    def emit(self, g: Array, s: Moments, p: Param, k: Scalars) -> Array:
        return quotient(s.mu / k[0], root(s.nu / k[1] + self.eps_root) + self.eps, self.eps)


def scale_by_adam_mini(
    b1: Beta = 0.9, b2: Beta = 0.999, eps: Hyper = 1e-8, eps_root: Hyper = 0.0, mu_dtype: Dtype | None = None, *,
    block_axes: int | tuple[int, ...] | None = None,
) -> Chain:  # fmt: skip
    """Adam with one second moment a block: `v <- b2·v + (1-b2)·mean(|g|²)`, `u = m̂ / (√(v̂ + eps_root) + eps)`.

    m̂ and v̂ as in `scale_by_adam`; a block is what one index of the block_axes leaves, None the whole array. The authors
    take heads for queries and keys, whole arrays elsewhere, and Adam itself for embeddings and the output, which
    `groups([("embed|head", adamw(...)), ("query|key", adam_mini(..., block_axes=1))], adam_mini(...))` says for kernels
    (in, heads, width). mu_dtype: store m in this dtype instead of float32.
    Reach: array. State: mu, shaped like p; nu, with axes of length 1 but for the block_axes; float32 or wider.
    Raises: ValueError if b1 or b2 is not in [0, 1), eps < 0 or eps_root < 0.
    Source: Zhang et al. 2024, arXiv:2406.16793, algorithm 1.
    """
    check.floating(mu_dtype=mu_dtype)
    return lift(stored_in(ScaleByAdamMini(b1, b2, eps, eps_root, block_axes), mu=mu_dtype))


def adam_mini(
    learning_rate: Hyper, b1: Beta = 0.9, b2: Beta = 0.999, eps: Hyper = 1e-8, eps_root: Hyper = 0.0,
    mu_dtype: Dtype | None = None, weight_decay: Hyper = 0.0, mask: Mask = None, *,
    block_axes: int | tuple[int, ...] | None = None,
) -> Chain:  # fmt: skip
    """Adam-mini: `scale_by_adam_mini`, `add_decayed_weights(weight_decay, mask)`, `scale_by_learning_rate`.

    Source: Zhang et al. 2024, arXiv:2406.16793.
    """
    direction = scale_by_adam_mini(b1, b2, eps, eps_root, mu_dtype, block_axes=block_axes)
    return chain(direction, add_decayed_weights(weight_decay, mask), descend(learning_rate))
