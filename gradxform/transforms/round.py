"""Rounding of parameters in bfloat16, at the station "land": what rounding to nearest loses is kept, or drawn."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import rounded
from gradxform.core.chain import Chain, lift
from gradxform.core.dither import folded, path_word, random_bits, round_randomly
from gradxform.core.facts import Facts, Reach, Station
from gradxform.core.rows import Rows
from gradxform.core.rule import Keep, Rule, dense, new_memory
from gradxform.core.types import Array, Memory, Param, Path, Scalars
from gradxform.core.value import Child


class Rounding(Rule, abstract=True):
    """Steers where a step lands in bfloat16; leaves of other dtypes are left to `apply_updates`."""

    mode: ClassVar[str] = ""
    facts = Facts(station=Station.LAND, needs_params=True, real_only=True, stored_params=True, rests=True)

    def __repr__(self) -> str:
        seed = getattr(self, "seed", 0)
        return f"round_updates({self.mode!r}{f', seed={seed}' if seed else ''})"

    def for_leaf(self, path: Path, p: Array) -> Rule:
        return self if p.dtype == jnp.bfloat16 else AsItIs()


class AsItIs(Rule):
    facts = Facts(station=Station.LAND, rests=True)

    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Array, Memory]:
        return g, s


def step_to(target: Array, p: Array) -> Array:
    """u such that `apply_updates` lands on a bfloat16 number."""
    return jnp.where(jnp.isfinite(p) & jnp.isfinite(target), target - p, target)


def landing(target: Array, p: Array) -> Array:
    """Where that step lands: beside `target` only where no float32 u leads there, as it cancels all but 2⁻¹⁶ of p."""
    return rounded(p + step_to(target, p), jnp.bfloat16)


class Seed(NamedTuple):
    """seed: uint32 scalar, the user's folded with the path."""

    seed: Array


class RoundRandomly(Rounding):
    seed: int = 0
    path: Child[Any] = 0
    name, mode = "round_updates", "stochastic"
    corrects = False
    facts = Rounding.facts.with_fields(reach=Reach.ARRAY, placed=True)

    def for_leaf(self, path: Path, p: Array) -> Rule:
        rule = super().for_leaf(path, p)
        return rule.with_fields(path=path_word(path)) if rule is self else rule

    def init(self, p: Array) -> Seed:
        return Seed(folded(self.seed, self.path))

    def scalars(self, t: Array) -> Array:
        return t

    def update(self, g: Array, s: Seed, p: Param, k: Array) -> tuple[Array, Seed]:
        p = p.astype(jnp.float32)
        return step_to(round_randomly(p + g, random_bits(s.seed, k, p.shape)), p), s


class Compensation(NamedTuple):
    """compensation: shaped like p, bfloat16."""

    compensation: Array


class RoundKahan(Rounding):
    """The update is the step less what is kept of it: computed from that, it needs no copy of the old memory."""

    name, mode = "round_updates", "kahan"

    def init(self, p: Array) -> Compensation:
        return Compensation(jnp.zeros_like(p, jnp.bfloat16))

    def update(self, g: Array, s: Compensation, p: Param, k: Scalars) -> tuple[Array, Compensation]:
        return self.advance(g, [], s, p, k, new_memory)

    def advance(
        self, g: Array | Rows, factors: list[Any], s: Memory, p: Param, k: Scalars, keep: Keep
    ) -> tuple[Array, Compensation]:
        p = p.astype(jnp.float32)
        step = dense(g, factors) + s.compensation.astype(jnp.float32)
        left = step - (landing(rounded(p + step, jnp.bfloat16), p) - p)
        s = keep(Compensation(jnp.where(jnp.isfinite(left), left, 0.0).astype(jnp.bfloat16)), s)
        return step - s.compensation.astype(jnp.float32), s


class Remainder(NamedTuple):
    """remainder: shaped like p, int16."""

    remainder: Array


class RoundSplit(Rounding):
    """The update comes from what is kept, as above; the master's own place in it keeps the compiler from redoing it."""

    name, mode = "round_updates", "split16"

    def init(self, p: Array) -> Remainder:
        return Remainder(jnp.zeros_like(p, jnp.int16))

    def update(self, g: Array, s: Remainder, p: Param, k: Scalars) -> tuple[Array, Remainder]:
        return self.advance(g, [], s, p, k, new_memory)

    def advance(
        self, g: Array | Rows, factors: list[Any], s: Memory, p: Param, k: Scalars, keep: Keep
    ) -> tuple[Array, Remainder]:
        p = p.astype(jnp.float32)
        master = joined(p, s.remainder) + dense(g, factors)
        high, low = split(master)
        s = keep(Remainder(jnp.where(landing(high, p) == high, low, 0).astype(jnp.int16)), s)
        high = joined(master, -s.remainder.astype(jnp.int32))
        return jnp.where(jnp.isfinite(p) & jnp.isfinite(master), high - p, master), s


def joined(high: Array, low: Array) -> Array:
    """The float32 number that lies so many of the smallest steps above the size of `high`."""
    bits = jax.lax.bitcast_convert_type(high, jnp.int32) + low.astype(jnp.int32)
    return jax.lax.bitcast_convert_type(bits, jnp.float32)


def split(x: Array) -> tuple[Array, Array]:
    """float32 x as the nearest bfloat16 number (away from zero in a tie), and the remainder of its bits."""
    bits = jax.lax.bitcast_convert_type(x, jnp.int32)
    high = (bits + 0x8000) & jnp.int32(-0x10000)
    near = jnp.where(jnp.isnan(x), x, jax.lax.bitcast_convert_type(high, jnp.float32))
    return near, jnp.where(jnp.isnan(x), 0, bits - high).astype(jnp.int16)


def round_updates(mode: str, *, seed: int = 0) -> Chain:
    """Train parameters in bfloat16 without losing small steps: `u` such that `apply_updates` lands where mode says.

    Last in the chain. `"stochastic"`: on one of the two numbers around p + u, each as likely as p + u is near to it.
    `"kahan"`: what rounding lost is added to the next step. `"split16"`: 16 more bits of each parameter are kept, and
    parameter and remainder together are the float32 master. The stages before see the bfloat16 parameters
    (`master_weights` shows them the master). Parameters of other dtypes are left alone.
    Reach: element, array if stochastic. State: seed, uint32 scalar | compensation, bfloat16 | remainder, int16.
    Raises: ValueError for another mode, for a complex parameter, or if params are missing.
    Source: Zamirai et al. 2020, arXiv:2010.06192, algorithms 2 and 3 (stochastic, kahan).
    """
    check.choice("stochastic", "kahan", "split16", mode=mode)
    check.integer(0, seed=seed)
    if mode == "stochastic":
        return lift(RoundRandomly(seed))
    return lift(RoundKahan() if mode == "kahan" else RoundSplit())
