"""A rule that is written for one array on each matrix of a leaf: folded, run side by side, and taken apart again."""

from __future__ import annotations

import collections
import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from gradxform.core.facts import Facts, Reach
from gradxform.core.keys import extras_of, own_arrays, with_arrays
from gradxform.core.lens import Around, Wrapper
from gradxform.core.mistakes import refuse_factor
from gradxform.core.rule import Factor, Halves, Rule, new_memory
from gradxform.core.stage import Chooses
from gradxform.core.tree import Leaf, is_trained
from gradxform.core.types import Array, Count, Memory, Param, Path, Scalars, Shaped


class Folds(Protocol):
    """How an array is matrices: as stacks `[matrices, rows, columns]`, one for each of its unequal parts."""

    @property
    def parts(self) -> tuple[str, ...]:
        """The names of unequal parts; none where all matrices have one shape."""

    def shapes(self, shape: tuple[int, ...]) -> list[tuple[int, ...]]: ...
    def fold(self, x: Array) -> list[Array]: ...
    def unfold(self, stacks: Sequence[Array], shape: tuple[int, ...]) -> Array: ...


class Places(Protocol):
    """Where a stack of matrices is worked on, and how it lies where it is taken apart."""

    def there(self, x: Array) -> Array:
        """A stack where it is worked on, with more matrices where that takes some."""

    def here(self, x: Array, count: int, joined: bool) -> Array:
        """The first matrices of such a stack; joined: `back` follows."""

    def like(self, x: Array, old: Shaped) -> Array:
        """An array laid out as another, where that is part of its type."""

    def layout(self, leaf: Leaf, shape: tuple[int, ...]) -> Any:
        """How the matrices of this shape of a leaf lie."""

    def lie(self, stack: Any, leaf: Leaf, shape: tuple[int, ...]) -> Any:
        """Many such matrices, laid out as those of this leaf are."""

    def out(self, stack: Any, leaf: Leaf, shape: tuple[int, ...]) -> Any:
        """Gradients and memories of many matrices of this shape on the way `there`, with more where that takes some."""

    def back(self, stack: Any, leaf: Leaf, shape: tuple[int, ...]) -> Any:
        """Updates and memories of such matrices from there, laid out as those of this leaf are."""


class Parts(tuple[Any, ...]):
    """The memories of the unequal parts of a leaf, by name."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        return _parts_from, (self._fields, *self)  # type: ignore[attr-defined]


@functools.cache
def parts_class(names: tuple[str, ...]) -> Any:
    """The class of memories with these parts; one, so that states of equal rules are alike."""
    named_tuple: Any = collections.namedtuple
    fielded = named_tuple("Parts", names, module=__name__)
    return type("Parts", (Parts, fielded), {"__slots__": (), "__doc__": "The memories of unequal parts."})


def _parts_from(names: tuple[str, ...], *memories: Memory) -> Memory:
    return parts_class(names)(*memories)


class Stack:
    """A stack of matrices as it is."""

    parts: tuple[str, ...] = ()

    def shapes(self, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
        return [shape]

    def fold(self, x: Array) -> list[Array]:
        return [x]

    def unfold(self, stacks: Sequence[Array], shape: tuple[int, ...]) -> Array:
        return stacks[0]


STACK = Stack()


class Each(Around, abstract=True):
    """A rule on each matrix of a leaf, of the kind that the rule is. Its memory is stacks, as the matrices are."""

    spec: Folds | None
    """None: the leaf is one matrix, and kept as that."""
    together: int = 0
    places: Places | None = None

    @property
    def facts(self) -> Facts:
        return self.rule.facts.with_fields(reach=Reach.ARRAY, matrix=False, keeps_zero=False, monotone=False)

    @property
    def joins(self) -> bool:
        """Whether matrices of several leaves may go through it at once."""
        return (
            self.rule.facts.matrix and self.together > 0 and not (isinstance(self.rule, Factor) or extras_of(self.rule))
        )

    def init(self, p: Array) -> Memory:
        here = self.with_fields(places=None)
        if self.spec is None:
            return self.rule.init(p)
        return self.memory([s for _, s in here._each(lambda rule, s, p: (p, rule.init(p)), None, p)], None)

    def evaluate(self, p: Array, s: Memory, t: Count) -> Array:
        return self.whole(self._each(lambda rule, s, p: rule.evaluate(p, s, t), s, p), p)

    def stacks(self, s: Memory, *arrays: Param) -> list[tuple[Any, ...]]:
        """A memory and arrays as stacks, part by part."""
        if self.spec is None:
            return [jax.tree.map(lambda x: x[None], (s, *arrays))]
        parts = max(1, len(self.spec.parts))
        here = _everywhere if self.places is None else lambda x: x
        folded = [[None] * parts if x is None else self.spec.fold(here(x)) for x in arrays]
        return [*zip([s] * parts if s is None or parts == 1 else s, *folded, strict=True)]

    def whole(self, stacks: list[Array], like: Shaped) -> Array:
        """The array that is these stacks."""
        return self._as(stacks[0] if self.spec is None else self.spec.unfold(stacks, like.shape), like)

    def memory(self, memories: list[Memory], old: Memory) -> Memory:
        """The memory that is these; old: what stood in its place."""
        parts = () if self.spec is None or memories[0] is None else self.spec.parts
        new = parts_class(parts)(*memories) if parts else memories[0]
        return new if old is None else jax.tree.map(self._as, new, old)

    def _as(self, x: Array, old: Shaped) -> Array:
        x = x.reshape(old.shape)
        return _lying_as(x, old) if self.places is None else self.places.like(x, old)

    def _each(self, f: Callable[..., Any], s: Memory, *arrays: Param) -> list[Any]:
        """What `f(rule, memory, *matrices)` gives for all matrices, part by part."""
        if self.spec is None and self.places is None:
            return [f(self.rule, *jax.tree.map(_everywhere, (s, *arrays)))]
        own, n = own_arrays(self.rule, "extra"), len(arrays)

        def with_own(rule: Rule, s: Memory, *xs: Param) -> Any:
            return f(with_arrays(rule, xs[n:], "extra"), s, *xs[:n])

        done = [self._side_by_side(with_own if own else f, *stacks) for stacks in self.stacks(s, *arrays, *own)]
        return done if self.spec is not None else [jax.tree.map(lambda x: x[0], done[0])]

    def _side_by_side(self, f: Callable[..., Any], *stacks: Any) -> Any:
        """The same for the matrices of one stack, each with keys of its own."""
        count = len(jax.tree.leaves(stacks)[0])
        args: Any = [jax.random.split(key, count) for key in own_arrays(self.rule, "key")], *stacks
        there = self.places.there if self.places else lambda x: x
        done = jax.vmap(lambda keys, *xs: f(with_arrays(self.rule, keys, "key"), *xs))(*jax.tree.map(there, args))
        here = self.places.here if self.places else lambda x, *_: x
        return jax.tree.map(lambda x: here(x, count, self.spec is STACK), done)


def _is_split(x: Shaped) -> bool:
    """Whether an array's type says that it is split over devices."""
    return isinstance(x, jax.Array) and any(axis is not None for axis in jax.typeof(x).sharding.spec)


def _everywhere(x: Array) -> Array:
    return jax.sharding.reshard(x, jax.P(*(None for _ in x.shape))) if _is_split(x) else x


def _lying_as(x: Array, old: Shaped) -> Array:
    return jax.sharding.reshard(x, jax.typeof(old).sharding) if _is_split(old) else x


class EachRule(Each):
    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Array, Memory]:
        done = self._each(lambda rule, s, g, p: rule.advance(g, [], s, p, k, new_memory), s, g, p)
        return self.whole([u for u, _ in done], g), self.memory([new for _, new in done], s)


class EachHalves(Each, Halves):
    def remember(self, g: Array, s: Memory, p: Param, k: Scalars) -> Memory:
        return self.memory(self._each(lambda rule, s, g, p: rule.remember(g, s, p, k), s, g, p), s)

    def emit(self, g: Array, s: Memory, p: Param, k: Scalars) -> Array:
        return self.whole(self._each(lambda rule, s, g, p: rule.emit(g, s, p, k), s, g, p), g)


class EachFactor(Each, Factor):
    """One number for each matrix, laid out over the leaf."""

    def factor(self, g: Array, p: Param, k: Scalars) -> Array:
        def number(rule: Factor, s: Memory, g: Array, p: Param) -> Array:
            by = rule.factor(g, p, k)
            refuse_factor(rule.name, by)
            return jnp.broadcast_to(by, g.shape)

        return self.whole(self._each(number, None, g, p), g)


def each(rule: Rule, spec: Folds | None, together: int, places: Places | None) -> Rule:
    """The rule on each matrix."""
    kind = EachHalves if isinstance(rule, Halves) else EachFactor if isinstance(rule, Factor) else EachRule
    return kind(rule, spec, together, None if kind is EachFactor else places)


class ByMatrix(Wrapper):
    """A rule that sees each matrix of the leaves of which a spec says how they are matrices, and others whole."""

    specs: tuple[tuple[Chooses, Folds], ...] = ()
    together: int = 0
    places: Places | None = None

    def __repr__(self) -> str:
        shown = repr(self.rule)
        if self.specs or self.places is None:
            specs = ", ".join(f"{where!r}: {spec!r}" for where, spec in self.specs)
            together = f", together={self.together}" if self.together and self.places is None else ""
            shown = f"matrices({shown}, {{{specs}}}{together})"
        return shown if self.places is None else f"spread({shown}, {self.places!r})"

    @property
    def selectors(self) -> tuple[Chooses, ...]:
        return (*(where for where, _ in self.specs), *self.rule.selectors)

    def for_leaf(self, path: Path, p: Array) -> Rule:
        inner = self.rule.for_leaf(path, p)
        spec = next((spec for where, spec in self.specs if where.matches(path, p)), None)
        if spec is not None:
            try:
                spec.shapes(p.shape)
            except ValueError as error:
                raise ValueError(f"{path!r} has shape {p.shape}, and {error}") from None
            if figures := [name for name, alike in extras_of(inner).items() if not alike]:
                raise ValueError(
                    f"{inner.name} reads {figures[0]!r} of all of {path!r}, and {spec!r} gives it matrices one by one: "
                    "leave it outside of matrices(...), or let its facts say placed=True"
                )
            return each(inner, spec, self.together, self.places)
        return each(inner, None, self.together, self.places) if inner.facts.matrix and p.ndim == 2 else inner


def by_matrix(rule: Rule, **fields: Any) -> Rule:
    """The rule that sees each matrix, where it looks at more than one element; what it says of them comes last."""
    if isinstance(rule, ByMatrix):
        fields["specs"] = (*rule.specs, *fields.get("specs", ()))
        return rule.with_fields(**fields)
    if isinstance(rule, Wrapper) and not rule.sees_array:
        return rule.with_fields(rule=by_matrix(rule.rule, **fields))
    far = rule.facts.reach in (Reach.ROW, Reach.ARRAY) and not (rule.facts.placed or rule.facts.per_example)
    return ByMatrix(rule, **fields) if far else rule


def whole_matrix(rule: Rule, leaf: Leaf) -> Rule:
    """The rule for a leaf that is a matrix: where its type splits it, on the whole of it."""
    return each(rule, None, 0, None) if _is_split(leaf.array) and not isinstance(rule, Factor) else rule


def refuse_no_matrix(name: str, leaf: Leaf) -> None:
    """Refuse an array that is no matrix, of which nobody says how it is some, for a rule that is written for one."""
    x = leaf.array
    if not is_trained(x) or leaf.frozen or x.ndim == 2:
        return
    remedy = "give it another transformation: gx.groups([(gx.hidden_matrices, tx)], default=...)"
    if x.ndim > 2:
        remedy = f"say how it is a stack of them: gx.matrices(tx, {{{leaf.path!r}: gx.Matrix(...)}})"
    raise ValueError(f"{name} works on matrices, and {leaf.path!r} has shape {x.shape}; {remedy}")
