"""Trees like the parameters, or prefixes of them: optax's masks, by path."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core.plain import got
from gradxform.core.tree import Leaf, open_tree, upwards
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


def _from_tree(mask: Mask, name: str) -> MaskTree:
    paths, flags, _ = open_tree(mask)
    for path, flag in zip(paths, flags, strict=True):
        if flag is not None and not (isinstance(flag, bool) or (np.ndim(flag) == 0 and _is_boolean(flag))):
            raise TypeError(f"a mask holds booleans, {got(flag)} at {path!r}")
    return MaskTree(tuple((p, bool(f)) for p, f in zip(paths, flags, strict=True) if f is not None), name)


def _is_boolean(x: Any) -> bool:
    return bool(getattr(x, "dtype", None) == jnp.bool_)


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
    found = [nearest(entries, leaf.path) for leaf in leaves]
    missing = [leaf.path for leaf, x in zip(leaves, found, strict=True) if x is None and _takes_part(leaf)]
    paths = [leaf.path for leaf in leaves]
    places = {p for path in paths for p in upwards(path)}
    if tree is not None and not places.issuperset(entries):
        paths = open_tree(tree)[0]
        places = {p for path in paths for p in upwards(path)}
    surplus = [p for p in entries if p not in places] if paths else []
    problems = [f"no {what} for {', '.join(map(repr, missing))}"] if missing else []
    problems += [f"a surplus {what} at {', '.join(map(repr, surplus))}, where no parameter is"] if surplus else []
    if problems:
        raise ValueError(f"{name} has {' and '.join(problems)}; the paths are: {', '.join(paths)}")
    return found


def _takes_part(leaf: Leaf) -> bool:
    return leaf.array is not None and not leaf.frozen
