"""Transformations one after another, group beside group, with one state of one shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gradxform.core.admit import admitted, admitted_by_name, is_nothing, of_kind
from gradxform.core.arithmetic import next_count
from gradxform.core.extras import open_extras
from gradxform.core.facts import Facts, Reach, Station
from gradxform.core.fields import refuse_unknown_fields
from gradxform.core.hyper import Hyper, Slots, Tunable, hyper_fields
from gradxform.core.lift import Lifted
from gradxform.core.opaque import Opaque
from gradxform.core.orders import refuse_order, refuse_turns
from gradxform.core.plain import got, shown
from gradxform.core.rule import Factor, Rule
from gradxform.core.stage import NO_NAMES, Chooses, Names, Plan, Stage, Step
from gradxform.core.state import State, unused
from gradxform.core.transform import GradientTransformation
from gradxform.core.tree import Leaf, in_boxes, memory_structure, open_memories, open_together, open_tree, parameter
from gradxform.core.types import (
    Array,
    Number,
    Param,
    Params,
    Path,
    Scalars,
    Shaped,
    Taken,
    Transformation,
    Updates,
)
from gradxform.core.value import Child
from gradxform.core.walk import kept, run_pending

COUNT = jax.ShapeDtypeStruct((), jnp.int32)


class Chain(GradientTransformation):
    """Stages in order. Neighbouring rules walk each leaf together; the state is one `State` whatever the stages."""

    stages: Child[tuple[Stage, ...]] = ()
    holds = True

    def __post_init__(self) -> None:
        for i, stage in enumerate(self.stages):
            if stage.takes_examples and (i > 0 or stage.parts()):
                raise ValueError(
                    f"{stage!r} takes the gradient of every example: it must be the first stage, and in no group"
                )
        refuse_order(self.stages)

    def inside(self) -> Iterator[GradientTransformation]:
        yield self
        for stage in self.stages:
            yield from stage.inside()

    @property
    def per_example(self) -> bool:
        """Whether gradients arrive with a leading axis of examples."""
        return bool(self.stages) and bool(self.stages[0].takes_examples)

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self.stages))
        return shown if len(self.stages) == 1 else f"chain({shown})"

    def _init(self, params: Params) -> State:
        paths, ps, _ = open_tree(params)
        leaves = [Leaf(path, None, parameter(path, p), {}) for path, p in zip(paths, ps, strict=True)]
        step = self.planned(leaves, Step(jnp.zeros((), jnp.int32), None, {}, {}, {}, params))
        refuse_unknown_fields(step.plan, leaves)
        for leaf in leaves:
            refuse_turns(f"{leaf.path!r} meets", [rule for _, rule in step.plan.through(leaf.path)])
        self.init_stages(leaves, step)
        memories = in_boxes(params, [None if leaf.p is None else leaf.memory for leaf in leaves])
        return State(step.count, memories, step.tree, step.hyper)

    def _update(
        self, updates: Updates, state: State, params: Params, extra: dict[str, Any], ok: Taken = None
    ) -> tuple[Updates, State]:
        if is_nothing(state) and self.remembers_nothing:
            return self._once(updates, params, extra), state
        of_kind(state, State, self)
        opened = open_together(updates, params, state.leaves, self.per_example)
        open_extras(self, opened.leaves, extra)
        begun = admitted(state.count, COUNT, "count")
        count = next_count(begun)
        step = Step(begun, count, state.tree, state.hyper, extra, params, updates, ok=ok)
        step = self.admitted(opened.leaves, self.planned(opened.leaves, step))
        self.update_stages(opened.leaves, step)
        run_pending(opened.leaves)
        count = kept(ok, count, begun)
        return opened.close_updates(), State(count, opened.close_memories(), step.tree, step.hyper)

    def _once(self, updates: Updates, params: Params, extra: dict[str, Any]) -> Updates:
        """An update that needs no state: nothing is remembered, and nobody reads the counter."""
        memories = memory_structure(updates)
        opened = open_together(updates, params, memories.unflatten([{}] * memories.num_leaves), self.per_example)
        open_extras(self, opened.leaves, extra)
        step = Step(jnp.zeros((), jnp.int32), None, {}, {}, extra, params, updates)
        self.update_stages(opened.leaves, self.planned(opened.leaves, step))
        run_pending(opened.leaves)
        return opened.close_updates()

    def _evaluate(self, state: State, params: Params) -> Params:
        of_kind(state, State, self)
        opened = open_memories(state.leaves, params)
        count = admitted(state.count, COUNT, "count")
        step = self.planned(opened.leaves, Step(count, count, state.tree, state.hyper, {}, params))
        self.evaluate_stages(opened.leaves, self.admitted(opened.leaves, step))
        return opened.structure.unflatten([leaf.p for leaf in opened.leaves])

    def planned(self, leaves: list[Leaf], step: Step) -> Step:
        """The step with the plan for these leaves."""
        step = step._replace(plan=Plan())
        self.plan([leaf.copy() for leaf in leaves], step)
        return step

    def admitted(self, leaves: list[Leaf], step: Step) -> Step:
        """The step, once what the state holds is what `init` would make by this plan; nothing is computed for that.

        Raises: ValueError naming the stage and the leaf, what is there and what is wanted.
        """
        loose, asked = step.params is None, step._replace(count=None, tree={}, hyper={})
        examples = self.per_example
        wanted = [leaf.asked(examples) for leaf in leaves]
        self.init_stages(wanted, asked)
        for leaf, want in zip(leaves, wanted, strict=True):
            if want.p is not None:
                leaf.memory = admitted_by_name(leaf.memory, want.memory, f" at {leaf.path!r}", loose)
        tree = admitted_by_name(step.tree, asked.tree, "", loose)
        return step._replace(tree=dict(tree), hyper=admitted_by_name(step.hyper, asked.hyper, "", True))

    @property
    def remembers_nothing(self) -> bool:
        """Whether there is no memory, schedule or tunable in any stage."""
        stages = [stage for _, stage, _ in self.each(Step(None, None, {}, {}, {}, None))]
        return all(stage.remembers_nothing for stage in stages)

    def plan(self, leaves: list[Leaf], step: Step, taken: Names = NO_NAMES) -> None:
        """Put into the plan which rule stands at which leaf."""
        named = self.named(taken)
        for name, stage in named:
            stage.freeze(step.prefix + name, leaves, step)
        self.hold(leaves, step, taken)
        for name, stage in named:
            stage.plan(name, leaves, step)

    def hold(self, leaves: list[Leaf], step: Step, taken: Names = NO_NAMES) -> None:
        """Mark the leaves that are frozen in this chain, before any stage runs."""
        for paths in [step.plan.frozen.get(step.prefix + name, ()) for name, _ in self.named(taken)]:
            for leaf in leaves if paths else ():
                leaf.frozen |= leaf.path in paths

    def through(self, path: Path, leaf: Shaped, taken: Names = NO_NAMES) -> Iterator[tuple[str, Any]]:
        """The stages that one leaf goes through, in order: its name, and the rule there (a wrapper: the stage)."""
        named = self.named(taken)
        if not any(stage.holds(path, leaf) for _, stage in named):
            for name, stage in named:
                yield from stage.through(name, path, leaf)

    def _take_out(self, slots: Slots, step: Step | None = None, taken: Names = NO_NAMES) -> Chain:
        step = (step or Step(None, None, {}, {}, {}, None))._replace(rate=self.rate)
        return self.with_fields(stages=tuple(stage.take_out(name, step, slots) for name, stage in self.named(taken)))

    def map_rules(self, f: Callable[[Rule], Rule], what: str) -> Chain:
        return Chain(tuple(stage.map_rules(f, what) for stage in self.stages))

    def init_stages(self, leaves: list[Leaf], step: Step, taken: Names = NO_NAMES) -> None:
        self._run("init", leaves, step, taken)

    def update_stages(self, leaves: list[Leaf], step: Step, taken: Names = NO_NAMES) -> None:
        self._run("update", leaves, step, taken)

    def evaluate_stages(self, leaves: list[Leaf], step: Step, taken: Names = NO_NAMES) -> None:
        self._run("evaluate", leaves, step, taken)

    def _run(self, what: str, leaves: list[Leaf], step: Step, taken: Names) -> None:
        named, step = self.named(taken), step._replace(rate=self.rate)
        self.hold(leaves, step, taken)
        for name, stage in named:
            getattr(stage, what)(name, leaves, step)

    def named(self, taken: Names = NO_NAMES) -> list[tuple[str, Any]]:
        """The stages under the names of what they keep; the later one of two equal names gets a suffix.

        Those that keep nothing are named last, from what is left: without them, no name of the others is another.
        """
        used, names, before = {*taken.kept}, {}, {}
        for i, stage in enumerate(self.stages):
            if stage.keeps:
                names[i] = unused(stage.label or stage.name, used)
                used.add(names[i])
                before[i] = tuple(sorted(used))
                used |= stage.after(Names(before[i])).inner_names(kept=True)
        used |= {*taken.others}
        named = []
        for i, stage in enumerate(self.stages):
            if stage.keeps:
                stage = stage.after(Names(before[i], tuple(sorted(used))))
                used |= stage.inner_names()
            else:
                names[i] = unused(stage.label or stage.name, used)
                used.add(names[i])
            named.append((names[i], stage))
        return named

    @property
    def rate(self) -> Hyper:
        """The learning rate as it was written, a tunable one before others; None in a chain without one."""
        rules = [stage.only_rule for stage in self.stages if stage.facts.station == Station.STEP and stage.only_rule]
        rates = [x for rule in rules if (x := hyper_fields(rule).get("learning_rate")) is not None]
        return next((x for x in reversed(rates) if isinstance(x, Tunable)), rates[-1] if rates else None)

    def each(self, step: Step, taken: Names = NO_NAMES) -> Iterator[tuple[str, Any, Step]]:
        """Every stage with its name and the step it runs in, those of chains inside in place of the stage around."""
        step = step._replace(rate=self.rate)
        for name, stage in self.named(taken):
            parts = stage.parts()
            for before, part, inner in parts:
                yield from part.each(step._replace(prefix=step.prefix + before), inner)
            if not parts:
                yield name, stage, step

    def scaled(self, by: Number) -> Chain:
        """The same chain, with the same state, for gradients that are to be multiplied by an array first."""
        return Chain((Lifted(Times(by), label="(times)"), *self.stages))

    @property
    def reach(self) -> Reach:
        """The farthest reach of the stages."""
        return max((stage.facts.reach for stage in self.stages), default=Reach.ELEMENT)


class Times(Factor):
    """The gradient times a number that the step has found."""

    by: Hyper
    facts = Facts(station=Station.CLEANSE, keeps_zero=True)

    def factor(self, g: Array, p: Param, k: Scalars) -> Number:
        return self.by


def lift(rule: Rule, where: Chooses | None = None) -> Chain:
    """Make a rule a transformation of trees, for the leaves that a selector chooses (all without one)."""
    if not isinstance(rule, Rule):
        raise TypeError(f"lift takes a Rule, {got(rule)}")
    if where is not None and (isinstance(where, type) or not hasattr(where, "select")):
        raise TypeError(f"where must be a selector, such as gx.matching(pattern), or None, {got(where)}")
    return Chain((Lifted(rule, where),))


def chain(*transforms: Transformation) -> Chain:
    """Run transformations one after another: `u = tₙ(... t₂(t₁(g)))`.

    Neighbouring stages become one walk over the leaves; chains inside chains flatten; `chain()` is the identity.
    Members may be any pair `(init, update)`, optax's too. The state is one `State` (see there).
    Raises: TypeError for a member that is no such pair; ValueError if two members turn the sign.
    """
    made = Chain(
        tuple(stage for i, tx in enumerate(transforms) for stage in stages_of(tx, f"argument {i + 1} of chain"))
    )
    refuse_turns("the chain has", made.stages)
    return made


def named_chain(*transforms: tuple[str, Transformation]) -> Chain:
    """`chain` of pairs `(name, transformation)`: the memory of each stands in the state under the name given.

    A transformation of several stages keeps its stages' names behind it: `name/stage`.
    Raises: ValueError for a name given twice, TypeError for anything but such pairs.
    """
    for pair in transforms:
        if not isinstance(pair, tuple) or len(pair) != 2 or not isinstance(pair[0], str):
            raise TypeError(f"named_chain takes pairs (name, transformation), {got(pair)}")
    names = [name for name, _ in transforms]
    if len(set(names)) < len(names):
        raise ValueError(f"named_chain needs different names, got {names}")
    members: list[Stage] = []
    for name, tx in transforms:
        stages = stages_of(tx, f"{name!r} in named_chain")
        if len(stages) == 1:
            members.append(stages[0].with_fields(label=name))
        else:
            members += [stage.with_fields(label=f"{name}/{inner}") for inner, stage in Chain(stages).named()]
    return Chain(tuple(members))


def stages_of(tx: Transformation, what: str) -> tuple[Stage, ...]:
    """The stages of a chain; any other pair `(init, update)` is one stage of its own."""
    if isinstance(tx, Chain):
        return tx.stages
    if isinstance(tx, GradientTransformation):
        return (Opaque(tx),)
    if not isinstance(tx, tuple) or len(tx) != 2 or not all(map(callable, tx)):
        raise TypeError(f"{what} must be a gradient transformation, a pair (init, update); {got(tx)}")
    return (Opaque(GradientTransformation(*tx)),)


def map_rules(tx: Transformation, f: Callable[[Rule], Rule], what: str, fields: Sequence[str] = ()) -> Chain:
    """The same transformation with every rule exchanged: how strategies are made. fields: those that it is for.

    Raises: TypeError naming `what` where the transformation is not made of rules, ValueError if none has such a field.
    """
    if not isinstance(tx, Chain):
        raise TypeError(f"{what} works on transformations made of rules; put it inside {shown(tx)}, not around it")
    made = tx.map_rules(f, what)
    if fields and made == tx:
        raise ValueError(f"{what} has {fields[0]!r} for a field, and no rule of {tx!r} keeps any for a parameter")
    return made
