"""Sparse rows that move alone: a table of embeddings trained at the cost of the rows that were looked up."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from gradxform.core.chain import Chain, map_rules
from gradxform.core.rows import Rows, put_rows, take_rows
from gradxform.core.rule import Reach, Rule, Wrapper


class Lazy(Wrapper):
    """A rule that runs on the rows of a sparse gradient, with their memory and parameters, and on nothing else."""

    stored_params = True

    def __repr__(self) -> str:
        return f"lazy({self.rule!r})"

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        return self.rule.update(g, s, self._wide(p, g.dtype), k)

    def update_rows(self, g: Rows, s: Any, p: Any, k: Any) -> tuple[Rows, Any]:
        rows = g.summed()
        seats = rows.seats()
        taken = None if p is None else self._wide(take_rows(p, seats), rows.dtype)
        held = jax.tree.map(lambda x: _held(x, g.shape, seats), s)
        u, held = self.rule.update(rows.values, held, taken, k)
        live = (seats < g.shape[0]).reshape((-1,) + (1,) * (g.ndim - 1))
        s = jax.tree.map(lambda x, new: put_rows(x, seats, new) if x.ndim else new, s, held)
        return rows.with_values(jnp.where(live, u, 0)), s

    def _wide(self, p: Any, dtype: Any) -> Any:
        return p if p is None or self.rule.stored_params else p.astype(dtype)


def lazy(tx: Any) -> Chain:
    """Let only the rows of a sparse gradient move: rows that a `Rows` gradient does not name rest, memory included.

    For embedding tables: an update costs the rows looked up, not the table (with donation, `make_step`, no array of the
    table's size is made). Repeated rows are summed first; bias corrections and schedules go by the chain's counter.
    Without `lazy`, `Rows` give exactly what the dense gradient would give. Dense gradients are as without it.
    Reach: at most row; every stage keeps its own. State: as without it.
    Raises: ValueError if a stage looks further than a row, TypeError if `tx` is not made of rules.
    Source: the sparse Adam of TensorFlow (LazyAdam), PyTorch (SparseAdam) and MindSpore (use_lazy).
    """
    return map_rules(tx, _lazy_rule, "lazy")  # type: ignore[no-any-return]


def _lazy_rule(rule: Rule) -> Rule:
    if rule.keeps_zero or isinstance(rule, Lazy):
        return rule
    if rule.reach > Reach.ROW:
        raise ValueError(
            f"lazy moves rows alone, and {rule.name} looks at more than a row ({rule!r}); leave that stage out for "
            "sparse parameters: groups([(table, lazy(...))], default=...)"
        )
    return Lazy(rule)


def _held(x: Any, shape: tuple[int, ...], seats: Any) -> Any:
    """The rows' part of a statistic; a scalar is the same for all rows."""
    if x.ndim == 0:
        return x
    if x.shape[0] != shape[0]:
        raise ValueError(f"lazy needs statistics by rows, and a parameter of shape {shape} has one of shape {x.shape}")
    return take_rows(x, seats)
