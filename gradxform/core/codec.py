"""Memory kept in another form than the one computed in: codecs, and the lens that reads and writes with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

import jax
import jax.numpy as jnp

from gradxform.core.arithmetic import real_dtype
from gradxform.core.blocks import Blocks, block_max
from gradxform.core.dither import folded, path_word
from gradxform.core.facts import Facts, Reach
from gradxform.core.fields import names_of
from gradxform.core.lens import Lens
from gradxform.core.rows import Rows
from gradxform.core.rule import Halves, Keep, Rule, dense, scaled
from gradxform.core.sizes import storable
from gradxform.core.stage import Chooses
from gradxform.core.tree import name_of
from gradxform.core.types import Array, Count, Dtype, Factors, Gradient, Memory, Param, Path, Scalars, Shaped, Structure
from gradxform.core.value import Child

Encoded: TypeAlias = Any
"""An encoded statistic: an array in another dtype, or `Blocks`."""


class Seeded(NamedTuple):
    """An encoded statistic, and the seed that its rounding draws from."""

    stored: Encoded
    seed: Array


Draw = tuple[Array, Count]
"""Seed and step, to round by chance."""


class Codecs(Protocol):
    """How statistics are kept: a codec for each name; the farthest reach of them, and the fewest axes they take."""

    reach: Reach
    least_ndim: int
    plain: bool
    """Whether what it makes is the number itself, rounded: another codec may take it."""

    def of(self, field: str) -> Codec | None: ...


class Codec(Protocol):
    """How one statistic is kept; see `Cast`."""

    reach: Reach
    least_ndim: int

    def takes(self, x: Encoded) -> bool: ...
    def made(self, x: Encoded) -> bool: ...
    def encode(self, x: Array, bound: Array | None = None, draw: Draw | None = None) -> Encoded: ...
    def decode(self, x: Encoded, wide: Dtype) -> Array: ...
    def largest_in_blocks(self, x: Encoded, wide: Dtype) -> Array: ...


class Cast:
    """A codec: keep an array in a narrower dtype."""

    reach = Reach.ELEMENT
    least_ndim = 0
    plain = True

    def __init__(self, dtype: Dtype) -> None:
        self.dtype = jnp.dtype(dtype)
        if not jnp.issubdtype(self.dtype, jnp.inexact):
            raise TypeError(f"statistics are kept in a floating dtype, got {self.dtype}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Cast) and self.dtype == other.dtype

    def __hash__(self) -> int:
        return hash((Cast, self.dtype))

    def __repr__(self) -> str:
        return repr(self.dtype.name)

    def of(self, field: str) -> Codec:
        """The codec for a statistic of this name."""
        return self

    def takes(self, x: Array) -> bool:
        """Whether it is for such an array, encoded already or not."""
        return bool(jnp.issubdtype(x.dtype, jnp.inexact))

    def made(self, x: Array) -> bool:
        """Whether an array of a state is what this codec makes."""
        return not isinstance(x, Blocks) and bool(x.dtype == self.dtype)

    def encode(self, x: Array, bound: Array | None = None, draw: Draw | None = None) -> Array:
        """bound: at least the largest size in each block. draw: seed and step, to round by chance."""
        if jnp.iscomplexobj(x) and not jnp.issubdtype(self.dtype, jnp.complexfloating):
            raise ValueError(f"a statistic of dtype {x.dtype} would lose its imaginary part in {self.dtype}")
        return storable(x, self.dtype).astype(self.dtype)

    def decode(self, x: Array, wide: Dtype) -> Array:
        return x.astype(jnp.promote_types(self.dtype, wide))

    def largest_in_blocks(self, x: Array, wide: Dtype) -> Array:
        return block_max(self.decode(x, wide))


class Stored(Lens):
    """A rule whose memory is encoded between steps, field by field; the rule itself never knows."""

    codecs: tuple[tuple[str, Codecs], ...]
    """(field, codec), or ("", codec) for every field."""
    where: Chooses | None = None
    min_size: int = 0
    seed: int | None = None
    path: Child[Any] = 0
    exact: bool = False
    """Whether `init` stores nothing: for leaves that are exact alone, and so in a buffer with others."""
    before: bool = False
    """Whether the update is computed before the memory is encoded, as it is for a dtype that an optimizer takes."""

    def __repr__(self) -> str:
        if self.before:
            return f"{self.rule!r}.stored({', '.join(f'{f}={c!r}' for f, c in self.codecs)})"
        named = {field: repr(codec).strip("'") for field, codec in self.codecs}
        where = "" if self.where is None else f", {self.where!r}"
        seed = "" if self.seed is None else f", seed={self.seed}"
        return f"stored_as({named.get('', named)!r}, {self.rule!r}{where}{seed})"

    @property
    def facts(self) -> Facts:
        facts = self.rule.facts
        if self.exact:
            return facts
        reach = [Reach.ELEMENT if self.seed is None else Reach.ARRAY, *(codec.reach for _, codec in self.codecs)]
        return facts.with_fields(reach=max(facts.reach, *reach))

    @property
    def selectors(self) -> tuple[Chooses, ...]:
        return self.rule.selectors if self.where is None else (self.where, *self.rule.selectors)

    @property
    def named_fields(self) -> tuple[str, ...]:
        return () if self.before else tuple(field for field, _ in self.codecs if field)

    def fields_of(self, s: Memory) -> set[str]:
        return {name for path in _parts(s) for name in names_of(path)}

    def for_leaf(self, path: Path, p: Array) -> Rule:
        if self.where is not None and not self.where.matches(path, p):
            return self.with_fields(rule=self.rule.for_leaf(path, p), codecs=(), seed=None)
        inner = super().for_leaf(path, p)
        few = p.size < self.min_size or p.ndim < min((codec.least_ndim for _, codec in self.codecs), default=0)
        if few and self.rule.facts.reach == Reach.ELEMENT:
            return inner.with_fields(exact=True, seed=None, path=0)
        return inner if self.seed is None else inner.with_fields(path=path_word(path))

    def init(self, p: Array) -> Memory:
        s = self.rule.init(p)
        if s is None or self.exact:
            return s
        in_blocks = p.ndim and self.rule.facts.reach == Reach.ELEMENT and not self.before
        kept, bounds = _parts(s), _parts(self.rule.init(block_max(p)) if in_blocks else s)
        new: dict[str, Any] = {}
        for i, (field, codec) in enumerate(self._chosen(s)):
            x, bound = kept[field], bounds[field]
            if x.size < self.min_size or x.ndim < codec.least_ndim:
                continue
            new[field] = codec.encode(x, bound if bound.shape != x.shape == p.shape else None)
            if self.seed is not None:
                new[field] = Seeded(new[field], folded(folded(self.seed, self.path), i))
        return _exchanged(s, new)

    def scalars(self, t: Count, **extra: Any) -> Scalars:
        return self.rule.scalars(t, **extra), None if self.before else t

    def inner(self, s: Memory, g: Shaped, k: Scalars) -> Scalars:
        return k[0]

    def read(self, s: Memory, g: Shaped) -> Memory:
        wide = real_dtype(g.dtype)
        kept = _parts(s)
        return _exchanged(s, {f: c.decode(_stored(kept[f]), wide) for f, c in self._encoded(s).items()})

    def write(self, new: Memory, s: Memory, k: Scalars) -> Memory:
        return self._written(new, s, k[1])

    def advance(
        self, g: Array | Rows, factors: Factors, s: Memory, p: Param, k: Scalars, keep: Keep
    ) -> tuple[Gradient, Memory]:
        encoded = {} if s is None else self._encoded(s)
        if not encoded:
            return self.rule.advance(g, factors, s, p, k[0], keep)
        if self.before:
            u, new = self.rule.advance(g, factors, self.read(s, g), p, k[0], keep)
            return u, self.write(new, s, k)
        if isinstance(self.rule, Stored) and not self.rule._encoded(self.read(s, g)):
            return self.with_fields(rule=self.rule.rule).advance(g, factors, s, p, (k[0][0], k[1]), keep)
        facts = self.rule.facts
        if not isinstance(self.rule, Halves) or facts.reach != Reach.ELEMENT or facts.needs_params:
            return super().advance(g, factors, s, p, k, keep)
        g = dense(g, [])
        s = keep(_once(self._remembered(k), k[1], jax.lax.stop_gradient((g, factors)), s), s)
        return self.rule.emit(scaled(g, factors), self.read(s, g), p, k[0]), s

    def _remembered(self, k: Scalars) -> Callable[[Any, Memory], Memory]:
        """`(g, factors), memory -> new memory`, encoded, the bounds of blocks from memory and gradient where it may."""
        rule: Any = self.rule

        def remembered(gradient: tuple[Array, Factors], s: Memory) -> Memory:
            g, factors = gradient
            old = self.read(s, g)
            new = rule.remember(scaled(g, factors), old, None, k[0])
            shapes = {x.shape for x in jax.tree.leaves(old)}
            if not rule.facts.monotone or not shapes <= {(), g.shape}:
                return self._written(new, s, k[1])
            largest = jnp.abs(scaled(block_max(g), factors))
            bounds = rule.remember(largest, self._largest(s, real_dtype(g.dtype)), None, k[0])
            return self._written(new, s, k[1], bounds)

        return remembered

    @property
    def claimed(self) -> set[str]:
        """The fields that it, or what is stored inside, has codecs for; "" stands for all."""
        inner = self.rule.claimed if isinstance(self.rule, Stored) else set()
        if self.exact:
            return inner
        return inner.union(field for field, codec in self.codecs if not codec.plain or self.seed is not None)

    def _chosen(self, s: Memory) -> list[tuple[str, Codec]]:
        """The statistics that codecs are for, each with its codec: none that is stored inside already."""
        named, taken = dict(self.codecs), self.rule.claimed if isinstance(self.rule, Stored) else set()
        chosen: list[tuple[str, Codec]] = []
        for path, x in {} if self.exact or "" in taken else _parts(s).items():
            names = names_of(path)
            codecs = next((named[name] for name in (*names, "") if name in named), None)
            codec = None if codecs is None else codecs.of(next(name for name in names[1:] if not name.isdigit()))
            if codec is not None and taken.isdisjoint(names) and codec.takes(_stored(x)):
                chosen.append((path, codec))
        return chosen

    def _encoded(self, s: Memory) -> dict[str, Codec]:
        """The statistics that are encoded in this state, each with its codec."""
        kept = _parts(s)
        return {f: c for f, c in self._chosen(s) if c.made(_stored(kept[f]))}

    def _largest(self, s: Memory, wide: Dtype) -> Memory:
        """The memory with the largest size of each block in place of the block."""
        encoded = self._encoded(s)

        def largest(f: str, x: Array) -> Array:
            if f in encoded:
                return encoded[f].largest_in_blocks(_stored(x), wide)
            return block_max(x) if x.ndim else x

        return _exchanged(s, {f: largest(f, x) for f, x in _parts(s).items()})

    def _written(self, new: Memory, old: Memory, t: Count, bounds: Memory = None) -> Memory:
        written: dict[str, Any] = {}
        kept, made, limits = _parts(old), _parts(new), _parts(bounds)
        for f, codec in self._encoded(old).items():
            before, bound = kept[f], limits.get(f)
            if isinstance(before, Seeded):
                written[f] = Seeded(codec.encode(made[f], bound, (before.seed, t)), before.seed)
            else:
                written[f] = codec.encode(made[f], bound)
        return _exchanged(new, written)


def stored_in(rule: Rule, **dtypes: Dtype | None) -> Rule:
    """The rule with some fields of its memory cast to other dtypes; unchanged where all are None."""
    codecs = tuple((field, Cast(dtype)) for field, dtype in dtypes.items() if dtype is not None)
    return Stored(rule, codecs, before=True) if codecs else rule


def _parts(s: Memory) -> dict[str, Any]:
    """The statistics of a memory, encoded or not, by field; of a memory inside it as `field/field`."""
    keyed, _ = jax.tree_util.tree_flatten_with_path(s, is_leaf=_is_encoded)
    return {"/".join(map(name_of, keys)): x for keys, x in keyed}


def _exchanged(s: Memory, new: Mapping[str, Any]) -> Memory:
    """The memory with some statistics exchanged."""
    if not new:
        return s
    structure: Structure = jax.tree.structure(s, is_leaf=_is_encoded)
    return structure.unflatten([new.get(f, x) for f, x in _parts(s).items()])


def _is_encoded(x: object) -> bool:
    return isinstance(x, Blocks | Seeded)


def _stored(x: Encoded | Seeded) -> Encoded:
    return x.stored if isinstance(x, Seeded) else x


def _once(f: Callable[[Any, Memory], Memory], t: Array, g: Any, s: Memory) -> Memory:
    """`f(g, s)`, in the place of s; on CPU computed before anything that uses it.

    XLA writes one array per kernel there: it would compute it a second time inside what reads it, from a copy of s, or
    keep it decoded. Only a loop keeps it from that: this one runs once, which the compiler cannot know. The barrier
    inside keeps what depends on g alone from being computed before it. Elsewhere one kernel makes memory and update.
    """

    def once(t: Array, g: Any, s: Memory) -> Memory:
        return jax.tree.map(lambda n, o: n.astype(o.dtype), f(g, s), s)

    def loop(t: Array, g: Any, s: Memory) -> Memory:
        def body(carry: tuple[Any, Memory]) -> tuple[Any, Memory]:
            return t, once(t, *jax.lax.optimization_barrier((g, carry[1])))

        return jax.lax.while_loop(lambda carry: carry[0] < 0, body, (-t, s))[1]

    return jax.lax.platform_dependent(t, g, s, cpu=loop, default=once)
