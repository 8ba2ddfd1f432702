"""Leaves that stay out of a chain."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp

from gradxform.core.arithmetic import compute_dtype
from gradxform.core.facts import Facts
from gradxform.core.stage import Chooses, Stage, Step, choose
from gradxform.core.tree import Leaf
from gradxform.core.types import Path, Shaped


class Freeze(Stage):
    """The chosen leaves take no part in the chain: zero update, no memory, seen by no stage."""

    where: Chooses | None = None
    label: str | None = None
    name: ClassVar[str] = "freeze"
    keeps: ClassVar[bool] = False
    facts: ClassVar[Facts] = Facts(homogeneous=True)

    def __repr__(self) -> str:
        return "freeze()" if self.where is None else f"freeze({self.where!r})"

    def holds(self, path: Path, leaf: Shaped) -> bool:
        return self.where is None or self.where.matches(path, leaf)

    @property
    def remembers_nothing(self) -> bool:
        return True

    def freeze(self, key: str, leaves: list[Leaf], step: Step) -> None:
        step.plan.frozen[key] = {leaf.path for leaf in choose(self.where, leaves, step.whole)}

    def init(self, name: str, leaves: list[Leaf], step: Step) -> None:
        return None

    def evaluate(self, name: str, leaves: list[Leaf], step: Step) -> None:
        return None

    def update(self, name: str, leaves: list[Leaf], step: Step) -> None:
        frozen = step.plan.frozen[step.prefix + name]
        for leaf in leaves:
            if leaf.path in frozen and leaf.raw is not None:
                leaf.pending = []
                leaf.g = jnp.zeros(leaf.g.shape, compute_dtype(leaf.g.dtype if leaf.p is None else leaf.p.dtype))
