"""Memory kept in another form than the one computed in: the lens that reads and writes with codecs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from gradxform.core.arithmetic import real_dtype
from gradxform.core.blocks import (
    Blocks,
    Encoded,
    Seeded,
    blocks_of,
    exchanged,
    largest_in,
    largest_together,
    parts,
    unseeded,
)
from gradxform.core.cast import Cast, Codec, Codecs
from gradxform.core.dither import folded, path_word
from gradxform.core.facts import Facts, Reach
from gradxform.core.fields import names_of
from gradxform.core.lens import Lens, Wrapper
from gradxform.core.rows import Rows
from gradxform.core.rule import Halves, Keep, Rule, dense, new_memory, scaled
from gradxform.core.stage import Chooses
from gradxform.core.types import Array, Count, Dtype, Factors, Gradient, Memory, Param, Path, Scalars, Shaped
from gradxform.core.value import Child


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
    by_rows: bool = False
    """Whether rows come alone: every row is a block then."""
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
        far = max(facts.reach, *reach)
        return facts.with_fields(reach=Reach.ARRAY if far == Reach.ROW > facts.reach and not self.by_rows else far)

    @property
    def selectors(self) -> tuple[Chooses, ...]:
        return self.rule.selectors if self.where is None else (self.where, *self.rule.selectors)

    @property
    def named_fields(self) -> tuple[str, ...]:
        return () if self.before else tuple(field for field, _ in self.codecs if field)

    def fields_of(self, s: Memory) -> set[str]:
        return {name for path in parts(s) for name in names_of(path)}

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
        kept = parts(s)
        bounds = parts(self.rule.init(largest_in(p, blocks_of(p.shape, self.by_rows)))) if in_blocks else {}
        new: dict[str, Any] = {}
        for i, (field, codec) in enumerate(self._chosen(s)):
            x = kept[field]
            if x.size < self.min_size or x.ndim < codec.least_ndim:
                continue
            blocks = blocks_of(x.shape, self.by_rows)
            bound = bounds[field] if in_blocks and x.shape == p.shape else largest_in(x, blocks) if x.ndim else x
            new[field] = codec.narrowed(codec.encode(x, bound))
            if self.seed is not None:
                new[field] = Seeded(new[field], folded(folded(self.seed, self.path), i))
        return exchanged(s, new)

    def scalars(self, t: Count, **extra: Any) -> Scalars:
        return self.rule.scalars(t, **extra), None if self.before else t

    def inner(self, s: Memory, g: Shaped, k: Scalars) -> Scalars:
        return k[0]

    def read(self, s: Memory, g: Shaped) -> Memory:
        wide = real_dtype(g.dtype)
        kept = parts(s)
        return exchanged(s, {f: c.decode(unseeded(kept[f]), wide) for f, c in self._encoded(s).items()})

    def write(self, new: Memory, s: Memory, k: Scalars) -> Memory:
        return self._narrowed(self._written(new, s, k[1]), s)

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
        seen, s = self._advanced(*jax.lax.stop_gradient((g, factors)), s, k, keep)
        return self.rule.emit(scaled(g, factors), seen, p, k[0]), s

    def _advanced(self, g: Array, factors: Factors, s: Memory, k: Scalars, keep: Keep) -> tuple[Memory, Memory]:
        """New memory as the rule reads it, and as it is kept.

        Of codes that are numbers still XLA makes all in one kernel; codes it would write and read again. Its compiler
        for GPUs wants one reduction for all of them, which over a mesh gathers what each device has found, leaf by
        leaf; that for TPUs wants each by itself, and sends all leaves' together. That for CPUs would compute codes
        twice that are measured where they are made: there it is a second loop.
        """
        blocks = self._bounded(s, g)

        def written(gradient: tuple[Array, Factors], s: Memory) -> Memory:
            return self._remembered(*gradient, s, k, blocks)

        def cpu(g: Array, factors: Factors, s: Memory) -> tuple[Memory, Memory]:
            new = _once(lambda gradient, s: self._narrowed(written(gradient, s), s), k[1], (g, factors), s)
            new = _once(lambda _, new: self._measured(new, {}), k[1], (), new) if blocks else new
            return self.read(new, g), new

        def numbers(new: Memory) -> dict[str, Array]:
            encoded = {f: unseeded(x) for f, x in parts(new).items()}
            return {f: x.codes for f, x in encoded.items() if isinstance(x, Blocks)}

        def tpu(g: Array, factors: Factors, s: Memory) -> tuple[Memory, Memory]:
            new = written((g, factors), s)
            if blocks:
                tops = {f: largest_together({f: x}, blocks)[f] for f, x in numbers(new).items()}
                new = self._measured(new, tops)
            return self.read(new, g), self._narrowed(new, s)

        def gpu(g: Array, factors: Factors, s: Memory) -> tuple[Memory, Memory]:
            new = written((g, factors), s)
            if blocks and blocks[-1] > 1:  # numbers of which it takes the largest in columns it would write too
                new = self._measured(self._narrowed(new, s), {})
            elif blocks:
                new = self._measured(new, largest_together(numbers(new), blocks))
            return self.read(new, g), self._narrowed(new, s)

        seen, new = jax.lax.platform_dependent(g, factors, s, cpu=cpu, tpu=tpu, default=gpu)
        kept = keep(new, s)
        return seen if keep is new_memory else self.read(kept, g), kept

    def _bounded(self, s: Memory, g: Array) -> tuple[int, ...]:
        """The shape of one number a block where memory and gradient bound what is in blocks, () elsewhere."""
        kept = [unseeded(x) for x in parts(s).values()]
        shapes = {(x.codes if isinstance(x, Blocks) else x).shape for x in kept}
        blocks = next((x.scales.shape for x in kept if isinstance(x, Blocks)), ())
        return blocks if self.rule.facts.monotone and shapes <= {(), g.shape} else ()

    def _remembered(self, g: Array, factors: Factors, s: Memory, k: Scalars, blocks: tuple[int, ...]) -> Memory:
        """The new memory, its codes numbers still; the bounds of blocks from memory and gradient where it may."""
        rule: Any = self.rule
        new, bounds = rule.remember(scaled(g, factors), self.read(s, g), None, k[0]), None
        if blocks:
            largest = jnp.abs(scaled(largest_in(g, blocks), factors))
            bounds = rule.remember(largest, self._largest(s, blocks, real_dtype(g.dtype)), None, k[0])
        return self._written(new, s, k[1], bounds)

    def _measured(self, s: Memory, tops: dict[str, Array]) -> Memory:
        """The memory with the largest size of each block as its codes have it. tops: the largest codes, if known."""
        return self._mapped(lambda field, codec, x: codec.measured(x, tops.get(field)), s)

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
        for path, x in {} if self.exact or "" in taken else parts(s).items():
            names = names_of(path)
            codecs = next((named[name] for name in (*names, "") if name in named), None)
            codec = None if codecs is None else codecs.of(next(name for name in names[1:] if not name.isdigit()))
            if codec is not None and taken.isdisjoint(names) and codec.takes(unseeded(x)):
                chosen.append((path, codec))
        return chosen

    def _encoded(self, s: Memory) -> dict[str, Codec]:
        """The statistics that are encoded in this state, each with its codec."""
        kept = parts(s)
        return {f: c for f, c in self._chosen(s) if c.made(unseeded(kept[f]))}

    def _largest(self, s: Memory, blocks: tuple[int, ...], wide: Dtype) -> Memory:
        """The memory with at least the largest size of each block in place of the block."""
        encoded = self._encoded(s)

        def largest(f: str, x: Encoded) -> Any:
            if isinstance(unseeded(x), Blocks):
                return unseeded(x).largest.astype(wide)
            return largest_in(encoded[f].decode(unseeded(x), wide) if f in encoded else x, blocks) if x.ndim else x

        return exchanged(s, {f: largest(f, x) for f, x in parts(s).items()})

    def _mapped(self, f: Callable[[str, Codec, Encoded], Encoded], s: Memory) -> Memory:
        """The memory with `f(field, codec, statistic)` in place of each encoded statistic."""
        kept = parts(s)

        def mapped(field: str, codec: Codec) -> Encoded:
            x, new = kept[field], f(field, codec, unseeded(kept[field]))
            return x._replace(stored=new) if isinstance(x, Seeded) else new

        return exchanged(s, {field: mapped(field, codec) for field, codec in self._encoded(s).items()})

    def _narrowed(self, s: Memory, like: Memory) -> Memory:
        """The memory as it is stored, where codes are numbers still."""
        new = self._mapped(lambda field, codec, x: codec.narrowed(x), s)
        return jax.tree.map(lambda n, o: n.astype(o.dtype), new, like)

    def _written(self, new: Memory, old: Memory, t: Count, bounds: Memory = None) -> Memory:
        written: dict[str, Any] = {}
        kept, made, limits = parts(old), parts(new), parts(bounds)
        for f, codec in self._encoded(old).items():
            before, bound = kept[f], limits.get(f)
            if bound is None and isinstance(unseeded(before), Blocks):
                bound = largest_in(made[f], unseeded(before).scales.shape)
            if isinstance(before, Seeded):
                written[f] = Seeded(codec.encode(made[f], bound, (before.seed, t)), before.seed)
            else:
                written[f] = codec.encode(made[f], bound)
        return exchanged(new, written)


def by_rows(rule: Rule) -> Rule:
    """The rule for rows that come alone: what is stored has every row for a block."""
    if not isinstance(rule, Wrapper):
        return rule
    inner = by_rows(rule.rule)
    rule = rule if inner is rule.rule else rule.with_fields(rule=inner)
    return rule if not isinstance(rule, Stored) or rule.by_rows else rule.with_fields(by_rows=True)


def stored_in(rule: Rule, **dtypes: Dtype | None) -> Rule:
    """The rule with some fields of its memory cast to other dtypes; unchanged where all are None."""
    codecs = tuple((field, Cast(dtype)) for field, dtype in dtypes.items() if dtype is not None)
    return Stored(rule, codecs, before=True) if codecs else rule


def _once(f: Callable[[Any, Memory], Memory], t: Array, g: Any, s: Memory) -> Memory:
    """`f(g, s)`, in the place of s and, on CPU, before anything that uses it.

    XLA writes one array per kernel there: it would compute it a second time inside what reads it, from a copy of s, or
    keep it decoded. Only a loop keeps it from that: this one runs once, which the compiler cannot know. The barrier
    inside keeps what depends on g alone from being computed before it.
    """

    def body(carry: tuple[Any, Memory]) -> tuple[Any, Memory]:
        return t, f(*jax.lax.optimization_barrier((g, carry[1])))

    return jax.lax.while_loop(lambda carry: carry[0] < 0, body, (-t, s))[1]
