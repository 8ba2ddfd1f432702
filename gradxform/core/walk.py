"""One leaf through several rules: traced once per shape, in float32 or wider, with memory that keeps its form."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core.numbers import compute_dtype, real_dtype
from gradxform.core.rows import Rows
from gradxform.core.rule import Rule, scaled
from gradxform.core.tree import Leaf
from gradxform.core.value import is_hashable


class Bound(NamedTuple):
    """A rule at a step, on its way to the leaves: hyperparameters are numbers, scalars are computed."""

    name: str
    rule: Rule
    k: Any


MANY = 64
"""From so many leaves on, a combination of rules becomes a function of the program, traced and lowered once per shape
and called; XLA inlines it. Fewer leaves leave no trace of it in the program."""


def flush(leaves: Sequence[Leaf]) -> None:
    """Walk every leaf through the rules that wait for it; each combination of rules is traced once per shape."""
    waiting: dict[tuple[int, ...], list[Leaf]] = {}
    for leaf in leaves:
        if leaf.bound:
            waiting.setdefault(tuple(map(id, leaf.bound)), []).append(leaf)
    for alike in waiting.values():
        bound = alike[0].bound
        run = _runner(bound, inline=len(alike) < MANY)
        for leaf in alike:
            memory = {b.name: leaf.memory[b.name] for b in bound if b.name in leaf.memory}
            with Note(leaf.path):
                leaf.g, new = run(leaf.g, memory, leaf.p)
            leaf.memory = {**leaf.memory, **new}
            leaf.bound = []


def _runner(bound: Sequence[Bound], inline: bool) -> Callable[..., Any]:
    """`g, memory, p -> u, memory` through several rules, numbers static and arrays as data."""
    values, treedef = jax.tree.flatten([(b.rule, b.k) for b in bound])
    data = [x if isinstance(x, jax.Array | np.ndarray | np.generic) else None for x in values]
    static = tuple(x if d is None else None for x, d in zip(values, data, strict=True))
    key = (treedef, tuple(b.name for b in bound), static)
    walk = _traced_once(*key, inline) if is_hashable(key) else functools.partial(_walk, *key)
    return functools.partial(walk, data)


@functools.lru_cache(maxsize=4096)
def _traced_once(treedef: Any, names: tuple[str, ...], static: tuple[Any, ...], inline: bool) -> Callable[..., Any]:
    return jax.jit(functools.partial(_walk, treedef, names, static), inline=inline)


def _walk(
    treedef: Any, names: tuple[str, ...], static: Any, data: list[Any], g: Any, memory: dict[str, Any], p: Any
) -> tuple[Any, dict[str, Any]]:
    dtype = compute_dtype(g.dtype if p is None else p.dtype)
    narrow = real_dtype(dtype)

    def scalar(x: Any) -> Any:
        return x.astype(narrow) if hasattr(x, "dtype") and jnp.issubdtype(x.dtype, jnp.floating) else x

    stages = treedef.unflatten([s if d is None else scalar(d) for s, d in zip(static, data, strict=True)])
    wide = p.astype(dtype) if p is not None and any(rule.needs_params for rule, _ in stages) else None
    shape, memory, g = g.shape[int(stages[0][0].per_example) :], dict(memory), g.astype(dtype)
    factors: list[Any] = []
    for name, (rule, k) in zip(names, stages, strict=True):
        s, seen = memory.get(name), p if rule.stored_params else wide
        if isinstance(g, Rows):
            g, s_new = rule.update_rows(g, s, seen, k)
        elif (factor := rule.factor(k)) is not None:
            factors.append(factor)
            continue
        else:
            g, s_new = rule.update_scaled(g, factors, s, seen, k)
            factors = []
        if g is not None and g.shape != shape:
            raise ValueError(f"{name} turned an update of shape {shape} into one of shape {g.shape}")
        if s is not None:
            memory[name] = like(s_new, s, name)
    return scaled(g, factors), memory


def like(new: Any, old: Any, name: str = "") -> Any:
    """New memory in exactly the old one's structure, shapes and dtypes."""

    def same(n: Any, o: Any) -> Any:
        n = jnp.asarray(n)
        if n.shape != o.shape:
            raise ValueError(f"the memory of {name} has shape {o.shape}, and the gradient would make it {n.shape}")
        return n.astype(o.dtype)

    return jax.tree.map(same, new, old)


class Note:
    """Name the leaf in errors that its rule raises."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if error is not None:
            error.add_note(f"at leaf {self.path!r}")
