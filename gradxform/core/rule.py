"""The noun for one array: what happens to a gradient, and what is remembered of it."""

from __future__ import annotations

import enum
import functools
import operator
from typing import Any, ClassVar

from gradxform.core.hyper import coerce_fields
from gradxform.core.value import Child, Value


class Reach(enum.IntEnum):
    """How far a rule looks in order to update one element."""

    ELEMENT = 0
    ROW = 1
    ARRAY = 2
    TREE = 3


class Rule(Value):
    """What happens to one array: `g, s, p, k -> u, s`. Subclass it, with hyperparameters as fields.

    Annotate a field `Hyper` (or `Beta` for a decay rate) to let it be a number, a schedule or a tunable;
    `update` then sees it as a number. Arrays arrive in float32 or wider.
    """

    name: ClassVar[str] = ""
    """The key of its memory in the state and of its hyperparameters; the class's name unless given."""
    reach: ClassVar[Reach] = Reach.ELEMENT
    needs_params: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ()
    """Extra arguments of `update` (such as `value`) that `scalars` takes by keyword."""
    real_only: ClassVar[bool] = False
    """Refuse complex parameters by name: the rule compares, or takes signs."""
    keeps_zero: ClassVar[bool] = False
    """Zero in gives zero out, element by element, without memory or parameter: sparse rows may stay rows."""
    cheap: ClassVar[bool] = False
    """Sooner computed twice than kept, for what sums over its result. So is every `factor`."""
    decay_rates: ClassVar[tuple[str, ...] | None] = None
    """The rates by whose n-th power n updates with a zero gradient are one; None where the memory does otherwise."""
    monotone: ClassVar[bool] = False
    """What `remember` gives for the largest sizes of gradient and memory in a block bounds what it gives inside it."""
    stored_params: ClassVar[bool] = False
    """`update` wants `p` in the dtype that it is stored in (the rule asks where the step will land)."""
    per_example: ClassVar[bool] = False
    """Gradients arrive with a leading axis of examples and leave without it: for the first stage of a chain."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.name == "" or (isinstance(cls.name, str) and "name" not in cls.__dict__):
            cls.name = cls.public_name().removeprefix("scale_by_")

    def __post_init__(self) -> None:
        coerce_fields(self)
        self.check()

    def check(self) -> None:
        """Refuse hyperparameters out of range; called once, when a user makes the rule."""

    def init(self, p: Any) -> Any:
        """The memory for one parameter: a NamedTuple of arrays, or None for nothing."""
        return None

    def scalars(self, t: Any) -> Any:
        """What is the same for every array at step t = 1, 2, ...; handed to `update` as `k`."""
        return None

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        """Gradient, memory, parameter and the step's scalars -> update and new memory."""
        factor = self.ratio(g, p, k) if self.weighs else self.factor(k)
        if factor is not None:
            return g * factor, s
        s = self.remember(g, s, p, k)
        return self.emit(g, s, p, k), s

    def factor(self, k: Any) -> Any:
        """The number that `update` multiplies by, for rules that do no more; None for the others."""
        return None

    def ratio(self, g: Any, p: Any, k: Any) -> Any:
        """As `factor`, for rules that look at the whole array to find the number."""
        raise NotImplementedError

    @property
    def weighs(self) -> bool:
        """Whether `update` multiplies by `ratio`."""
        return type(self).ratio is not Rule.ratio and type(self).update is Rule.update

    def runs_again(self, k: Any, remembers: bool) -> bool:
        """Whether `again` can tell what `update` gave: cheaply, or from what it remembers."""
        return self.in_halves if remembers else self.cheap or self.factor(k) is not None

    def again(self, g: Any, s: Any, p: Any, k: Any) -> Any:
        """What `update` gave, from the same gradient and the new memory."""
        return self.update(g, s, p, k)[0] if s is None else self.emit(g, s, p, k)

    def update_scaled(self, g: Any, factors: list[Any], s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        """`update` for `g` times each factor; overridden where the product should not be made before."""
        return self.update(scaled(g, factors), s, p, k)

    def remember(self, g: Any, s: Any, p: Any, k: Any) -> Any:
        """The new memory: the first half of `update`, for rules whose update follows from what they now remember."""
        raise NotImplementedError

    def emit(self, g: Any, s: Any, p: Any, k: Any) -> Any:
        """The update, where `s` is the new memory: the second half."""
        raise NotImplementedError

    @property
    def in_halves(self) -> bool:
        """Whether `update` is `remember` and `emit`: then it may be computed from the memory as it is stored."""
        return type(self).update is Rule.update and type(self).remember is not Rule.remember

    def evaluate(self, p: Any, s: Any, t: Any) -> Any:
        """The parameter to evaluate with after t steps: p itself, unless the rule keeps a better one."""
        return p

    def for_leaf(self, path: str, p: Any) -> Rule:
        """The rule for one parameter: strategies that are for some parameters leave the inner rule to the others."""
        return self

    @property
    def selectors(self) -> tuple[Any, ...]:
        """The selectors that `for_leaf` asks, outermost first."""
        return ()

    def update_rows(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        """`update` for a gradient given as `Rows`; by default what the dense gradient gives."""
        if not self.keeps_zero:
            return self.update(g.dense(), s, p, k)
        rows = g.summed()
        return rows.with_values(self.update(rows.values, s, None, k)[0]), s


def scaled(g: Any, factors: list[Any]) -> Any:
    return functools.reduce(operator.mul, factors, g)


class TreeRule(Rule):
    """A rule whose scalars see the whole tree: `measure` reads all leaves, then `update` acts on each."""

    reach = Reach.TREE

    @property
    def norm_bound(self) -> Any:
        """The global norm above which the rule clips; None for one that does not."""
        return None

    def init_tree(self, ps: list[Any]) -> Any:
        """Tree-wide memory: a NamedTuple of arrays, or None for nothing."""
        return None

    def measure(self, gs: list[Any], s: Any, t: Any) -> tuple[Any, Any]:
        """All gradients, tree-wide memory and the step -> the scalars `k`, and new memory."""
        raise NotImplementedError


class Wrapper(Rule):
    """A rule around a rule, with the inner one's name and facts: what strategies make of rules."""

    rule: Child[Rule]

    @property
    def name(self) -> str:  # type: ignore[override]
        return self.rule.name

    @property
    def reach(self) -> Reach:  # type: ignore[override]
        return self.rule.reach

    @property
    def needs_params(self) -> bool:  # type: ignore[override]
        return self.rule.needs_params

    @property
    def needs(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.rule.needs

    @property
    def real_only(self) -> bool:  # type: ignore[override]
        return self.rule.real_only

    @property
    def decay_rates(self) -> tuple[str, ...] | None:  # type: ignore[override]
        return self.rule.decay_rates

    @property
    def stored_params(self) -> bool:  # type: ignore[override]
        return self.rule.stored_params

    def init(self, p: Any) -> Any:
        return self.rule.init(p)

    def scalars(self, t: Any, **extra: Any) -> Any:
        return self.rule.scalars(t, **extra)

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        return self.rule.update(g, s, p, k)

    def evaluate(self, p: Any, s: Any, t: Any) -> Any:
        return self.rule.evaluate(p, s, t)

    def for_leaf(self, path: str, p: Any) -> Rule:
        inner = self.rule.for_leaf(path, p)
        return self if inner is self.rule else self.with_fields(rule=inner)

    @property
    def selectors(self) -> tuple[Any, ...]:
        return self.rule.selectors
