"""What one chain remembers of its parameters, filled from what others remembered."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core.facts import Facts
from gradxform.core.reform import as_it_is, fields_of, reformed, with_fields_of
from gradxform.core.stage import Plan
from gradxform.core.state import State
from gradxform.core.tree import Leaf
from gradxform.core.types import Count, Memory, Path, Shaped


class Report(NamedTuple):
    """What became of everything in a state: `leaf: stage/field` for each statistic, and the names of the rest."""

    kept: tuple[str, ...]
    reencoded: tuple[str, ...]
    fresh: tuple[str, ...]
    dropped: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(_line(what, names) for what, names in zip(self._fields, self, strict=True))


def _line(what: str, names: tuple[str, ...], most: int = 8) -> str:
    more = f", and {len(names) - most} more" if len(names) > most else ""
    return f"{what} ({len(names)}): {', '.join(names[:most])}{more}" if names else f"{what}: nothing"


class Book:
    """What has been taken, what became of it, and where corrections would be wrong: stage -> paths."""

    def __init__(self) -> None:
        self.used: set[tuple[Any, ...]] = set()
        self.report: dict[str, list[str]] = {field: [] for field in Report._fields}
        self.uncorrected: dict[str, list[Path]] = {}

    def tell(self, what: str, name: str) -> None:
        self.report[what].append(name)


class Found(NamedTuple):
    """One of our states in the old one: its memories by path and stage, and those that leaves share, by the first."""

    state: State
    adversary: bool
    memories: dict[Path, dict[str, Memory]]
    buffers: dict[Path, dict[str, Memory]]


class Filling:
    """One chain's memories, filled from what was found."""

    def __init__(self, book: Book, found: list[Found], leaves: list[Leaf], plan: Plan, begun: Count) -> None:
        self.book, self.found, self.leaves, self.plan, self.begun = book, found, leaves, plan, begun
        self.sources: list[tuple[bool, Count]] = []
        by_path = {leaf.path: leaf for leaf in leaves}
        self.packs = {f"{k}/{pack[0]}": [by_path[p] for p in pack] for k, packs in plan.packs.items() for pack in packs}
        self.rules = {(p, k.removeprefix(plan.prefixes[k])): r for k, rs in plan.rules.items() for p, r in rs.items()}

    def memory(self, leaf: Leaf, name: str, fresh: Memory) -> Memory:
        """One rule's memory of one parameter; with a counter of its own it is filled whole, or begins anew."""
        x, old = self._taken(leaf, name)
        count = self.count() if x is None else x.state.count
        olds, news = {} if old is None else fields_of(old), fields_of(fresh)
        kept = {f: same for f, want in news.items() if (same := as_it_is(olds.get(f), want)) is not None}
        both = [f for f in news if f in olds and f not in kept]
        other = {f: new for f in both if (new := reformed(olds[f], news[f], f)) is not None}
        rule = self.rules[leaf.path, name]
        told = getattr(rule, "facts", Facts()).told_by_count if kept or other else ()
        corrects = getattr(rule, "corrects", False)
        filled = {*kept, *other, *(f for f, want in news.items() if _is_counter(want))}
        if not corrects and any(map(_is_clock, news.values())) and not filled.issuperset(news):
            x, kept, other = None, {}, {}
        counters = {f: _full(want, count) for f, want in news.items() if (kept or other) and _is_counter(want)}
        new = {**news, **counters, **kept, **other}
        for f in news:
            self.book.tell("kept" if f in kept else "reencoded" if f in other else "fresh", f"{leaf.path}: {name}/{f}")
        gone = [f for f in olds if f not in kept and f not in other]
        for f in gone:
            self.book.tell("dropped", f"{leaf.path}: {name}/{f}")
        missing = not {*kept, *other, *counters, *told}.issuperset(news)
        own = any(_is_clock(x) and _differ(x, count) for x in (olds[f] for f in gone))
        if corrects and (own or (missing and (not is_known(count) or _differ(count, 0)))):
            self.book.uncorrected.setdefault(name, []).append(leaf.path)
        if x is not None:
            self.sources.append((corrects, count))
        return with_fields_of(fresh, new)

    def _taken(self, leaf: Leaf, name: str) -> tuple[Found | None, Memory]:
        for x in self.found:
            mark = id(x.state), leaf.path, name
            old = x.memories.get(leaf.path, {}).get(name)
            old = self._from_buffer(x, leaf, name) if old is None else old
            if old is not None and mark not in self.book.used:
                self.book.used.add(mark)
                return x, old
        return None, None

    def count(self) -> Count:
        """The steps done: those that filled what is corrected by them, else those of what is kept."""
        corrected = [count for corrects, count in self.sources if corrects]
        for count in {id(count): count for count in corrected}.values():
            if _differ(count, corrected[0]):
                raise ValueError(
                    f"memories for one chain were filled by {count} and by {corrected[0]} steps, in chains "
                    "that were held back apart: one counter cannot serve them both"
                )
        return [*corrected, *(count for _, count in self.sources), *(x.state.count for x in self.found), self.begun][0]

    def buffer(self, pack: list[Leaf], fresh: dict[str, Memory]) -> dict[str, Memory]:
        """What leaves share, joined from what each of them had."""
        new = {}
        for name, m in fresh.items():
            parts = [fields_of(self.memory(leaf, name, s)) for leaf, s in _cut(m, pack)]
            joined = {f: [part[f] for part in parts] for f in parts[0]}
            new[name] = with_fields_of(m, {f: _joined(xs, fields_of(m)[f]) for f, xs in joined.items()})
        return new

    def _from_buffer(self, x: Found, leaf: Leaf, name: str) -> Memory:
        """A leaf's part of what it shared with others: those of one dtype and the same rules, in their order."""
        for first, memory in x.buffers.items():
            size = max((y.size for y in jax.tree.leaves(memory.get(name))), default=0)
            sharing = [y for y in self.leaves if y.p is not None and name not in x.memories.get(y.path, {name: None})]
            for trait in (self._alike, lambda y: y.p.dtype):
                pack = [y for y in sharing if trait(y) == trait(leaf)]
                if leaf in pack and pack[0].path == first and sum(y.p.size for y in pack) == size:
                    return next(m for y, m in _cut(memory[name], pack) if y is leaf)
        return None

    def _alike(self, leaf: Leaf) -> tuple[Any, ...]:
        return leaf.p.dtype, *((key, id(rule)) for key, rule in self.plan.through(leaf.path))


def _is_counter(x: Any) -> bool:
    return bool(getattr(x, "dtype", None) == jnp.int32)


def _is_clock(x: Any) -> bool:
    """Whether it counts the steps of one parameter."""
    return _is_counter(x) and not x.ndim


def _full(like: Shaped, count: Count) -> Any:
    """A counter that is new beside memory that is not: all of it is as old as the count says."""
    return like if isinstance(like, jax.ShapeDtypeStruct) else jnp.full(like.shape, count, like.dtype)


def is_known(*counts: Any) -> bool:
    return not any(isinstance(x, jax.ShapeDtypeStruct | jax.core.Tracer) for x in counts)


def _differ(a: Any, b: Any) -> bool:
    """Whether two counts are known not to be the same."""
    return is_known(a, b) and bool(np.any(np.asarray(a) != np.asarray(b)))


def _cut(memory: Memory, pack: list[Leaf]) -> Iterator[tuple[Leaf, Memory]]:
    """What leaves share, cut into the part of each; what is one number is the same for all."""
    start, size = 0, sum(leaf.p.size for leaf in pack)
    for leaf in pack:
        stop, shape = start + leaf.p.size, leaf.p.shape
        yield leaf, jax.tree.map(functools.partial(_part, start=start, stop=stop, size=size, shape=shape), memory)
        start = stop


def _part(x: Any, start: int, stop: int, size: int, shape: tuple[int, ...]) -> Any:
    if x.shape != (size,):
        return x
    return jax.ShapeDtypeStruct(shape, x.dtype) if isinstance(x, jax.ShapeDtypeStruct) else x[start:stop].reshape(shape)


def _joined(parts: list[Any], like: Any) -> Any:
    """One statistic of leaves that share it."""
    if isinstance(like, jax.ShapeDtypeStruct):
        return like
    return jnp.concatenate([jnp.ravel(x) for x in parts]) if like.ndim else parts[0]
