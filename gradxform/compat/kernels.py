"""What torch and paddle put around a rule: a clock for each parameter, numbers taken unchecked, kinds of gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradxform.core.chain import Chain, lift, map_rules
from gradxform.core.hyper import coerce_fields
from gradxform.core.numbers import next_count, real_dtype
from gradxform.core.rows import Rows
from gradxform.core.rule import Rule, Wrapper
from gradxform.optimizers.adadelta import SquaredMeans
from gradxform.optimizers.adagrad import SumOfSquares
from gradxform.optimizers.adam import MaxMoments, Moments
from gradxform.optimizers.adamax import InfinityMoments
from gradxform.optimizers.rmsprop import MeanAndSquare, MeanSquare


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


COUNTED: dict[type, Any] = {
    Moments: CountedMoments,
    MaxMoments: CountedMaxMoments,
    InfinityMoments: CountedInfinityMoments,
    MeanSquare: CountedMeanSquare,
    MeanAndSquare: CountedMeanAndSquare,
    SumOfSquares: CountedSumOfSquares,
    SquaredMeans: CountedSquaredMeans,
}
PLAIN: dict[type, Any] = {counted: plain for plain, counted in COUNTED.items()}


class OwnClock(Wrapper):
    """A rule that goes by the steps of its parameter, those at which there was a gradient."""

    def __repr__(self) -> str:
        return repr(self.rule)

    def init(self, p: Any) -> Any:
        s = self.rule.init(p)
        return COUNTED[type(s)](*s, count=jnp.zeros((), jnp.int32))

    def scalars(self, t: Any, **extra: Any) -> Any:
        return None

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        count, dtype = next_count(s.count), real_dtype(g.dtype)
        k = jax.tree.map(lambda x: jnp.asarray(x, dtype), self.rule.scalars(count))
        u, held = self.rule.update(g, PLAIN[type(s)](*s[:-1]), p, k)
        return u, type(s)(*held, count=count)


def own_clock(rule: Rule) -> Chain:
    return lift(OwnClock(rule))


class OneKind(Wrapper):
    """A rule for dense gradients alone, or for sparse rows alone."""

    optimizer: str
    sparse: bool = False

    def __repr__(self) -> str:
        return repr(self.rule)

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        if self.sparse:
            raise RuntimeError(f"{self.optimizer} takes sparse gradients, gx.Rows, got a dense one; take adam for it")
        return self.rule.update(g, s, p, k)

    def update_rows(self, g: Rows, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        if not self.sparse:
            raise RuntimeError(f"{self.optimizer} takes dense gradients, got Rows of shape {g.shape}")
        return self.rule.update_rows(g, s, p, k)


def one_kind(tx: Chain, optimizer: str, *, sparse: bool = False) -> Chain:
    return map_rules(tx, lambda rule: OneKind(rule, optimizer, sparse), optimizer)  # type: ignore[no-any-return]


def unchecked(rule: Rule, **fields: Any) -> Rule:
    """The rule with hyperparameters that the framework takes as they are: coerced, and not checked."""
    new = rule.with_fields(**fields)
    coerce_fields(new)
    return new


def is_zero(x: Any) -> bool:
    """Whether a hyperparameter is the number 0, and not a schedule that passes through it."""
    return isinstance(x, float) and x == 0.0
