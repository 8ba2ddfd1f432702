"""Parameter groups as torch and paddle write them: a list of dicts, each with its parameters and its own options."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, TypeAlias, TypeGuard

import jax
import numpy as np

from gradxform.core import check
from gradxform.core.branches import Split
from gradxform.core.chain import Chain
from gradxform.core.plain import got
from gradxform.core.tree import Leaf, open_tree
from gradxform.core.types import Params
from gradxform.params.groups import FirstMatch
from gradxform.params.select import Paths, Selector, selector
from gradxform.transforms.freeze import freeze

Groups: TypeAlias = Iterable[Mapping[str, Any]]
"""A list of dicts, each with `params` (what `Members` says) and the options that it changes for these."""
Members: TypeAlias = Any
"""Parameters: a `Selector`, a regular expression, a function `(path, leaf) -> bool`, a list of paths, or a part of the
tree of parameters, nested from its root."""


class Refusals(NamedTuple):
    """What a framework raises for a list of groups that is not one."""

    empty: type[Exception]
    element: type[Exception]
    nameless: type[Exception]


class Listed(Paths):
    """Parameters listed by their paths, each of which must be there."""

    def __repr__(self) -> str:
        return repr(list(self.chosen))

    def written(self) -> tuple[Selector, ...]:
        return tuple(Listed((path,)) for path in self.chosen)


class Disjoint(FirstMatch):
    """Groups that share no parameter; what is in none of them is not optimized."""

    named: tuple[Selector, ...] = ()
    """More selectors, each of which must match a parameter."""
    refusal: ClassVar[type[Exception]] = ValueError
    """What a parameter in two groups raises."""

    def labels(self, leaves: Sequence[Leaf], tree: Params) -> list[str | None]:
        chosen = [(name, where.select(leaves, tree)) for name, where in self.entries]
        for i, leaf in enumerate(leaves):
            hits = [name for name, hit in chosen if hit[i]]
            if len(hits) > 1:
                raise self.refusal(f"groups must not share parameters, and {leaf.path!r} is in {' and '.join(hits)}")
        for where in self.named:
            where.select(leaves, tree)
        return super().labels(leaves, tree)


FLAGS = {"maximize", "amsgrad", "nesterov", "centered", "decoupled_weight_decay"}
FLAGS |= {"lazy_mode", "use_nesterov"}


def flags(**named: object) -> None:
    """True, False, 0 or 1. The frameworks take the truth of anything, and `"no"` for a yes."""
    for name, x in named.items():
        if not isinstance(x, bool | np.bool_) and (not isinstance(x, int) or x not in (0, 1)):
            raise TypeError(f"{name} must be True or False, {got(x)}")


def grouped(
    groups: Groups | None,
    options: Mapping[str, Any],
    make: Callable[..., Chain],
    refusals: Refusals,
    named: tuple[Selector, ...] = (),
) -> Chain:
    """`make(**options)`, or one for each group with the options that it changes; keys of no meaning are ignored.

    Raises: TypeError for what is no list of dicts, ValueError for a parameter in two groups, and as `refusals` say.
    """
    flags(**{name: x for name, x in options.items() if name in FLAGS})
    if groups is None:
        return make(**options)
    entries = read(groups, refusals)
    labels = tuple((f"group{i}", where_of(entry["params"])) for i, entry in enumerate(entries))
    refuse_repeated([where for _, where in labels])
    for entry in entries:
        flags(**{name: x for name, x in entry.items() if name in FLAGS & options.keys()})
    branches = {
        name: make(**{key: entry.get(key, x) for key, x in options.items()})
        for (name, _), entry in zip(labels, entries, strict=True)
    }
    return Chain((Split(Disjoint(labels, "rest", named), {**branches, "rest": freeze()}),))


def listed(groups: Groups | None) -> Groups | None:
    """Groups that can be read twice; what is no list at all stays as it is."""
    return list(groups) if isinstance(groups, Iterator) else groups


def said(groups: Groups | None, key: str) -> list[Any]:
    """What the groups say under a key, before they are checked."""
    entries = groups if isinstance(groups, Sequence) else ()
    return [entry[key] for entry in entries if isinstance(entry, Mapping) and key in entry]


def read(groups: object, refusals: Refusals) -> list[Mapping[str, Any]]:
    """The dicts of the list, each with `params`."""
    entries = [*check.sequence("dicts", groups=groups)]
    if not entries:
        raise refusals.empty(f"groups must hold at least one dict, {got(entries)}")
    for entry in entries:
        if not isinstance(entry, Mapping):
            raise refusals.element(f"groups must hold dicts, {got(entry)}")
        if "params" not in entry:
            raise refusals.nameless(f"params: a group must say which parameters it has, got {dict(entry)!r}")
    return entries


def where_of(params: Members) -> Selector:
    """A selector from a predicate, a regular expression, a list of paths, or a part of the tree of parameters.

    Raises: TypeError for a set, which has no order, and for anything else.
    """
    if isinstance(params, set | frozenset):
        raise TypeError(f"params of a group must have an order, got a set: {sorted(map(str, params))!r}")
    if isinstance(params, Selector | str) or is_function(params):
        return selector(params)
    return Listed(tuple(paths_in("params", params)))


def is_function(x: object) -> TypeGuard[Callable[..., Any]]:
    return callable(x) and bool(jax.tree_util.all_leaves([x]))


def paths_in(name: str, x: Members) -> list[str]:
    """Paths from a list of them, or from a part of the tree of parameters, nested from the root."""
    if not isinstance(x, Mapping) and not hasattr(x, "shape") and isinstance(x, Iterable):
        listed = list(x)
        if all(isinstance(path, str) for path in listed):
            return listed
    paths, leaves, _ = open_tree(x)
    for path, leaf in zip(paths, leaves, strict=True):
        if path == "" or not hasattr(leaf, "shape"):
            where = f" at {path!r}" if path else ""
            raise TypeError(
                f"{name} must be paths, a regular expression, a function (path, leaf) -> bool, or a subtree of "
                f"parameters nested from its root; {got(leaf)}{where}"
            )
    return paths


def refuse_repeated(wheres: Sequence[Selector]) -> None:
    seen: set[str] = set()
    for where in wheres:
        paths = set(where.chosen) if isinstance(where, Listed) else set()
        if seen & paths:
            raise ValueError(f"params of groups must not overlap, and {sorted(seen & paths)[0]!r} is in two of them")
        seen |= paths
