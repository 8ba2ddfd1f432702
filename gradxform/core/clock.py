"""A rule that goes by the steps of its own parameter, whose memory has a counter beside it."""

from __future__ import annotations

import collections
import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from gradxform.core.arithmetic import next_count, real_dtype
from gradxform.core.lens import Lens
from gradxform.core.rows import Rows
from gradxform.core.rule import Keep, Rule
from gradxform.core.stage import Chooses
from gradxform.core.state import unused
from gradxform.core.types import Array, Count, Dtype, Factors, Gradient, Memory, Param, Path, Scalars, Shaped


class Counted(tuple[Any, ...]):
    """A memory and the steps that filled it: the fields of the plain one, then count, scalar int32."""

    __slots__ = ()
    plain: ClassVar[Any]

    def __reduce__(self) -> tuple[Any, ...]:
        return _counted_from, (self.plain, *self)


@functools.cache
def counted(plain: Any) -> Any:
    """The class of memories of another class with a counter; one, so that states of equal rules are alike."""
    named_tuple: Any = collections.namedtuple
    fields = (*plain._fields, unused("count", plain._fields))
    fielded = named_tuple(f"Counted{plain.__name__}", fields, module=__name__)
    said = {"__slots__": (), "__doc__": f"A counter beside {plain.__name__}.", "plain": plain}
    return type(fielded.__name__, (Counted, fielded), said)


def _counted_from(plain: Any, *values: Any) -> Memory:
    return counted(plain)(*values)


class OwnClock(Lens):
    """A rule whose corrections go by the steps of its parameter, those at which there was a gradient."""

    where: Chooses | None = None
    counts: bool = True
    """Whether it does so at this leaf."""

    def __repr__(self) -> str:
        return f"own_clock({self.rule!r}{'' if self.where is None else f', {self.where!r}'})"

    @property
    def corrects(self) -> bool:
        return self.rule.corrects and not (self.counts and self.where is None)

    @property
    def selectors(self) -> tuple[Chooses, ...]:
        return self.rule.selectors if self.where is None else (self.where, *self.rule.selectors)

    def for_leaf(self, path: Path, p: Array) -> Rule:
        if self.where is None:
            return super().for_leaf(path, p)
        here = self.where.matches(path, p)
        return self.with_fields(rule=self.rule.for_leaf(path, p), where=None, counts=here)

    def init(self, p: Array) -> Memory:
        s = self.rule.init(p)
        if s is None or not self.counts:
            return s
        plain: Any = type(s)
        return counted(plain)(*s, jnp.zeros((), jnp.int32))

    def scalars(self, t: Count, **extra: Any) -> Scalars:
        """Those of the leaves that go by the chain's counter, and what the others make theirs of."""
        return None if self.where is None else self.rule.scalars(t, **extra), extra

    def inner(self, s: Memory, g: Shaped, k: Scalars) -> Scalars:
        return jax.tree.map(lambda x: _narrow(x, real_dtype(g.dtype)), self.rule.scalars(next_count(s[-1]), **k[1]))

    def read(self, s: Memory, g: Shaped) -> Memory:
        return s.plain(*s[:-1])

    def write(self, new: Memory, s: Memory, k: Scalars) -> Memory:
        return type(s)(*new, next_count(s[-1]))

    def advance(
        self, g: Array | Rows, factors: Factors, s: Memory, p: Param, k: Scalars, keep: Keep
    ) -> tuple[Gradient, Memory]:
        if not isinstance(s, Counted):
            return self.rule.advance(g, factors, s, p, k[0], keep)
        return super().advance(g, factors, s, p, k, keep)

    def evaluate(self, p: Array, s: Memory, t: Count) -> Array:
        return super().evaluate(p, s, s[-1]) if isinstance(s, Counted) else self.rule.evaluate(p, s, t)


def _narrow(x: Scalars, dtype: Dtype) -> Scalars:
    is_float = isinstance(x, jax.Array) and jnp.issubdtype(x.dtype, jnp.floating)
    return x.astype(dtype) if is_float else x
