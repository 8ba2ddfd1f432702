"""Proximal last stages, at the station "land": they see where the step would land, `v = p + u`, and steer it.

Each emits `prox(v) - p`, so that `p + u` is the proximal point: exactly where that is 0 or within a factor 2 of p, to
a rounding elsewhere.
"""

from __future__ import annotations

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import compute_dtype, root, rounded
from gradxform.core.bounds import Bound, ByPath, as_numbers, at_leaf, by_element, ordered
from gradxform.core.chain import Chain, lift
from gradxform.core.facts import Facts, Reach, Station
from gradxform.core.hyper import Hyper
from gradxform.core.rule import Rule
from gradxform.core.types import Array, ArrayLike, Dtype, Memory, Param, Path, Scalars, Where


def shrink(v: Array, threshold: Scalars) -> Array:
    """Soft thresholding: `sign(v) · max(|v| - threshold, 0)`."""
    return jnp.sign(v) * jnp.maximum(jnp.abs(v) - threshold, 0.0)


class ProximalElasticNet(Rule):
    l1: Hyper
    l2: Hyper
    learning_rate: Hyper
    facts = Facts(station=Station.LAND, needs_params=True, real_only=True)

    def check(self) -> None:
        check.nonnegative(l1=self.l1, l2=self.l2, learning_rate=self.learning_rate)

    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Array, Memory]:
        v = shrink(p + g, self.learning_rate * self.l1)
        return v / (1 + self.learning_rate * self.l2) - p, s


class ProximalGroupL1(Rule):
    l1: Hyper
    learning_rate: Hyper
    facts = Facts(reach=Reach.ROW, station=Station.LAND, needs_params=True)

    def check(self) -> None:
        check.nonnegative(l1=self.l1, learning_rate=self.learning_rate)

    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Array, Memory]:
        v = p + g
        norm = root(jnp.sum(jnp.square(jnp.abs(v)), axis=tuple(range(1, v.ndim)), keepdims=True))
        kept = jnp.maximum(norm - self.learning_rate * self.l1, 0.0)
        share = jnp.where(norm > 0, kept / jnp.where(norm > 0, norm, 1.0), 0.0)
        return v * jnp.where(jnp.isinf(norm), 1.0, share) - p, s


class ProximalBox(Rule):
    lower: Bound
    upper: Bound

    @property
    def facts(self) -> Facts:
        reach = Reach.ARRAY if by_element(self.lower) or by_element(self.upper) else Reach.ELEMENT
        return Facts(
            reach, Station.LAND, needs_params=True, real_only=True, stored_params=True, placed=reach == Reach.ARRAY
        )

    def check(self) -> None:
        ordered(lower=self.lower, upper=self.upper)

    def for_leaf(self, path: Path, p: Array) -> Rule:
        lower, upper = at_leaf("lower", self.lower, path, p), at_leaf("upper", self.upper, path, p)
        return self if lower is self.lower and upper is self.upper else self.with_fields(lower=lower, upper=upper)

    @property
    def selectors(self) -> tuple[Where, ...]:
        return tuple(x for x in (self.lower, self.upper) if isinstance(x, ByPath))

    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Array, Memory]:
        return steered(g, p, as_numbers(self.lower), as_numbers(self.upper)), s


def steered(g: Array, p: Array, lower: ArrayLike, upper: ArrayLike) -> Array:
    """The step g, changed so that `p + u`, rounded to p's dtype, lies between the bounds."""
    stored, wide = p.dtype, compute_dtype(p.dtype)
    p = p.astype(wide)
    lower, upper = (_inside(jnp.asarray(b, wide), stored, way) for b, way in ((lower, 1), (upper, -1)))
    u = jnp.clip(p + g, lower, upper) - p
    for _ in range(2):
        landed = rounded(p + u, stored)
        u = jnp.where(landed > upper, jnp.nextafter(u, jnp.full_like(u, -jnp.inf)), u)
        u = jnp.where(landed < lower, jnp.nextafter(u, jnp.full_like(u, jnp.inf)), u)
    return u


def _inside(bound: Array, dtype: Dtype, way: int) -> Array:
    """The bound as the stored dtype can hold it, rounded towards the inside of the box."""
    near = rounded(bound, dtype).astype(dtype)
    further = jnp.nextafter(near, jnp.asarray(way * jnp.inf, dtype))
    outside = near.astype(bound.dtype) < bound if way > 0 else near.astype(bound.dtype) > bound
    return jnp.where(outside, further, near).astype(bound.dtype)


def proximal_l1(l1: Hyper, learning_rate: Hyper = 1.0) -> Chain:
    """Shrink where the step lands: `prox(v) = sign(v) · max(|v| - learning_rate·l1, 0)`, `u = prox(p + u) - p`.

    Last in the chain, with the chain's learning rate; makes exact zeros. `add_l1` only pulls.
    Reach: element. State: none.
    Raises: ValueError if an argument is negative, params are missing, or the parameter is complex.
    Source: Parikh, Boyd 2014, "Proximal Algorithms", section 6.5.2.
    """
    return lift(ProximalElasticNet(l1, 0.0, learning_rate))


def proximal_l2(l2: Hyper, learning_rate: Hyper = 1.0) -> Chain:
    """Shorten where the step lands: `prox(v) = v / (1 + learning_rate·l2)`, `u = prox(p + u) - p`.

    The implicit step of the penalty l2/2·‖p‖². Last in the chain, with the chain's learning rate.
    Reach: element. State: none.
    Raises: ValueError if an argument is negative, params are missing, or the parameter is complex.
    Source: Parikh, Boyd 2014, section 6.1.1.
    """
    return lift(ProximalElasticNet(0.0, l2, learning_rate))


def proximal_elastic_net(l1: Hyper, l2: Hyper, learning_rate: Hyper = 1.0) -> Chain:
    """Shrink and shorten: `prox(v) = sign(v) · max(|v| - learning_rate·l1, 0) / (1 + learning_rate·l2)`.

    `u = prox(p + u) - p`. Last in the chain, with the chain's learning rate.
    Reach: element. State: none.
    Raises: ValueError if an argument is negative, params are missing, or the parameter is complex.
    Source: Parikh, Boyd 2014, section 6.5.3.
    """
    return lift(ProximalElasticNet(l1, l2, learning_rate))


def proximal_group_l1(l1: Hyper, learning_rate: Hyper = 1.0) -> Chain:
    """Shrink whole rows: `prox(v) = v · max(1 - learning_rate·l1 / ‖v‖₂, 0)` for each row v of p + u.

    A row is everything under one index of the first axis; rows become zero as a whole (group lasso).
    Reach: row. State: none.
    Raises: ValueError if an argument is negative or params are missing.
    Source: Yuan, Lin 2006; Parikh, Boyd 2014, section 6.5.4.
    """
    return lift(ProximalGroupL1(l1, learning_rate))


def proximal_box(lower: Bound, upper: Bound) -> Chain:
    """Keep parameters in a box: `u = min(max(p + u, lower), upper) - p`.

    Where rounding of p + u to p's dtype would leave the box, the step is shortened until it does not; a box narrower
    than the rounding of u is met to that rounding.
    lower, upper: a number, a schedule or `tunable(...)`; an array that broadcasts to the parameter (at most 100,000
    elements); or a tree of numbers and arrays like the parameters. No list: `jnp.array(x)`.
    Reach: element, array if a bound is one. State: none.
    Raises: ValueError if lower > upper, a bound is NaN or of another shape, params are missing, or complex.
    Source: Parikh, Boyd 2014, section 6.2.4.
    """
    return lift(ProximalBox(lower, upper))


def proximal_nonnegative() -> Chain:
    """Keep parameters at 0 or above: `u = max(p + u, 0) - p`.

    Reach: element. State: none.
    Raises: ValueError if params are missing or the parameter is complex.
    Source: Parikh, Boyd 2014, section 6.2.4.
    """
    return proximal_box(0.0, float("inf"))


def keep_params_nonnegative() -> Chain:
    """Keep parameters at 0 or above: `proximal_nonnegative()` under optax's name, last in the chain.

    Reach: element. State: none.
    Raises: ValueError if params are missing or the parameter is complex.
    """
    return proximal_nonnegative()
