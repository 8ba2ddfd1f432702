"""What a transformation does with each parameter, and what it costs in memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.control.tunable import group_of, hyperparams_at
from gradxform.core.chain import Chain
from gradxform.core.lens import layers
from gradxform.core.rule import Rule
from gradxform.core.stacks import Each
from gradxform.core.stage import Step
from gradxform.core.state import find_state
from gradxform.core.transform import GradientTransformation, refuse_stranger
from gradxform.core.tree import Leaf, memory_structure, open_tree, without_functions
from gradxform.core.types import Memory, Number, OptState, Params, Path, Transformation, Tree


class Row(NamedTuple):
    """One parameter: where it is, what happens to it, what is kept for it (bytes)."""

    path: str
    shape: tuple[int, ...]
    dtype: str
    group: str
    learning_rate: str
    weight_decay: str
    rules: tuple[str, ...]
    state_bytes: int
    matrices: str = "-"
    """How many of which shape, part by part, where rules see matrices."""


class Explanation(NamedTuple):
    """A row for every parameter, and totals; prints as a table."""

    rows: tuple[Row, ...]
    parameters: int
    parameter_bytes: int
    state_bytes: int

    def __str__(self) -> str:
        head = ("path", "shape", "dtype", "group", "learning rate", "weight decay", "rules", "state", "matrices")
        body = [(*map(str, row[:6]), " ".join(row.rules), _bytes(row.state_bytes), row.matrices) for row in self.rows]
        shown = len(head) - all(row.matrices == "-" for row in self.rows)
        lines = aligned(head[:shown], [line[:shown] for line in body])
        each = self.state_bytes / self.parameters if self.parameters else 0.0
        total = (
            f"{self.parameters:,} parameters in {_bytes(self.parameter_bytes)}, state {_bytes(self.state_bytes)} "
            f"({each:.2f} B per parameter)"
        )
        return "\n".join([*lines, total])


def aligned(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in (head, *body)]
    return [line.rstrip() for line in lines]


def explain(tx: GradientTransformation, params: Params) -> Explanation:
    """Tabulate a transformation over parameters: path, shape, dtype, group, rates, rules and bytes of state.

    Works on shapes alone: `jax.eval_shape` of a model that fits no machine is enough. Schedules show their value at the
    first update. `str()` of the result is the table; its fields are for programs. A wrapper's own state counts in the
    totals.
    Raises: what `tx.init(params)` raises.
    """
    refuse_stranger(tx)
    params = without_functions(params)
    paths, ps, _ = open_tree(params)
    ps = [None if p is None else jax.ShapeDtypeStruct(np.shape(p), jnp.result_type(p)) for p in ps]
    shapes = memory_structure(params).unflatten(ps)
    state = tx.init(shapes)
    leaves = [Leaf(path, None, p, {}) for path, p in zip(paths, ps, strict=True)]
    inner = _inner(tx)
    routes = _routes(inner, leaves, shapes, "")
    kept = [memory_structure(shapes).flatten_up_to(memories) for memories in _memories(inner, state)]
    values = hyperparams_at(inner, 0)
    rows = [
        _row(leaf, routes[leaf.path], [memories[i] for memories in kept], values)
        for i, leaf in enumerate(leaves)
        if leaf.p is not None
    ]
    count = sum(math.prod(row.shape) for row in rows)
    return Explanation(tuple(rows), count, tree_bytes(shapes), tree_bytes(state))


def tree_bytes(tree: Tree) -> int:
    """The bytes that the arrays of a tree take, shapes and dtypes alone counted."""
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _inner(tx: Transformation) -> Transformation:
    while not isinstance(tx, Chain) and hasattr(tx, "inner"):
        tx = tx.inner
    return tx


def _memories(tx: Transformation, state: OptState) -> Iterator[Tree]:
    """What chains keep for each parameter, those inside wrappers included: trees like the parameters."""
    if isinstance(tx, Chain):
        at_hand = find_state(state)
        yield at_hand.leaves
        for name, stage, step in tx.each(Step(at_hand.count, None, at_hand.tree, at_hand.hyper, {}, None)):
            if stage.wrapped is not None:
                yield from _memories(_inner(stage.wrapped), at_hand.tree[step.prefix + name])


def _routes(tx: Transformation, leaves: list[Leaf], tree: Tree, group: str) -> dict[Path, list[tuple[str, str, Any]]]:
    """For each path the (group prefix, stage name, rule there) that it goes through."""
    routes: dict[str, list[tuple[str, str, Any]]] = {leaf.path: [] for leaf in leaves}
    if not isinstance(tx, Chain):
        return routes
    plan = tx.planned(leaves, Step(0, None, {}, {}, {}, tree)).plan
    frozen = {path: key for key, paths in plan.frozen.items() for path in paths}
    for leaf in leaves:
        if leaf.path in frozen:
            routes[leaf.path] = [(group + group_of(frozen[leaf.path]), "freeze", None)]
            continue
        for key, rule in plan.through(leaf.path):
            before, inner = plan.prefixes[key], getattr(rule, "wrapped", None)
            name = key.removeprefix(before) if getattr(inner, "pair", None) is None else repr(inner)
            routes[leaf.path].append((group + before, name, rule))
            routes[leaf.path] += _routes(_inner(inner), [leaf], tree, group_of(group + key))[leaf.path]
    return routes


def _row(leaf: Leaf, route: list[tuple[str, str, Any]], memory: Memory, values: dict[str, Number]) -> Row:
    groups = {group for group, *_ in route}
    group = max(groups, key=len).rstrip("/") if groups else ""

    def value(field: str) -> str:
        for prefix, name, _ in reversed(route):
            shared = name == field or name.startswith(f"{field}_")
            for key in (f"{prefix}{name}/{field}", f"{prefix}{field}" if shared else ""):
                if key in values:
                    return f"{float(values[key]):.4g}"
        return "-"

    p = leaf.p
    names = tuple(name for _, name, _ in route)
    return Row(
        leaf.path,
        tuple(p.shape),
        str(p.dtype),
        group or "-",
        value("learning_rate"),
        value("weight_decay"),
        names,
        tree_bytes(memory),
        next((told for *_, rule in route if (told := _matrices(rule, p.shape))), "-"),
    )


def _matrices(rule: Any, shape: tuple[int, ...]) -> str:
    """How many matrices of which shape a rule sees, part by part; nothing where it sees none."""
    inner = layers(rule)[-1] if isinstance(rule, Rule) else rule
    if isinstance(inner, Each) and inner.spec is not None:
        folded = zip(inner.spec.parts or ("",), inner.spec.shapes(shape), strict=True)
        return ", ".join(f"{name}{': ' if name else ''}{n} of {rows} x {cols}" for name, (n, rows, cols) in folded)
    return "{} x {}".format(*shape) if isinstance(inner, Each) or (inner is not None and inner.facts.matrix) else ""


def _bytes(n: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n >= size:
            return f"{n / size:.4g} {unit}"
    return f"{n} B"
