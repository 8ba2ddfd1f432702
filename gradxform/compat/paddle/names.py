"""The name of an optimizer, which paddle writes into the keys of its state."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ParamSpec

from gradxform.compat.common.constructors import constructor
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.facts import Facts, Station
from gradxform.core.lens import layers
from gradxform.core.plain import got
from gradxform.core.rows import Rows
from gradxform.core.rule import Rule
from gradxform.core.transform import GradientTransformation
from gradxform.core.tree import Leaf
from gradxform.core.types import Array, Memory, Param, Path, Scalars

P = ParamSpec("P")
WITHOUT_EFFECT = frozenset({"multi_precision", "use_multi_tensor"})


class Named(Rule):
    """Says what the optimizer is called, and does nothing."""

    prefix: str
    facts = Facts(station=Station.CLEANSE, keeps_zero=True, homogeneous=True, rests=True)

    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Any, Memory]:
        return g, s

    def update_rows(self, g: Rows, s: Memory, p: Param, k: Scalars) -> tuple[Any, Memory]:
        return g, s


def named(make: Callable[P, Chain]) -> Callable[P, Chain]:
    """An optimizer that takes paddle's call as it is written there, `name` too, and says where its parameters go."""
    plain = constructor("parameters", WITHOUT_EFFECT)(make)

    @functools.wraps(make)
    def made(*args: P.args, **kwargs: P.kwargs) -> Chain:
        name = kwargs.pop("name", None)
        if not isinstance(name, str | None):
            raise TypeError(f"name must be a name or None, {got(name)}")
        tx = plain(*args, **kwargs)
        return tx if name is None else chain(lift(Named(name)), tx)

    return made


def rules_of(tx: GradientTransformation | None, path: Path, leaf: Any) -> Iterator[Rule]:
    """The rules that a parameter goes through, those of its group included, without what is wrapped around them."""
    through = tx.through(path, leaf) if isinstance(tx, Chain) else ()
    return (layers(rule)[-1] for _, rule in through if isinstance(rule, Rule))


def prefix_of(tx: GradientTransformation | None, leaves: Iterable[Leaf]) -> str:
    """What stands between a parameter's name and that of its statistic."""
    rules = (rule for leaf in leaves if leaf.array is not None for rule in rules_of(tx, leaf.path, leaf.array))
    return next((f"{rule.prefix}_" for rule in rules if isinstance(rule, Named)), "")
