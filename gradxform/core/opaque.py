"""Transformations that are not made of rules, as one stage of a chain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from gradxform.core.facts import Facts, Reach
from gradxform.core.hyper import Slots
from gradxform.core.rule import Rule
from gradxform.core.stage import Stage, Step
from gradxform.core.transform import GradientTransformation
from gradxform.core.tree import Leaf, open_tree
from gradxform.core.types import Path, Shaped, Tree
from gradxform.core.value import Child
from gradxform.core.walk import run_pending


class Opaque(Stage):
    """A transformation that is not made of rules, as one stage: a wrapper, or another library's pair."""

    inner: Child[GradientTransformation]
    label: str | None = None

    def __repr__(self) -> str:
        return repr(self.inner)

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def facts(self) -> Facts:
        return Facts(reach=getattr(self.inner, "reach", Reach.TREE))

    @property
    def wrapped(self) -> GradientTransformation:
        return self.inner

    def plan(self, name: str, leaves: list[Leaf], step: Step) -> None:
        step.plan.put(name, step, {leaf.path: self for leaf in leaves if not leaf.frozen})

    def through(self, name: str, path: Path, leaf: Shaped) -> Iterator[tuple[str, Any]]:
        yield name, self

    def map_rules(self, f: Callable[[Rule], Rule], what: str) -> Stage:
        raise TypeError(f"{what} works on transformations made of rules; put it inside {self!r}, not around it")

    def init(self, name: str, leaves: list[Leaf], step: Step) -> None:
        if step.count is None:
            step.tree[step.prefix + name] = None  # It is asked when it is given its own state.
            return
        leaves = [leaf for leaf in leaves if not leaf.frozen]
        step.tree[step.prefix + name] = self.inner.init(_only(step.params, leaves, [leaf.p for leaf in leaves]))

    def update(self, name: str, leaves: list[Leaf], step: Step) -> None:
        leaves = [leaf for leaf in leaves if not leaf.frozen]
        run_pending(leaves)
        params = None if step.params is None else _only(step.updates, leaves, [leaf.p for leaf in leaves])
        updates = _only(step.updates, leaves, [leaf.g for leaf in leaves])
        before = step.tree[step.prefix + name]
        extra = {**step.extra, "whole": step.params} if self.inner.sees_whole else step.extra
        out, step.tree[step.prefix + name] = self.inner.advance(updates, before, params, extra, step.ok)
        gs = dict(zip(*open_tree(out)[:2], strict=True))
        for leaf in leaves:
            leaf.g = gs[leaf.path]

    def take_out(self, name: str, step: Step, slots: Slots) -> Opaque:
        return self.with_fields(inner=self.inner._take_out(slots.inside("tree", step.prefix + name)))

    def evaluate(self, name: str, leaves: list[Leaf], step: Step) -> None:
        leaves = [leaf for leaf in leaves if not leaf.frozen]
        params = _only(step.params, leaves, [leaf.p for leaf in leaves])
        ps = dict(zip(*open_tree(self.inner._evaluate(step.tree[step.prefix + name], params))[:2], strict=True))
        for leaf in leaves:
            leaf.p = ps[leaf.path]


def _only(tree: Tree, leaves: list[Leaf], values: list[Any]) -> Tree:
    """A tree with `values` at the places of `leaves`, and None elsewhere."""
    paths, _, structure = open_tree(tree)
    by_path = {leaf.path: value for leaf, value in zip(leaves, values, strict=True)}
    return structure.unflatten([by_path.get(path) for path in paths])
