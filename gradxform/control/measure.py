"""Figures of each step, kept in the state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.control.hold import inner_of, tree_norm, tree_norms
from gradxform.core import check
from gradxform.core.admit import admitted, admitted_by_name, of_kind
from gradxform.core.chain import Chain
from gradxform.core.devices import along, axis_names
from gradxform.core.hyper import replace_hyper
from gradxform.core.orders import refuse_loss_scale
from gradxform.core.plain import got
from gradxform.core.rule import TreeRule
from gradxform.core.sizes import saturated
from gradxform.core.stage import Step
from gradxform.core.state import State, unused
from gradxform.core.transform import GradientTransformation
from gradxform.core.tree import is_inexact, open_tree
from gradxform.core.types import Array, AxisName, Number, OptState, Params, Taken, Transformation, Tree, Updates
from gradxform.core.value import Child
from gradxform.core.walk import kept


class MeasureState(NamedTuple):
    """The inner state, and the figures of the last step by name."""

    inner: OptState
    metrics: dict[str, Array]


class Measure(GradientTransformation):
    inner: Child[GradientTransformation]
    grad_norm: bool = False
    update_norm: bool = False
    param_norm: bool = False
    update_ratio: str | None = None
    clip_fraction: bool = False
    axis_name: AxisName | None = None
    holds = True
    wraps = ("inner",)

    def __repr__(self) -> str:
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "inner"}
        return f"measure({', '.join([repr(self.inner), *(f'{name}={x!r}' for name, x in values.items() if x)])})"

    @property
    def name(self) -> str:
        return "measure"

    def _init(self, params: Params) -> MeasureState:
        here = self.with_fields(axis_name=None)
        figures = jax.eval_shape(lambda p: here._figures(p, p, p, jnp.zeros(())), _shapes(params))
        return MeasureState(self.inner.init(params), jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), figures))

    def _update(
        self, updates: Updates, state: MeasureState, params: Params, extra: dict[str, Any], ok: Taken = None
    ) -> tuple[Updates, MeasureState]:
        of_kind(state, MeasureState, self)
        if params is None and (self.param_norm or self.update_ratio):
            raise ValueError("measure needs the parameters: call update(updates, state, params)")
        for name in axis_names(self.axis_name):
            along(name)
        new, inner = self.inner.advance(updates, state.inner, params, extra, ok)
        clipped = None
        if self.clip_fraction:
            scalar = jax.ShapeDtypeStruct((), jnp.float32)
            clipped = admitted(dict(state.metrics).get("clip_fraction"), scalar, "clip_fraction of measure", loose=True)
            now = (self._norm(updates) > _bound(self.inner, state.inner)).astype(clipped.dtype)
            clipped = clipped + (now - clipped) / inner.count
        figures = self._figures(updates, new, params, clipped)
        old = admitted_by_name(state.metrics, figures, " of measure", loose=True)
        metrics = {k: saturated(figures[k].astype(x.dtype)) for k, x in old.items()}
        return new, MeasureState(inner, kept(ok, metrics, dict(old)))

    def _evaluate(self, state: MeasureState, params: Params) -> Params:
        of_kind(state, MeasureState, self)
        return self.inner._evaluate(state.inner, params)

    def _figures(self, grads: Updates, updates: Updates, params: Params, clipped: Array | None) -> dict[str, Any]:
        figures: dict[str, Any] = {}
        if self.grad_norm:
            figures["grad_norm"] = self._norm(grads)
        if self.update_ratio == "global" or (self.update_norm and self.param_norm):
            u, p = self._norms(updates, params)
            both = {"update_norm": u, "param_norm": p, "update_ratio": _ratio(u, p)}
            figures |= {name: x for name, x in both.items() if getattr(self, name) in (True, "global")}
        elif self.update_norm:
            figures["update_norm"] = self._norm(updates)
        elif self.param_norm:
            figures["param_norm"] = self._norm(params)
        if self.update_ratio == "per_leaf":
            of = dict(zip(*open_tree(params)[:2], strict=True))
            for path, u in zip(*open_tree(updates)[:2], strict=True):
                if of[path] is not None and is_inexact(of[path]):
                    figures[f"update_ratio/{path}"] = _ratio(*self._norms(u, of[path]))
        if self.clip_fraction:
            figures["clip_fraction"] = clipped
        return figures

    def _norm(self, tree: Tree) -> Array:
        return tree_norm(tree, self.axis_name, self.name)

    def _norms(self, updates: Updates, params: Params) -> tuple[Array, Array]:
        return tree_norms(updates, params, self.axis_name, self.name)


def _ratio(update: Array, param: Array) -> Array:
    return update / jnp.where(param > 0, param, 1.0)


def _clips_first(tx: GradientTransformation) -> TreeRule | None:
    """The rule of the first stage, if that one clips the whole gradient by its norm."""
    first = tx.stages[0] if isinstance(tx, Chain) and tx.stages else None
    rule = None if first is None or getattr(first, "where", None) is not None else first.only_rule
    return rule if isinstance(rule, TreeRule) and rule.norm_bound is not None else None


def _bound(tx: Transformation, state: State) -> Number:
    """The norm above which the first stage clips, at this step."""
    name, stage, step = next(tx.each(Step(state.count, None, state.tree, state.hyper, {}, None)))
    return replace_hyper(stage.only_rule, stage.now(name, step)).norm_bound


def _shapes(params: Params) -> Params:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), jnp.result_type(x)), params)


def measure(
    tx: Transformation,
    *,
    grad_norm: bool = False,
    update_norm: bool = False,
    param_norm: bool = False,
    update_ratio: str | None = None,
    clip_fraction: bool = False,
    axis_name: AxisName | None = None,
) -> Measure:
    """Keep figures of each step in the state; `metrics(state)` reads them.

    grad_norm, update_norm, param_norm: global L2 norms, of the gradients as they arrive, of the updates, of the
    parameters before the step. update_ratio: `"global"` or `"per_leaf"`, ‖u‖ / ‖p‖. clip_fraction: share of the
    steps so far in which `clip_by_global_norm`, the chain's first stage, clipped. Under `jit` a norm that clipping also
    needs is computed once; what overflows is kept as half the largest number. axis_name: as in `clip_by_global_norm`.
    State: the inner one, and a scalar per figure, float32 or wider.
    Raises: ValueError for an unknown update_ratio, clip_fraction without clipping first, grad_norm around a loss scale,
    or if params are missing.
    """
    check.boolean(grad_norm=grad_norm, update_norm=update_norm, param_norm=param_norm, clip_fraction=clip_fraction)
    check.choice(None, "global", "per_leaf", update_ratio=update_ratio)
    check.axis_or_none(axis_name=axis_name)
    inner = inner_of(tx=tx)
    if grad_norm:
        refuse_loss_scale("measure", inner)
    rule = _clips_first(inner) if clip_fraction else None
    if clip_fraction and rule is None:
        raise ValueError(f"clip_fraction needs clip_by_global_norm as the first stage of {inner!r}")
    if rule is not None and getattr(rule, "axis_name", None) != axis_name:
        raise ValueError(f"measure and clipping must take one axis_name, {got(axis_name)}")
    return Measure(inner, grad_norm, update_norm, param_norm, update_ratio, clip_fraction, axis_name)


def metrics(state: OptState) -> dict[str, Array]:
    """The figures of the last step, flat by name, from any state that `measure` made, wrapped or not.

    Outermost first; where several hold a figure of one name, the second is `grad_norm_2`, and so on.
    Raises: ValueError if there is none.
    """
    measured = [*_measured(state)]
    if not measured:
        raise ValueError("the state holds no metrics; wrap the transformation in measure(...)")
    figures: dict[str, Array] = {}
    for inner in measured:
        figures |= {unused(name, figures): x for name, x in inner.metrics.items()}
    return figures


def _measured(state: OptState) -> Iterator[MeasureState]:
    for x in jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, MeasureState)):
        if isinstance(x, MeasureState):
            yield x
            yield from _measured(x.inner)
