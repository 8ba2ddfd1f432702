"""Rules around a rule, and lenses: other forms in which a rule's memory is kept between steps."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

from gradxform.core.arithmetic import cast, compute_dtype
from gradxform.core.facts import Facts
from gradxform.core.rows import Rows
from gradxform.core.rule import Keep, Rule, TreeRule, new_memory
from gradxform.core.tree import Leaf
from gradxform.core.types import Array, Count, Factors, Gradient, Memory, Param, Path, Scalars, Shaped, Where
from gradxform.core.value import Child


class Around(Rule, abstract=True):
    """A rule that acts by the rule inside it, under its name and with its scalars."""

    rule: Child[Rule]

    @property
    def name(self) -> str:
        return self.rule.name

    @property
    def remembers(self) -> bool:
        return self.rule.remembers

    @property
    def corrects(self) -> bool:
        return self.rule.corrects

    def scalars(self, t: Count, **extra: Any) -> Scalars:
        return self.rule.scalars(t, **extra)


class Wrapper(Around, abstract=True):
    """A rule around a rule, with the inner one's facts: what strategies make of rules.

    A subclass says in `advance` what becomes of a step; what else it does not say is the inner rule's.
    """

    sees_array: ClassVar[bool] = False
    """Whether what it adds to the rule inside looks at the whole array."""

    @property
    def facts(self) -> Facts:
        return self.rule.facts

    def init(self, p: Array) -> Memory:
        return self.rule.init(p)

    @final
    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Gradient, Memory]:
        return self.advance(g, [], s, p, k, new_memory)

    @final
    def update_rows(self, g: Rows, s: Memory, p: Param, k: Scalars) -> tuple[Gradient, Memory]:
        return self.advance(g, [], s, p, k, new_memory)

    def advance(
        self, g: Array | Rows, factors: Factors, s: Memory, p: Param, k: Scalars, keep: Keep
    ) -> tuple[Gradient, Memory]:
        return self.rule.advance(g, factors, s, p, k, keep)

    def evaluate(self, p: Array, s: Memory, t: Count) -> Array:
        return self.rule.evaluate(p, s, t)

    def for_leaf(self, path: Path, p: Array) -> Rule:
        inner = self.rule.for_leaf(path, p)
        return self if inner is self.rule else self.with_fields(rule=inner)

    @property
    def selectors(self) -> tuple[Where, ...]:
        return self.rule.selectors

    @property
    def named_fields(self) -> tuple[str, ...]:
        """The fields of memory that a user named; each must be one that some rule of the transformation keeps."""
        return ()

    def fields_of(self, s: Memory) -> set[str]:
        """What the fields of a memory may be called."""
        return {*s._fields}


def layers(rule: Rule) -> list[Rule]:
    """A rule, and the rules inside it, outermost first."""
    return [rule, *layers(rule.rule)] if isinstance(rule, Wrapper) else [rule]


def remembers_tree(rule: Rule) -> bool:
    """Whether a rule keeps memory of the whole tree."""
    inner = layers(rule)[-1]
    return isinstance(inner, TreeRule) and type(inner).init_tree is not TreeRule.init_tree


def widened(
    name: str, rules: Mapping[str, Rule], leaves: Sequence[Leaf], gs: Sequence[Gradient], extra: dict[str, Any]
) -> tuple[list[Gradient], dict[str, Any]]:
    """Gradients, and beside the extra arguments parameters and memories, of all leaves as their rules get them."""
    dtypes = [compute_dtype(leaf.p.dtype) for leaf in leaves]
    gs = [cast(g.dense() if isinstance(g, Rows) else g, dtype) for g, dtype in zip(gs, dtypes, strict=True)]
    ps = [cast(leaf.p, dtype) for leaf, dtype in zip(leaves, dtypes, strict=True)]
    ms = [leaf.memory.get(name) for leaf in leaves]
    for i, (leaf, g) in enumerate(zip(leaves, gs, strict=True)):
        for lens in [layer for layer in layers(rules[leaf.path]) if isinstance(layer, Lens)]:
            ms[i] = lens.read(ms[i], g)
    return gs, {**extra, "ps": ps, "ms": ms}


class Lens(Wrapper, abstract=True):
    """A rule whose memory is kept in another form: `read` shows it to the rule, `write` makes it again.

    Both stand between the halves of the rule inside, so that its update is computed from what is really kept.
    """

    @abc.abstractmethod
    def read(self, s: Memory, g: Shaped) -> Memory:
        """The memory as the rule inside knows it; `g` is an array with the shape and dtype of its gradient."""

    @abc.abstractmethod
    def write(self, new: Memory, s: Memory, k: Scalars) -> Memory:
        """New memory of the rule inside in the form of `s`, what was kept before."""

    def inner(self, s: Memory, g: Shaped, k: Scalars) -> Scalars:
        """The scalars of the rule inside."""
        return k

    def advance(
        self, g: Array | Rows, factors: Factors, s: Memory, p: Param, k: Scalars, keep: Keep
    ) -> tuple[Gradient, Memory]:
        if s is None:
            return self.rule.advance(g, factors, s, p, self.inner(s, g, k), keep)
        kept = s

        def between(new: Memory, old: Memory) -> Memory:
            nonlocal kept
            kept = keep(self.write(new, s, k), s)
            return self.read(kept, g)

        u, _ = self.rule.advance(g, factors, self.read(s, g), p, self.inner(s, g, k), between)
        return u, kept

    def evaluate(self, p: Array, s: Memory, t: Count) -> Array:
        return self.rule.evaluate(p, s if s is None else self.read(s, p), t)
