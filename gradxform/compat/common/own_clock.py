"""A rule that goes by the steps of each parameter, and the memories with a counter that it keeps."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradxform.core.arithmetic import next_count, real_dtype
from gradxform.core.chain import Chain, lift
from gradxform.core.lens import Lens
from gradxform.core.rule import Rule
from gradxform.optimizers.adadelta import SquaredMeans
from gradxform.optimizers.adagrad import SumOfSquares
from gradxform.optimizers.adam import MaxMoments, Moments
from gradxform.optimizers.adamax import InfinityMoments
from gradxform.optimizers.rmsprop import MeanAndSquare, MeanSquare
from gradxform.optimizers.rprop import StepSizes


class CountedMoments(NamedTuple):
    mu: Any
    nu: Any
    count: Any


class CountedMaxMoments(NamedTuple):
    mu: Any
    nu: Any
    nu_max: Any
    count: Any


class CountedInfinityMoments(NamedTuple):
    mu: Any
    nu: Any
    count: Any


class CountedMeanSquare(NamedTuple):
    nu: Any
    count: Any


class CountedMeanAndSquare(NamedTuple):
    mu: Any
    nu: Any
    count: Any


class CountedSumOfSquares(NamedTuple):
    sum_of_squares: Any
    count: Any


class CountedSquaredMeans(NamedTuple):
    e_g: Any
    e_x: Any
    count: Any


class CountedStepSizes(NamedTuple):
    step_size: Any
    prev: Any
    count: Any


COUNTED: dict[type, Any] = {
    Moments: CountedMoments,
    MaxMoments: CountedMaxMoments,
    InfinityMoments: CountedInfinityMoments,
    MeanSquare: CountedMeanSquare,
    MeanAndSquare: CountedMeanAndSquare,
    SumOfSquares: CountedSumOfSquares,
    SquaredMeans: CountedSquaredMeans,
    StepSizes: CountedStepSizes,
}
PLAIN: dict[type, Any] = {counted: plain for plain, counted in COUNTED.items()}


class OwnClock(Lens):
    """A rule that goes by the steps of its parameter, those at which there was a gradient."""

    def __repr__(self) -> str:
        return repr(self.rule)

    def init(self, p: Any) -> Any:
        s = self.rule.init(p)
        return COUNTED[type(s)](*s, count=jnp.zeros((), jnp.int32))

    def scalars(self, t: Any, **extra: Any) -> Any:
        return None

    def inner(self, s: Any, g: Any, k: Any) -> Any:
        return jax.tree.map(lambda x: _narrow(x, real_dtype(g.dtype)), self.rule.scalars(next_count(s.count)))

    def read(self, s: Any, g: Any) -> Any:
        return PLAIN[type(s)](*s[:-1])

    def write(self, new: Any, s: Any, k: Any) -> Any:
        return type(s)(*new, count=next_count(s.count))


def _narrow(x: Any, dtype: Any) -> Any:
    is_float = isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jnp.floating)
    return x.astype(dtype) if is_float else x


def own_clock(rule: Rule) -> Chain:
    """The rule as a stage, each parameter with its own count of steps."""
    return lift(OwnClock(rule))
