"""Sparse rows that move alone: a table of embeddings trained at the cost of the rows that were looked up."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import power, real_dtype
from gradxform.core.chain import Chain, map_rules
from gradxform.core.claims import looks_farther
from gradxform.core.clock import OwnClock
from gradxform.core.codec import by_rows
from gradxform.core.facts import Facts, Reach
from gradxform.core.hyper import hyper_fields, replace_hyper
from gradxform.core.keys import extras_of
from gradxform.core.lens import Lens, Wrapper
from gradxform.core.rows import Rows, put_rows, take_rows
from gradxform.core.rule import Halves, Keep, Rule
from gradxform.core.types import (
    Array,
    Count,
    Dtype,
    Factors,
    Gradient,
    Memory,
    Param,
    Path,
    Scalars,
    Shaped,
    Transformation,
)
from gradxform.core.value import Pair
from gradxform.strategies.offloaded import Offloaded


class Lazy(Wrapper):
    """A rule that runs on the rows of a sparse gradient, with their memory and parameters, and on nothing else."""

    @property
    def facts(self) -> Facts:
        return by_rows(self.rule).facts.with_fields(stored_params=True)

    def __repr__(self) -> str:
        return f"lazy({self.rule!r})"

    def for_leaf(self, path: Path, p: Array) -> Rule:
        inner = by_rows(self.rule.for_leaf(path, p))
        return self if inner is self.rule else self.with_fields(rule=inner)

    def init(self, p: Array) -> Memory:
        s = self.rule.init(p)
        for x in jax.tree.leaves(s):
            if x.ndim and x.shape[:1] != p.shape[:1]:
                raise ValueError(
                    f"lazy needs statistics by rows, and for a parameter of shape {p.shape} {self.name} has one of "
                    f"shape {x.shape}; leave that stage out: groups([(table, lazy(...))], default=...)"
                )
        return s

    def advance(
        self, g: Array | Rows, factors: Factors, s: Memory, p: Param, k: Scalars, keep: Keep
    ) -> tuple[Gradient, Memory]:
        if not isinstance(g, Rows):
            return self.rule.advance(g, factors, s, self._wide(p, g.dtype), k, keep)
        rows = g.summed()
        at = rows.unique_indices()
        taken = None if p is None else self._wide(take_rows(p, at), rows.dtype)
        part = jax.tree.map(lambda x: take_rows(x, at) if x.ndim else x, s)
        u, new = self.rule.advance(rows.values, factors, part, taken, k, keep)
        live = (at < g.shape[0]).reshape((-1,) + (1,) * (g.ndim - 1))
        s = jax.tree.map(lambda x, new: put_rows(x, at, new) if x.ndim else new, s, new)
        return rows.with_values(jnp.where(live, u, 0)), s

    def _wide(self, p: Param, dtype: Dtype) -> Param:
        return p if p is None or self.rule.facts.stored_params else p.astype(dtype)


class Dated(NamedTuple):
    """The memory of a table, and for each row the step after which it was last brought up to date."""

    memory: Memory
    last: Array


class CatchUp(Lens):
    """A rule that first brings memory up to date: as many updates with a zero gradient as were missed, in one."""

    @property
    def facts(self) -> Facts:
        facts = self.rule.facts
        return facts.with_fields(reach=max(Reach.ROW, facts.reach))

    def __repr__(self) -> str:
        return f"catch_up({self.rule!r})"

    def init(self, p: Array) -> Memory:
        s = self.rule.init(p)
        if s is None or p.ndim == 0:
            return s
        return Dated(s, jnp.zeros_like(p, jnp.int32).sum(axis=tuple(range(1, p.ndim))))

    def scalars(self, t: Count, **extra: Any) -> Scalars:
        return self.rule.scalars(t, **extra), t

    def inner(self, s: Memory, g: Shaped, k: Scalars) -> Scalars:
        return k[0]

    def read(self, s: Memory, g: Shaped) -> Memory:
        return s.memory if isinstance(s, Dated) else s

    def write(self, new: Memory, s: Memory, k: Scalars) -> Memory:
        return Dated(new, jnp.full_like(s.last, k[1])) if isinstance(s, Dated) else new

    def advance(
        self, g: Array | Rows, factors: Factors, s: Memory, p: Param, k: Scalars, keep: Keep
    ) -> tuple[Gradient, Memory]:
        if not isinstance(s, Dated):
            return super().advance(g, factors, s, p, k, keep)
        up_to_date = s._replace(memory=self._caught_up(g, s, p, k))
        return super().advance(g, factors, up_to_date, p, k, lambda new, old: keep(new, s))

    def _caught_up(self, g: Array | Rows, s: Dated, p: Param, k: Scalars) -> Memory:
        k, t = k
        missed = (t - 1 - s.last).reshape((-1,) + (1,) * (g.ndim - 1))
        fields = hyper_fields(self.rule)
        raised = {f: power(fields[f], missed.astype(real_dtype(g.dtype))) for f in self.facts.decay_rates or ()}
        rested = self.rule
        if raised:
            rested = replace_hyper(self.rule, {f: Pair(b, 1 - b) for f, b in raised.items()})
        zero = jnp.zeros(g.shape, g.dtype)
        if isinstance(rested, Halves):
            caught_up = rested.remember(zero, s.memory, p, k)
        else:
            _, caught_up = rested.update(zero, s.memory, p, k)

        def of_missed(old: Array, new: Array) -> Array:
            return jnp.where(missed.reshape((-1,) + (1,) * (old.ndim - 1)) > 0, new, old) if old.ndim else old

        return jax.tree.map(of_missed, s.memory, caught_up)


def lazy(tx: Transformation, *, mode: str = "rest") -> Chain:
    """Let only the rows of a sparse gradient move: rows that a `Rows` gradient does not name rest, memory included.

    For embedding tables: an update costs the rows looked up, not the table (with donation, `make_step`, no array of the
    table's size is made). Repeated rows are summed first; bias corrections and schedules go by the chain's counter.
    Without `lazy`, `Rows` give exactly what the dense gradient would give. Dense gradients are as without it.
    mode: `"rest"`, or `"catch_up"`: the moments of a row first decay by the steps it missed (`m <- b1ⁿ·m`), so they are
    the dense ones; the steps that dense momentum would have made of them meanwhile stay away, decay included.
    Reach: at most row; every stage keeps its own. State: as without it; with catch_up `Dated(memory, last)`, last int32
    by rows. Raises: ValueError if a stage looks further than a row or cannot catch up, TypeError if `tx` is not made of
    rules.
    Source: the sparse Adam of TensorFlow (LazyAdam), PyTorch (SparseAdam) and MindSpore (use_lazy).
    """
    check.choice("rest", "catch_up", mode=mode)
    return map_rules(tx, lambda rule: _lazy_rule(rule, mode == "catch_up"), "lazy")


def _lazy_rule(rule: Rule, catch_up: bool) -> Rule:
    if rule.facts.keeps_zero or isinstance(rule, Lazy):
        return rule
    if isinstance(rule, Offloaded):
        return rule.with_fields(rule=_lazy_rule(rule.rule, catch_up))
    if isinstance(rule, OwnClock):
        inner = _lazy_rule(rule.rule, catch_up)
        return Lazy(rule.with_fields(rule=inner.rule if isinstance(inner, Lazy) else inner))
    if by_rows(rule).facts.reach > Reach.ROW or looks_farther(rule):
        raise ValueError(
            f"lazy moves rows alone, and {rule.name} looks at more than a row ({rule!r}); leave that stage out for "
            "sparse parameters: groups([(table, lazy(...))], default=...)"
        )
    if names := extras_of(rule):
        raise ValueError(f"lazy moves rows alone, and {rule.name} reads {', '.join(names)} of the whole leaf")
    if not catch_up or not rule.remembers:
        return Lazy(rule)
    rates = {f: hyper_fields(rule)[f] for f in rule.facts.decay_rates or ()}
    if rule.facts.decay_rates is None or not all(isinstance(b, float | Pair) for b in rates.values()):
        why = f"{', '.join(rates)} must be numbers" if rates else "its memory does not just decay"
        raise ValueError(f"{rule.name} cannot catch up with missed steps ({why}): {rule!r}; use mode='rest'")
    return Lazy(CatchUp(rule))
