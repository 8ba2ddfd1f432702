"""Matrices of one shape from several leaves, through a rule as one stack."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradxform.core.arithmetic import compute_dtype
from gradxform.core.blocks import is_encoded, parts
from gradxform.core.codec import Stored
from gradxform.core.lens import Wrapper, layers
from gradxform.core.rows import Rows
from gradxform.core.rule import Rule
from gradxform.core.stacks import STACK, Each
from gradxform.core.stage import identity
from gradxform.core.tree import Leaf
from gradxform.core.types import Array, Memory, Param, Tree
from gradxform.core.walk import Pending, run_pending


class Item(NamedTuple):
    """The matrices of a leaf, or of one of its unequal parts."""

    leaf: Leaf
    s: Memory
    g: Array
    p: Param


def run_joined(leaves: Sequence[Leaf]) -> None:
    """Walk leaves through the last rule that waits for them: their matrices of one shape go through it together."""
    leaves = [leaf for leaf in leaves if _joins(leaf)]
    last = {leaf: leaf.pending.pop() for leaf in leaves}
    run_pending(leaves)
    items = {leaf: _items(leaf, pending) for leaf, pending in last.items()}
    packs = [*_packs((item, last[leaf]) for leaf, parts in items.items() for item in parts)]
    shared = {leaf for pack in packs for leaf, *_ in pack if len(pack) > 1 or _inner(last[leaf].rule).places}
    done: dict[int, tuple[Array, Memory]] = {}
    for pack in packs:
        if any(item.leaf in shared for item in pack):
            done |= _run(pack, last[pack[0].leaf])
    for leaf, pending in last.items():
        if leaf in shared:
            _keep(leaf, pending, [done[id(item)] for item in items[leaf]])
        else:
            leaf.pending = [pending]


def _joins(leaf: Leaf) -> bool:
    """Whether a leaf's matrices go through its rule beside others: unless something is kept for the leaf as one."""
    name, rule, _, _ = leaf.pending[-1]
    *around, inner = layers(rule)
    encoded = any(map(is_encoded, parts(leaf.memory.get(name)).values()))
    return all(isinstance(x, Stored) for x in around) and not encoded and isinstance(inner, Each) and inner.joins


def _inner(rule: Rule) -> Any:
    return layers(rule)[-1]


def _items(leaf: Leaf, pending: Pending) -> list[Item]:
    inner = _inner(pending.rule)
    g = leaf.g.dense() if isinstance(leaf.g, Rows) else leaf.g
    g = g.astype(compute_dtype(g.dtype if leaf.p is None else leaf.p.dtype))
    p = leaf.p if pending.rule.facts.needs_params else None
    return [Item(leaf, *stacks) for stacks in inner.stacks(leaf.memory.get(pending.name), g, p)]


def _packs(items: Iterable[tuple[Item, Pending]]) -> Iterator[list[Item]]:
    """Items that may go through one rule as one stack, at most as many elements at a time as the rule allows."""
    alike: dict[Any, list[list[Item]]] = {}
    for item, pending in items:
        rule, arrays = _on_stack(pending.rule), jax.tree.leaves(item[1:])
        key = identity(rule), jax.tree.structure(item[1:]), tuple((x.shape[1:], x.dtype) for x in arrays)
        packs, together = alike.setdefault(key, [[]]), _inner(rule).together
        if packs[-1] and sum(x.g.size for x in packs[-1]) + item.g.size > together:
            packs.append([])
        packs[-1].append(item)
    for packs in alike.values():
        yield from packs


def _on_stack(rule: Any) -> Any:
    """The rule as it stands for a stack."""
    return rule.with_fields(**({"rule": _on_stack(rule.rule)} if isinstance(rule, Wrapper) else {"spec": STACK}))


def _run(pack: list[Item], pending: Pending) -> dict[int, tuple[Array, Memory]]:
    """Update and memory of each item."""
    rule, (first, *_), name = _on_stack(pending.rule), pack, pending.name
    places, shape = _inner(rule).places, first.g.shape[1:]
    alike: dict[Any, list[Item]] = {}
    for item in pack:
        alike.setdefault(places.layout(item.leaf, shape) if places else None, []).append(item)
    stacks: list[Any] = [_stacked([item[1:] for item in items]) for items in alike.values()]
    if len(stacks) > 1:  # each is laid out as its own leaves are, and then moves as one
        stacks = [places.lie(x, items[0].leaf, shape) for x, items in zip(stacks, alike.values(), strict=True)]
        stacks = [_stacked([places.lie(x, first.leaf, shape) for x in stacks])]
    s, g, p = places.out(stacks[0], first.leaf, shape) if places else stacks[0]
    stack = Leaf(first.leaf.path, g, p, {} if s is None else {name: s})
    stack.pending = [pending._replace(rule=rule)]
    run_pending([stack])
    new: Any = (stack.g, stack.memory.get(name))
    new = places.back(new, first.leaf, shape) if places else new
    parts = [new] if len(alike) == 1 else _parts(new, [sum(len(x.g) for x in items) for items in alike.values()])
    done: dict[int, tuple[Array, Memory]] = {}
    for items, part in zip(alike.values(), parts, strict=True):
        part = part if len(alike) == 1 else places.lie(part, items[0].leaf, shape)
        done |= zip(map(id, items), _parts(part, [len(item.g) for item in items]), strict=True)
    return done


def _stacked(trees: Sequence[Tree]) -> Tree:
    return jax.tree.map(lambda *xs: jnp.concatenate(xs), *trees)


def _parts(tree: Tree, sizes: Sequence[int]) -> list[Tree]:
    """The first so many matrices of stacks, then the next, and so on."""
    ends = itertools.accumulate(sizes, initial=0)
    return [_cut(tree, *between) for between in itertools.pairwise(ends)]


def _cut(tree: Tree, start: int, end: int) -> Tree:
    return jax.tree.map(lambda x: jax.lax.slice_in_dim(x, start, end), tree)


def _keep(leaf: Leaf, pending: Pending, done: list[tuple[Array, Memory]]) -> None:
    """Put together what was made of a leaf's items."""
    inner = _inner(pending.rule)
    us, memories = zip(*done, strict=True)
    leaf.g = inner.whole(us, leaf.g)
    if pending.name in leaf.memory:
        new = inner.memory(memories, leaf.memory[pending.name])
        leaf.memory = {**leaf.memory, pending.name: new}
