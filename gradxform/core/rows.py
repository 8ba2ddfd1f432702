"""Sparse gradients: some rows of a large table, standing for the dense gradient."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core import check
from gradxform.core.plain import got
from gradxform.core.types import Array, ArrayLike, Dtype, Loss, Params, Tree, Updates


@jax.tree_util.register_pytree_with_keys_class
class Rows:
    """Rows of a gradient: row `indices[i]` holds `values[i]`, everything else is zero.

    `indices`: integers of shape (n,); `values`: shape (n, *shape[1:]); `shape`: that of the parameter. Rows that
    repeat count as their sum; an index outside [0, shape[0]), a negative one too, is padding. Sizes are fixed, so
    it goes through `jit`. Scale or map the values with `map_rows`: `jax.tree.map` would change the indices too.
    Raises: TypeError if the indices are not integers, ValueError if the shapes do not fit.
    """

    once: bool = False
    """Whether the indices are known to increase, each once, with padding of value 0 behind them."""

    def __init__(self, indices: ArrayLike, values: ArrayLike, shape: tuple[int, ...]) -> None:
        indices, values = jnp.asarray(indices), jnp.asarray(values)
        _refuse_inexact(indices)
        if indices.ndim != 1 or values.shape != (*indices.shape, *shape[1:]):
            raise ValueError(
                f"Rows of a parameter of shape {tuple(shape)} need indices (n,) and values (n, *{tuple(shape[1:])}), "
                f"got {indices.shape} and {values.shape}"
            )
        self.indices, self.values, self.shape = indices, values, tuple(shape)

    def tree_flatten_with_keys(self) -> tuple[tuple[Any, ...], tuple[int, ...]]:
        key = jax.tree_util.GetAttrKey
        return ((key("indices"), self.indices), (key("values"), self.values)), self.shape

    @classmethod
    def tree_unflatten(cls, shape: tuple[int, ...], children: Sequence[Array]) -> Rows:
        rows = object.__new__(cls)
        rows.indices, rows.values = children
        rows.shape = shape
        _refuse_inexact(rows.indices)
        return rows

    def __repr__(self) -> str:
        return f"Rows(indices={self.indices!r}, values={self.values!r}, shape={self.shape})"

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.values.dtype

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def astype(self, dtype: Dtype) -> Rows:
        return self.with_values(self.values.astype(dtype))

    def with_values(self, values: Array) -> Rows:
        """Other values at the same places, 0 where padding was 0."""
        rows = Rows.tree_unflatten(self.shape, (self.indices, values))
        rows.once = self.once
        return rows

    def places(self) -> Array:
        """The indices, with every kind of padding turned into shape[0], which scatters drop."""
        return places_in(self.shape, self.indices)

    def unique_indices(self) -> Array:
        """The places of summed rows, padding told apart: increasing, each once, as gathers and scatters like them."""
        places = self.places()
        return jnp.where(places < self.shape[0], places, self.shape[0] + jnp.arange(len(places), dtype=places.dtype))

    def dense(self) -> Array:
        """The gradient that the rows stand for, of shape `shape`."""
        return jnp.zeros(self.shape, self.dtype).at[self.places()].add(self.values, mode="drop")

    def summed(self) -> Rows:
        """Equal rows added up: n places again, each index once, the places left over as padding with value 0."""
        if self.once:
            return self
        n = self.indices.shape[0]
        places = self.places()
        order = jnp.argsort(places, stable=True)
        places, values = places[order], self.values[order]
        first = jnp.concatenate([jnp.ones_like(places[:1], bool), places[1:] != places[:-1]])
        seat = jnp.cumsum(first) - 1
        live = (places < self.shape[0]).reshape((n,) + (1,) * (values.ndim - 1))
        totals = jax.ops.segment_sum(jnp.where(live, values, 0), seat, n, indices_are_sorted=True)
        unique = jnp.full_like(places, self.shape[0]).at[seat].set(places)
        rows = Rows.tree_unflatten(self.shape, (unique, totals))
        rows.once = True
        return rows

    def __radd__(self, table: Array) -> Array:
        """table + rows: the dense table with the rows added in place, each rounded once to the table's dtype."""
        wide = jnp.promote_types(table.dtype, self.dtype)
        if wide == table.dtype:
            return table.at[self.places()].add(self.values.astype(wide), mode="drop")
        rows = self.summed()
        unique_indices = rows.unique_indices()
        return put_rows(table, unique_indices, take_rows(table, unique_indices).astype(wide) + rows.values)


def places_in(shape: tuple[int, ...], indices: Array) -> Array:
    """Indices of rows, with every kind of padding turned into shape[0]."""
    wide = indices.astype(jnp.result_type(indices, jnp.int32))
    return jnp.where((wide >= 0) & (wide < shape[0]), wide, shape[0])


def take_rows(table: Array, unique_indices: Array) -> Array:
    """Some rows of a table; zeros for padding. `unique_indices` increase, each once."""
    return table.at[unique_indices].get(
        mode="fill", fill_value=0, indices_are_sorted=True, unique_indices=True, **_lies(table, whole=True)
    )


def put_rows(table: Array, unique_indices: Array, values: Array) -> Array:
    """The table with some rows exchanged in place; padding is dropped. `unique_indices` increase, each once."""
    new = values.astype(table.dtype)
    return table.at[unique_indices].set(new, mode="drop", indices_are_sorted=True, unique_indices=True, **_lies(table))


def _lies(table: Array, whole: bool = False) -> dict[str, Any]:
    """Where a table, or whole rows of it, lie, where its type says that devices share the rows: JAX asks then."""
    spec = getattr(getattr(jax.typeof(table), "sharding", None), "spec", ())
    if not spec or spec[0] is None:
        return {}
    return {"out_sharding": jax.sharding.PartitionSpec(None if whole else spec[0], *spec[1:])}


def map_rows(f: Callable[..., Array], rows: Rows, *rest: Rows) -> Rows:
    """Apply `f` to the values of sparse rows and leave the indices alone: `values = f(rows.values, ...)`."""
    for x in (rows, *rest):
        if not isinstance(x, Rows):
            raise TypeError(f"map_rows maps Rows, {got(x)}")
    return Rows.tree_unflatten(rows.shape, (rows.indices, f(rows.values, *(r.values for r in rest))))


def value_and_grad_rows(loss: Loss, has_aux: bool = False) -> Callable[..., tuple[Any, tuple[Updates, Tree]]]:
    """Differentiate a loss over looked-up rows of tables, and give the tables' gradients as `Rows`, never dense.

    `loss(params, rows, *args)` gets `rows = table[indices]`, of shape (*indices.shape, *table.shape[1:]), in place of
    the table; the result is called as `value, (grads, rows) = f(params, table, indices, *args)`. table may be a tree of
    tables and indices a tree over it, with several lookups of one table in a tuple; padding is looked up as zeros.
    has_aux: loss returns (value, auxiliary), and so does the result in place of value.
    Raises: TypeError if loss is no function or indices are not integers, ValueError if the trees do not fit.
    """
    check.boolean(has_aux=has_aux)
    if not callable(loss):
        raise TypeError(f"loss must be a function, {got(loss)}")

    def looked_up(
        params: Params, table: Tree, indices: Tree, *args: Any, **kwargs: Any
    ) -> tuple[Any, tuple[Updates, Tree]]:
        rows = jax.tree.map(lambda t, i: jax.tree.map(functools.partial(_look_up, t), i), table, indices)
        value, (grads, moved) = jax.value_and_grad(loss, (0, 1), has_aux=has_aux)(params, rows, *args, **kwargs)
        return value, (grads, jax.tree.map(_gathered, table, indices, moved))

    return looked_up


def _look_up(table: Array, indices: ArrayLike) -> Array:
    indices = jnp.asarray(indices)
    _refuse_inexact(indices)
    return table.at[places_in(table.shape, indices)].get(mode="fill", fill_value=0)


def _gathered(table: Array, indices: Tree, values: Tree) -> Rows:
    """One gradient for all lookups of a table."""
    flat = [jnp.asarray(i).reshape(-1) for i in jax.tree.leaves(indices)]
    rows = [v.reshape(-1, *table.shape[1:]) for v in jax.tree.leaves(values)]
    return Rows(jnp.concatenate(flat), jnp.concatenate(rows), table.shape)


def is_row_leaf(x: object) -> bool:
    """What the library takes as one leaf beyond arrays: `None` and `Rows`."""
    return x is None or isinstance(x, Rows)


def _refuse_inexact(indices: object) -> None:
    if hasattr(indices, "dtype") and jnp.issubdtype(indices.dtype, jnp.inexact):
        raise TypeError(
            f"the indices of Rows must be integers, got {indices.dtype}: a tree map has changed them with the values; "
            "use map_rows (or mean_across between devices) instead"
        )
