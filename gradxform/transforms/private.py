"""Differential privacy, first in the chain: the gradient of every example is bounded, the sum is drowned in noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core import check
from gradxform.core.arithmetic import cast, compute_dtype, real_dtype
from gradxform.core.chain import Chain, lift
from gradxform.core.devices import along
from gradxform.core.donated import refuse_deleted
from gradxform.core.facts import Facts, Reach, Station
from gradxform.core.hyper import Hyper, coerce
from gradxform.core.norms import norm_of
from gradxform.core.plain import got
from gradxform.core.rule import TreeRule
from gradxform.core.types import Array, ArrayLike, AxisName, Dtype, Key, Memory, Param, Scalars, Updates
from gradxform.transforms.noise import Noisy, Seed, normal, one_key

SMALL = 1e-10
"""Squares that vanish are nothing beside that of a norm above this one."""


def clip_factors(gs: list[Array], bound: Scalars) -> Array:
    """For every example `min(1, bound / norm)` over all arrays, and 0 where one of its numbers is not finite.

    A second look where squares may have overflowed, or have vanished and matter.
    """
    norm = jax.vmap(lambda *xs: norm_of(xs, None))(*gs)
    sure = jnp.isfinite(norm) & ((norm > SMALL) | (bound > 2 * SMALL))
    factor = jnp.where(norm > bound, bound / jnp.where(norm > bound, norm, 1), 1)
    factors: Array = jax.lax.cond(jnp.all(sure), lambda: factor, lambda: _factors_of_any(gs, bound, factor.dtype))
    return factors


def _factors_of_any(gs: list[Array], bound: Scalars, dtype: Dtype) -> Array:
    """The norm is taken of numbers divided by about their largest, so that no square overflows or vanishes; by no
    number whose inverse would be subnormal, which may count as 0."""
    sizes = [jnp.abs(cast(g, compute_dtype(g.dtype))) for g in gs]
    largest = jnp.stack([jnp.max(x, tuple(range(1, x.ndim)), initial=0).astype(dtype) for x in sizes]).max(axis=0)
    finite = jnp.isfinite(largest)
    tiny = jnp.finfo(dtype).tiny
    some = largest > 0
    unit = jnp.where(some, jnp.clip(largest, tiny, 1 / tiny), 1)
    norm = jax.vmap(lambda unit, some, *xs: norm_of([jnp.where(some, x / unit, 1) for x in xs], None))(
        unit, some, *sizes
    )
    factor = jnp.where(some, jnp.minimum(1, bound / unit / norm), 1)
    return jnp.where(finite, factor, 0).astype(dtype)


def clipped_sum(factors: Array, g: Array) -> Array:
    """Σ factor · g over the examples, where a factor of 0 removes what is not finite too."""
    g = cast(g, compute_dtype(g.dtype))
    factors = factors.astype(real_dtype(g.dtype)).reshape(-1, *(1,) * (g.ndim - 1))
    return jnp.sum(jnp.where(factors > 0, g * factors, 0), axis=0)


class DifferentiallyPrivateAggregate(Noisy, TreeRule):
    l2_norm_clip: Hyper = 1.0
    noise_multiplier: Hyper = 1.0
    axis_name: AxisName | None = None
    facts = Facts(reach=Reach.TREE, station=Station.CLEANSE, per_example=True)

    def check(self) -> None:
        check.positive(l2_norm_clip=self.l2_norm_clip)
        check.nonnegative(noise_multiplier=self.noise_multiplier)
        check.axis_or_none(axis_name=self.axis_name)

    def measure(self, gs: list[Array], s: Memory, t: Array) -> tuple[Scalars, Memory]:
        _examples(gs)
        factors = clip_factors(gs, self.l2_norm_clip) if gs else None
        return (factors, self.l2_norm_clip * self.noise_multiplier, t), s

    def update(self, g: Array, s: Seed, p: Param, k: Scalars) -> tuple[Array, Seed]:
        factors, deviation, t = k
        total, n = clipped_sum(factors, g), len(g)
        if self.axis_name is not None:
            along(self.axis_name)
            total, n = jax.lax.psum((total, n), self.axis_name)
        return (total + deviation * normal(s, t, total)) / n, s


def _flat(tree: Updates) -> tuple[list[Any], Any]:
    return jax.tree.flatten(tree)


def _examples(leaves: Sequence[ArrayLike]) -> None:
    """Refuse arrays that do not all hold the same number of examples."""
    for x in leaves:
        right = isinstance(x, jax.Array | np.ndarray) and jnp.issubdtype(x.dtype, jnp.inexact)
        if not right and not isinstance(x, int | float | complex):
            raise TypeError(f"grads must be arrays of floating point, one example after another, {got(x)}")
    refuse_deleted(grads=leaves)
    shapes = [jnp.shape(x) for x in leaves]
    if len({shape[:1] for shape in shapes}) > 1 or () in shapes:
        raise ValueError(f"grads need a leading axis of the same number of examples, got shapes {shapes}")


def _bound(**named: Hyper) -> Hyper:
    """A bound as a number or a tracer; 0 removes every gradient, infinity bounds none."""
    ((name, x),) = named.items()
    x = coerce(name, x)
    if not isinstance(x, float | jax.core.Tracer):
        raise TypeError(f"{name} must be one number, {got(named[name])}")
    if isinstance(x, float) and not x >= 0:
        raise ValueError(f"{name} must be at least 0, got {x}")
    return x


def per_example_global_norm_clip(grads: Updates, l2_norm_clip: Hyper) -> tuple[Updates, Array]:
    """Bound the gradient of every example and add them up: `Σᵢ gᵢ · min(1, l2_norm_clip / ‖gᵢ‖₂)`, and how many it cut.

    grads: a tree whose arrays have a leading axis of examples, as `jax.vmap(jax.grad(loss), (None, 0))` gives. The norm
    is over the whole tree. An example with a number that is not finite adds nothing, and counts as cut.
    Every example adds at most l2_norm_clip in L2 norm, to the rounding of a sum in float32 or wider.
    Raises: ValueError for a negative bound, or arrays that do not hold the same number of examples.
    Source: Abadi et al. 2016, arXiv:1607.00133, algorithm 1.
    """
    bound = _bound(l2_norm_clip=l2_norm_clip)
    leaves, structure = _flat(grads)
    _examples(leaves)
    leaves = [jnp.asarray(x) for x in leaves]
    if not leaves:
        return grads, jnp.zeros((), int)
    factors = clip_factors(leaves, bound)
    return structure.unflatten([clipped_sum(factors, g) for g in leaves]), jnp.sum(factors < 1)


def per_example_layer_norm_clip(
    grads: Updates, global_l2_norm_clip: Hyper, uniform: bool = True
) -> tuple[Updates, Updates]:
    """Bound the gradient of every example array by array, and add them up: the sums, and how many each array cut.

    Array i of K gets the bound `C/√K`, or with uniform=False `C·√(sizeᵢ/size)`, C = global_l2_norm_clip: together an
    example adds at most C. Else as `per_example_global_norm_clip`.
    Raises: ValueError for a negative bound, or arrays that do not hold the same number of examples.
    Source: McMahan et al. 2017, arXiv:1710.06963 (per-layer clipping).
    """
    check.boolean(uniform=uniform)
    bound = _bound(global_l2_norm_clip=global_l2_norm_clip)
    leaves, structure = _flat(grads)
    _examples(leaves)
    sizes = [1 if uniform else jnp.size(x) for x in leaves]
    bounds = [bound * (size / sum(sizes)) ** 0.5 for size in sizes]
    summed = [per_example_global_norm_clip(x, bound) for x, bound in zip(leaves, bounds, strict=True)]
    return structure.unflatten([total for total, _ in summed]), structure.unflatten([cut for _, cut in summed])


def differentially_private_aggregate(
    l2_norm_clip: Hyper,
    noise_multiplier: Hyper,
    key: Key | None = None,
    *,
    seed: Key | None = None,
    axis_name: AxisName | None = None,
) -> Chain:
    """Bound every example, add noise, average: `u = (Σᵢ gᵢ·min(1, C/‖gᵢ‖₂) + N(0, σ²C²)) / n`, first in the chain.

    Gradients arrive with a leading axis of n examples. C = l2_norm_clip bounds what one example, also one that is huge
    or not finite, adds to the sum, to its rounding; σ = noise_multiplier. With a secret key that makes one step the
    Gaussian mechanism of noise multiplier σ for adding or removing one example. For (ε, δ) give an accountant σ, the
    sampling and the steps. Not covered: n (fill every batch up to one n, with gradients of 0); figures of the loss or
    of gradients; statistics shared by a batch; tuning; whoever knows key or state; low bits of floating-point noise.
    axis_name: axis over which the examples are split inside `shard_map` or `pmap`. key, seed: as in `add_noise`.
    Reach: tree. State: seed, two uint32 words a leaf.
    Raises: ValueError if l2_norm_clip <= 0, noise_multiplier < 0, without a key, or if it is not the first stage.
    Source: Abadi et al. 2016, arXiv:1607.00133, algorithm 1.
    """
    return lift(DifferentiallyPrivateAggregate(one_key(key, seed), l2_norm_clip, noise_multiplier, axis_name))
