"""State in few bits: what a rule remembers, encoded between steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import real_dtype
from gradxform.core.chain import Chain, map_rules
from gradxform.core.codec import Stored
from gradxform.core.dither import folded, path_word
from gradxform.core.lift import Where
from gradxform.core.rule import Reach, Rule, TreeRule, Wrapper, scaled
from gradxform.core.value import Child
from gradxform.params.select import selector
from gradxform.strategies.codecs import NAMES, NARROW, WITH_DRAW, Blocks, Scaled, Seeded, block_max, codec_for
from gradxform.strategies.packed import Member


class StoredAs(Wrapper):
    """A rule whose memory is encoded between steps; the update is computed from the memory as it is stored."""

    codecs: tuple[tuple[str, str], ...]
    """(field, codec), or ("", codec) for every field."""
    where: Where | None = None
    min_size: int = 4096
    seed: int | None = None
    path: Child[Any] = 0
    exact: bool = False
    """Whether `init` stores nothing: for leaves that are exact alone, and so in a buffer with others."""

    def __repr__(self) -> str:
        named = dict(self.codecs)
        codecs = repr(named.get("", named))
        where = "" if self.where is None else f", {self.where!r}"
        seed = "" if self.seed is None else f", seed={self.seed}"
        return f"stored_as({codecs}, {self.rule!r}{where}{seed})"

    @property
    def reach(self) -> Reach:  # type: ignore[override]
        if self.exact:
            return self.rule.reach
        own = Reach.ELEMENT if self.seed is None else Reach.ARRAY
        if any(name not in NARROW for _, name in self.codecs):
            own = max(own, Reach.ROW)
        return max(own, self.rule.reach)

    @property
    def selectors(self) -> tuple[Where, ...]:
        return self.rule.selectors if self.where is None else (self.where, *self.rule.selectors)

    def for_leaf(self, path: str, p: Any) -> Rule:
        if self.where is not None and not self.where.matches(path, p):
            return self.with_fields(rule=self.rule.for_leaf(path, p), codecs=(), seed=None)
        inner = super().for_leaf(path, p)
        if isinstance(p, Member) and (p.size < self.min_size or p.ndim < self._least_ndim()):
            return inner.with_fields(exact=True)
        return inner if self.seed is None else inner.with_fields(path=path_word(path))

    def init(self, p: Any) -> Any:
        s = self.rule.init(p)
        if s is None or self.exact:
            return s
        bounds = self.rule.init(block_max(p)) if p.ndim and self.rule.reach == Reach.ELEMENT else s
        found = {}
        for i, (field, codec) in enumerate(self._chosen(s)):
            x = getattr(s, field)
            if isinstance(x, Blocks | Seeded) or x.size < self.min_size or x.ndim < codec.least_ndim:
                continue
            bound = getattr(bounds, field)
            found[field] = codec.encode(x, None if bound.shape == x.shape else bound)
            if self.seed is not None:
                found[field] = Seeded(found[field], folded(folded(self.seed, self.path), i))
        return s._replace(**found)

    def scalars(self, t: Any, **extra: Any) -> Any:
        return self.rule.scalars(t, **extra), t

    def update(self, g: Any, s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        return self.update_scaled(g, [], s, p, k)

    def update_scaled(self, g: Any, factors: list[Any], s: Any, p: Any, k: Any) -> tuple[Any, Any]:
        k, t = k
        wide = real_dtype(g.dtype)
        held = self._held(s)
        if not held:
            return self.rule.update_scaled(g, factors, s, p, k)
        if isinstance(self.rule, StoredAs) and not self.rule._held(self._decoded(s, wide)):
            return self.with_fields(rule=self.rule.rule).update_scaled(g, factors, s, p, (k[0], t))
        for f, codec in held.items():
            kept = codec.shape(_stored(getattr(s, f)))
            if kept != g.shape:
                raise ValueError(f"the memory {f} has shape {kept}, the gradient {g.shape}")
        if not self.rule.in_halves or self.rule.reach != Reach.ELEMENT or self.rule.needs_params:
            u, new = self.rule.update_scaled(g, factors, self._decoded(s, wide), p, k)
            return u, self._encoded(new, s, t)

        def remembered(given: Any, s: Any) -> Any:
            g, factors = given
            new = self.rule.remember(scaled(g, factors), self._decoded(s, wide), None, k)
            if not self.rule.monotone:
                return self._encoded(new, s, t)
            largest = jnp.abs(scaled(block_max(g), factors))
            return self._encoded(new, s, t, self.rule.remember(largest, self._largest(s, wide), None, k))

        s = _once(remembered, t, jax.lax.stop_gradient((g, factors)), s)
        return self.rule.emit(scaled(g, factors), self._decoded(s, wide), p, k), s

    def evaluate(self, p: Any, s: Any, t: Any) -> Any:
        return self.rule.evaluate(p, self._decoded(s, real_dtype(p.dtype)), t)

    def _least_ndim(self) -> int:
        return 1 if any(name in NARROW for _, name in self.codecs) else 2

    def _chosen(self, s: Any) -> list[tuple[str, Any]]:
        """The fields that codecs are for, floating ones, each with its codec."""
        names = dict(self.codecs)
        fields = [(f, names.get(f, names.get(""))) for f in s._fields]
        return [(f, codec_for(name, f)) for f, name in fields if name is not None and _is_real(getattr(s, f))]

    def _held(self, s: Any) -> dict[str, Any]:
        """The fields that are encoded in this state, each with its codec."""
        if s is None:
            return {}
        return {f: c for f, c in self._chosen(s) if _is_encoded(getattr(s, f), c)}

    def _decoded(self, s: Any, wide: Any) -> Any:
        return s._replace(**{f: c.decode(_stored(getattr(s, f)), wide) for f, c in self._held(s).items()})

    def _largest(self, s: Any, wide: Any) -> Any:
        """The memory with the largest size of each block in place of the block."""
        held = self._held(s)

        def largest(f: str, x: Any) -> Any:
            if f in held:
                return held[f].largest_in_blocks(_stored(x), wide)
            return block_max(x) if x.ndim else x

        return s._replace(**{f: largest(f, x) for f, x in zip(s._fields, s, strict=True)})

    def _encoded(self, new: Any, old: Any, t: Any, bounds: Any = None) -> Any:
        found = {}
        for f, codec in self._held(old).items():
            before, bound = getattr(old, f), None if bounds is None else getattr(bounds, f)
            if isinstance(before, Seeded):
                found[f] = Seeded(codec.encode(getattr(new, f), bound, (before.seed, t)), before.seed)
            else:
                found[f] = codec.encode(getattr(new, f), bound)
        return new._replace(**found)


def _is_real(x: Any) -> bool:
    x = _stored(x)
    return isinstance(x, Blocks) or jnp.issubdtype(x.dtype, jnp.floating)


def _is_encoded(x: Any, codec: Any) -> bool:
    x = _stored(x)
    if isinstance(codec, Scaled) or isinstance(x, Blocks):
        return isinstance(codec, Scaled) and isinstance(x, Blocks)
    return bool(x.dtype == codec.dtype)


def _stored(x: Any) -> Any:
    return x.stored if isinstance(x, Seeded) else x


def _once(f: Any, t: Any, g: Any, s: Any) -> Any:
    """`f(g, s)`, in the place of s, and computed before anything that uses it.

    XLA would otherwise compute it a second time inside what reads it, from a copy of s, or keep it decoded. On CPU
    only a loop keeps it from that: this one runs once, which the compiler cannot know. The barrier
    inside keeps what depends on g alone from being computed before it.
    """

    def loop(t: Any, g: Any, s: Any) -> Any:
        def body(carry: Any) -> Any:
            new = f(*jax.lax.optimization_barrier((g, carry[1])))
            return t, jax.tree.map(lambda n, o: n.astype(o.dtype), new, carry[1])

        return jax.lax.while_loop(lambda carry: carry[0] < 0, body, (-t, s))[1]

    def barrier(t: Any, g: Any, s: Any) -> Any:
        new = jax.tree.map(lambda n, o: n.astype(o.dtype), f(g, s), s)
        return jax.lax.optimization_barrier(new)

    return jax.lax.platform_dependent(t, g, s, cpu=loop, default=barrier)


def stored_as(
    codec: Any, tx: Any, where: Any = None, *, min_size: int = 4096, stochastic: bool = False, seed: int = 0
) -> Chain:
    """Keep statistics in fewer bits between steps, and compute each update from them as they are stored.

    codec: `"bfloat16"`, `"float16"`, `"int8"`, `"int4"`, `"float8_e4m3"`, `"uint8_sqrt"`, or one for each field:
    `{"mu": "int8", "nu": "uint8_sqrt"}`. The last four hold a scale for every block of at most 128 elements of the last
    axis, at least its largest size; second moments are then stored by their roots, in 8 bits or more, and one above 0
    stays above 0. where: for which parameters, a selector, a regular expression or `(path, leaf) -> bool`.
    min_size: statistics of fewer elements stay exact, as do complex ones, and vectors where codes are in blocks.
    stochastic: round up or down by chance, from seed, path and step.
    Reach: row at least for codes in blocks, array if stochastic. State: as without it, in place of a statistic
    `Blocks(codes, scales)` or a narrow array; `view` shows them as they are.
    Raises: ValueError for an unknown codec, TypeError if `tx` is not made of rules.
    Source: Dettmers et al. 2021, arXiv:2110.02861 (blocks); Li et al. 2023, arXiv:2309.01507 (roots, no zeros).
    """
    given = codec if isinstance(codec, Mapping) else {"": codec}
    for name in given.values():
        check.choice(*NAMES, codec=name)
    if not given:
        raise ValueError("codec must name a field at least, got {}")
    check.integer(0, min_size=min_size, seed=seed)
    check.boolean(stochastic=stochastic)
    if stochastic:
        for name in given.values():
            if name not in WITH_DRAW:
                raise ValueError(f"stochastic rounding is for {', '.join(WITH_DRAW)}, got {name!r}")
    codecs = tuple(sorted(given.items()))
    chosen = None if where is None else selector(where)

    def store(rule: Rule) -> Rule:
        if rule.keeps_zero or isinstance(rule, TreeRule):
            return rule
        if isinstance(rule, Wrapper) and not isinstance(rule, Stored | StoredAs):
            return rule.with_fields(rule=store(rule.rule))
        return StoredAs(rule, codecs, chosen, min_size, seed if stochastic else None)

    return map_rules(tx, store, "stored_as")  # type: ignore[no-any-return]
