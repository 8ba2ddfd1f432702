"""Extra arguments of `update` on their way to rules; of a tree each leaf gets its array."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from gradxform.core.keys import extras_of
from gradxform.core.plain import as_array
from gradxform.core.rule import Rule
from gradxform.core.tree import Leaf, open_tree

if TYPE_CHECKING:
    from gradxform.core.transform import GradientTransformation


def extra_trees(tx: GradientTransformation) -> set[str]:
    """The names of the extra trees of which rules inside read the array of their leaf."""
    rules = [stage.only_rule for x in tx.inside() for stage in getattr(x, "stages", ())]
    return {name for rule in rules if rule is not None for name in extras_of(rule)}


def open_extras(tx: GradientTransformation, leaves: list[Leaf], extra: dict[str, Any]) -> None:
    """Hand every leaf its arrays of extra trees, by path; a tree may leave some out.

    Raises: ValueError naming a path where there is no parameter, TypeError for what is no array.
    """
    for name in extra_trees(tx):
        given = dict(zip(*open_tree(extra.get(name))[:2], strict=True))
        for leaf in leaves:
            if (x := given.pop(leaf.path, None)) is not None and getattr(x, "dtype", None) != jax.dtypes.float0:
                leaf.extras[name] = x if isinstance(x, jax.Array) else as_array(f"{name!r} at {leaf.path!r}", x)
        strange = next((path for path, x in given.items() if x is not None), None)
        if strange is not None:
            raise ValueError(f"{name!r} has an array at {strange!r}, where there is no parameter")


def asked_extras(rule: Rule, name: str, extra: dict[str, Any]) -> dict[str, Any]:
    """The extra arguments that `scalars` takes. Raises: ValueError where one that the rule reads is missing."""
    for key in (*rule.facts.needs, *extras_of(rule)):
        if key not in extra:
            raise ValueError(f"{name} needs {key!r}: call update(updates, state, params, {key}=...)")
    return {key: extra[key] for key in rule.facts.needs}


def refuse_extras(rule: Rule, name: str, leaf: Leaf) -> None:
    """Refuse an array of an extra tree that does not fit its leaf."""
    for key, alike in extras_of(rule).items():
        x, like = leaf.extras.get(key), leaf.array
        if x is not None and alike and x.shape != like.shape:
            raise ValueError(f"{name} reads {key!r}, which has shape {x.shape} at {leaf.path!r}, its leaf {like.shape}")
        if x is not None and jnp.iscomplexobj(x) and not jnp.iscomplexobj(like):
            raise ValueError(f"{name} reads {key!r}, which is complex at {leaf.path!r}, its leaf is not")
