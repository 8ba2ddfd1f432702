"""A rule that goes by the steps of each parameter, and the memories with a counter that it keeps."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradxform.compat.common.overflows import Overflows
from gradxform.core.arithmetic import next_count, real_dtype
from gradxform.core.chain import Chain, lift
from gradxform.core.lens import Lens
from gradxform.core.rule import Rule
from gradxform.core.types import Array, Dtype, Memory, Scalars
from gradxform.optimizers.adadelta import SquaredMeans
from gradxform.optimizers.adagrad import SumOfSquares
from gradxform.optimizers.adam import MaxMoments, Moments
from gradxform.optimizers.rmsprop import MeanAndSquare, MeanSquare
from gradxform.optimizers.rprop import StepSizes


class CountedMoments(NamedTuple):
    """mu, nu: shaped like p, nu real; count: scalar int32."""

    mu: Array
    nu: Array
    count: Any


class CountedMaxMoments(NamedTuple):
    """mu, nu, nu_max: shaped like p, the last two real; count: scalar int32."""

    mu: Array
    nu: Array
    nu_max: Array
    count: Any


class CountedMeanSquare(NamedTuple):
    """nu: shaped like p, real; count: scalar int32."""

    nu: Array
    count: Any


class CountedMeanAndSquare(NamedTuple):
    """mu, nu: shaped like p, nu real; count: scalar int32."""

    mu: Array
    nu: Array
    count: Any


class CountedSumOfSquares(NamedTuple):
    """sum_of_squares: shaped like p, real; count: scalar int32."""

    sum_of_squares: Array
    count: Any


class CountedSquaredMeans(NamedTuple):
    """e_g, e_x: shaped like p, real; count: scalar int32."""

    e_g: Array
    e_x: Array
    count: Any


class CountedStepSizes(NamedTuple):
    """step_size, prev: shaped like p; count: scalar int32."""

    step_size: Array
    prev: Array
    count: Any


COUNTED: dict[type, Any] = {
    Moments: CountedMoments,
    MaxMoments: CountedMaxMoments,
    MeanSquare: CountedMeanSquare,
    MeanAndSquare: CountedMeanAndSquare,
    SumOfSquares: CountedSumOfSquares,
    SquaredMeans: CountedSquaredMeans,
    StepSizes: CountedStepSizes,
}
PLAIN: dict[type, Any] = {counted: plain for plain, counted in COUNTED.items()}


class OwnClock(Lens):
    """A rule that goes by the steps of its parameter, those at which there was a gradient.

    The rule's memory, and count: scalar int32.
    """

    def __repr__(self) -> str:
        return repr(self.rule)

    def init(self, p: Array) -> Memory:
        s = self.rule.init(p)
        return COUNTED[type(s)](*s, count=jnp.zeros((), jnp.int32))

    def scalars(self, t: Any, **extra: Any) -> Scalars:
        return None

    def inner(self, s: Memory, g: Array, k: Scalars) -> Scalars:
        return jax.tree.map(lambda x: _narrow(x, real_dtype(g.dtype)), self.rule.scalars(next_count(s.count)))

    def read(self, s: Memory, g: Array) -> Memory:
        return PLAIN[type(s)](*s[:-1])

    def write(self, new: Memory, s: Memory, k: Scalars) -> Memory:
        return type(s)(*new, count=next_count(s.count))


def _narrow(x: Scalars, dtype: Dtype) -> Scalars:
    is_float = isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jnp.floating)
    return x.astype(dtype) if is_float else x


def own_clock(rule: Rule) -> Chain:
    """The rule as a stage, each parameter with its own count of steps."""
    return lift(Overflows(OwnClock(rule)))
