"""Opening trees: leaves with their paths, gradient against parameter, each with its memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core.boxes import boxed_as, filled_box, in_box, is_box, may_be_boxes, unboxed
from gradxform.core.plain import as_array
from gradxform.core.rows import Rows, is_row_leaf
from gradxform.core.state import REMEDY
from gradxform.core.types import (
    Gradient,
    Memory,
    Param,
    Params,
    Path,
    Shaped,
    Structure,
    Tree,
    Updates,
)

Arrays = jax.Array | jax.ShapeDtypeStruct | np.ndarray | np.generic


class Leaf:
    """One parameter on its way through a transformation: path, gradient, parameter, memory."""

    __slots__ = ("extras", "frozen", "memory", "p", "path", "pending", "raw")

    def __init__(self, path: Path, g: Gradient, p: Param, memory: dict[str, Memory]) -> None:
        self.path, self.raw, self.p, self.memory = path, g, p, memory
        self.pending: list[Any] = []
        self.frozen = False
        self.extras: dict[str, jax.Array] = {}
        """Its arrays of extra trees, by the names of the arguments."""

    def copy(self) -> Leaf:
        copy = Leaf(self.path, self.raw, self.p, self.memory)
        copy.pending, copy.frozen, copy.extras = self.pending, self.frozen, self.extras
        return copy

    def asked(self, per_example: bool) -> Leaf:
        """A leaf of its shape and dtype without memory, for what would be made of it."""
        x, axes = self.array, int(per_example and self.p is None)
        return Leaf(self.path, None, x if x is None else jax.ShapeDtypeStruct(x.shape[axes:], x.dtype), {})

    @property
    def g(self) -> Gradient:
        """The gradient, once no rule waits for it; `raw` is what the rules that wait will be given."""
        assert not self.pending, f"rules wait for the gradient of {self.path!r}: run_pending first"
        return self.raw

    @g.setter
    def g(self, g: Gradient) -> None:
        self.raw = g

    @property
    def moves(self) -> bool:
        """Whether rules run here: there is a gradient, it has elements, and nothing freezes it."""
        return self.raw is not None and self.raw.size > 0 and not self.frozen

    @property
    def array(self) -> Shaped:
        """The parameter where there is one, else the gradient: what selectors look at."""
        return self.raw if self.p is None else self.p


def open_tree(tree: Tree) -> tuple[list[Path], list[Any], Structure]:
    """Paths, leaves and structure; `None` and `Rows` are leaves.

    A path is names joined by `/`, one per leaf and the same for every kind of container: a box around a leaf (a
    variable of flax's nnx, linen's `Partitioned`) gives it no name.
    Raises: ValueError if two leaves have one path.
    """
    return _open(tree)[:3]


def memory_structure(tree: Tree) -> Structure:
    """The structure in which memories stand: that of the parameters, with a plain place for each box.

    nnx would take a memory inside a variable apart at the first update.
    """
    return _open(tree)[3]


def _open(tree: Tree) -> tuple[list[Path], list[Any], Structure, Structure]:
    """Paths, leaves, structure, and the structure in which memories stand."""
    keyed, structure = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_row_leaf)
    leaves, places = [x for _, x in keyed], structure
    if boxes := may_be_boxes(keyed):
        keyed, places = jax.tree_util.tree_flatten_with_path(
            tree, is_leaf=lambda k, x: is_row_leaf(x) or (k in boxes and is_box(x)), is_leaf_takes_path=True
        )
    paths = ["/".join(map(name_of, k)) for k, _ in keyed]
    if len(set(paths)) < len(paths):
        twice = next(p for i, p in enumerate(paths) if p in paths[:i])
        raise ValueError(f"two leaves have the path {twice!r}; names must tell the leaves of a tree apart")
    return paths, leaves, structure, places


def in_boxes(params: Params, memories: Sequence[Memory]) -> Tree:
    """The memories of parameters in their places, each array that is shaped like its parameter in the parameter's box.

    So what a client says of a parameter (flax's partition names) is found on its statistics. A box that says nothing
    is left out.
    """
    places = memory_structure(params)
    pairs = zip(places.flatten_up_to(params), memories, strict=True)
    return places.unflatten([in_box(node, memory) for node, memory in pairs])


def filled(params: Params, value: float) -> Params:
    """Arrays of one value in the variables that hold shapes alone.

    What sets its variables in place later (`nnx.Optimizer` on an abstract model) must begin with arrays.
    """
    places = memory_structure(params)
    return places.unflatten([filled_box(node, value) for node in places.flatten_up_to(params)])


def name_of(key: object) -> str:
    """What one step of a path is called: a key, the name of an attribute, or an index."""
    for attribute in ("key", "name", "idx"):
        if hasattr(key, attribute):
            return str(getattr(key, attribute))
    return str(key)


def upwards(path: Path) -> list[Path]:
    """A path, and those of the nodes that it lies in, from the inside out."""
    names = path.split("/")
    return ["/".join(names[:n]) for n in range(len(names), 0, -1)] + [""]


class Opened(NamedTuple):
    """Three trees opened together: the leaves, and how to close updates and memories again."""

    leaves: list[Leaf]
    structure: Structure
    memory_structure: Structure
    memory_paths: list[Path]
    memories: list[Any]

    def close_updates(self) -> Updates:
        return self.structure.unflatten([leaf.g for leaf in self.leaves])

    def close_memories(self) -> Tree:
        """The memories as they are now; where there was none, as for a parameter that is None, there is none."""
        new = {leaf.path: leaf.memory for leaf in self.leaves}
        places = zip(self.memory_paths, self.memories, strict=True)
        return self.memory_structure.unflatten(
            [old if old is None else boxed_as(old, new.get(path, old)) for path, old in places]
        )


def open_together(updates: Updates, params: Params, memories: Tree, per_example: bool = False) -> Opened:
    """Pair every gradient with its parameter and its memory, by path.

    Raises: ValueError naming the first path where gradients and parameters, or gradients and state, differ.
    """
    paths, gs, structure, place = _open(updates)
    ps = [None] * len(gs)
    p_paths = paths
    if params is not None:
        if jax.tree.structure(params, is_leaf=is_row_leaf) == structure:
            ps = structure.flatten_up_to(params)
        else:
            p_paths, values, _, place = _open(params)
            ps = _by_path(paths, dict(zip(p_paths, values, strict=True)))
    place_structure, places, kept = _places_of(memories, place, p_paths)
    by_path = dict(zip(places, map(unboxed, kept), strict=True))
    leaves = []
    for path, g, p in zip(paths, gs, ps, strict=True):
        if path not in by_path:
            known = ", ".join(places) or "no leaves"
            raise ValueError(f"the state knows no leaf {path!r}; it was made for {known}; {REMEDY}")
        p = parameter(path, p)
        leaves.append(Leaf(path, _gradient(path, g, p, per_example), p, by_path[path]))
    wanted = set(p_paths)
    surplus = [path for path, memory in by_path.items() if path not in wanted and jax.tree.leaves(memory)]
    if surplus:
        what = "gradients" if params is None else "parameters"
        raise ValueError(f"the state has a memory at {surplus[0]!r}, where the {what} have nothing; {REMEDY}")
    return Opened(leaves, structure, place_structure, places, kept)


def open_memories(memories: Tree, params: Params) -> Opened:
    """Pair every parameter with its memory, at a time when there are no gradients."""
    opened = open_together(jax.tree.map(lambda p: None, params, is_leaf=is_row_leaf), params, memories)
    for leaf in opened.leaves:
        leaf.memory = leaf.memory or {}
    return opened


def _by_path(paths: list[Path], params: dict[Path, Param]) -> list[Param]:
    for path in paths:
        if path not in params:
            raise ValueError(f"gradients and parameters differ in structure: only the gradients have {path!r}")
    known = set(paths)
    for path, p in params.items():
        if p is not None and path not in known:
            raise ValueError(f"gradients and parameters differ in structure: only the parameters have {path!r}")
    return [params[path] for path in paths]


def _places_of(memories: Tree, structure: Structure, paths: list[Path]) -> tuple[Structure, list[Path], list[Any]]:
    """By the parameters' structure where the memories have it, else by path (other containers, same names)."""
    try:
        return structure, paths, structure.flatten_up_to(memories)
    except (ValueError, TypeError, KeyError):
        places = set(paths)

    def is_place(key: tuple[Any, ...], x: Any) -> bool:
        return x is None or "/".join(map(name_of, key)) in places

    keyed, treedef = jax.tree_util.tree_flatten_with_path(memories, is_leaf=is_place, is_leaf_takes_path=True)
    return treedef, ["/".join(map(name_of, k)) for k, _ in keyed], [x for _, x in keyed]


def without_functions(params: Params) -> Params:
    """The parameters with None for functions, which keep nothing."""
    if not any(map(callable, jax.tree.leaves(params))):
        return params
    return jax.tree.map(lambda p: None if callable(p) else p, params)


def arrays_only(params: Params, updates: Updates) -> Params:
    """The parameters with None for what is no array and has no gradient: functions, numbers of an equinox model."""
    paths, ps, structure = open_tree(params)
    gs = dict(zip(*open_tree(updates)[:2], strict=True))
    kept = [isinstance(p, Arrays) or gs.get(path) is not None for path, p in zip(paths, ps, strict=True)]
    return structure.unflatten([p if keep else None for keep, p in zip(kept, ps, strict=True)])


def with_others(arrays: Params, params: Params) -> Params:
    """The parameters with these arrays in place of theirs, and what is no array as it was."""
    return jax.tree.map(lambda x, p: p if x is None else x, arrays, params, is_leaf=is_row_leaf)


def parameter(path: Path, p: Param) -> Param:
    """One parameter as JAX holds it: a NumPy array or a number becomes an array of a dtype that JAX has."""
    if p is None or isinstance(p, jax.Array | jax.ShapeDtypeStruct):
        return p
    if not isinstance(p, Arrays | int | float | complex):
        raise TypeError(f"the parameter {path!r} must be an array, a number or None, got {type(p).__name__}")
    return as_array(f"the parameter {path!r}", p)


def is_inexact(x: Shaped) -> bool:
    return jnp.issubdtype(x.dtype, jnp.inexact)


def is_trained(x: Param) -> bool:
    """Whether a parameter has anything to learn: inexact, and at least one element."""
    return x is not None and is_inexact(x) and x.size > 0


def _gradient(path: Path, g: Gradient, p: Param, per_example: bool) -> Gradient:
    """The gradient of one leaf, refused where it does not fit its parameter."""
    if g is None:
        return None
    if not hasattr(g, "dtype"):
        if not isinstance(g, int | float | complex):
            raise TypeError(f"the gradient of {path!r} must be an array, Rows or None, got {type(g).__name__}")
        g = as_array(f"the gradient of {path!r}", g)
    if g.dtype == jax.dtypes.float0:
        return None
    if p is not None:
        if not is_inexact(p):
            raise ValueError(
                f"{path!r} is an integer parameter ({p.dtype}) and has a gradient; give None there, or freeze it"
            )
        if g.ndim != p.ndim + per_example or g.shape[int(per_example) :] != p.shape:
            examples = f" ({len(g) if g.ndim else 'no'} examples of shape {g.shape[1:]})" if per_example else ""
            raise ValueError(f"the gradient of {path!r} has shape {g.shape}{examples}, its parameter {p.shape}")
        if jnp.issubdtype(g.dtype, jnp.complexfloating) and not jnp.issubdtype(p.dtype, jnp.complexfloating):
            raise ValueError(f"the gradient of {path!r} is complex ({g.dtype}), its parameter is not ({p.dtype})")
    if not is_inexact(g):
        raise ValueError(f"the gradient of {path!r} has dtype {g.dtype}; gradients are floating point, or None")
    return g if isinstance(g, Rows | jax.Array) else jnp.asarray(g)
