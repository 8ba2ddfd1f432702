"""The noun for one array: what happens to a gradient, and what is remembered of it."""

from __future__ import annotations

import abc
import functools
import operator
from collections.abc import Callable
from typing import Any, ClassVar, final

from gradxform.core import check
from gradxform.core.bounds import coerce_bound
from gradxform.core.facts import Facts, Reach
from gradxform.core.hyper import coerce_fields
from gradxform.core.keys import kept_key
from gradxform.core.kinds import refuse_class
from gradxform.core.mistakes import refuse_fields, refuse_result
from gradxform.core.plain import got
from gradxform.core.rows import Rows
from gradxform.core.schema import schema
from gradxform.core.types import (
    Array,
    ArrayLike,
    Count,
    Factors,
    Gradient,
    Memory,
    Number,
    Param,
    Path,
    Scalars,
    Where,
)
from gradxform.core.value import Value

Keep = Callable[[Memory, Memory], Memory]
"""`new memory, old memory -> the memory that is kept`: where a step is held back, memory is encoded, or both."""


class Rule(Value):
    """What happens to one array: `g, s, p, k -> u, s`. Subclass it, with hyperparameters as fields.

    Annotate a field `Hyper` (or `Beta` for a decay rate) to let it be a number, a schedule or a tunable; `update` then
    sees it as a number. An `OwnKey` is a key to draw with, an `OwnPath` the path, an `OwnExtra` the array in an extra
    tree, of the leaf at hand. Arrays arrive in float32 or wider. Where the update is the gradient times one number,
    subclass `Factor`; where it follows from the new memory, `Halves`. A class is final, or says that it is not:
    `class Penalty(Rule, abstract=True)`.
    """

    abstract: ClassVar[bool] = True

    def __init_subclass__(cls, abstract: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.abstract = abstract
        refuse_class(cls)

    def __post_init__(self) -> None:
        if self.abstract:
            raise TypeError(f"{type(self).__name__} is abstract: subclass it, and make that")
        coerce_fields(self)
        refuse_fields(self)
        for f in schema(type(self)):
            if f.kind == "beta" and getattr(self, f.name) is not None:
                check.fraction(**{f.name: getattr(self, f.name)})
            elif "bound" in f.marks:
                object.__setattr__(self, f.name, coerce_bound(f.name, getattr(self, f.name)))
            elif f.kind == "key":
                object.__setattr__(self, f.name, kept_key(f.name, getattr(self, f.name)))
                if self.facts.reach < Reach.ARRAY:
                    raise TypeError(
                        f"{type(self).__name__} draws numbers by their places in the array: say facts = "
                        "Facts(reach=Reach.ARRAY)"
                    )
            elif "extra" in f.marks:
                if not isinstance(x := getattr(self, f.name), str):
                    raise TypeError(f"{f.name} must be the name of an extra argument, {got(x)}")
            elif f.annotation is bool:
                check.boolean(**{f.name: getattr(self, f.name)})
        self.check()

    @property
    def name(self) -> str:
        """The key of its memory in the state and of its hyperparameters: the class's name, or `name = "..."` in it."""
        return self.public_name().removeprefix("scale_by_")

    @property
    def facts(self) -> Facts:
        return PLAIN

    @property
    def remembers(self) -> bool:
        """Whether it keeps memory for a parameter."""
        return type(self).init is not Rule.init

    @property
    def corrects(self) -> bool:
        """Whether what it remembers is read by the number of steps it took to fill it, as bias corrections do."""
        return self.remembers and type(self).scalars is not Rule.scalars

    def check(self) -> None:
        """Refuse hyperparameters out of range; called once, when a user makes the rule.

        That a `Beta` is in [0, 1) and a `bool` True or False has been checked before.
        """

    def init(self, p: Array) -> Memory:
        """The memory for one parameter: a NamedTuple of arrays, or None for nothing."""
        return None

    def scalars(self, t: Count) -> Scalars:
        """What is the same for every array at step t = 1, 2, ...; handed to `update` as `k`."""
        return None

    @abc.abstractmethod
    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Array, Memory]:
        """Gradient, memory, parameter and the step's scalars -> update and new memory."""

    def update_rows(self, g: Rows, s: Memory, p: Param, k: Scalars) -> tuple[Gradient, Memory]:
        """`update` for a gradient given as `Rows`; by default what the dense gradient gives."""
        if not self.facts.keeps_zero:
            return self.update(g.dense(), s, p, k)
        rows = g.summed()
        return rows.with_values(self.update(rows.values, s, None, k)[0]), s

    def advance(
        self, g: Array | Rows, factors: Factors, s: Memory, p: Param, k: Scalars, keep: Keep
    ) -> tuple[Gradient, Memory]:
        """One step with `g` times each factor, and the memory that is kept of it."""
        update = self.update_rows if isinstance(g, Rows) else self.update
        result = update(scaled(g, factors), s, p, k)
        refuse_result(self, result)
        return result[0], keep(result[1], s)

    def evaluate(self, p: Array, s: Memory, t: Count) -> Array:
        """The parameter to evaluate with after t steps: p itself, unless the rule keeps a better one."""
        return p

    def for_leaf(self, path: Path, p: Array) -> Rule:
        """The rule for one parameter: strategies that are for some parameters leave the inner rule to the others."""
        return self

    @property
    def selectors(self) -> tuple[Where, ...]:
        """The selectors that `for_leaf` asks, outermost first."""
        return ()


PLAIN = Facts()


def scaled(g: Array | Rows, factors: Factors) -> Gradient:
    return functools.reduce(operator.mul, factors, g)


def dense(g: Array | Rows, factors: Factors) -> Array:
    """A gradient, dense or in rows, times each factor."""
    product: Array = scaled(g.dense() if isinstance(g, Rows) else g, factors)
    return product


def new_memory(new: Memory, old: Memory) -> Memory:
    """What is kept where nothing holds the step back."""
    return new


class Factor(Rule, abstract=True):
    """A rule that multiplies the whole array by one number; the product is made inside the rule that reads it."""

    @abc.abstractmethod
    def factor(self, g: Array, p: Param, k: Scalars) -> ArrayLike:
        """The number. A rule of reach `ARRAY` finds it from the gradient and the parameter, to others both are None."""

    @final
    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Array, Memory]:
        return g * self.factor(g, p, k), s


class Halves(Rule, abstract=True):
    """A rule whose update follows from its new memory: between the halves memory is kept, encoded or held back."""

    @abc.abstractmethod
    def remember(self, g: Array, s: Memory, p: Param, k: Scalars) -> Memory:
        """The new memory."""

    @abc.abstractmethod
    def emit(self, g: Array, s: Memory, p: Param, k: Scalars) -> Array:
        """The update, where `s` is the new memory."""

    @final
    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Array, Memory]:
        s = self.remember(g, s, p, k)
        return self.emit(g, s, p, k), s

    @final
    def advance(
        self, g: Array | Rows, factors: Factors, s: Memory, p: Param, k: Scalars, keep: Keep
    ) -> tuple[Gradient, Memory]:
        g = dense(g, factors)
        s = keep(self.remember(g, s, p, k), s)
        return self.emit(g, s, p, k), s


class TreeRule(Rule, abstract=True):
    """A rule whose scalars see the whole tree: `measure` reads all leaves, then `update` acts on each."""

    facts = Facts(reach=Reach.TREE)

    @property
    def corrects(self) -> bool:
        return False

    @property
    def norm_bound(self) -> Number:
        """The global norm above which the rule clips; None for one that does not."""
        return None

    def init_tree(self, ps: list[Array]) -> Memory:
        """Tree-wide memory: a NamedTuple of arrays, or None for nothing."""
        return None

    @abc.abstractmethod
    def measure(self, gs: list[Gradient], s: Memory, t: Count) -> tuple[Scalars, Memory]:
        """All gradients, tree-wide memory and the step -> the scalars `k`, and new memory."""

    @final
    def scalars(self, t: Count, measured: Scalars = None) -> Scalars:
        """What was measured, on its way through strategies around the rule."""
        return measured
