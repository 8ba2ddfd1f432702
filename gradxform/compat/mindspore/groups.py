"""MindSpore's parameter groups: a list of dicts, one of which may fix the order of the parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from gradxform.compat.common.groups import Disjoint, Groups, Listed, Members, paths_in, where_of
from gradxform.compat.mindspore.checks import Rates, beside_dynamic, is_dynamic, read_learning_rate, read_weight_decay
from gradxform.core import check
from gradxform.core.branches import Split
from gradxform.core.chain import Chain
from gradxform.core.hyper import Hyper
from gradxform.core.plain import got
from gradxform.core.stage import Step
from gradxform.core.tree import Leaf
from gradxform.core.types import Params, Path
from gradxform.core.walk import run_pending
from gradxform.params.select import Selector
from gradxform.transforms.freeze import freeze

REST = "rest"
"""The group of what is in no group."""
KEYS = ("params", "lr", "weight_decay", "order_params", "grad_centralization")


class Group(NamedTuple):
    """One dict of the list, read; what it leaves out comes from the constructor."""

    learning_rate: Hyper
    weight_decay: Hyper
    centralized: bool


class Ordered(Disjoint):
    """Groups that share no parameter, and the order of all of them where one is given."""

    order: tuple[str, ...] = ()
    refusal = RuntimeError

    def labels(self, leaves: Sequence[Leaf], tree: Params) -> list[str | None]:
        labels = super().labels(leaves, tree)
        if leaves and self.order:
            check_order(self.order, [leaf.path for leaf, label in zip(leaves, labels, strict=True) if label != REST])
        return labels


class OrderedSplit(Split):
    """Groups whose leaves are walked in the order of `order_params`."""

    groups: Ordered

    def update(self, name: str, leaves: list[Leaf], step: Step) -> None:
        super().update(name, leaves, step)
        place = {path: i for i, path in enumerate(self.groups.order)}
        run_pending(sorted((leaf for leaf in leaves if leaf.path in place), key=lambda leaf: place[leaf.path]))


def grouped(groups: Groups | None, learning_rate: Hyper, weight_decay: Hyper, make: Callable[[Group], Chain]) -> Chain:
    """One chain per group, made from what the group says, or one for all; rate and decay are read already.

    What is in no group is not optimized.
    Raises: as `read_groups` does.
    """
    if groups is None:
        return make(Group(learning_rate, weight_decay, False))
    parsed, order = read_groups(groups, learning_rate, weight_decay)
    entries = tuple((f"group{i}", where) for i, (where, _) in enumerate(parsed))
    branches = {name: make(group) for (name, _), (_, group) in zip(entries, parsed, strict=True)}
    labels = Ordered(entries, REST, order=order)
    return Chain(((OrderedSplit if order else Split)(labels, {**branches, REST: freeze()}),))


def read_groups(
    groups: object, learning_rate: Hyper, weight_decay: Hyper
) -> tuple[list[tuple[Selector, Group]], tuple[Path, ...]]:
    """The groups, each behind its parameters, and the order, checked as the framework checks them.

    Raises: ValueError for no groups or empty ones, an `order_params` that has company or does not name all parameters,
    vectors of different lengths; TypeError for a wrong kind; KeyError for an unknown key or none of `params`;
    RuntimeError for a parameter listed twice.
    """
    entries = [*check.sequence("dicts", groups=groups)]
    if not entries:
        raise ValueError(f"groups must not be empty, {got(entries)}")
    for entry in entries:
        if not isinstance(entry, Mapping):
            raise TypeError(f"groups must hold dicts, {got(entry)}")
        _check_keys(entry)
    orders = [paths_in("order_params", entry["order_params"]) for entry in entries if "order_params" in entry]
    order = [path for paths in orders for path in paths]
    dicts = [entry for entry in entries if "order_params" not in entry]
    wheres = [_where(entry["params"]) for entry in dicts]
    rates = [read_learning_rate(entry["lr"]) if "lr" in entry else learning_rate for entry in dicts]
    _check_lengths([learning_rate, *rates])
    if any("lr" in entry for entry in dicts) and any(map(is_dynamic, (learning_rate, *rates))):
        rates = [beside_dynamic(rate) for rate in rates]
    decays = [read_weight_decay(entry["weight_decay"]) if "weight_decay" in entry else weight_decay for entry in dicts]
    for entry in dicts:
        check.boolean(grad_centralization=entry.get("grad_centralization", False))
    named = [path for where in wheres if isinstance(where, Listed) for path in where.chosen]
    _refuse_repeated(named)
    if order and all(isinstance(where, Listed) for where in wheres):
        check_order(order, named)
    flags = [bool(entry.get("grad_centralization", False)) for entry in dicts]
    members = [Group(*fields) for fields in zip(rates, decays, flags, strict=True)]
    return list(zip(wheres, members, strict=True)), tuple(order)


def check_order(order: Sequence[Path], paths: Sequence[Path]) -> None:
    """Whether the order names each parameter of the groups once."""
    if len(order) != len(paths):
        raise ValueError(
            f"order_params must name every parameter of the groups once, got {len(order)} names for {len(paths)} "
            f"parameters: {list(order)!r}"
        )
    for path in paths:
        if path not in order:
            raise ValueError(f"order_params must name all parameters of the groups, {path!r} is not in {list(order)!r}")


def _check_keys(entry: Mapping[str, Any]) -> None:
    for key in entry:
        if key not in KEYS:
            raise KeyError(f"a key of a group must be one of {', '.join(KEYS)}, {got(key)}")
    if "order_params" in entry:
        if len(entry) > 1:
            raise ValueError(f"order_params must stand alone in its dict, got {list(entry)!r}")
    elif "params" not in entry:
        raise KeyError(f"params: a group must say which parameters it has, got {list(entry)!r}")


def _where(params: Members) -> Selector:
    if params is None:
        raise ValueError("params of a group must not be None")
    where = where_of(params)
    if isinstance(where, Listed) and not where.chosen:
        raise ValueError(f"params of a group must not be empty, {got(params)}")
    return where


def _refuse_repeated(paths: Sequence[Path]) -> None:
    for i, path in enumerate(paths):
        if path in paths[:i]:
            raise RuntimeError(f"params must name a parameter once over all groups, {path!r} is there twice")


def _check_lengths(rates: Sequence[Hyper]) -> None:
    lengths = {len(rate.values): rate for rate in rates if isinstance(rate, Rates) and is_dynamic(rate)}
    if len(lengths) > 1:
        raise ValueError(f"lr and learning_rate must be vectors of one length, got lengths {sorted(lengths)}")
