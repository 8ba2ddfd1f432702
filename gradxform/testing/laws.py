"""What the laws compare: trees bit for bit, to rounding, and with one leaf changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core.state import State, find_state
from gradxform.core.types import Array, OptState, Structure, Tree

Run = Callable[..., tuple[Tree, OptState]]
"""The compiled `update`: gradients, state, parameters, extra trees -> updates, state."""
At = tuple[Tree, OptState, Tree]
"""Gradients, state and parameters."""


class Change(NamedTuple):
    """A change of one leaf; by_rows: which changes what is kept for each row alike."""

    of: Callable[[Any], Any]
    by_rows: bool = False

    def everywhere(self, tree: Tree, shape: tuple[int, ...]) -> Tree:
        """Every array of the leaf's shape changed, or with as many rows."""

        def at(x: Array) -> Array:
            hit = x.shape == shape or (self.by_rows and x.shape[:1] == shape[:1])
            return self.of(np.asarray(x)) if hit else x

        return jax.tree.map(at, tree)


def own(state: OptState) -> State:
    """The `State` inside the state of a wrapper."""
    return find_state(state)


def with_own(state: OptState, **fields: Any) -> OptState:
    """The same state with fields of its `State` exchanged."""

    def exchange(x: Any) -> Any:
        return x._replace(**fields) if isinstance(x, State) else x

    return jax.tree.map(exchange, state, is_leaf=lambda x: isinstance(x, State))


def at_leaf(tree: Tree, like: Tree, i: int, change: Callable[[Tree], Tree]) -> Tree:
    """A tree in whose place i, of the leaves of another, stands something else."""
    structure: Structure = jax.tree.structure(like)
    parts = structure.flatten_up_to(tree)
    return structure.unflatten([change(x) if j == i else x for j, x in enumerate(parts)])


def leaf_of(tree: Tree, like: Tree, i: int) -> Tree:
    """What stands there."""
    structure: Structure = jax.tree.structure(like)
    return structure.flatten_up_to(tree)[i]


def commutes(run: Run, at: At, i: int, change: Change, extra: Tree = None) -> bool:
    """Whether changing gradient, state and parameter of leaf i, then updating, is updating and then changing.

    extra: a dict of trees, those like the parameters changed as well.
    """
    g, state, p = at
    shape = leaf_of(p, p, i).shape

    def changed(tree: Tree) -> Tree:
        return at_leaf(tree, p, i, lambda x: change.everywhere(x, shape))

    inputs = changed(g), with_own(state, leaves=changed(own(state).leaves)), changed(p)
    others = {k: changed(x) if same_form(x, p) else x for k, x in (extra or {}).items()}
    (updates, after), (of_changed, after_changed) = run(*at), run(*inputs, *[others] * bool(others))
    expected = changed(updates), changed(own(after).leaves)
    return same_bits(expected, (of_changed, own(after_changed).leaves))


def with_others(run: Run, at: At, other: At, others: list[Tree], i: int) -> Tree:
    """What happens to leaf i when gradients (one tree a step), memories and parameters of all others differ."""
    g, state, p = at

    def only(kept: Tree, tree: Tree) -> Tree:
        return at_leaf(tree, p, i, lambda _: leaf_of(kept, p, i))

    after = with_own(state, leaves=only(own(state).leaves, own(other[1]).leaves))
    updates, there = g, only(p, other[2])
    for tree in others:
        updates, after = run(only(g, tree), after, there)
    return leaf_of(updates, p, i), leaf_of(own(after).leaves, p, i)


def alone_along(run: Run, at: At, other: At, i: int, axis: int) -> bool:
    """Whether the first slice of leaf i along an axis moves the same when the rest of that leaf is another."""
    g, state, p = at
    shape = leaf_of(p, p, i).shape

    def first(x: Any) -> Any:
        return np.take(np.asarray(x), [0], axis) if x.shape[: axis + 1] == shape[: axis + 1] else x

    def joined(x: Any, y: Any) -> Any:
        if x.shape != y.shape or x.shape[: axis + 1] != shape[: axis + 1]:
            return x
        return np.concatenate([first(x), np.delete(np.asarray(y), 0, axis)], axis)

    def mixed(mine: Tree, theirs: Tree) -> Tree:
        return at_leaf(mine, p, i, lambda x: jax.tree.map(joined, x, leaf_of(theirs, p, i)))

    leaves = mixed(own(state).leaves, own(other[1]).leaves)
    ends = run(*at), run(mixed(g, other[0]), with_own(state, leaves=leaves), mixed(p, other[2]))
    one, two = (jax.tree.map(first, [leaf_of(u, p, i), leaf_of(own(s).leaves, p, i)]) for u, s in ends)
    return same_bits(one, two)


def same_bits(a: Tree, b: Tree) -> bool:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes() for x, y in pairs)


def same_form(a: Tree, b: Tree) -> bool:
    one: Structure = jax.tree.structure(a)
    return bool(one == jax.tree.structure(b))


def kinds(state: Tree) -> tuple[Structure, list[Any]]:
    """Structure, shapes, dtypes and weak types."""
    leaves, structure = jax.tree.flatten(state)
    return structure, [(x.shape, x.dtype, x.weak_type) for x in leaves]


def with_size(g: Tree, size: float, everywhere: bool) -> Tree:
    """The gradient with one element of each leaf, or all of them, of this size."""

    def one(x: Any) -> Array:
        first = np.zeros(x.shape, bool)
        first[(0,) * x.ndim] = True
        x = np.asarray(x)
        return jnp.asarray(np.where(first | everywhere, np.sign(x) * x.dtype.type(size), x))

    return jax.tree.map(one, g)


def figures(state: Tree) -> dict[str, Any]:
    """The memory by path, without what tells that it is unset, or how a search went."""
    named = {jax.tree_util.keystr(path): x for path, x in jax.tree_util.tree_leaves_with_path(state)}
    return {k: np.asarray(x, np.float64) for k, x in named.items() if ".hyper" not in k and ".info" not in k}


def spoilt(values: dict[str, Any], start: dict[str, Any]) -> list[str]:
    """The paths of what is not finite, and was."""
    return [k for k, x in values.items() if not np.isfinite(x).all() and np.isfinite(start[k]).all()]
