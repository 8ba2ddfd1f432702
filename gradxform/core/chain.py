"""Transformations one after another, group beside group, with one state of one shape."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import jax.numpy as jnp

from gradxform.core.arithmetic import next_count
from gradxform.core.hyper import Hyper, Slots, hyper_fields
from gradxform.core.lift import Freeze, Lifted, Step, Where, freeze_leaves
from gradxform.core.opaque import Foreign, Opaque
from gradxform.core.rule import Reach, Rule
from gradxform.core.state import State
from gradxform.core.transform import GradientTransformation
from gradxform.core.tree import Leaf, memory_structure, open_memories, open_together, open_tree, parameter
from gradxform.core.value import Child, Value
from gradxform.core.walk import run_pending


class Labels(Protocol):
    """Which group each leaf is in; `None` for none."""

    def labels(self, leaves: Sequence[Leaf], tree: Any) -> list[str | None]: ...
    def label(self, path: str, leaf: Any) -> str | None: ...
    def shown(self, branches: dict[str, Chain]) -> str: ...


class Chain(GradientTransformation):
    """Stages in order. Neighbouring rules walk each leaf together; the state is one `State` whatever the stages."""

    stages: Child[tuple[Any, ...]] = ()

    def __post_init__(self) -> None:
        for i, stage in enumerate(self.stages):
            if _takes_examples(stage) and (i > 0 or isinstance(stage, Split)):
                raise ValueError(
                    f"{stage!r} takes the gradient of every example: it must be the first stage, and in no group"
                )

    @property
    def per_example(self) -> bool:
        """Whether gradients arrive with a leading axis of examples."""
        return bool(self.stages) and _takes_examples(self.stages[0])

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self.stages))
        return shown if len(self.stages) == 1 else f"chain({shown})"

    def _init(self, params: Any) -> State:
        paths, ps, _ = open_tree(params)
        leaves = [Leaf(path, None, parameter(path, p), {}) for path, p in zip(paths, ps, strict=True)]
        step = Step(count=jnp.zeros((), jnp.int32), t=None, tree={}, hyper={}, extra={}, params=params)
        self.init_stages(leaves, step)
        memories = memory_structure(params).unflatten([None if leaf.p is None else leaf.memory for leaf in leaves])
        return State(step.count, memories, step.tree, step.hyper)

    def _update(self, updates: Any, state: State, params: Any, extra: dict[str, Any]) -> tuple[Any, State]:
        _refuse_foreign(state)
        opened = open_together(updates, params, state.leaves, self.per_example)
        count = next_count(state.count)
        step = Step(state.count, count, dict(state.tree), state.hyper, extra, params, updates)
        self.update_stages(opened.leaves, step)
        run_pending(opened.leaves)
        return opened.close_updates(), State(count, opened.close_memories(), step.tree, state.hyper)

    def _evaluate(self, state: State, params: Any) -> Any:
        _refuse_foreign(state)
        opened = open_memories(state.leaves, params)
        self.evaluate_stages(opened.leaves, Step(state.count, state.count, state.tree, state.hyper, {}, params))
        return opened.structure.unflatten([leaf.p for leaf in opened.leaves])

    def _take_out(self, slots: Slots, step: Step | None = None, taken: Sequence[str] = ()) -> Chain:
        step = (step or Step(None, None, {}, {}, {}, None))._replace(rate=self.rate)
        return self.with_fields(stages=tuple(stage.take_out(name, step, slots) for name, stage in self.named(taken)))

    def init_stages(self, leaves: list[Leaf], step: Step, taken: Sequence[str] = ()) -> None:
        freeze_leaves(self.stages, leaves, step.whole)
        step = step._replace(rate=self.rate)
        for name, stage in self.named(taken):
            stage.init(name, leaves, step)

    def update_stages(self, leaves: list[Leaf], step: Step, taken: Sequence[str] = ()) -> None:
        freeze_leaves(self.stages, leaves, step.whole)
        step = step._replace(rate=self.rate)
        for name, stage in self.named(taken):
            stage.update(name, leaves, step)

    def evaluate_stages(self, leaves: list[Leaf], step: Step, taken: Sequence[str] = ()) -> None:
        step = step._replace(rate=self.rate)
        for name, stage in self.named(taken):
            stage.evaluate(name, leaves, step)

    def named(self, taken: Sequence[str] = ()) -> list[tuple[str, Any]]:
        """The stages under the names of their memory; the later one of two equal names gets a suffix."""
        used, found = set(taken), []
        for stage in self.stages:
            base = stage.label or stage.name
            name = next(n for i in range(1, 10_000) if (n := base if i == 1 else f"{base}_{i}") not in used)
            used.add(name)
            if isinstance(stage, Split):
                stage = stage.after(used)
                used |= stage.inner_names()
            found.append((name, stage))
        return found

    @property
    def rate(self) -> Any:
        """The learning rate as it was written, None in a chain without one."""
        rules = [
            stage.rule for stage in self.stages if isinstance(stage, Lifted) and stage.rule.name == "learning_rate"
        ]
        return hyper_fields(rules[-1]).get("learning_rate") if rules else None

    def each(self, step: Step, taken: Sequence[str] = ()) -> Iterator[tuple[str, Any, Step]]:
        """Every stage with its name and the step it runs in, those of groups included."""
        step = step._replace(rate=self.rate)
        for name, stage in self.named(taken):
            if isinstance(stage, Split):
                for group, branch in stage.branches.items():
                    yield from branch.each(step._replace(prefix=step.prefix + stage.prefix(group)), stage.taken)
            else:
                yield name, stage, step

    def scaled(self, by: Any) -> Chain:
        """The same chain, with the same state, for gradients that are to be multiplied by an array first."""
        return Chain((Lifted(Times(by), label="(times)"), *self.stages))

    @property
    def reach(self) -> Reach:
        """The farthest reach of the stages."""
        return max((stage.reach for stage in self.stages), default=Reach.ELEMENT)

    def rules(self, path: str, leaf: Any) -> tuple[Rule, ...] | None:
        if any(isinstance(stage, Freeze) and _takes(stage.where, path, leaf) for stage in self.stages):
            return ()
        found: list[Rule] = []
        for stage in self.stages:
            more = _rules(stage, path, leaf)
            if more is None:
                return None
            found += more
        return tuple(found)


class Times(Rule):
    """The gradient times a number that the step has found."""

    by: Hyper
    keeps_zero = True

    def factor(self, k: Any) -> Any:
        return self.by


class Split(Value):
    """Groups: each leaf goes through the chain of its group, tree-wide members see their group alone."""

    groups: Labels
    branches: Child[dict[str, Chain]]
    label: str | None = None
    taken: tuple[str, ...] = ()

    def __hash__(self) -> int:
        return hash((self.groups, tuple(self.branches.items()), self.label, self.taken))

    def __repr__(self) -> str:
        return self.groups.shown(self.branches)

    @property
    def name(self) -> str:
        return "groups"

    @property
    def reach(self) -> Reach:
        return max((branch.reach for branch in self.branches.values()), default=Reach.ELEMENT)

    def prefix(self, group: str) -> str:
        """What stands before the names of a group's hyperparameters and tree-wide memory."""
        return f"{group}/"

    def after(self, used: set[str]) -> Split:
        """The same groups, their stages named apart from those before them in the chain."""
        return self.with_fields(taken=tuple(sorted(used)))

    def inner_names(self) -> set[str]:
        """The names of all stages of all groups, groups inside groups included."""
        named = [pair for branch in self.branches.values() for pair in branch.named(self.taken)]
        return {name for name, _ in named}.union(*(s.inner_names() for _, s in named if isinstance(s, Split)))

    def init(self, name: str, leaves: list[Leaf], step: Step) -> None:
        for branch, own, inner in self._walk(leaves, step):
            branch.init_stages(own, inner, self.taken)

    def update(self, name: str, leaves: list[Leaf], step: Step) -> None:
        for branch, own, inner in self._walk(leaves, step):
            branch.update_stages(own, inner, self.taken)

    def evaluate(self, name: str, leaves: list[Leaf], step: Step) -> None:
        for branch, own, inner in self._walk(leaves, step):
            branch.evaluate_stages(own, inner, self.taken)

    def take_out(self, name: str, step: Step, slots: Slots) -> Split:
        def inner(group: str) -> Step:
            return step._replace(prefix=step.prefix + self.prefix(group))

        branches = {group: b._take_out(slots, inner(group), self.taken) for group, b in self.branches.items()}
        return self.with_fields(branches=branches)

    def _walk(self, leaves: list[Leaf], step: Step) -> Iterator[tuple[Chain, list[Leaf], Step]]:
        labels = self.groups.labels(leaves, step.whole)
        for group, branch in self.branches.items():
            own = [leaf for leaf, label in zip(leaves, labels, strict=True) if label == group]
            yield branch, own, step._replace(prefix=step.prefix + self.prefix(group))


def _refuse_foreign(state: Any) -> None:
    if not isinstance(state, State):
        raise TypeError(f"state must be what init returns, a State, got {type(state).__name__}")


def _takes_examples(stage: Any) -> bool:
    if isinstance(stage, Split):
        return any(branch.per_example for branch in stage.branches.values())
    return isinstance(stage, Lifted) and stage.rule.per_example


def _takes(where: Where | None, path: str, leaf: Any) -> bool:
    return where is None or where.matches(path, leaf)


def _rules(stage: Any, path: str, leaf: Any) -> tuple[Rule, ...] | None:
    if isinstance(stage, Lifted):
        if stage.reach == Reach.TREE:
            return None
        return (stage.rule,) if _takes(stage.where, path, leaf) else ()
    if isinstance(stage, Freeze):
        return ()
    if isinstance(stage, Split):
        label = stage.groups.label(path, leaf)
        return () if label is None else stage.branches[label].rules(path, leaf)
    return None


def lift(rule: Rule, where: Where | None = None) -> Chain:
    """Make a rule a transformation of trees, for the leaves that a selector chooses (all without one)."""
    if not isinstance(rule, Rule):
        raise TypeError(f"lift takes a Rule, got {rule!r} of type {type(rule).__name__}")
    return Chain((Lifted(rule, where),))


def chain(*transforms: Any) -> Chain:
    """Run transformations one after another: `u = tₙ(... t₂(t₁(g)))`.

    Neighbouring stages become one walk over the leaves; chains inside chains flatten; `chain()` is the identity.
    Members may be any pair `(init, update)`, optax's too. The state is one `State` (see there).
    Raises: TypeError for a member that is no such pair.
    """
    return Chain(
        tuple(stage for i, tx in enumerate(transforms) for stage in stages_of(tx, f"argument {i + 1} of chain"))
    )


def named_chain(*transforms: tuple[str, Any]) -> Chain:
    """`chain` of pairs `(name, transformation)`: the memory of each stands in the state under the name given.

    A transformation of several stages keeps its stages' names behind it: `name/stage`.
    Raises: ValueError for a name given twice, TypeError for anything but such pairs.
    """
    for pair in transforms:
        if not isinstance(pair, tuple) or len(pair) != 2 or not isinstance(pair[0], str):
            raise TypeError(f"named_chain takes pairs (name, transformation), got {pair!r}")
    names = [name for name, _ in transforms]
    if len(set(names)) < len(names):
        raise ValueError(f"named_chain needs different names, got {names}")
    found = []
    for name, tx in transforms:
        stages = stages_of(tx, f"{name!r} in named_chain")
        if len(stages) == 1:
            found.append(stages[0].with_fields(label=name))
        else:
            found += [stage.with_fields(label=f"{name}/{inner}") for inner, stage in Chain(stages).named()]
    return Chain(tuple(found))


def stages_of(tx: Any, what: str) -> tuple[Any, ...]:
    """The stages of a chain; any other pair `(init, update)` is one stage of its own."""
    if isinstance(tx, Chain):
        return tx.stages
    if isinstance(tx, GradientTransformation):
        return (Opaque(tx),)
    if not isinstance(tx, tuple) or len(tx) != 2 or not all(map(callable, tx)):
        raise TypeError(f"{what} must be a gradient transformation, a pair (init, update); got {tx!r}")
    return (Opaque(Foreign(tuple(tx))),)


def map_rules(tx: Any, f: Any, what: str) -> Any:
    """The same transformation with every rule exchanged: how strategies are made.

    Raises: TypeError naming `what` where the transformation is not made of rules.
    """
    if not isinstance(tx, Chain):
        raise TypeError(f"{what} works on transformations made of rules; put it inside {tx!r}, not around it")
    return Chain(tuple(_map_stage(stage, f, what) for stage in tx.stages))


def _map_stage(stage: Any, f: Any, what: str) -> Any:
    if isinstance(stage, Freeze):
        return stage
    if isinstance(stage, Lifted):
        return stage.with_fields(rule=f(stage.rule))
    if isinstance(stage, Split):
        return stage.with_fields(branches={n: map_rules(b, f, what) for n, b in stage.branches.items()})
    return map_rules(stage.inner, functools.partial(f), what)
