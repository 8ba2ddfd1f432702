"""Trees like the parameters, or prefixes of them: optax's masks, by path."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core.plain import got
from gradxform.core.rows import is_row_leaf
from gradxform.core.tree import Leaf, name_of, open_tree, upwards
from gradxform.core.types import Mask, Param, Params, Path
from gradxform.params.select import Selector, matching

T = TypeVar("T")


def mask_selector(mask: Mask, name: str = "mask") -> Selector | None:
    """A selector from an optax `mask` argument: a selector or string, a tree of booleans, or params -> such a tree.

    None stands for everything. Raises: TypeError if the tree holds anything but booleans.
    """
    if mask is None or isinstance(mask, Selector):
        return mask
    is_function = callable(mask) and jax.tree_util.all_leaves([mask])
    try:
        if isinstance(mask, str):
            return matching(mask)
        return MaskFunction(mask, name) if is_function else _from_tree(mask, name)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None


def shared_mask(mask: Mask, name: str = "mask") -> Selector | None:
    """`mask_selector` for several groups: what is written must match a parameter, in any of them."""
    made = mask_selector(mask, name)
    return None if made is None else OfTree(made)


def _from_tree(mask: Mask, name: str) -> MaskTree:
    paths, flags, _ = open_tree(mask)
    for path, flag in zip(paths, flags, strict=True):
        if flag is not None and not (isinstance(flag, bool) or (np.ndim(flag) == 0 and _is_boolean(flag))):
            raise TypeError(f"a mask holds booleans, {got(flag)} at {path!r}")
    return MaskTree(tuple((p, bool(f)) for p, f in zip(paths, flags, strict=True) if f is not None), name)


def _is_boolean(x: Any) -> bool:
    return bool(getattr(x, "dtype", None) == jnp.bool_)


class OfTree(Selector):
    """A selector of which each written part must match in the whole tree, not among the leaves of a group."""

    part: Selector

    def __repr__(self) -> str:
        return repr(self.part)

    def matches(self, path: Path, leaf: Param) -> bool:
        return self.part.matches(path, leaf)

    def select(self, leaves: Sequence[Leaf], tree: Params) -> list[bool]:
        if not self.part.written():
            return self.part.select(leaves, tree)
        self.part.select([Leaf(path, None, x, {}) for path, x in zip(*open_tree(tree)[:2], strict=True)], tree)
        return super().select(leaves, tree)


class MaskFunction(Selector):
    """optax's mask: a function from the tree of parameters to a tree of booleans."""

    function: Callable[[Any], Any]
    name: str = "mask"

    def __repr__(self) -> str:
        return getattr(self.function, "__name__", repr(self.function))

    def select(self, leaves: Sequence[Leaf], tree: Params) -> list[bool]:
        return _from_tree(self.function(tree), self.name).select(leaves, tree)

    def matches(self, path: Path, leaf: Param) -> bool:
        return _from_tree(self.function({path: leaf}), self.name).matches(path, leaf)


class MaskTree(Selector):
    """optax's mask as a tree of booleans, or a prefix of one, kept by path."""

    flags: tuple[tuple[str, bool], ...]
    name: str = "mask"

    def select(self, leaves: Sequence[Leaf], tree: Params) -> list[bool]:
        flags = entries_for(leaves, self.flags, tree, self.name)
        return [leaf.array is not None and bool(flag) for leaf, flag in zip(leaves, flags, strict=True)]

    def matches(self, path: Path, leaf: Param) -> bool:
        return bool(nearest(dict(self.flags), path))


def nearest(entries: Mapping[Path, T], path: Path) -> T | None:
    """The entry of a path in a tree that is like the parameters or a prefix of them, None where it has none."""
    return next((entries[p] for p in upwards(path) if p in entries), None)


def entries_for(
    leaves: Sequence[Leaf], flags: Sequence[tuple[Path, T]], tree: Params, name: str, what: str = "entry"
) -> list[T | None]:
    """What a tree like the parameters, or a prefix of them, says of each leaf; None of one that takes no part.

    Raises: ValueError for a leaf of which it says nothing, and for an entry where the parameters have none.
    """
    entries = dict(flags)
    places = {leaf.path: upwards(leaf.path) for leaf in leaves}
    if tree is not None and not entries.keys() <= places.keys():
        places = {**places, **_nodes(tree)}
    found = [next((entries[p] for p in places[leaf.path] if p in entries), None) for leaf in leaves]
    missing = [leaf.path for leaf, x in zip(leaves, found, strict=True) if x is None and _takes_part(leaf)]
    surplus = sorted(entries.keys() - set().union(*places.values())) if places else []
    problems = [f"no {what} for {', '.join(map(repr, missing))}"] if missing else []
    problems += [f"a surplus {what} at {', '.join(map(repr, surplus))}, where no parameter is"] if surplus else []
    if problems:
        raise ValueError(f"{name} has {' and '.join(problems)}; the paths are: {', '.join(places)}")
    return found


def _nodes(tree: Params) -> dict[Path, list[Path]]:
    """Each path with those of the nodes that it lies in: names may have slashes in them, as haiku's have."""
    keyed = jax.tree_util.tree_leaves_with_path(tree, is_leaf=is_row_leaf)
    names = [[*map(name_of, k)] for k, _ in keyed]
    above = [["/".join(n[:i]) for i in range(len(n) - 1, -1, -1)] for n in names]
    return {path: [path, *nodes] for path, nodes in zip(open_tree(tree)[0], above, strict=True)}


def _takes_part(leaf: Leaf) -> bool:
    return leaf.array is not None and not leaf.frozen
