"""Sparse rows that move alone: a table of embeddings trained at the cost of the rows that were looked up."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import power, real_dtype
from gradxform.core.chain import Chain, map_rules
from gradxform.core.hyper import hyper_fields, replace_hyper
from gradxform.core.rows import Rows, put_rows, take_rows
from gradxform.core.rule import Reach, Rule, Wrapper
from gradxform.core.value import Pair
from gradxform.strategies.offloaded import Offloaded


class Lazy(Wrapper):
    """A rule that runs on the rows of a sparse gradient, with their memory and parameters, and on nothing else."""

    stored_params = True

    def __repr__(self) -> str:
        return f"lazy({self.rule!r})"

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        return self.rule.update(g, s, self._wide(p, g.dtype), k)

    def update_rows(self, g: Rows, s: Any, p: Any, k: Any) -> tuple[Rows, Any]:
        rows = g.summed()
        unique_indices = rows.unique_indices()
        taken = None if p is None else self._wide(take_rows(p, unique_indices), rows.dtype)
        held = jax.tree.map(lambda x: _held(x, g.shape, unique_indices), s)
        u, held = self.rule.update(rows.values, held, taken, k)
        live = (unique_indices < g.shape[0]).reshape((-1,) + (1,) * (g.ndim - 1))
        s = jax.tree.map(lambda x, new: put_rows(x, unique_indices, new) if x.ndim else new, s, held)
        return rows.with_values(jnp.where(live, u, 0)), s

    def _wide(self, p: Any, dtype: Any) -> Any:
        return p if p is None or self.rule.stored_params else p.astype(dtype)


class Dated(NamedTuple):
    """The memory of a table, and for each row the step after which it was last brought up to date."""

    memory: Any
    last: Any


class CatchUp(Wrapper):
    """A rule that first brings memory up to date: as many updates with a zero gradient as were missed, in one."""

    @property
    def reach(self) -> Reach:  # type: ignore[override]
        return max(Reach.ROW, self.rule.reach)

    def __repr__(self) -> str:
        return f"catch_up({self.rule!r})"

    def init(self, p: Any) -> Any:
        s = self.rule.init(p)
        if s is None or p.ndim == 0:
            return s
        return Dated(s, jnp.zeros_like(p, jnp.int32).sum(axis=tuple(range(1, p.ndim))))

    def scalars(self, t: Any, **extra: Any) -> Any:
        return self.rule.scalars(t, **extra), t

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        k, t = k
        if not isinstance(s, Dated):
            return self.rule.update(g, s, p, k)
        missed = (t - 1 - s.last).reshape((-1,) + (1,) * (g.ndim - 1))
        fields = hyper_fields(self.rule)
        raised = {f: power(fields[f], missed.astype(real_dtype(g.dtype))) for f in self.decay_rates or ()}
        rested = self.rule
        if raised:
            rested = replace_hyper(self.rule, {f: Pair(b, 1 - b) for f, b in raised.items()})
        _, caught_up = rested.update(jnp.zeros_like(g), s.memory, p, k)

        def of_missed(old: Any, new: Any) -> Any:
            return jnp.where(missed.reshape((-1,) + (1,) * (old.ndim - 1)) > 0, new, old) if old.ndim else old

        u, memory = self.rule.update(g, jax.tree.map(of_missed, s.memory, caught_up), p, k)
        return u, Dated(memory, jnp.full_like(s.last, t))

    def evaluate(self, p: Any, s: Any, t: Any) -> Any:
        return self.rule.evaluate(p, s.memory if isinstance(s, Dated) else s, t)


def lazy(tx: Any, *, mode: str = "rest") -> Chain:
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
    return map_rules(tx, lambda rule: _lazy_rule(rule, mode == "catch_up"), "lazy")  # type: ignore[no-any-return]


def _lazy_rule(rule: Rule, catch_up: bool) -> Rule:
    if rule.keeps_zero or isinstance(rule, Lazy):
        return rule
    if isinstance(rule, Offloaded):
        return rule.with_fields(rule=_lazy_rule(rule.rule, catch_up))
    if rule.reach > Reach.ROW:
        raise ValueError(
            f"lazy moves rows alone, and {rule.name} looks at more than a row ({rule!r}); leave that stage out for "
            "sparse parameters: groups([(table, lazy(...))], default=...)"
        )
    if not catch_up or not _remembers(rule):
        return Lazy(rule)
    rates = {f: hyper_fields(rule)[f] for f in rule.decay_rates or ()}
    if rule.decay_rates is None or not all(isinstance(b, float | Pair) for b in rates.values()):
        why = f"{', '.join(rates)} must be numbers" if rates else "its memory does not just decay"
        raise ValueError(f"{rule.name} cannot catch up with missed steps ({why}): {rule!r}; use mode='rest'")
    return Lazy(CatchUp(rule))


def _remembers(rule: Rule) -> bool:
    while isinstance(rule, Wrapper):
        rule = rule.rule
    return type(rule).init is not Rule.init


def _held(x: Any, shape: tuple[int, ...], unique_indices: Any) -> Any:
    """The rows' part of a statistic; a scalar is the same for all rows."""
    if x.ndim == 0:
        return x
    if x.shape[0] != shape[0]:
        raise ValueError(f"lazy needs statistics by rows, and a parameter of shape {shape} has one of shape {x.shape}")
    return take_rows(x, unique_indices)
