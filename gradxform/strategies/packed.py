"""Many small leaves as one array: one kernel and one pair of buffers where there were hundreds."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.admit import of_kind
from gradxform.core.barriers import beside, in_common
from gradxform.core.branches import Inside
from gradxform.core.chain import Chain, stages_of
from gradxform.core.claims import looks_farther
from gradxform.core.clock import OwnClock
from gradxform.core.devices import varying_axes
from gradxform.core.facts import Reach
from gradxform.core.lens import layers
from gradxform.core.plain import got
from gradxform.core.rows import Rows
from gradxform.core.rule import Factor, Rule, TreeRule
from gradxform.core.stage import NO_NAMES, Names, Step
from gradxform.core.state import State
from gradxform.core.tree import Leaf, in_boxes, is_trained, open_memories
from gradxform.core.types import Array, ArrayLike, Params, Shaped, Transformation
from gradxform.core.walk import run_pending
from gradxform.strategies.lazy import Lazy

ALONE = "alone"
"""The trait of a leaf that shares with none."""


class Packing(Inside):
    """A stage: the inner chain on the large leaves and on buffers of the small ones.

    A buffer goes under the path of its first leaf: what the plan says of that one it says of all.
    """

    max_size: int = 16384
    label: str | None = None
    taken: Names = NO_NAMES
    name: ClassVar[str] = "packed"

    def __repr__(self) -> str:
        size = "" if self.max_size == type(self).max_size else f", max_size={self.max_size}"
        return f"packed({self.chain!r}{size})"

    def plan(self, name: str, leaves: list[Leaf], step: Step) -> None:
        before, packed_before = len(step.plan.rules), set(step.plan.packs)
        super().plan(name, leaves, step)
        inside = {key: rules for i, (key, rules) in enumerate(step.plan.rules.items()) if i >= before}
        packs: dict[Any, list[Leaf]] = {}
        for leaf in leaves:
            traits = [
                trait for key, rules in inside.items() if leaf.path in rules for trait in _traits(key, rules, leaf)
            ]
            if self._fits(leaf) and ALONE not in traits:
                packs.setdefault((leaf.array.dtype, *traits), []).append(leaf)
        shared = [pack for pack in packs.values() if len(pack) > 1]
        for leaf in (leaf for pack in shared for leaf in pack):
            _refuse_far(inside, leaf)
        joined = {leaf.path for pack in shared for leaf in pack}
        for key, inner in step.plan.packs.items():
            if key not in packed_before:
                step.plan.packs[key] = [rest for pack in inner if len(rest := [x for x in pack if x not in joined]) > 1]
        step.plan.packs[step.prefix + name] = [[leaf.path for leaf in pack] for pack in shared]

    def init(self, name: str, leaves: list[Leaf], step: Step) -> None:
        alone, packs = self._packs(name, leaves, step)
        buffers = [Leaf(pack[0].path, None, _joined([leaf.p for leaf in pack]), {}) for pack in packs]
        self.chain.init_stages(alone + buffers, step, self.taken)
        for buffer in buffers:
            _keep(step, name, buffer)

    def update(self, name: str, leaves: list[Leaf], step: Step) -> None:
        alone, packs = self._packs(name, leaves, step)
        run_pending([leaf for pack in packs if not _waits_together(pack) for leaf in pack])
        buffers = [_buffer(step, name, pack) for pack in packs]
        self.chain.update_stages(alone + buffers, step, self.taken)
        run_pending(buffers)
        for pack, buffer in zip(packs, buffers, strict=True):
            _keep(step, name, buffer)
            if buffer.g is not None:
                whole: dict[Any, Array] = {}
                for leaf, start in zip(pack, _starts(pack, step.count), strict=True):
                    leaf.raw, leaf.pending = _part(buffer.g, start, in_common(leaf.raw, whole), leaf.raw.shape), []

    def evaluate(self, name: str, leaves: list[Leaf], step: Step) -> None:
        alone, packs = self._packs(name, leaves, step)
        buffers = [_buffer(step, name, pack) for pack in packs]
        self.chain.evaluate_stages(alone + buffers, step, self.taken)
        for pack, buffer in zip(packs, buffers, strict=True):
            for leaf, start in zip(pack, _starts(pack, step.count), strict=True):
                leaf.p = _part(buffer.p, start, None, leaf.p.shape)

    def unpack(self, name: str, leaves: list[Leaf], step: Step) -> None:
        """Move the memory of buffers to the leaves that share them."""
        for pack in self._packs(name, leaves, step)[1]:
            shared = step.tree.pop(f"{step.prefix}{name}/{pack[0].path}", {})
            *starts, size = itertools.accumulate([leaf.p.size for leaf in pack], initial=0)
            for leaf, start in zip(pack, starts, strict=True):
                cut = functools.partial(_cut, size=size, start=start, shape=leaf.p.shape)
                leaf.memory = {**leaf.memory, **jax.tree.map(cut, shared)}

    def _packs(self, name: str, leaves: list[Leaf], step: Step) -> tuple[list[Leaf], list[list[Leaf]]]:
        """The leaves that stay alone, and those that share a buffer."""
        by_path = {leaf.path: leaf for leaf in leaves}
        packs = [[by_path[path] for path in pack] for pack in step.plan.packs[step.prefix + name]]
        shared = {leaf.path for pack in packs for leaf in pack}
        return [leaf for leaf in leaves if leaf.path not in shared], packs

    def _fits(self, leaf: Leaf) -> bool:
        x = leaf.array
        return not leaf.frozen and is_trained(x) and x.size <= self.max_size and not _is_split(x)


def packed(tx: Transformation, max_size: int = 16384) -> Chain:
    """Join leaves of at most `max_size` elements into shared buffers, one per dtype and combination of rules.

    Their memory lives in the buffers too (`State.tree`; `unpack` takes it out), so that a step moves and compiles
    hundreds of arrays less: from about a hundred small leaves on, on CPUs and GPUs; on TPUs the way into the buffer and
    out of it costs more than is saved. Elementwise results are the same bit for bit; a global norm adds up in another
    order. All gradients of a buffer must be there, or none. Leaves sharded by type stay alone, and those whose memory a
    strategy keeps by rows or blocks, or rounds by chance.
    Reach: element, or tree. State: buffers in place of the packed leaves' memory, else as without it.
    Raises: ValueError where a stage looks at rows or arrays, TypeError if `tx` is not made of rules.
    """
    check.integer(1, max_size=max_size)
    inner = Chain(stages_of(tx, "tx"))
    return Chain((Packing(inner, max_size),))


def unpack(tx: Transformation, state: State, params: Params) -> State:
    """The state that `tx` would have without `packed`: every statistic at its parameter's place.

    For `view`, for a checkpoint that other code reads, or to go on without packing.
    Raises: TypeError unless `tx` is a chain, ValueError if the state does not fit the parameters.
    """
    if not isinstance(tx, Chain):
        raise TypeError(f"unpack takes a chain with packed(...) in it, {got(tx)}")
    of_kind(state, State, tx)
    opened = open_memories(state.leaves, params)
    step = tx.planned(opened.leaves, Step(state.count, None, state.tree, state.hyper, {}, params))
    step = tx.admitted(opened.leaves, step)
    for name, stage in tx.named():
        if isinstance(stage, Packing):
            stage.unpack(name, opened.leaves, step)
            for key in step.tree:
                if key.startswith(f"{name}/"):
                    raise ValueError(f"the state has a buffer {key!r}, and the parameters no leaf to take it")
    leaves = in_boxes(params, [None if leaf.p is None else leaf.memory for leaf in opened.leaves])
    return state._replace(leaves=leaves, tree=step.tree)


def _traits(key: str, rules: dict[str, Any], leaf: Leaf) -> list[object]:
    """What a stage does with a leaf, as leaves that share a buffer must have it in common."""
    rule = rules[leaf.path]
    if not isinstance(rule, Rule):
        raise TypeError(f"packed works on transformations made of rules; put it inside {rule!r}, not around it")
    if isinstance(rule, TreeRule):
        return [key]
    return [(key, id(rule)), *([ALONE] if _codes_far(rule) else [])]


def _codes_far(rule: Rule) -> bool:
    """Whether what is around an elementwise rule looks farther: codes in blocks, rows with dates."""
    return layers(rule)[-1].facts.reach == Reach.ELEMENT < rule.facts.reach


def _refuse_far(inside: dict[str, dict[str, Any]], leaf: Leaf) -> None:
    """Refuse to join a leaf where a rule looks at more than one element of it, or at some of its rows."""
    for rule in [rules[leaf.path] for rules in inside.values() if leaf.path in rules]:
        if rule.facts.reach in (Reach.ROW, Reach.ARRAY):
            raise ValueError(
                f"packed cannot join {leaf.path!r} with others: {rule.name} looks at more than one of its "
                f"elements; leave that stage outside: chain({rule.name}(...), packed(...))"
            )
        if any(isinstance(layer, OwnClock) and layer.counts for layer in layers(rule)):
            raise ValueError(
                f"packed cannot join {leaf.path!r} with others: own_clock lets it rest alone; keep such leaves out: "
                "groups([(..., own_clock(...))], default=packed(...))"
            )
        if looks_farther(rule):
            raise ValueError(
                f"packed cannot join {leaf.path!r} with others: {rule.name} says that it looks at one element alone, "
                "and looks at more: say facts = Facts(reach=Reach.ARRAY)"
            )
        if isinstance(leaf.g, Rows) and any(isinstance(layer, Lazy) for layer in layers(rule)):
            raise ValueError(
                f"packed cannot join {leaf.path!r} with others: lazy lets rows of it rest; give packed a max_size "
                f"below its {leaf.g.size} elements"
            )


def _waits_together(pack: list[Leaf]) -> bool:
    """Whether what waits for the leaves may wait for their buffer: numbers that multiply all of them."""
    first = pack[0]
    return all(isinstance(b.rule, Factor) and b.rule.facts.reach != Reach.ARRAY for b in first.pending) and all(
        list(map(id, leaf.pending)) == list(map(id, first.pending)) and not isinstance(leaf.raw, Rows) for leaf in pack
    )


def _is_split(x: Shaped) -> bool:
    """Whether the type says that an array is spread over devices."""
    sharding = getattr(jax.typeof(x) if isinstance(x, jax.Array) else None, "sharding", None)
    return bool(varying_axes(x)) or any(axis is not None for axis in getattr(sharding, "spec", None) or ())


def _joined(arrays: Sequence[Shaped]) -> Shaped:
    if any(isinstance(x, jax.ShapeDtypeStruct) for x in arrays):
        return jax.ShapeDtypeStruct((sum(x.size for x in arrays),), arrays[0].dtype)
    return jnp.concatenate([jnp.reshape(x.dense() if isinstance(x, Rows) else x, (x.size,)) for x in arrays])


def _buffer(step: Step, name: str, pack: list[Leaf]) -> Leaf:
    missing = [leaf.path for leaf in pack if leaf.raw is None]
    if missing and len(missing) < len(pack):
        raise ValueError(
            f"packed needs a gradient for every leaf of a buffer or for none, and {missing[0]!r} has none while "
            f"{next(leaf.path for leaf in pack if leaf.raw is not None)!r} has one"
        )
    key = f"{step.prefix}{name}/{pack[0].path}"
    g = None if missing else _joined([leaf.raw for leaf in pack])
    p = None if pack[0].p is None else _joined([leaf.p for leaf in pack])
    buffer = Leaf(pack[0].path, g, p, step.tree.get(key, {}))
    buffer.pending = pack[0].pending
    for name in {name for leaf in pack for name in leaf.extras}:
        if without := next((leaf.path for leaf in pack if name not in leaf.extras), None):
            raise ValueError(f"packed needs {name!r} for every leaf of a buffer or for none, and {without!r} has none")
        buffer.extras[name] = _joined([leaf.extras[name] for leaf in pack])
    return buffer


def _keep(step: Step, name: str, buffer: Leaf) -> None:
    if buffer.memory:
        step.tree[f"{step.prefix}{name}/{buffer.path}"] = buffer.memory


def _cut(x: Array, size: int, start: int, shape: tuple[int, ...]) -> Array:
    """A leaf's part of a statistic, of several along the axes before it; what has nothing of the buffer is for all."""
    if x.shape[-1:] != (size,):
        return x
    return jax.lax.dynamic_slice_in_dim(x, start, math.prod(shape), x.ndim - 1).reshape(*x.shape[:-1], *shape)


@functools.partial(jax.jit, static_argnums=3, inline=True)
def _part(buffer: Array, start: ArrayLike, common: Array | None, shape: tuple[int, ...]) -> Array:
    part: Array = beside(common, jax.lax.dynamic_slice(buffer, (start,), (math.prod(shape),)).reshape(shape))
    return part


def _starts(pack: list[Leaf], count: Array) -> list[Array]:
    """Where the leaves of a buffer begin in it.

    For constants XLA would compile a kernel for every leaf on CPU: there they come out of a loop that adds 0 once,
    and the compiler can know neither.
    """
    starts = [jnp.int32(n) for n in itertools.accumulate([leaf.array.size for leaf in pack[:-1]], initial=0)]
    if varying_axes(count):
        return starts

    def added(zero: Array) -> list[Array]:
        moved: list[Array] = jax.lax.fori_loop(zero, zero + 1, lambda i, xs: [x + i for x in xs], starts)
        return moved

    opaque: list[Array] = jax.lax.platform_dependent(jnp.minimum(count, 0), cpu=added, default=lambda _: starts)
    return opaque
