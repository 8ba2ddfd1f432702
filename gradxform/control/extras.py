"""Extra arguments of the micro-batches of a window: what the step gets for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core import check
from gradxform.core.arithmetic import compute_dtype
from gradxform.core.chain import Chain
from gradxform.core.extras import extra_trees
from gradxform.core.foreign import Foreign
from gradxform.core.plain import got
from gradxform.core.transform import GradientTransformation
from gradxform.core.types import Array, Structure, Tree

RULES = ("mean", "sum", "max", "last", "all")
AVERAGED = ("weight", "value")
"""Extras with a rule of their own: the step gets the sum of the weights, and the mean of the losses."""


class Kept(NamedTuple):
    """How one extra is handed on: a rule, and the form of the argument where something is kept of it."""

    rule: str
    structure: Structure = jax.tree.structure(None)
    forms: tuple[jax.ShapeDtypeStruct, ...] = ()

    def __repr__(self) -> str:
        return repr(self.rule) if self.rule == "last" else f"({self.rule!r}, {self.unflatten(self.forms)!r})"

    def unflatten(self, leaves: Any) -> Tree:
        return jax.tree.unflatten(self.structure, leaves)

    def zeros(self, every: Any) -> Tree:
        axes = (every,) if self.rule == "all" else ()
        return self.unflatten([jnp.zeros((*axes, *x.shape), x.dtype) for x in self.forms])

    def read(self, name: str, x: Tree) -> Tree:
        """An argument in the form that was stated."""
        if x is None:
            raise ValueError(f"accumulate needs {name!r}: call update(updates, state, params, {name}=...)")
        leaves, structure = jax.tree.flatten(x)
        leaves = [jnp.asarray(leaf) for leaf in leaves]
        given = [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves]
        if structure != self.structure or not all(map(_fits, given, self.forms)):
            form = jax.tree.unflatten(structure, given)
            raise ValueError(f"extras[{name!r}] is stated as {self.unflatten(self.forms)}, got {form}")
        return self.unflatten([leaf.astype(form.dtype) for leaf, form in zip(leaves, self.forms, strict=True)])

    def summed(self, total: Tree, x: Tree, w: Array | float, begins: Array, finite: Array, seen: Array) -> Tree:
        """What is kept, with one micro-batch more."""
        if self.rule == "all":
            return jax.tree.map(lambda old, new: old.at[seen].set(new), total, x)
        by = w if self.rule == "mean" else 1

        def add(old: Array, new: Array) -> Array:
            if self.rule == "max":
                least = -jnp.inf if jnp.issubdtype(old.dtype, jnp.inexact) else jnp.iinfo(old.dtype).min
                return jnp.maximum(jnp.where(begins, least, old), jnp.where(finite, new, least))
            return jnp.where(begins, 0, old) + jnp.where(finite, (by * new).astype(old.dtype), 0)

        return jax.tree.map(add, total, x)

    def handed(self, total: Tree, inverse: Array) -> Tree:
        """What the step gets of what is kept."""
        return jax.tree.map(lambda x: x * inverse, total) if self.rule == "mean" else total


def stated(extras: Mapping[str, Any] | None, every: Any) -> tuple[tuple[str, Kept], ...]:
    """The rules that a user wrote, checked."""
    if not isinstance(extras, Mapping | None):
        raise TypeError(f"extras must map names of extra arguments to rules, {got(extras)}")
    return tuple((name, _kept(name, rule, every)) for name, rule in (extras or {}).items())


def _kept(name: str, rule: Any, every: Any) -> Kept:
    here = f"extras[{name!r}]"
    if not isinstance(name, str):
        raise TypeError(f"extras must map names to rules, got the name {name!r}")
    if name == "weight":
        raise ValueError(f"{here} cannot be stated: weight weighs the micro-batches, and the step gets its sum")
    rule, *example = rule if isinstance(rule, tuple) else (rule,)
    if not isinstance(rule, str) or len(example) > 1:
        raise TypeError(f"{here} must be a rule ({', '.join(map(repr, RULES))}) or a pair (rule, example), {got(rule)}")
    check.choice(*RULES, **{here: rule})
    if rule == "last":
        return Kept(rule)
    if rule == "all" and not example:
        raise ValueError(
            f"{here} = 'all' needs an example of the argument, for the room it takes: "
            "('all', jax.ShapeDtypeStruct(shape, dtype))"
        )
    if rule == "all" and not isinstance(every, int | float):
        raise ValueError(f"{here} = 'all' needs a window of constant length, got every={every!r}")
    leaves, structure = jax.tree.flatten(example[0] if example else jax.ShapeDtypeStruct((), jnp.float32))
    return Kept(rule, structure, tuple(_form(here, rule, leaf) for leaf in leaves))


def _form(here: str, rule: str, x: Any) -> jax.ShapeDtypeStruct:
    if isinstance(x, bool | int | float | complex):
        x = jnp.asarray(x)
    if not hasattr(x, "dtype") or jnp.issubdtype(x.dtype, jax.dtypes.extended):
        raise TypeError(f"the example of {here} must be made of arrays of numbers or ShapeDtypeStructs, {got(x)}")
    dtype = jnp.result_type(x.dtype)
    if rule == "max" and jnp.issubdtype(dtype, jnp.complexfloating):
        raise TypeError(f"{here} = 'max' compares numbers, and its example is complex")
    if rule != "all":
        counted = jnp.float32 if rule == "mean" else dtype if dtype.itemsize >= 4 else jnp.int32
        dtype = jnp.dtype(compute_dtype(dtype) if jnp.issubdtype(dtype, jnp.inexact) else counted)
    return jax.ShapeDtypeStruct(np.shape(x), dtype)


def _fits(given: jax.ShapeDtypeStruct, form: jax.ShapeDtypeStruct) -> bool:
    """Whether an array has the shape, and no fraction or imaginary part that the form has no room for."""
    kinds = (jnp.inexact, jnp.complexfloating)
    return given.shape == form.shape and all(
        jnp.issubdtype(form.dtype, kind) for kind in kinds if jnp.issubdtype(given.dtype, kind)
    )


def finite_or_nan(x: Tree) -> Array:
    """0 where everything is finite, else NaN."""
    finite = [jnp.asarray(True), *(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(x))]
    return jnp.where(jnp.stack(finite).all(), 0.0, jnp.nan)


def refuse_unstated(tx: GradientTransformation, extra: dict[str, Any], known: list[str]) -> None:
    """Refuse an argument that the rules inside read, and of which nobody says what the step gets."""
    unstated = [name for name, x in extra.items() if x is not None and name not in (*AVERAGED, *known)]
    reads = _reads(tx) if unstated else None
    for name in unstated:
        if reads is None or name in reads:
            raise ValueError(
                f"accumulate has {name!r} of each micro-batch, and what it steps with reads one: say which with "
                f"extras={{{name!r}: 'mean'}}, or 'sum', 'max', 'last' or 'all'"
            )


def _reads(tx: GradientTransformation) -> set[str] | None:
    """The names of the extras that are read inside; None where that can be any."""
    names: set[str] = set()
    for x in tx.inside():
        if isinstance(x, Chain):
            names |= {name for stage in x.stages if stage.only_rule for name in stage.only_rule.facts.needs}
            names |= extra_trees(x)
        elif isinstance(x, Foreign) and x.takes is not None:
            names.update(x.takes)
        elif not x.wraps:
            return None
    return names
