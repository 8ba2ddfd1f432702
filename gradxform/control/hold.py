"""What controls share: the norm that decides, and an update that is taken or held back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import cast, compute_dtype, real_dtype
from gradxform.core.barriers import barrier, barrier_each
from gradxform.core.chain import Chain, stages_of
from gradxform.core.devices import varying_axes
from gradxform.core.norms import norm_of, norms_of_two
from gradxform.core.orders import refuse_loss_scale, refuse_own_gradients
from gradxform.core.rows import Rows, is_row_leaf
from gradxform.core.shares import by_element, laid_out
from gradxform.core.step import apply_updates
from gradxform.core.transform import GradientTransformation
from gradxform.core.tree import is_inexact, is_trained, open_tree
from gradxform.core.types import Array, AxisName, Gradient, OptState, Params, Taken, Transformation, Tree, Updates
from gradxform.core.value import Child


class Asked(NamedTuple):
    """How a step is asked for: it is taken where `ok`, and to `land` is to say where the parameters land."""

    ok: Taken = None
    land: bool = False

    def where(self, taken: Array) -> Asked:
        """The same, held back by another decision too."""
        return self._replace(ok=taken if self.ok is None else self.ok & taken)


class Control(GradientTransformation):
    """What decides whether `inner` runs, and has a step of its own around it."""

    inner: Child[GradientTransformation]
    holds = True
    wraps = ("inner",)

    @property
    def lands(self) -> bool:
        return self.inner.lands

    def _step(
        self, updates: Updates, state: Any, params: Params, extra: dict[str, Any], asked: Asked
    ) -> tuple[Updates, OptState]:
        raise NotImplementedError

    def _update(
        self, updates: Updates, state: Any, params: Params, extra: dict[str, Any], ok: Taken = None, land: bool = False
    ) -> tuple[Updates, OptState]:
        return self._step(updates, self._admitted(state, params, updates), params, extra, Asked(ok, land))

    def _evaluate(self, state: Any, params: Params) -> Params:
        return self.inner._evaluate(self._admitted(state, params).inner, params)


def inner_of(**named: Transformation) -> GradientTransformation:
    """The transformation to wrap; another library's pair as a chain of one stage."""
    ((what, tx),) = named.items()
    return tx if isinstance(tx, GradientTransformation) else Chain(stages_of(tx, what))


def watched(what: str, **named: Transformation) -> GradientTransformation:
    """The transformation to wrap in what must be shown the gradients of the loss itself, and all of them."""
    inner = inner_of(**named)
    refuse_loss_scale(what, inner)
    refuse_own_gradients(what, inner)
    return inner


def axis_or_none(axis_name: AxisName | None) -> AxisName | None:
    check.axis_or_none(axis_name=axis_name)
    return axis_name


def tree_norm(tree: Tree, axis_name: AxisName | None, what: str, by: Array | None = None) -> Array:
    """The norm over all floating leaves, times `by` if given: the same reduction that clipping makes."""
    leaves = [x for x in trained_leaves(tree, axis_name, what) if x is not None]
    if by is None:
        return norm_of(barrier_each(leaves), axis_name)
    pairs = [barrier((by, x)) for x in leaves]
    return norm_of([times(x, k) for k, x in pairs], axis_name)


def trained_leaves(tree: Tree, axis_name: AxisName | None, what: str) -> list[Gradient]:
    """The floating leaves of a tree whose norm is asked for, None in place of others."""
    leaves = [x if hasattr(x, "dtype") or x is None else jnp.asarray(x) for x in open_tree(tree)[1]]
    leaves = [laid_out(x) if is_trained(x) else None for x in leaves]
    if axis_name is None and any(varying_axes(x) for x in leaves):
        raise ValueError(f"{what} sees one device's part of a leaf inside shard_map: give axis_name")
    return leaves


def tree_norms(first: Tree, second: Tree, axis_name: AxisName | None, what: str) -> tuple[Array, Array]:
    """`tree_norm` of two trees, which are read together where they have as many leaves."""
    xs, ys = (trained_leaves(tree, axis_name, what) for tree in (first, second))
    if axis_name is not None or len(xs) != len(ys):
        return tree_norm(first, axis_name, what), tree_norm(second, axis_name, what)
    return norms_of_two(xs, ys)


def map_gradients(f: Callable[[Array], Array], grads: Updates) -> Updates:
    """`f`, by element, of every floating gradient, of the values of sparse rows; None, float0, integers stay."""

    def at(g: Gradient) -> Gradient:
        if isinstance(g, int | float | complex):
            g = jnp.asarray(g)
        if g is None or not hasattr(g, "dtype") or not is_inexact(g):
            return g
        return g.with_values(f(g.values)) if isinstance(g, Rows) else by_element(f, jnp.asarray(g))

    return jax.tree.map(at, grads, is_leaf=is_row_leaf)


def times(grads: Updates, by: Array) -> Updates:
    """Gradients times a number, in float32 or wider."""

    def multiply(g: Array) -> Array:
        g = cast(g, compute_dtype(g.dtype))
        return g * cast(by, real_dtype(g.dtype))

    return map_gradients(multiply, grads)


def multiplied(
    inner: GradientTransformation, grads: Updates, by: Array
) -> tuple[GradientTransformation, Updates, Array | None]:
    """`inner`, and gradients times `by` for it; or a chain that multiplies itself, the gradients, and `by`.

    What multiplies inside the chain is never written to memory.
    """
    if isinstance(inner, Chain) and not inner.per_example:
        return inner.scaled(by), grads, by
    return inner, times(grads, by), None


def update_if(
    asked: Asked,
    inner: GradientTransformation,
    updates: Updates,
    state: OptState,
    params: Params,
    extra: dict[str, Any],
) -> tuple[Updates, OptState]:
    """The inner update where it is taken; elsewhere zeros, and the state as it was.

    The decision travels with the step: old or new is chosen where each memory is made, between the halves of its rule,
    and the update is computed from the chosen one. A choice among the results would make XLA keep both.
    """
    ok, land = asked
    us, after = inner.advance(updates, state, params, extra, ok, land)
    if land or ok is None:
        return us, after
    # -0.0 leaves every parameter as it is, -0.0 too.
    return map_gradients(lambda u: jnp.where(ok, u, -0.0), us), after


def land_if(
    due: Array,
    asked: Asked,
    inner: GradientTransformation,
    updates: Updates,
    state: OptState,
    params: Params,
    extra: dict[str, Any],
) -> tuple[Params, OptState]:
    """Where the parameters land by `update_if`, and the state; where it is not `due`, nothing of them is read.

    A loop that runs once or not at all: what it carries stays in its place, where XLA copies what a conditional hands
    on, or computes both branches and chooses. What differs between devices in another way after the step than before
    it cannot be carried, and is chosen.
    """

    @jax.jit
    def step(params: Params, state: OptState) -> tuple[Params, OptState]:
        new, after = update_if(Asked(asked.ok), inner, updates, state, params, extra)
        return apply_updates(params, new), after

    def body(carry: tuple[Array, Params, OptState]) -> tuple[Array, Params, OptState]:
        return jnp.zeros_like(carry[0]), *step(*carry[1:])

    closed = jax.make_jaxpr(step)(params, state)
    if any(x.strip_weak_type() != y for x, y in zip(closed.in_avals, closed.out_avals, strict=True)):
        _, params, state = body((due, params, state))
    else:
        _, params, state = jax.lax.while_loop(lambda carry: carry[0], body, (due, params, state))
    return params, state
