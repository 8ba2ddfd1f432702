"""Gradients of several micro-batches for one step: across calls, or in one call."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.control.extras import AVERAGED, Kept, finite_or_nan, refuse_unstated, stated
from gradxform.control.hold import (
    Asked,
    Control,
    axis_or_none,
    land_if,
    map_gradients,
    multiplied,
    tree_norm,
    update_if,
    watched,
)
from gradxform.core import check
from gradxform.core.arithmetic import compute_dtype, next_count
from gradxform.core.devices import mean_over, varying_of
from gradxform.core.hyper import Hyper, Schedule, Tunable, coerce, evaluate
from gradxform.core.orders import ZEROS
from gradxform.core.plain import as_array, got
from gradxform.core.tree import Leaf, in_boxes, is_trained, open_together, open_tree, parameter
from gradxform.core.types import (
    Array,
    ArrayLike,
    AxisName,
    Loss,
    OptState,
    Params,
    Shaped,
    Transformation,
    Tree,
    Updates,
)
from gradxform.core.walk import kept


class AccumulateState(NamedTuple):
    """The inner state, and the window so far: Σ w·g, Σ w, Σ w·value and the micro-batches seen.

    value: with `extras` a dict of it and of what is kept of each of them. steps: windows that ended in a step.
    left_out: micro-batches that were not finite, of all windows.
    """

    inner: OptState
    total: Tree
    weight: Array
    value: Tree
    seen: Array
    steps: Array
    left_out: Array


class Accumulate(Control):
    every: int | Schedule
    axis_name: AxisName | None = None
    extras: tuple[tuple[str, Kept], ...] = ()
    together = ("total", "weight", "value", "seen")

    def __repr__(self) -> str:
        across = "" if self.axis_name is None else f", axis_name={self.axis_name!r}"
        stated = f", extras={dict(self.extras)}" if self.extras else ""
        return f"accumulate({self.inner!r}, every={self.every!r}{stated}{across})"

    @property
    def name(self) -> str:
        return "accumulate"

    @property
    def between(self) -> str | None:
        return None if self.every == 1 else ZEROS

    @property
    def lands(self) -> bool:
        return self.every != 1

    def _init(self, params: Params) -> AccumulateState:
        def zero(p: Shaped) -> Shaped:
            wide = compute_dtype(p.dtype)
            if isinstance(p, jax.ShapeDtypeStruct):
                return jax.ShapeDtypeStruct(p.shape, wide, sharding=p.sharding)
            return jnp.zeros_like(p, dtype=wide)

        ps = [parameter(path, p) for path, p in zip(*open_tree(params)[:2], strict=True)]
        total = in_boxes(params, [zero(p) if is_trained(p) else None for p in ps])
        floats, counts = ([jnp.zeros((), dtype) for _ in range(n)] for dtype, n in ((jnp.float32, 2), (jnp.int32, 3)))
        weight, value = floats
        kept = {name: slot.zeros(self.every) for name, slot in self._slots().items()}
        held = {"value": value} | kept if kept else value
        return AccumulateState(self.inner.init(params), total, weight, held, *counts)

    def _slots(self) -> dict[str, Kept]:
        """The extras of which something is kept in the state."""
        return {name: kept for name, kept in self.extras if kept.rule != "last"}

    def _step(
        self, updates: Updates, state: AccumulateState, params: Params, extra: dict[str, Any], asked: Asked
    ) -> tuple[Updates, AccumulateState]:
        known, slots = [name for name, _ in self.extras], self._slots()
        refuse_unstated(self.inner, extra, known)
        given = {name: x for name in AVERAGED if (x := extra.get(name)) is not None and name not in known}
        figures = {name: _scalar(name, x) for name, x in given.items()}
        read = {name: slot.read(name, extra.get(name)) for name, slot in slots.items()}
        added = [finite_or_nan(x) for name, x in read.items() if slots[name].rule != "all"]
        finite = self._finite(tree_norm(updates, self.axis_name, self.name), [*figures.values(), *added])
        w = figures.get("weight", 1.0)
        begins = state.seen == 0
        opened = open_together(updates, params, state.total)
        weight = _sum(begins, state.weight, w, finite)
        inverse = 1.0 / jnp.where(weight > 0, weight, 1.0)
        for leaf in opened.leaves:
            total: Tree = leaf.memory
            if total is not None:
                new = jnp.where(begins, 0, total)
                leaf.memory = kept(asked.ok, new if leaf.g is None else _plus(leaf, new, w, finite), total)
        held: dict[str, Tree] = state.value if slots else {"value": state.value}
        held = {"value": _sum(begins, held["value"], w * figures.get("value", 0.0), finite)} | {
            name: slot.summed(held[name], read[name], w, begins, finite, state.seen) for name, slot in slots.items()
        }
        means = {"weight": weight, "value": held["value"] * inverse}
        closes = state.seen + 1 >= jnp.maximum(jnp.round(evaluate(self.every, state.steps, "every")), 1)
        taken = closes & (self._agreed(weight) > 0)
        sums = [leaf.g if leaf.g is None or leaf.memory is None else leaf.memory for leaf in opened.leaves]
        tx, grads, _ = multiplied(self.inner, opened.structure.unflatten(sums), inverse)
        extra = extra | {name: means[name] for name in figures}
        extra |= {name: slot.handed(held[name], inverse) for name, slot in slots.items()}
        # When it is due follows from counters alone: devices agree on it, whatever their gradients are. The sum is
        # written before and read in the step: a loop of its own for it would save that pass once a window, and have
        # the host of a GPU wait for two more decisions at every micro-batch.
        step = functools.partial(land_if, closes) if asked.land else update_if
        new, inner = step(asked.where(taken), tx, grads, state.inner, params, extra)
        steps = jnp.where(taken, next_count(state.steps), state.steps)
        left_out = jnp.where(finite, state.left_out, next_count(state.left_out))
        seen = jnp.where(closes, 0, state.seen + 1)
        own = weight, held if slots else held["value"], seen, steps, left_out
        return new, AccumulateState(inner, opened.close_memories(), *kept(asked.ok, own, tuple(state[2:])))

    def _finite(self, norm: Array, figures: list[Array]) -> Array:
        return jnp.stack([jnp.isfinite(x) for x in (norm, *map(self._agreed, figures))]).all()

    def _agreed(self, x: Array) -> Array:
        return x if self.axis_name is None else mean_over(x, self.axis_name)


def _scalar(name: str, x: ArrayLike) -> Array:
    x = jnp.asarray(x, jnp.float32)
    if x.shape != ():
        raise ValueError(f"{name} must be a scalar, got an array of shape {x.shape}")
    return x


def _sum(begins: Array, total: Array, x: Array | float, finite: Array) -> Array:
    return jnp.where(begins, 0.0, total) + jnp.where(finite, x, 0.0)


def _plus(leaf: Leaf, total: Array, w: Array | float, finite: Array) -> Array:
    """total + w·g in total's dtype, without g where it is not finite."""
    if leaf.g.shape != total.shape:
        raise ValueError(f"the gradient of {leaf.path!r} has shape {leaf.g.shape}, its sum {total.shape}")
    weighted = map_gradients(lambda x: jnp.where(finite, x.astype(total.dtype) * w, 0), leaf.g)
    new: Array = (total + weighted).astype(total.dtype)
    return new


def accumulate(
    tx: Transformation,
    every: int | Hyper,
    *,
    axis_name: AxisName | None = None,
    extras: Mapping[str, Any] | None = None,
) -> Accumulate:
    """Step once for `every` micro-batches, on their mean gradient: `u = tx(Σ w·g / Σ w)`, and 0 between.

    The sum is kept in float32 or wider; the inner state stands still between. A micro-batch whose gradients (or weight,
    or value) are not finite is left out and counted; a window of nothing else takes no step. A leaf whose gradient is
    None in the last micro-batch takes no part in the step. `weight=` at update, such as the number of tokens, weighs
    each micro-batch (1 without it); a `value=` is averaged as the gradients are.
    extras: what the step gets for another extra, by name: `"mean"` (weighed), `"sum"` or `"max"` over a window,
    the `"last"` one, or `("all", example)`, stacked; an example of arrays or ShapeDtypeStructs gives the first three
    another form than a float32 scalar. every: a number, or a schedule of the steps taken. axis_name: to decide over.
    State: the inner one; total, a tree like the parameters; weight and value (float32), seen, steps, left_out (int32).
    Raises: TypeError or ValueError unless every is an integer, at least 1, or a schedule; for a loss scale inside; at
    update for an extra argument that the inner transformation reads and extras do not state.
    """
    if not isinstance(every, Schedule) and not callable(every) and np.ndim(every) == 0:
        check.integer(1, every=every)
    every = coerce("every", every)
    check.at_least(1, every=every)
    if isinstance(every, Tunable):
        raise TypeError(f"every must be an integer or a schedule, {got(every)}")
    every = int(every) if isinstance(every, float) else every
    return Accumulate(watched("accumulate", tx=tx), every, axis_or_none(axis_name), stated(extras, every))


def accumulate_gradients(
    loss_fn: Loss,
    params: Params,
    batch: Tree,
    microbatches: int,
    *,
    has_aux: bool = False,
    weight: Callable[[Tree], ArrayLike] | None = None,
) -> tuple[Any, Updates]:
    """`jax.value_and_grad(loss_fn, has_aux=has_aux)(params, batch)`, one micro-batch at a time.

    loss_fn: `(params, batch) -> loss`, a mean over the examples, or `-> (loss, aux)`. batch: a tree of arrays with the
    examples on axis 0; micro-batch i takes the examples i, i + microbatches, i + 2·microbatches, ..., so that each
    device keeps its own. One compiled body in a `lax.scan`; sums in float32 or wider, gradients too are returned so.
    has_aux: the result is `((loss, aux), grads)`, aux with a leading axis of micro-batches.
    weight: `micro-batch -> its weight`, such as its number of tokens where loss_fn is their mean; without it 1.
    Raises: ValueError naming an array whose axis 0 is not divisible; TypeError if microbatches is no integer.
    """
    check.integer(1, microbatches=microbatches)
    check.boolean(has_aux=has_aux)
    for name, f in (("loss_fn", loss_fn), ("weight", loss_fn if weight is None else weight)):
        if not callable(f):
            raise TypeError(f"{name} must be a function, {got(f)}")
    parts = in_parts(batch, int(microbatches))
    params = jax.tree.map(lambda x: x if hasattr(x, "dtype") else as_array("a leaf of params", x), params)
    gradient = jax.value_and_grad(loss_fn, has_aux=has_aux)

    def one(part: Tree) -> tuple[Tree, Any]:
        out, grads = gradient(params, part)
        value, aux = out if has_aux else (out, None)
        value = as_array("what loss_fn gives", value)
        w = jnp.asarray(1.0 if weight is None else weight(part), jnp.float32)
        return (*jax.tree.map(lambda x: x.astype(compute_dtype(x.dtype)) * w, (value, grads)), w), aux

    def body(total: Tree, part: Tree) -> tuple[Tree, Any]:
        now, aux = one(part)
        return jax.tree.map(jnp.add, total, now), aux

    first = jax.tree.map(lambda x: x[0], parts)
    closed, shapes = jax.make_jaxpr(lambda x: one(x)[0], return_shape=True)(first)
    zeros = jax.tree.unflatten(jax.tree.structure(shapes), [_zeros(x) for x in closed.out_avals])
    (value, grads, total), aux = jax.lax.scan(body, zeros, parts)
    value, grads = jax.tree.map(lambda x: x / total, (value, grads))
    return ((value, aux) if has_aux else value), grads


def in_parts(batch: Tree, n: int) -> Tree:
    """The micro-batches, one after another on a new axis 0."""

    def split(path: tuple[Any, ...], x: Array) -> Array:
        if np.ndim(x) == 0 or len(x) % n:
            raise ValueError(
                f"batch{jax.tree_util.keystr(path)} has shape {np.shape(x)}, its axis 0 is not {n} equal micro-batches"
            )
        return jnp.swapaxes(jnp.reshape(x, (len(x) // n, n, *np.shape(x)[1:])), 0, 1)

    return jax.tree_util.tree_map_with_path(split, batch)


def _zeros(kind: jax.core.ShapedArray) -> Array:
    """Zeros that vary between devices as what is added to them does."""
    zeros = jnp.zeros(kind.shape, kind.dtype)
    for axis in varying_of(kind):
        zeros += (0 * jax.lax.axis_index(axis)).astype(kind.dtype)
    return zeros
