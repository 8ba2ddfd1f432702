"""One leaf through several rules: traced once per shape, in float32 or wider, with memory that keeps its form."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core.arithmetic import compute_dtype, plain_numbers, real_dtype
from gradxform.core.barriers import barrier, barrier_each, beside, in_common
from gradxform.core.facts import Reach
from gradxform.core.keys import drawn, handed
from gradxform.core.mistakes import refuse_factor, refuse_host_memory, refuse_new_memory, refuse_update, told_of_none
from gradxform.core.rows import Rows
from gradxform.core.rule import Factor, Halves, Rule, new_memory, scaled
from gradxform.core.stacks import EachFactor
from gradxform.core.tree import Leaf
from gradxform.core.types import Array, ArrayLike, Factors, Gradient, Memory, Param, Path, Scalars, Structure, Taken
from gradxform.core.value import is_hashable


class Pending(NamedTuple):
    """A rule at a step, on its way to the leaves: hyperparameters are numbers, scalars are computed."""

    name: str
    rule: Rule
    k: Scalars
    ok: Taken = None
    """Whether the step is taken; None where nobody asks."""


Stand = tuple[Rule, Scalars, Taken]
"""A rule on its way through a walk: with its scalars, and whether the step is taken."""
Again = tuple[Array, Param]
"""An update and a parameter computed a second time."""

MANY = 64
"""From so many leaves on, a combination of rules becomes a function of the program, traced and lowered once per shape
and called; XLA inlines it. Fewer leaves leave no trace of it in the program."""


def run_pending(leaves: Sequence[Leaf]) -> None:
    """Walk every leaf through the rules that wait for it; each combination of rules is traced once per shape."""
    whole: dict[Any, Array] = {}
    for leaf, run, many in _waiting(leaves, _walk):
        memory = {b.name: leaf.memory[b.name] for b in leaf.pending if b.name in leaf.memory}
        with naming(leaf.path):
            try:
                leaf.g, new = run(leaf.raw, memory, leaf.p, leaf.extras, in_common(leaf.raw, whole) if many else None)
            except ValueError as error:
                refuse_host_memory(leaf.path, error, leaf.raw, leaf.p, memory)
                raise
        leaf.memory = {**leaf.memory, **new}
        leaf.pending = []


def gradients(leaves: Sequence[Leaf]) -> list[Gradient]:
    """The gradients as the rules that wait for them leave them, for what sees all leaves; computed for these alone
    where the rules may run again. Where they remember nothing, they go on waiting."""
    raw = [leaf for leaf in leaves if not leaf.pending]
    twice = {leaf: None for leaf in leaves if leaf.pending and _can_recompute(leaf)}
    copies = [leaf.copy() for leaf in twice]
    run_pending([leaf for leaf in leaves if leaf not in twice or any(b.name in leaf.memory for b in leaf.pending)])
    for leaf, copy in zip(twice, copies, strict=True):
        copy.memory = leaf.memory
    for copy, run, _ in _waiting(copies, _walk_recomputing):
        with naming(copy.path):
            copy.g = run(copy.raw, {b.name: copy.memory.get(b.name) for b in copy.pending}, copy.p, copy.extras)
    arrays = {leaf: leaf.raw for leaf in leaves}
    arrays |= zip(raw, barrier_each([leaf.g for leaf in raw]), strict=True)
    arrays |= zip(twice, (copy.raw for copy in copies), strict=True)
    return [arrays[leaf] for leaf in leaves]


def _can_recompute(leaf: Leaf) -> bool:
    """Whether what the rules that wait for a leaf make of it can be had a second time, from what they remember."""
    return not isinstance(leaf.raw, Rows) and all(
        can_recompute(b.rule, remembers=b.name in leaf.memory) for b in leaf.pending
    )


def can_recompute(rule: Rule, remembers: bool) -> bool:
    """Whether what a rule made can be had a second time: from its new memory, or at little cost."""
    return isinstance(rule, Halves) if remembers else isinstance(rule, Factor) or rule.facts.cheap


def _waiting(leaves: Iterable[Leaf], walk: Callable[..., Any]) -> Iterator[tuple[Leaf, Callable[..., Any], bool]]:
    """Each leaf that rules wait for, the walk through these rules, and whether they wait for many leaves."""
    waiting: dict[tuple[int, ...], list[Leaf]] = {}
    for leaf in leaves:
        if leaf.pending:
            waiting.setdefault(tuple(map(id, leaf.pending)), []).append(leaf)
    for alike in waiting.values():
        many = len(alike) >= MANY
        run = _runner(walk, alike[0].pending, inline=not many)
        yield from ((leaf, run, many) for leaf in alike)


def _runner(walk: Callable[..., Any], pending: Sequence[Pending], inline: bool) -> Callable[..., Any]:
    """`g, memory, p -> ...` through several rules, numbers static and arrays as data."""
    values, treedef = jax.tree.flatten([(b.rule, b.k, b.ok) for b in pending])
    data = [x if isinstance(x, jax.Array | np.ndarray | np.generic) else None for x in values]
    static = tuple(x if d is None else None for x, d in zip(values, data, strict=True))
    key = (treedef, tuple(b.name for b in pending), static)
    run = _traced_once(walk, *key, inline) if is_hashable(key) else functools.partial(walk, *key)
    return functools.partial(run, data)


@functools.lru_cache(maxsize=4096)
def _traced_once(
    walk: Callable[..., Any], treedef: Structure, names: tuple[str, ...], static: tuple[Any, ...], inline: bool
) -> Callable[..., Any]:
    return jax.jit(functools.partial(walk, treedef, names, static), inline=inline)


def _walk(
    treedef: Structure,
    names: tuple[str, ...],
    static: tuple[Any, ...],
    data: list[Any],
    g: Array | Rows,
    memory: dict[str, Memory],
    p: Param,
    extras: dict[str, Array],
    common: Array | None,
) -> tuple[Gradient, dict[str, Memory]]:
    dtype = compute_dtype(g.dtype if p is None else p.dtype)
    stages = _stages(treedef, static, data, dtype, extras)
    wide = p.astype(dtype) if p is not None and any(rule.facts.needs_params for rule, _, _ in stages) else None
    arrived, shape, memory = g, g.shape[int(stages[0][0].facts.per_example) :], dict(memory)
    g = g.astype(dtype)
    factors: Factors = []
    remembered: list[Memory] = []
    for i, (name, (rule, k, ok)) in enumerate(zip(names, stages, strict=True)):
        s, seen = memory.get(name), p if rule.facts.stored_params else wide
        if not rule.facts.needs_params:
            seen = None
        if isinstance(rule, Factor) and not isinstance(g, Rows):
            whole: tuple[Gradient, Param] = (None, None)
            if rule.facts.reach == Reach.ARRAY:
                again = _recomputed(stages[:i], arrived, remembered, p, dtype)
                whole = (scaled(g, factors), wide) if again is None else again
            seen = whole[1] if rule.facts.needs_params else None
            factors.append(_told(rule, name, g, seen, k, functools.partial(rule.factor, whole[0], k=k)))
            if not isinstance(rule, EachFactor):
                refuse_factor(name, factors[-1])
            remembered.append(None)
            continue
        keep = new_memory if ok is None else functools.partial(kept, ok)
        advance = functools.partial(rule.advance, g, factors, s, k=k, keep=keep)
        u, new = _told(rule, name, g, seen, k, advance)
        refuse_update(name, u, g)
        g = u
        factors = []
        if g.shape != shape:
            raise ValueError(f"{name} turned an update of shape {shape} into one of shape {g.shape}")
        refuse_new_memory(name, new, s)
        if s is not None:
            memory[name] = like(new, s, name)
        remembered.append(new)
    return beside(common, scaled(g, factors)), memory


def _told(rule: Rule, name: str, g: Array | Rows, p: Param, k: Scalars, step: Callable[..., Any]) -> Any:
    """What a step of a rule gives; where it read what it has not, that in a sentence."""
    try:
        return step(p=p)
    except (TypeError, ValueError, AttributeError) as error:
        told = told_of_none(rule, name, error, p, k, lambda: step(p=jnp.ones(g.shape, g.dtype)))
        if told is None:
            raise
        raise TypeError(told) from error


def _walk_recomputing(
    treedef: Structure,
    names: tuple[str, ...],
    static: tuple[Any, ...],
    data: list[Any],
    g: Array,
    memory: dict[str, Memory],
    p: Param,
    extras: dict[str, Array],
) -> Gradient:
    dtype = compute_dtype(g.dtype if p is None else p.dtype)
    stages = _stages(treedef, static, data, dtype, extras)
    p = p if any(rule.facts.needs_params for rule, _, _ in stages) else None
    return _recompute(stages, g, [memory[name] for name in names], p, dtype)[0]


def _stages(
    treedef: Structure, static: tuple[Any, ...], data: list[Any], dtype: np.dtype[Any], extras: dict[str, Array]
) -> list[Stand]:
    narrow = real_dtype(dtype)
    extras = {name: x.astype(dtype if jnp.iscomplexobj(x) else narrow) for name, x in extras.items()}

    def scalar(x: Any) -> Any:
        return x.astype(narrow) if hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.floating) else x

    stages: list[Stand] = treedef.unflatten([s if d is None else scalar(d) for s, d in zip(static, data, strict=True)])
    return [(handed(drawn(rule), extras), k, ok) for rule, k, ok in stages]


def _recomputed(
    stages: list[Stand], g: Array | Rows, memory: list[Memory], p: Param, dtype: np.dtype[Any]
) -> Again | None:
    """`_recompute`, or None where a stage can't tell what it gave."""
    if isinstance(g, Rows):
        return None
    for (rule, _, _), s in zip(stages, memory, strict=True):
        if not can_recompute(rule, remembers=s is not None):
            return None
    return _recompute(stages, g, memory, p, dtype)


def _recompute(stages: list[Stand], g: Array, memory: list[Memory], p: Param, dtype: np.dtype[Any]) -> Again:
    """The update and the parameter once more, behind a barrier: from the gradient and the new memory.

    Numbers become arrays: XLA would write out what it makes of a constant for all leaves of one shape. Whether the step
    is taken stays away: a norm that decides it would be computed a second time for what depends on the decision.
    """
    values, structure = jax.tree.flatten([(rule, k) for rule, k, _ in stages])
    plain = {i: x for i, x in enumerate(values) if type(x) is float and x != 0.0}
    numbers = {i: jnp.asarray(x, real_dtype(dtype)) for i, x in plain.items()}
    numbers |= {i: x for i, x in enumerate(values) if isinstance(x, jax.Array)}
    numbers, g, memory, p = barrier((numbers, g, memory, p))
    g, p = g.astype(dtype), None if p is None else p.astype(dtype)
    again = jax.tree.unflatten(structure, [numbers.get(i, x) for i, x in enumerate(values)])
    with plain_numbers((numbers[i], x) for i, x in plain.items()):
        for (rule, k), s in zip(again, memory, strict=True):
            g = rule.emit(g, s, p, k) if isinstance(rule, Halves) else rule.update(g, s, p, k)[0]
    return g, p


def kept(ok: Taken, new: Memory, old: Memory) -> Memory:
    """New memory where the step is taken, old where it is not."""
    if ok is None or old is None:
        return new
    return jax.tree.map(lambda n, o: _chosen(ok, n, o), new, old)


def _chosen(ok: Array, new: ArrayLike, old: Array) -> Array:
    """`where(ok, new, old)` in new's dtype; on the device for what lives in host memory."""
    n = jnp.asarray(new)
    space = getattr(jax.typeof(n), "memory_space", None)
    if space is None or space == jax.memory.Space.Device:
        return jnp.where(ok, n, old.astype(n.dtype))
    n, old = (jax.device_put(x, jax.memory.Space.Device) for x in (n, old))
    chosen: Array = jax.device_put(jnp.where(ok, n, old.astype(n.dtype)), space)
    return chosen


def like(new: Memory, old: Memory, name: str = "") -> Memory:
    """New memory in exactly the old one's structure, shapes and dtypes."""

    def same(n: ArrayLike, o: Array) -> Array:
        n = jnp.asarray(n)
        if n.shape != o.shape:
            raise ValueError(f"the memory of {name} has shape {o.shape}, and the gradient would make it {n.shape}")
        return n.astype(o.dtype)

    return jax.tree.map(same, new, old)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the leaf in errors that its rule raises."""
    try:
        yield
    except Exception as error:
        error.add_note(f"at leaf {path!r}")
        raise
