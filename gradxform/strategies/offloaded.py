"""State that lives in host memory between steps and visits the device for its update."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.experimental.compute_on import compute_on

from gradxform.core import check
from gradxform.core.chain import Chain, map_rules
from gradxform.core.lens import Wrapper
from gradxform.core.rows import Rows
from gradxform.core.rule import Keep, Rule, TreeRule, new_memory
from gradxform.core.stage import Chooses
from gradxform.core.types import (
    Array,
    Count,
    Factors,
    Gradient,
    Memory,
    Param,
    Path,
    Scalars,
    Transformation,
    Tree,
    Where,
)
from gradxform.params.select import selector


class Offloaded(Wrapper):
    """A rule whose memory is in host memory before and after each update."""

    where: Chooses | None = None
    fields: tuple[str, ...] | None = None
    on_host: bool = False

    def __repr__(self) -> str:
        where = "" if self.where is None else f", {self.where!r}"
        fields = "" if self.fields is None else f", fields={self.fields!r}"
        on_host = ", compute_on='host'" if self.on_host else ""
        return f"offloaded({self.rule!r}{where}{fields}{on_host})"

    @property
    def selectors(self) -> tuple[Chooses, ...]:
        return self.rule.selectors if self.where is None else (self.where, *self.rule.selectors)

    @property
    def named_fields(self) -> tuple[str, ...]:
        return self.fields or ()

    def for_leaf(self, path: Path, p: Array) -> Rule:
        if self.where is not None and not self.where.matches(path, p):
            return self.rule.for_leaf(path, p)
        return super().for_leaf(path, p)

    def init(self, p: Array) -> Memory:
        return self._placed(self.rule.init(p), "Host")

    def advance(
        self, g: Array | Rows, factors: Factors, s: Memory, p: Param, k: Scalars, keep: Keep
    ) -> tuple[Gradient, Memory]:
        """What is kept is chosen on the device: it lies there between the halves."""
        if not self.on_host or s is None:
            u, new = self.rule.advance(g, factors, self._placed(s, "Device"), p, k, keep)
            return u, self._placed(new, "Host")
        rule, *moved = _moved((self.rule, g, factors, s, p, k), "Host")
        try:
            u, new = _on_host(lambda *args: rule.advance(*args, new_memory), *moved)
        except (TypeError, ValueError) as error:
            if not re.search("memory_space|<host>", str(error)):
                raise
            raise ValueError(
                f"{self.name} cannot be computed on the host: JAX does not let its arrays there meet constants of the "
                "rule; leave compute_on='device'"
            ) from error
        kept = {f: x if self._keeps(f) else _moved(x, "Device") for f, x in zip(new._fields, new, strict=True)}
        return _moved(u, "Device"), keep(new._replace(**kept), s)

    def evaluate(self, p: Array, s: Memory, t: Count) -> Array:
        return self.rule.evaluate(p, self._placed(s, "Device"), t)

    def _keeps(self, field: str) -> bool:
        return self.fields is None or field in self.fields

    def _placed(self, s: Memory, space: str) -> Memory:
        """The memory with the chosen fields in host memory, or on the device."""
        if s is None:
            return None
        return s._replace(**{f: _moved(getattr(s, f), space) for f in s._fields if self._keeps(f)})


def _moved(tree: Tree, space: str) -> Tree:
    to = jax.memory.Space[space]
    return jax.tree.map(lambda x: jax.device_put(x, to) if isinstance(x, jax.Array) else x, tree)


def _on_host(f: Callable[..., Any], *args: Any) -> Any:
    """`f(*args)`, computed by the host's processor, from host memory to host memory; JAX spells it in two ways."""
    on: Any = compute_on
    if "out_memory_spaces" in inspect.signature(on).parameters:
        run = on(lambda: f(*args), compute_type="device_host", out_memory_spaces=jax.memory.Space.Host)
        return run()
    with on("device_host"):
        return f(*args)


def offloaded(
    tx: Transformation,
    where: Where = None,
    *,
    fields: str | Sequence[str] | None = None,
    memory_kind: str = "pinned_host",
    compute_on: str = "device",
) -> Chain:
    """Keep the memory of the rules in host memory between steps; results are those without it.

    Under `jit` each array is fetched for its update and sent back; an array that is there already does not move. Donate
    parameters and state together (`make_step`), not the state alone: XLA may then give the state's host buffer to an
    update of the same shape. where: for which parameters, a selector, a regular expression or a function
    `(path, leaf) -> bool`. fields: which statistics, such as `("nu",)`; None takes all.
    memory_kind: `"pinned_host"`, or `"device"` for none of this. compute_on: `"host"` computes the update there too:
    gradients go over and updates come back, instead of the memory twice.
    Reach: that of the stages. State: as without it, with memory kind `pinned_host`.
    Raises: TypeError if `tx` is not made of rules, ValueError if a name in `where` matches nothing, at init for a
    field that no rule has, or at the first update if JAX cannot compute a rule on the host: one that chooses between an
    array and a constant.
    """
    check.choice("pinned_host", "device", memory_kind=memory_kind)
    check.choice("device", "host", compute_on=compute_on)
    if fields is not None:
        check.names(fields=fields)
    chosen = None if where is None else selector(where)
    names = None if fields is None else tuple([fields] if isinstance(fields, str) else fields)

    def offload(rule: Rule) -> Rule:
        if rule.facts.measures_memory and memory_kind != "device":
            raise TypeError(
                f"offloaded cannot hold what {rule.name} remembers: it measures it on the device at each step"
            )
        stays = memory_kind == "device" or rule.facts.keeps_zero or isinstance(rule, TreeRule)
        return rule if stays else Offloaded(rule, chosen, names, compute_on == "host")

    return map_rules(tx, offload, "offloaded", () if memory_kind == "device" else names or ())
