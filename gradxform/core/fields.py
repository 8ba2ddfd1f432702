"""Fields of memory that users name for a strategy: each must be one that a rule of the transformation has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gradxform.core.arithmetic import compute_dtype
from gradxform.core.lens import Wrapper, layers
from gradxform.core.shapes import NO_MEMORY, memory_shapes
from gradxform.core.stage import Plan
from gradxform.core.tree import Leaf, is_trained


def names_of(path: str) -> list[str]:
    """What a statistic may be called: its path inside the memory, its field, the field which that is in."""
    return [path, *path.split("/")[::-1]]


def refuse_unknown_fields(plan: Plan, leaves: Iterable[Leaf]) -> None:
    """Raises: ValueError for a name that no memory has, of all those that the strategy is for."""
    ps = {leaf.path: leaf.p for leaf in leaves if is_trained(leaf.p)}
    known: dict[tuple[Any, ...], set[str]] = {}
    met = [(ps[path], rule) for rules in plan.rules.values() for path, rule in rules.items() if path in ps]
    for p, layer in [(p, x) for p, rule in met if isinstance(rule, Wrapper) for x in layers(rule)]:
        if isinstance(layer, Wrapper) and layer.named_fields:
            s = memory_shapes(layer.rule, p.shape, compute_dtype(p.dtype))
            have = known.setdefault((repr(layer).split("(")[0], *layer.named_fields), set())
            have |= set() if s is None or s is NO_MEMORY else layer.fields_of(s)
    for (strategy, *named), have in known.items():
        for field in named:
            if field not in have:
                kept = ", ".join(sorted(have)) or "nothing"
                raise ValueError(f"{strategy} has {field!r} for a field, and no rule keeps one; kept are: {kept}")
