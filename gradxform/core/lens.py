"""Rules around a rule, and lenses: other forms in which a rule's memory is kept between steps."""

from __future__ import annotations

import abc
from typing import Any, final

from gradxform.core.facts import Facts
from gradxform.core.rule import Keep, Rule, new_memory
from gradxform.core.value import Child


class Wrapper(Rule, abstract=True):
    """A rule around a rule, with the inner one's name and facts: what strategies make of rules.

    A subclass says in `advance` what becomes of a step; what else it does not say is the inner rule's.
    """

    rule: Child[Rule]

    @property
    def name(self) -> str:
        return self.rule.name

    @property
    def facts(self) -> Facts:
        return self.rule.facts

    @property
    def remembers(self) -> bool:
        return self.rule.remembers

    def init(self, p: Any) -> Any:
        return self.rule.init(p)

    def scalars(self, t: Any, **extra: Any) -> Any:
        return self.rule.scalars(t, **extra)

    @final
    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        return self.advance(g, [], s, p, k, new_memory)

    @final
    def update_rows(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        return self.advance(g, [], s, p, k, new_memory)

    def advance(self, g: Any, factors: list[Any], s: Any, p: Any, k: Any, keep: Keep) -> tuple[Any, Any]:
        return self.rule.advance(g, factors, s, p, k, keep)

    def evaluate(self, p: Any, s: Any, t: Any) -> Any:
        return self.rule.evaluate(p, s, t)

    def for_leaf(self, path: str, p: Any) -> Rule:
        inner = self.rule.for_leaf(path, p)
        return self if inner is self.rule else self.with_fields(rule=inner)

    @property
    def selectors(self) -> tuple[Any, ...]:
        return self.rule.selectors


class Lens(Wrapper, abstract=True):
    """A rule whose memory is kept in another form: `read` shows it to the rule, `write` makes it again.

    Both stand between the halves of the rule inside, so that its update is computed from what is really kept.
    """

    @abc.abstractmethod
    def read(self, s: Any, g: Any) -> Any:
        """The memory as the rule inside knows it; `g` is an array with the shape and dtype of its gradient."""

    @abc.abstractmethod
    def write(self, new: Any, s: Any, k: Any) -> Any:
        """New memory of the rule inside in the form of `s`, what was kept before."""

    def inner(self, s: Any, g: Any, k: Any) -> Any:
        """The scalars of the rule inside."""
        return k

    def advance(self, g: Any, factors: list[Any], s: Any, p: Any, k: Any, keep: Keep) -> tuple[Any, Any]:
        if s is None:
            return self.rule.advance(g, factors, s, p, self.inner(s, g, k), keep)
        kept = s

        def between(new: Any, old: Any) -> Any:
            nonlocal kept
            kept = keep(self.write(new, s, k), s)
            return self.read(kept, g)

        u, _ = self.rule.advance(g, factors, self.read(s, g), p, self.inner(s, g, k), between)
        return u, kept

    def evaluate(self, p: Any, s: Any, t: Any) -> Any:
        return self.rule.evaluate(p, s if s is None else self.read(s, p), t)
