"""Stages that are made of chains: one with something done around it, or groups, each with its own leaves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, Self

from gradxform.core.chain import Chain
from gradxform.core.facts import Facts, Reach
from gradxform.core.stage import NO_NAMES, Names, Stage, Step
from gradxform.core.tree import Leaf
from gradxform.core.types import Params, Path, Shaped
from gradxform.core.value import Child


class Inside(Stage):
    """A chain, and what is done around it."""

    chain: Child[Chain]

    @property
    def taken(self) -> Names:
        """The names that stages around it have."""
        return NO_NAMES

    @property
    def facts(self) -> Facts:
        return Facts(reach=self.chain.reach)

    def parts(self) -> list[tuple[str, Chain, Names]]:
        return [("", self.chain, self.taken)]

    def after(self, taken: Names) -> Self:
        return self.with_fields(taken=taken)

    def map_parts(self, f: Callable[[Chain, str, Names], Chain]) -> Self:
        return self.with_fields(chain=f(self.chain, "", self.taken))


class Labels(Protocol):
    """Which group each leaf is in; `None` for none."""

    def labels(self, leaves: Sequence[Leaf], tree: Params) -> list[str | None]: ...
    def label(self, path: Path, leaf: Shaped) -> str | None: ...
    def shown(self, branches: dict[str, Chain]) -> str: ...


class Split(Stage):
    """Groups: each leaf goes through the chain of its group, tree-wide members see their group alone."""

    groups: Labels
    branches: Child[dict[str, Chain]]
    label: str | None = None
    taken: Names = NO_NAMES

    def __hash__(self) -> int:
        return hash((self.groups, tuple(self.branches.items()), self.label, self.taken))

    def __repr__(self) -> str:
        return self.groups.shown(self.branches)

    @property
    def name(self) -> str:
        return "groups"

    @property
    def facts(self) -> Facts:
        return Facts(reach=max((branch.reach for branch in self.branches.values()), default=Reach.ELEMENT))

    def parts(self) -> list[tuple[str, Chain, Names]]:
        return [(f"{group}/", branch, self.taken) for group, branch in self.branches.items()]

    def after(self, taken: Names) -> Split:
        return self.with_fields(taken=taken)

    def map_parts(self, f: Callable[[Chain, str, Names], Chain]) -> Split:
        return self.with_fields(
            branches={group: f(part, f"{group}/", self.taken) for group, part in self.branches.items()}
        )

    def plan(self, name: str, leaves: list[Leaf], step: Step) -> None:
        labels = self.groups.labels(leaves, step.whole)
        for leaf, group in zip(leaves, labels, strict=True):
            self.refuse_unknown(leaf.path, group)
        step.plan.groups[step.prefix + name] = {leaf.path: at for leaf, at in zip(leaves, labels, strict=True)}
        self._walk("plan", name, leaves, step)

    def through(self, name: str, path: Path, leaf: Shaped) -> Iterator[tuple[str, Any]]:
        group = self.groups.label(path, leaf)
        self.refuse_unknown(path, group)
        if group is not None:
            for key, rule in self.branches[group].through(path, leaf, self.taken):
                yield f"{group}/{key}", rule

    def refuse_unknown(self, path: Path, group: str | None) -> None:
        if group is not None and group not in self.branches:
            known = f"there are {[*self.branches]}"
            raise ValueError(f"param_labels: the label {group!r} of {path!r} has no transformation; {known}")

    def init(self, name: str, leaves: list[Leaf], step: Step) -> None:
        self._walk("init_stages", name, leaves, step)

    def update(self, name: str, leaves: list[Leaf], step: Step) -> None:
        self._walk("update_stages", name, leaves, step)

    def evaluate(self, name: str, leaves: list[Leaf], step: Step) -> None:
        self._walk("evaluate_stages", name, leaves, step)

    def _walk(self, what: str, name: str, leaves: list[Leaf], step: Step) -> None:
        """Each branch on the leaves of its group; an update without gradient and parameter is known by its memory."""
        groups, absent = step.plan.groups[step.prefix + name], what == "update_stages"
        for group, branch in self.branches.items():
            members = [leaf for leaf in leaves if groups.get(leaf.path) == group or (absent and leaf.array is None)]
            getattr(branch, what)(members, step._replace(prefix=f"{step.prefix}{group}/"), self.taken)
