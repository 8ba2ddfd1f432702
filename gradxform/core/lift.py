"""The verb: rules, one per leaf, become a stage of a transformation of trees."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from gradxform.core.arithmetic import compute_dtype
from gradxform.core.claims import looks_farther
from gradxform.core.clock import Counted
from gradxform.core.devices import axis_names, varying_axes
from gradxform.core.extras import asked_extras, refuse_extras
from gradxform.core.facts import Facts, Reach
from gradxform.core.hyper import (
    Hyper,
    Schedule,
    Slots,
    Tunable,
    has_slot,
    hyper_fields,
    is_beta,
    replace_hyper,
    resolve,
    slot,
)
from gradxform.core.joined import run_joined
from gradxform.core.keys import at_step, drawn, owned
from gradxform.core.lens import layers, remembers_tree, widened
from gradxform.core.mistakes import refuse_memory, refuse_new_memory, refuse_scalars
from gradxform.core.rule import Rule, TreeRule
from gradxform.core.shapes import NO_MEMORY, memory_shapes, without_numbers
from gradxform.core.stacks import refuse_no_matrix, whole_matrix
from gradxform.core.stage import Chooses, Stage, Step, choose
from gradxform.core.tree import Leaf, is_trained, open_tree
from gradxform.core.types import Array, ArrayLike, Count, Gradient, Memory, Number, Path, Scalars, Shaped
from gradxform.core.value import Child, Pair, is_hashable
from gradxform.core.walk import Pending, gradients, kept, like, naming, run_pending

NUMBER = jax.ShapeDtypeStruct((), jnp.float32)


class Lifted(Stage):
    """One rule for the leaves that `where` selects (all of them without it)."""

    rule: Child[Rule]
    where: Chooses | None = None
    label: str | None = None

    def __repr__(self) -> str:
        shown = repr(self.rule)
        if self.where is None:
            return shown
        return f"{shown[:-1]}{'' if shown.endswith('()') else ', '}mask={self.where!r})"

    @property
    def name(self) -> str:
        return self.rule.name

    @property
    def facts(self) -> Facts:
        return self.rule.facts

    @property
    def only_rule(self) -> Rule | None:
        return self.rule

    @property
    def keeps(self) -> bool:
        tunes = any(isinstance(x, Tunable) for x in hyper_fields(self.rule).values())
        return self.rule.remembers or remembers_tree(self.rule) or tunes

    @property
    def takes_examples(self) -> bool:
        return self.facts.per_example

    def names(self, name: str, step: Step) -> dict[str, str]:
        """Field -> the name of that hyperparameter: `[group/]stage/field`, or `[group/]learning_rate`.

        The learning rate of the chain has one name, also where a later stage takes the same one.
        """
        fields = hyper_fields(self.rule)
        shared = {f for f, x in fields.items() if f == name or (f == "learning_rate" and _is_rate(x, step.rate))}
        return {f: step.prefix + (f if f in shared else f"{name}/{f}") for f in fields}

    def plan(self, name: str, leaves: list[Leaf], step: Step) -> None:
        chosen = choose(self.where, leaves, step.whole)
        step.plan.put(name, step, {leaf.path: self._for_leaf(leaf, name) for leaf in chosen})

    def _for_leaf(self, leaf: Leaf, name: str) -> Rule:
        rule = self.rule if leaf.array is None else self.rule.for_leaf(leaf.path, leaf.array)
        if rule.facts.matrix:
            refuse_no_matrix(name, leaf)
            rule = whole_matrix(rule, leaf)
        return owned(rule, leaf.path, name, name != self.name)

    def through(self, name: str, path: Path, leaf: Shaped) -> Iterator[tuple[str, Any]]:
        if self.where is None or self.where.matches(path, leaf):
            yield name, self.rule.for_leaf(path, leaf)

    def map_rules(self, f: Callable[[Rule], Rule], what: str) -> Stage:
        return self.with_fields(rule=f(self.rule))

    def init(self, name: str, leaves: list[Leaf], step: Step) -> None:
        rules = step.plan.rules[step.prefix + name]
        leaves = [leaf for leaf in leaves if leaf.path in rules and not leaf.frozen]
        if step.count is None:
            self._asked(name, leaves, step)
            return
        for field, key in self.names(name, step).items():
            if isinstance(tunable := hyper_fields(self.rule)[field], Tunable):
                step.hyper[key] = slot(tunable, is_beta(self.rule, field))
        for where in self.rule.selectors:
            every = zip(*open_tree(step.params)[:2], strict=True)
            choose(where, [Leaf(path, None, p, {}) for path, p in every], step.whole)
        now = self.now(name, step)
        for leaf in leaves:
            _admit(self.rule, name, leaf)
            if is_trained(leaf.p) and (s := _init_leaf(drawn(replace_hyper(rules[leaf.path], now)), leaf)) is not None:
                leaf.memory[name] = s
        if remembers_tree(self.rule):
            rule: Any = layers(self._whole(name, now, None))[-1]
            s = rule.init_tree([leaf.p for leaf in leaves if is_trained(leaf.p)])
            if s is not None:
                step.tree[step.prefix + name] = jax.tree.map(_copied, s)

    def _asked(self, name: str, leaves: list[Leaf], step: Step) -> None:
        """What `init` would keep, by shape and dtype."""
        rules, fields = step.plan.rules[step.prefix + name], hyper_fields(self.rule)
        for field, key in self.names(name, step).items():
            if has_slot(fields[field]):
                step.hyper[key] = Pair(NUMBER, NUMBER) if is_beta(self.rule, field) else NUMBER
        for leaf in leaves:
            _admit(self.rule, name, leaf)
        leaves = [leaf for leaf in leaves if is_trained(leaf.p)]
        if leaves and self.facts.needs_params and step.params is None:
            raise _without_params(name)
        made: dict[Any, Memory] = {}
        for leaf in leaves if self.rule.remembers else ():
            rule = rules[leaf.path]
            kind = id(rule), leaf.p.shape, leaf.p.dtype
            if kind not in made:
                made[kind] = memory_shapes(rule, leaf.p.shape, compute_dtype(leaf.p.dtype))
            if made[kind] is not NO_MEMORY:
                leaf.memory[name] = made[kind]
        if remembers_tree(self.rule):
            made_of_tree: Any = without_numbers(layers(self.rule)[-1])
            step.tree[step.prefix + name] = jax.eval_shape(made_of_tree.init_tree, [leaf.p for leaf in leaves])

    @property
    def remembers_nothing(self) -> bool:
        return not (self.keeps or any(isinstance(x, Schedule) for x in hyper_fields(self.rule).values()))

    def update(self, name: str, leaves: list[Leaf], step: Step) -> None:
        rules = step.plan.rules[step.prefix + name]
        chosen = [leaf for leaf in leaves if leaf.path in rules]
        _refuse_resting(name, [(leaf, rules.get(leaf.path, self.rule)) for leaf in leaves if leaf.raw is None])
        leaves = [leaf for leaf in chosen if leaf.moves]
        facts, wanted = self.facts, asked_extras(self.rule, name, step.extra)
        gs = gradients(leaves) if isinstance(layers(self.rule)[-1], TreeRule) else []
        if facts.reach != Reach.ELEMENT and any(map(_varies, leaves)):
            run_pending(leaves)
        if facts.per_example:
            _drop_examples(name, chosen)
        for leaf in leaves:
            _admit(self.rule, name, leaf)
            if facts.needs_params and leaf.p is None:
                raise _without_params(name)
            refuse_extras(self.rule, name, leaf)
        if facts.measures_memory:
            gs, wanted = widened(name, rules, leaves, gs, wanted)
        now = self.now(name, step)
        k = jax.tree.map(_strong, self._scalars(name, gs, step, self._whole(name, now, step.t), wanted))
        pending: dict[int, Pending] = {}
        for leaf in leaves:
            rule = rules[leaf.path]
            if id(rule) not in pending:
                pending[id(rule)] = Pending(name, at_step(replace_hyper(rule, now), step.t), k, step.ok)
            leaf.pending.append(pending[id(rule)])
        if facts.matrix:
            run_joined(leaves)

    def _whole(self, name: str, now: dict[str, Number], t: Count) -> Any:
        """The rule for what is the same for every leaf; its path is no leaf's."""
        return drawn(at_step(owned(replace_hyper(self.rule, now), "/", name, True), t))

    def _scalars(self, name: str, gs: list[Gradient], step: Step, rule: Any, wanted: dict[str, Any]) -> Scalars:
        """What is the same for every leaf at this step; memory that sees the whole tree moves on."""
        old = step.tree.get(step.prefix + name)
        try:
            if not isinstance(whole := layers(rule)[-1], TreeRule):
                k = rule.scalars(step.t, **wanted)
                refuse_scalars(name, k)
                return k
            k, s = whole.measure(gs, old, step.t, **wanted)
        except TypeError as error:
            if step.t is not None:
                raise
            raise ValueError(f"{name} counts the steps: call update with the state that init returns") from error
        refuse_new_memory(name, s, old)
        if s is not None:
            step.tree[step.prefix + name] = kept(step.ok, like(s, old, name), old)
        return rule.scalars(step.t, measured=k)

    def evaluate(self, name: str, leaves: list[Leaf], step: Step) -> None:
        rules, now = step.plan.rules[step.prefix + name], self.now(name, step)
        for leaf in leaves:
            if leaf.path in rules and name in leaf.memory and is_trained(leaf.p):
                wide = leaf.p.astype(compute_dtype(leaf.p.dtype))
                rule = replace_hyper(rules[leaf.path], now)
                leaf.p = rule.evaluate(wide, leaf.memory[name], step.count).astype(leaf.p.dtype)

    def take_out(self, name: str, step: Step, slots: Slots) -> Lifted:
        return self.with_fields(rule=slots.take(self.rule, self.names(name, step)), label=name)

    def now(self, name: str, step: Step) -> dict[str, Number]:
        """The hyperparameters that have another value at this step than the one written."""
        fields, names = hyper_fields(self.rule), self.names(name, step)
        now = {
            f: resolve(x, step.count, step.hyper.get(names[f]), is_beta(self.rule, f), names[f])
            for f, x in fields.items()
        }
        return {f: x for f, x in now.items() if x is not fields[f]}


def _is_rate(x: Hyper, rate: Hyper) -> bool:
    """Whether a stage takes the chain's learning rate; of two tunable ones that hold tracers it is assumed."""
    if is_hashable(x) and is_hashable(rate):
        return bool(x == rate)
    return isinstance(x, Tunable) and isinstance(rate, Tunable)


def _refuse_resting(name: str, absent: list[tuple[Leaf, Rule]]) -> None:
    """A leaf without gradient whose memory is corrected by a counter that goes on: later steps would be too long."""
    for leaf, rule in absent:
        s = None if leaf.frozen else (leaf.memory or {}).get(name)
        if s is not None and rule.corrects and not isinstance(s, Counted):
            of_all = isinstance(layers(rule)[-1], TreeRule)
            resting = "give it zeros" if of_all else "let it count its own: gx.own_clock(tx, where=...)"
            raise ValueError(
                f"the gradient of {leaf.path!r} is None, and {name} corrects its memory by the steps of all leaves: if "
                f"it never moves, take it out with gx.freeze(...); if it rests at some steps, {resting}"
            )


def _drop_examples(name: str, leaves: list[Leaf]) -> None:
    """Take the axis of examples from what does not move: empty arrays, frozen ones."""
    for leaf in leaves:
        if leaf.g is not None and leaf.g.shape[:1] == (0,):
            raise ValueError(f"{name} needs at least one example, and {leaf.path!r} has none")
        if leaf.g is not None and not leaf.moves:
            leaf.g = leaf.g[0]


def _varies(leaf: Leaf) -> bool:
    """Whether its gradient differs between devices, before the rules that wait for it have run."""
    return bool(varying_axes(leaf.raw))


def _without_params(name: str) -> ValueError:
    return ValueError(f"{name} needs the parameters: call update(updates, state, params)")


def _admit(rule: Rule, name: str, leaf: Leaf) -> None:
    """Refuse a leaf that the rule would treat wrongly without a word."""
    x = leaf.array
    if rule.facts.real_only and x is not None and jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise ValueError(
            f"{name} compares numbers and {leaf.path!r} is complex ({x.dtype}); split it into two real arrays"
        )
    if rule.facts.reach == Reach.ELEMENT and not (varying_axes(leaf.raw) and looks_farther(rule)):
        return
    axes = varying_axes((leaf.raw, leaf.p)).difference(axis_names(getattr(rule, "axis_name", None)))
    if axes:
        raise ValueError(
            f"{name} looks at more than one element of {leaf.path!r}, and inside shard_map it would see one device's "
            f"part of it only (it varies over {', '.join(sorted(axes))}); run it under jit, or on replicated "
            "parameters and averaged gradients (mean_across)"
            + (", or give axis_name" if rule.facts.reach == Reach.TREE else "")
        )


def _init_leaf(rule: Rule, leaf: Leaf) -> Memory:
    p = leaf.p
    wide = compute_dtype(p.dtype)
    if isinstance(p, jax.ShapeDtypeStruct):
        sharding = p.sharding
        with naming(leaf.path):
            s = jax.eval_shape(rule.init, jax.ShapeDtypeStruct(p.shape, wide))
            refuse_memory(rule.name, s)
        keep = {"sharding": sharding}
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, **(keep if x.shape == p.shape else {})), s)
    with naming(leaf.path):
        s = rule.init(jnp.asarray(p).astype(wide))
        refuse_memory(rule.name, s)
    return jax.tree.map(functools.partial(_copied, other=p), s)


def _strong(x: Number) -> Number:
    """An array with its weak type resolved once, instead of once per leaf."""
    return jax.lax.convert_element_type(x, x.dtype) if isinstance(x, jax.Array) else x


def _copied(x: ArrayLike, other: object = None) -> Array:
    """An array of our own, strongly typed: never a parameter itself."""
    x = jnp.asarray(x)
    return jnp.array(x, dtype=x.dtype, copy=True) if x is other or x.weak_type else x
