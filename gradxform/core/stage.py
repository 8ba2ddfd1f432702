"""Members of a chain, what a step shares between them, and the plan: which rule stands at which leaf."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import jax

from gradxform.core.facts import Facts
from gradxform.core.hyper import Hyper, Slots
from gradxform.core.rule import Rule
from gradxform.core.tree import Leaf
from gradxform.core.types import Count, Memory, Number, Params, Path, Shaped, Taken, Transformation, Updates
from gradxform.core.value import Value, is_hashable

if TYPE_CHECKING:
    from gradxform.core.chain import Chain
    from gradxform.core.transform import GradientTransformation


class Chooses(Protocol):
    """Which leaves a stage acts on; selectors in `gradxform.params` are the ones that users write."""

    def select(self, leaves: Sequence[Leaf], tree: Params) -> list[bool]: ...
    def matches(self, path: Path, leaf: Shaped) -> bool: ...


def choose(where: Chooses | None, leaves: list[Leaf], tree: Params) -> list[Leaf]:
    if where is None:
        return leaves
    chosen = where.select(leaves, tree)
    return [leaf for leaf, yes in zip(leaves, chosen, strict=True) if yes]


class Plan:
    """Which rule stands at which leaf: asked once, before anything runs, and read by whatever wants to know.

    rules: stage -> path -> the rule there, or the stage itself where it is not made of rules. groups: stage -> path ->
    group. frozen: stage -> the paths that it holds. packs: stage -> the paths that share a buffer. Stages stand under
    their names in the state, `[group/]stage`, in order; prefixes: stage -> its `group/`.
    """

    def __init__(self) -> None:
        self.rules: dict[str, dict[str, Any]] = {}
        self.groups: dict[str, dict[str, str | None]] = {}
        self.frozen: dict[str, set[str]] = {}
        self.packs: dict[str, list[list[str]]] = {}
        self.prefixes: dict[str, str] = {}
        self._alike: dict[Any, Any] = {}

    def put(self, name: str, step: Step, rules: dict[str, Any]) -> None:
        """A stage's rule at each leaf; equal rules are one object, so that leaves with them are known to be alike."""
        key = step.prefix + name
        self.prefixes[key] = step.prefix
        alike = {id(rule): self._alike.setdefault(identity(rule), rule) for rule in rules.values()}
        self.rules[key] = {path: alike[id(rule)] for path, rule in rules.items()}

    def through(self, path: Path) -> Iterator[tuple[str, Any]]:
        """The stages that a leaf goes through, in order, each with its rule there."""
        return ((key, rules[path]) for key, rules in self.rules.items() if path in rules)


def identity(rule: Any) -> object:
    """What equal rules have in common, also where tracers are in them."""
    if is_hashable(rule):
        return rule
    values, structure = jax.tree.flatten(rule)
    return structure, tuple(x if is_hashable(x) else id(x) for x in values)


class Step(NamedTuple):
    """What one walk through the stages shares: the counter, memory that sees the whole tree, extra arguments."""

    count: Count
    """None at an `init` that is asked for shapes alone."""
    t: Count
    """None where there is no state to count in."""
    tree: dict[str, Memory]
    hyper: dict[str, Number]
    extra: dict[str, Any]
    params: Params
    """The parameters as they were handed over, for masks and foreign transformations."""
    updates: Updates = None
    """The gradients as they were handed over; None at `init`."""
    plan: Plan = Plan()
    prefix: str = ""
    """`group/` inside a group: what sees more than one leaf is named by it."""
    rate: Hyper = None
    """The learning rate of the chain at hand, as it was written."""
    ok: Taken = None
    """Whether the step is taken, where a control decides it; None where it is."""

    @property
    def whole(self) -> Params:
        return self.updates if self.params is None else self.params


class Names(NamedTuple):
    """Names that are taken: by stages before that keep something, and by all others."""

    kept: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


NO_NAMES = Names()


class Stage(Value):
    """A member of a chain: it acts on the leaves that the plan gives it."""

    @property
    def name(self) -> str:
        raise NotImplementedError

    @property
    def label(self) -> str | None:
        """The name that a user gave it, in place of its own."""
        return None

    @property
    def facts(self) -> Facts:
        raise NotImplementedError

    @property
    def only_rule(self) -> Rule | None:
        """The rule of a stage that is one rule lifted."""
        return None

    @property
    def keeps(self) -> bool:
        """Whether something may stand in the state under its name."""
        return True

    @property
    def wrapped(self) -> Transformation:
        """The transformation of a stage that is not made of rules."""
        return None

    def parts(self) -> list[tuple[str, Chain, Names]]:
        """The chains inside: what stands before the names of what they keep, the chain, the names taken around it."""
        return []

    def inside(self) -> Iterator[GradientTransformation]:
        """All transformations inside it."""
        for _, part, _ in self.parts():
            yield from part.inside()
        if self.wrapped is not None:
            yield from self.wrapped.inside()

    def after(self, taken: Names) -> Stage:
        """The same stage, the stages inside it named apart from those around it."""
        return self

    def inner_names(self, kept: bool = False) -> set[str]:
        """The names of all stages inside, those inside them included; or of those that keep something."""
        named = [pair for _, part, taken in self.parts() for pair in part.named(taken)]
        names = {name for name, stage in named if stage.keeps or not kept}
        return names.union(*(stage.inner_names(kept) for _, stage in named))

    @property
    def takes_examples(self) -> bool:
        """Whether gradients arrive with a leading axis of examples, here or in a chain inside."""
        return any(part.per_example for _, part, _ in self.parts())

    @property
    def remembers_nothing(self) -> bool:
        """Whether an update needs no state: no memory, no schedule, no tunable."""
        return False

    def holds(self, path: Path, leaf: Shaped) -> bool:
        """Whether it keeps a leaf out of the chain."""
        return False

    def freeze(self, key: str, leaves: list[Leaf], step: Step) -> None:
        """Put into the plan which leaves no stage of the chain acts on."""

    def plan(self, name: str, leaves: list[Leaf], step: Step) -> None:
        """Put into the plan which rule stands at which of the leaves."""
        for before, part, taken in self.parts():
            part.plan(leaves, step._replace(prefix=step.prefix + before), taken)

    def init(self, name: str, leaves: list[Leaf], step: Step) -> None:
        raise NotImplementedError

    def update(self, name: str, leaves: list[Leaf], step: Step) -> None:
        raise NotImplementedError

    def evaluate(self, name: str, leaves: list[Leaf], step: Step) -> None:
        raise NotImplementedError

    def through(self, name: str, path: Path, leaf: Shaped) -> Iterator[tuple[str, Any]]:
        """As the plan's, for one leaf alone."""
        for before, part, taken in self.parts():
            yield from ((before + key, rule) for key, rule in part.through(path, leaf, taken))

    def map_parts(self, f: Callable[[Chain, str, Names], Chain]) -> Stage:
        """The same stage with `f(chain, prefix, taken)` in place of each chain inside."""
        return self

    def map_rules(self, f: Callable[[Rule], Rule], what: str) -> Stage:
        """The same stage with every rule exchanged. Raises: TypeError naming `what` where it is not made of rules."""
        return self.map_parts(lambda part, before, taken: part.map_rules(f, what))

    def take_out(self, name: str, step: Step, slots: Slots) -> Stage:
        """The same stage without the numbers that compiled code takes as data."""
        return self.map_parts(
            lambda part, before, taken: part._take_out(slots, step._replace(prefix=step.prefix + before), taken)
        )
