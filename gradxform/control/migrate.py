"""A state goes on under another transformation: what fits is kept, the rest is made anew, and a report says which."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from gradxform.control.filling import Book, Filling, Found, Report, is_known
from gradxform.core.chain import Chain
from gradxform.core.opaque import Opaque
from gradxform.core.plain import got
from gradxform.core.reform import as_it_is
from gradxform.core.stage import Step
from gradxform.core.state import State, find_state, find_states, is_memory
from gradxform.core.transform import GradientTransformation, refuse_stranger
from gradxform.core.tree import name_of, open_memories, open_tree
from gradxform.core.types import OptState, Params, Path, Structure, Transformation, Tree


class Renaming(NamedTuple):
    """What leaves and stages are called now."""

    names: Mapping[str, str]
    stages: Mapping[str, str]

    def path(self, path: Path) -> Path:
        return _renamed(path, self.names)

    def stage(self, name: str) -> str:
        return _renamed(name, self.stages)

    def staged(self, memory: Mapping[str, Any]) -> dict[str, Any]:
        return {self.stage(name): m for name, m in memory.items()}


class Migration:
    """One state on its way into another transformation."""

    def __init__(self, old: OptState, renaming: Renaming) -> None:
        self.old, self.renaming = old, renaming
        self.found: list[Found] = []
        self.wrappers: list[tuple[Any, bool]] = []
        self.book = Book()
        self.filled_chains = 0
        self._find(old, adversary=False)

    def _find(self, node: Any, adversary: bool) -> None:
        """Take note of our states and of the wrappers around them, outermost first."""
        if isinstance(node, State):
            self.found.append(self._opened(node, adversary))
        if not find_states(node if not isinstance(node, State) else node.tree):
            return
        if isinstance(node, State):
            self._find(node.tree, adversary)
        elif hasattr(node, "_fields"):
            self.wrappers.append((node, adversary))
            for field, x in zip(node._fields, node, strict=True):
                self._find(x, adversary or field == "adversary")
        else:
            for x in node.values() if isinstance(node, dict) else node:
                self._find(x, adversary)

    def _opened(self, state: State, adversary: bool) -> Found:
        keyed = jax.tree_util.tree_flatten_with_path(state.leaves, is_leaf=lambda x: x is None or is_memory(x))[0]
        places = [("/".join(map(name_of, keys)), m) for keys, m in keyed if isinstance(m, dict)]
        memories = {self.renaming.path(path): self.renaming.staged(m) for path, m in places}
        if len(memories) < len(places):
            raise ValueError(f"names gives two leaves one path: {dict(self.renaming.names)!r}")
        buffers = {}
        for key, m in state.tree.items():
            firsts = [path for path, _ in places if key.endswith(f"/{path}")]
            if firsts and m and is_memory(m):
                buffers[self.renaming.path(max(firsts, key=len))] = self.renaming.staged(m)
        return Found(state, adversary, memories, buffers)

    def refuse_unknown(self) -> None:
        """Raises: ValueError for a renamed leaf or stage that is nowhere in the state."""
        old = Migration(self.old, Renaming({}, {})).found
        paths = dict.fromkeys(path for x in old for path in x.memories)
        held = [m for x in old for m in (*x.memories.values(), *x.buffers.values(), x.state.tree, x.state.hyper)]
        stages = dict.fromkeys(name for m in held for name in m)
        for what, known, given in (("names", paths, self.renaming.names), ("stages", stages, self.renaming.stages)):
            for name in given:
                if not any(x == name or x.startswith(f"{name}/") for x in known):
                    raise ValueError(f"{what} has {name!r}, which is nowhere in the state; there is {', '.join(known)}")

    def filled(self, tx: GradientTransformation, fresh: Any, params: Params, adversary: bool = False) -> Any:
        """A fresh state with everything in it that fits."""
        if isinstance(tx, Chain):
            return self._filled_chain(tx, fresh, params, adversary)
        if not tx.wraps:
            inner = getattr(tx, "inner", None)
            if isinstance(inner, GradientTransformation) and isinstance(fresh, type(inner.init(params))):
                return self.filled(inner, fresh, params, adversary)
            return self._whole([(self.old, ("old",))], fresh, tx.name)
        around = self._filled_wrapper(tx, fresh, adversary)
        seen = tx.inner_params(fresh, params)
        parts = {f: (getattr(tx, f), getattr(fresh, f), seen, adversary or f == "adversary") for f in tx.wraps}
        return around._replace(**{f: self.filled(*part) for f, part in parts.items()})

    def _filled_wrapper(self, tx: GradientTransformation, fresh: Any, adversary: bool) -> Any:
        """What a wrapper keeps beside the states inside it: fields that stand together are kept or made anew as one."""
        same = [x for x in self.wrappers if type(x[0]) is type(fresh) and x[1] == adversary]
        old = same[0][0] if same else None
        self.wrappers = [x for x in self.wrappers if x[0] is not old]
        own = [f for f in fresh._fields if f not in tx.wraps]
        new = {f: self._by_path(getattr(old, f, None), getattr(fresh, f)) for f in own}
        whole = {f for f in own if new[f][1]}
        whole -= set() if whole.issuperset(tx.together) else set(tx.together)
        for f in own:
            if jax.tree.leaves(getattr(fresh, f)):
                self.book.tell("kept" if f in whole else "fresh", f"{tx.name}/{f}")
        apart = {f: x for f, (x, _) in new.items() if f in whole or f not in tx.together}
        return fresh._replace(**apart)

    def _by_path(self, old: Tree, fresh: Tree) -> tuple[Tree, bool]:
        """A tree with the arrays of an old one that fit, and whether all do."""
        haves = {self.renaming.path(path): x for path, x in _by_names(old)}
        new = [(as_it_is(haves.get(path), x), x) for path, x in _by_names(fresh)]
        structure: Structure = jax.tree.structure(fresh)
        return structure.unflatten([x if n is None else n for n, x in new]), all(n is not None for n, _ in new)

    def _filled_chain(self, tx: Chain, fresh: State, params: Params, adversary: bool) -> State:
        """The chain that stands as deep as one of the old ones has first choice of what that one kept."""
        here, self.filled_chains = self.filled_chains, self.filled_chains + 1
        order = sorted(range(len(self.found)), key=lambda i: i != here)
        found = [self.found[i] for i in order if self.found[i].adversary == adversary]
        opened = open_memories(fresh.leaves, params)
        plan = tx.planned(opened.leaves, Step(fresh.count, None, {}, fresh.hyper, {}, params)).plan
        at = Filling(self.book, found, opened.leaves, plan, fresh.count)
        for leaf in opened.leaves:
            leaf.memory = {name: at.memory(leaf, name, m) for name, m in leaf.memory.items()}
        tree = {}
        for key, m in fresh.tree.items():
            stage = next(iter(plan.rules.get(key, {}).values()), None)
            if key in at.packs:
                tree[key] = at.buffer(at.packs[key], m)
            elif isinstance(stage, Opaque) and find_states(m):
                paths, ps, structure = open_tree(params)
                only = structure.unflatten(
                    [p if q in plan.rules[key] else None for q, p in zip(paths, ps, strict=True)]
                )
                tree[key] = self.filled(stage.wrapped, m, only, adversary)
            else:
                tree[key] = self._named(found, "tree", key, m)
        hyper = {key: self._named(found, "hyper", key, x) for key, x in fresh.hyper.items()}
        return State(as_it_is(at.count(), fresh.count), opened.close_memories(), tree, hyper)

    def _named(self, found: list[Found], where: str, key: str, fresh: Tree) -> Tree:
        """What sees the whole tree, or a tunable, under its name."""
        olds = [(self.renaming.staged(getattr(x.state, where)).get(key), (id(x.state), where, key)) for x in found]
        return self._whole(olds, fresh, key if where == "tree" else f"{where}/{key}")

    def _whole(self, olds: Iterable[tuple[Tree, tuple[Any, ...]]], fresh: Tree, name: str) -> Tree:
        """The first of several that has the form of the fresh one and is not taken yet."""
        for old, mark in olds:
            if mark not in self.book.used and (new := as_it_is(old, fresh)) is not None:
                self.book.used.add(mark)
                self.book.tell("kept", name)
                return new
        self.book.tell("fresh", name)
        return fresh

    def finished(self, params: Params) -> Report:
        """Raises: ValueError where corrections would be wrong, or parameters are an adversary's."""
        given = dict(_by_names(params))
        for node, _ in self.wrappers:
            for path, x in _by_names(getattr(node, "waiting", ())):
                p = given.get(self.renaming.path(path), x)
                if is_known(p, x) and not np.array_equal(p, x):
                    raise ValueError(
                        f"{type(node).__name__} goes in the middle of a round, and the parameter {path!r} is an "
                        "adversary's: finish the round first, or go on from gx.eval_params(old_tx, state, params)"
                    )
        if self.book.uncorrected:
            shown = "; ".join(
                f"{name} at {', '.join(map(repr, paths))}" for name, paths in self.book.uncorrected.items()
            )
            raise ValueError(
                f"the corrections of {shown} would go by the counter of the chain, which is not that of its memory: "
                "what is new would be read as if it were filled (steps several times too long). Give those leaves "
                "counters of their own, gx.own_clock(tx, where=...), say where their memory stood (names=, stages=), "
                "or begin anew with tx.init(params)"
            )
        self.book.report["dropped"] += self._left()
        return Report(*(tuple(self.book.report[field]) for field in Report._fields))

    def _left(self) -> Iterator[str]:
        """What nothing has taken."""
        if ("old",) in self.book.used:
            return
        yield from (type(node).__name__ for node, _ in self.wrappers)
        for x in self.found:
            for path, memory in (*x.memories.items(), *x.buffers.items()):
                yield from (f"{path}: {name}" for name in memory if (id(x.state), path, name) not in self.book.used)
            for where, prefix in (("tree", ""), ("hyper", "hyper/")):
                for key, m in self.renaming.staged(getattr(x.state, where)).items():
                    if (id(x.state), where, key) not in self.book.used and not find_states(m) and not is_memory(m):
                        yield prefix + key


def _renamed(name: str, names: Mapping[str, str]) -> str:
    """A name, or what begins with it, as it is called now."""
    for old in sorted(names, key=len, reverse=True):
        if name == old or name.startswith(f"{old}/"):
            return names[old] + name[len(old) :]
    return name


def _by_names(tree: Tree) -> list[tuple[Path, Any]]:
    return [("/".join(map(name_of, keys)), x) for keys, x in jax.tree_util.tree_flatten_with_path(tree)[0]]


def migrate(
    state: OptState,
    tx: Transformation,
    params: Params,
    *,
    names: Mapping[Path, Path] | None = None,
    stages: Mapping[str, str] | None = None,
) -> tuple[OptState, Report]:
    """The state of another transformation, or of other parameters, as a state of `tx`: `state, report = migrate(...)`.

    What stands under the same path and stage is kept bit for bit, through controls that were added or taken away;
    statistics stored otherwise (`stored_as`, `mu_dtype`, `packed`, float64) are encoded anew; the rest is what
    `tx.init(params)` makes, and counters and schedules go on. `print(report)` says which is which. Also for states
    inside tuples and dicts, restored as NumPy arrays, or as `ShapeDtypeStruct`.
    names: old path -> new path of a leaf, or of all that is under it. stages: old name -> new name of a stage.
    Raises: ValueError where new memory would be corrected by old steps (`own_clock` is the remedy), if the state holds
    none of ours, where `sam` goes in the middle of a round, or for a name that is nowhere in it; TypeError unless tx is
    a transformation.
    """
    refuse_stranger(tx)
    for what, given in (("names", names), ("stages", stages)):
        if given is not None and not isinstance(given, Mapping):
            raise TypeError(f"{what} must map old names to new ones, {got(given)}")
    find_state(state)
    migration = Migration(state, Renaming(names or {}, stages or {}))
    migration.refuse_unknown()
    new = migration.filled(tx, tx.init(params), params)
    return new, migration.finished(params)
