"""State that lives in host memory between steps and visits the device for its update."""

from __future__ import annotations

from typing import Any

import jax

from gradxform.core import check
from gradxform.core.chain import Chain, map_rules
from gradxform.core.lift import Where
from gradxform.core.rows import Rows
from gradxform.core.rule import Rule, TreeRule, Wrapper
from gradxform.params.select import selector


class Offloaded(Wrapper):
    """A rule whose memory is in host memory before and after each update."""

    where: Where | None = None
    fields: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        where = "" if self.where is None else f", {self.where!r}"
        fields = "" if self.fields is None else f", fields={self.fields!r}"
        return f"offloaded({self.rule!r}{where}{fields})"

    @property
    def wheres(self) -> tuple[Where, ...]:
        return self.rule.wheres if self.where is None else (self.where, *self.rule.wheres)

    def for_leaf(self, path: str, p: Any) -> Rule:
        if self.where is not None and not self.where.matches(path, p):
            return self.rule.for_leaf(path, p)
        return super().for_leaf(path, p)

    def init(self, p: Any) -> Any:
        return self._placed(self.rule.init(p), "Host")

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        u, s = self.rule.update(g, self._placed(s, "Device"), p, k)
        return u, self._placed(s, "Host")

    def update_rows(self, g: Rows, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        u, s = self.rule.update_rows(g, self._placed(s, "Device"), p, k)
        return u, self._placed(s, "Host")

    def evaluate(self, p: Any, s: Any, t: Any) -> Any:
        return self.rule.evaluate(p, self._placed(s, "Device"), t)

    def _placed(self, s: Any, space: str) -> Any:
        if s is None:
            return None
        chosen = s._fields if self.fields is None else [f for f in s._fields if f in self.fields]
        to = jax.memory.Space[space]
        return s._replace(**{f: jax.tree.map(lambda x: jax.device_put(x, to), getattr(s, f)) for f in chosen})


def offloaded(tx: Any, where: Any = None, *, fields: Any = None, memory_kind: str = "pinned_host") -> Chain:
    """Keep the memory of the rules in host memory between steps; results are those without it.

    Under `jit` each array is fetched for its update and sent back; an array that is there already does not move. Donate
    parameters and state together (`make_step`), not the state alone: XLA may then give the state's host buffer to an
    update of the same shape. where: for which parameters, a selector, a regular expression or a function
    `(path, leaf) -> bool`. fields: which statistics, such as `("nu",)`; None takes all.
    memory_kind: `"pinned_host"`, or `"device"` for none of this.
    Reach: that of the stages. State: as without it, with memory kind `pinned_host`.
    Raises: TypeError if `tx` is not made of rules, ValueError if a name in `where` matches nothing.
    """
    check.choice("pinned_host", "device", memory_kind=memory_kind)
    if fields is not None:
        check.names(fields=fields)
    chosen = None if where is None else selector(where)
    names = None if fields is None else tuple([fields] if isinstance(fields, str) else fields)

    def offload(rule: Rule) -> Rule:
        stays = memory_kind == "device" or rule.keeps_zero or isinstance(rule, TreeRule)
        return rule if stays else Offloaded(rule, chosen, names)

    return map_rules(tx, offload, "offloaded")  # type: ignore[no-any-return]
