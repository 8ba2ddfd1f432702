"""The verb: rules, one per leaf, become a transformation of trees."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from gradxform.core.arithmetic import compute_dtype
from gradxform.core.devices import axis_names, varying_axes
from gradxform.core.hyper import Slots, Tunable, hyper_fields, is_beta, replace_hyper, resolve, slot
from gradxform.core.rule import Reach, Rule, TreeRule
from gradxform.core.tree import Leaf, is_trained, open_tree
from gradxform.core.value import Child, Value, is_hashable
from gradxform.core.walk import Pending, gradients, like, naming, run_pending


class Where(Protocol):
    """Which leaves a stage acts on; selectors in `gradxform.params` are the ones that users write."""

    def select(self, leaves: Sequence[Leaf], tree: Any) -> list[bool]: ...
    def matches(self, path: str, leaf: Any) -> bool: ...


class Step(NamedTuple):
    """What one walk through the stages shares: the counter, memory that sees the whole tree, extra arguments."""

    count: Any
    t: Any
    tree: dict[str, Any]
    hyper: dict[str, Any]
    extra: dict[str, Any]
    params: Any
    """The parameters as they were handed over, for masks and foreign transformations."""
    updates: Any = None
    """The gradients as they were handed over; None at `init`."""
    prefix: str = ""
    """`group/` inside a group: what sees more than one leaf is named by it."""
    rate: Any = None
    """The learning rate of the chain at hand, as it was written."""

    @property
    def whole(self) -> Any:
        return self.updates if self.params is None else self.params


def choose(where: Where | None, leaves: list[Leaf], tree: Any) -> list[Leaf]:
    if where is None:
        return leaves
    chosen = where.select(leaves, tree)
    return [leaf for leaf, yes in zip(leaves, chosen, strict=True) if yes]


class Lifted(Value):
    """One rule for the leaves that `where` selects (all of them without it)."""

    rule: Child[Rule]
    where: Where | None = None
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
    def reach(self) -> Reach:
        return self.rule.reach

    def names(self, name: str, step: Step) -> dict[str, str]:
        """Field -> the name of that hyperparameter: `[group/]stage/field`, or `[group/]learning_rate`.

        The learning rate of the chain has one name, also where a later stage takes the same one.
        """
        fields = hyper_fields(self.rule)
        shared = {f for f, x in fields.items() if f == name or (f == "learning_rate" and _is_rate(x, step.rate))}
        return {f: step.prefix + (f if f in shared else f"{name}/{f}") for f in fields}

    def init(self, name: str, leaves: list[Leaf], step: Step) -> None:
        leaves = [leaf for leaf in choose(self.where, leaves, step.whole) if not leaf.frozen]
        for field, key in self.names(name, step).items():
            if isinstance(tunable := hyper_fields(self.rule)[field], Tunable):
                step.hyper[key] = slot(tunable, is_beta(self.rule, field))
        rule = self.at(name, step)
        for where in rule.selectors:
            every = zip(*open_tree(step.params)[:2], strict=True)
            choose(where, [Leaf(path, None, p, {}) for path, p in every], step.whole)
        for leaf in leaves:
            _admit(rule, name, leaf)
            own = rule.for_leaf(leaf.path, leaf.array)
            if is_trained(leaf.p) and (s := _init_leaf(own, leaf)) is not None:
                leaf.memory[name] = s
        if isinstance(rule, TreeRule):
            s = rule.init_tree([leaf.p for leaf in leaves if is_trained(leaf.p)])
            if s is not None:
                step.tree[step.prefix + name] = jax.tree.map(_own, s)

    def update(self, name: str, leaves: list[Leaf], step: Step) -> None:
        chosen = choose(self.where, leaves, step.whole)
        _refuse_strays(name, leaves, chosen)
        leaves = [leaf for leaf in chosen if leaf.moves]
        rule, wanted = self.at(name, step), _extra(self.rule, name, step.extra)
        gs = gradients(leaves) if isinstance(rule, TreeRule) else []
        if rule.reach != Reach.ELEMENT and any(map(_varies, leaves)):
            run_pending(leaves)
        if rule.per_example:
            _drop_examples(name, chosen)
        for leaf in leaves:
            _admit(rule, name, leaf)
            if rule.needs_params and leaf.p is None:
                raise ValueError(f"{name} needs the parameters: call update(updates, state, params)")
        if isinstance(rule, TreeRule):
            k, s = rule.measure(gs, step.tree.get(step.prefix + name), step.t, **wanted)
            if s is not None:
                step.tree[step.prefix + name] = like(s, step.tree[step.prefix + name], name)
        else:
            k = rule.scalars(step.t, **wanted)
        pending = Pending(name, rule, jax.tree.map(_strong, k))
        for leaf in leaves:
            own = rule.for_leaf(leaf.path, leaf.array)
            leaf.pending.append(pending if own is rule else pending._replace(rule=own))

    def evaluate(self, name: str, leaves: list[Leaf], step: Step) -> None:
        rule = self.at(name, step)
        for leaf in choose(self.where, leaves, step.whole):
            if name in leaf.memory and is_trained(leaf.p):
                wide = leaf.p.astype(compute_dtype(leaf.p.dtype))
                own = rule.for_leaf(leaf.path, leaf.p)
                leaf.p = own.evaluate(wide, leaf.memory[name], step.count).astype(leaf.p.dtype)

    def take_out(self, name: str, step: Step, slots: Slots) -> Lifted:
        """The stage without the numbers that compiled code takes as data."""
        return self.with_fields(rule=slots.take(self.rule, self.names(name, step)))

    def at(self, name: str, step: Step) -> Rule:
        """The rule with its hyperparameters as they are at this step."""
        fields, names = hyper_fields(self.rule), self.names(name, step)
        now = {f: resolve(x, step.count, step.hyper.get(names[f]), is_beta(self.rule, f)) for f, x in fields.items()}
        moved = {f: x for f, x in now.items() if x is not fields[f]}
        return replace_hyper(self.rule, moved) if moved else self.rule


class Freeze(Value):
    """The chosen leaves take no part in the chain: zero update, no memory, seen by no stage."""

    where: Where | None = None
    label: str | None = None
    name: ClassVar[str] = "freeze"
    reach: ClassVar[Reach] = Reach.ELEMENT

    def __repr__(self) -> str:
        return "freeze()" if self.where is None else f"freeze({self.where!r})"

    def init(self, name: str, leaves: list[Leaf], step: Step) -> None:
        return None

    def evaluate(self, name: str, leaves: list[Leaf], step: Step) -> None:
        return None

    def take_out(self, name: str, step: Step, slots: Slots) -> Freeze:
        return self

    def update(self, name: str, leaves: list[Leaf], step: Step) -> None:
        for leaf in choose(self.where, leaves, step.whole):
            if leaf.g is not None:
                leaf.pending = []
                leaf.g = jnp.zeros(leaf.g.shape, compute_dtype(leaf.g.dtype if leaf.p is None else leaf.p.dtype))


def freeze_leaves(stages: Sequence[Any], leaves: list[Leaf], tree: Any) -> None:
    """Mark what the `Freeze` stages hold, before any stage runs."""
    for stage in stages:
        if isinstance(stage, Freeze):
            for leaf in choose(stage.where, leaves, tree):
                leaf.frozen = True


def _is_rate(x: Any, rate: Any) -> bool:
    """Whether a stage takes the chain's learning rate; of two tunable ones that hold tracers it is assumed."""
    if is_hashable(x) and is_hashable(rate):
        return bool(x == rate)
    return isinstance(x, Tunable) and isinstance(rate, Tunable)


def _extra(rule: Rule, name: str, extra: dict[str, Any]) -> dict[str, Any]:
    for key in rule.needs:
        if key not in extra:
            raise ValueError(f"{name} needs {key!r}: call update(updates, state, params, {key}=...)")
    return {key: extra[key] for key in rule.needs}


def _refuse_strays(name: str, leaves: list[Leaf], chosen: list[Leaf]) -> None:
    """A leaf chosen at `init` and not any more looks different now: a selector by shape, a wrong gradient."""
    if len(chosen) < len(leaves):
        known = set(map(id, chosen))
        for leaf in leaves:
            if leaf.moves and name in leaf.memory and id(leaf) not in known:
                raise ValueError(f"{name} keeps a memory for {leaf.path!r}, and is not chosen for it at this update")


def _drop_examples(name: str, leaves: list[Leaf]) -> None:
    """Take the axis of examples from what does not move: empty arrays, frozen ones."""
    for leaf in leaves:
        if leaf.g is not None and leaf.g.shape[:1] == (0,):
            raise ValueError(f"{name} needs at least one example, and {leaf.path!r} has none")
        if leaf.g is not None and not leaf.moves:
            leaf.g = leaf.g[0]


def _varies(leaf: Leaf) -> bool:
    """Whether its gradient differs between devices, before the rules that wait for it have run."""
    return bool(varying_axes(leaf.g))


def _admit(rule: Rule, name: str, leaf: Leaf) -> None:
    """Refuse a leaf that the rule would treat wrongly without a word."""
    x = leaf.array
    if rule.real_only and x is not None and jnp.issubdtype(x.dtype, jnp.complexfloating):
        raise ValueError(
            f"{name} compares numbers and {leaf.path!r} is complex ({x.dtype}); split it into two real arrays"
        )
    if rule.reach == Reach.ELEMENT:
        return
    axes = varying_axes((leaf.g, leaf.p)).difference(axis_names(getattr(rule, "axis_name", None)))
    if axes:
        raise ValueError(
            f"{name} looks at more than one element of {leaf.path!r}, and inside shard_map it would see one device's "
            f"part of it only (it varies over {', '.join(sorted(axes))}); run it under jit, or on replicated "
            "parameters and averaged gradients (mean_across)"
            + (", or give axis_name" if rule.reach == Reach.TREE else "")
        )


def _init_leaf(rule: Rule, leaf: Leaf) -> Any:
    p = leaf.p
    wide = compute_dtype(p.dtype)
    if isinstance(p, jax.ShapeDtypeStruct):
        sharding = p.sharding
        s = jax.eval_shape(rule.init, jax.ShapeDtypeStruct(p.shape, wide))
        keep = {"sharding": sharding}
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, **(keep if x.shape == p.shape else {})), s)
    with naming(leaf.path):
        s = rule.init(jnp.asarray(p).astype(wide))
    return jax.tree.map(functools.partial(_own, other=p), s)


def _strong(x: Any) -> Any:
    """An array with its weak type resolved once, instead of once per leaf."""
    return jax.lax.convert_element_type(x, x.dtype) if isinstance(x, jax.Array) else x


def _own(x: Any, other: Any = None) -> Any:
    """An array of our own, strongly typed: never a parameter itself."""
    x = jnp.asarray(x)
    return jnp.array(x, dtype=x.dtype, copy=True) if x is other or x.weak_type else x
