"""Figures of each step, kept in the state."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.chain import Chain, stages_of
from gradxform.core.lift import Lifted, Step
from gradxform.core.numbers import global_norm
from gradxform.core.rule import TreeRule
from gradxform.core.state import find_states
from gradxform.core.transform import GradientTransformation
from gradxform.core.tree import open_tree
from gradxform.core.value import Child


class MeasureState(NamedTuple):
    """The inner state, and the figures of the last step by name."""

    inner: Any
    metrics: dict[str, Any]


class Measure(GradientTransformation):
    inner: Child[GradientTransformation]
    grad_norm: bool = False
    update_norm: bool = False
    param_norm: bool = False
    update_ratio: str | None = None
    clip_fraction: bool = False

    @property
    def name(self) -> str:  # type: ignore[override]
        return "measure"

    def _init(self, params: Any) -> MeasureState:
        figures = jax.eval_shape(lambda p: self._figures(p, p, p, jnp.zeros(()), jnp.zeros(())), _floating(params))
        return MeasureState(self.inner.init(params), jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), figures))

    def _update(
        self, updates: Any, state: MeasureState, params: Any, extra: dict[str, Any]
    ) -> tuple[Any, MeasureState]:
        if params is None and (self.param_norm or self.update_ratio):
            raise ValueError("measure needs the parameters: call update(updates, state, params)")
        new, inner = self.inner.update(updates, state.inner, params, **extra)
        count = _count(inner)
        clipped = state.metrics.get("clip_fraction")
        if clipped is not None:
            now = (global_norm(updates) > self._bound(state.inner)).astype(clipped.dtype)
            clipped = clipped + (now - clipped) / count
        return new, MeasureState(inner, self._figures(updates, new, params, count, clipped))

    def _evaluate(self, state: MeasureState, params: Any) -> Any:
        return self.inner._evaluate(state.inner, params)

    def rules(self, path: str, leaf: Any) -> Any:
        return self.inner.rules(path, leaf)

    def _figures(self, grads: Any, updates: Any, params: Any, count: Any, clipped: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self.grad_norm:
            found["grad_norm"] = global_norm(grads)
        if self.update_norm:
            found["update_norm"] = global_norm(updates)
        if self.param_norm:
            found["param_norm"] = global_norm(params)
        if self.update_ratio == "global":
            found["update_ratio"] = _ratio(updates, params)
        if self.update_ratio == "per_leaf":
            of = dict(zip(*open_tree(params)[:2], strict=True))
            for path, u in zip(*open_tree(updates)[:2], strict=True):
                if of[path] is not None and jnp.issubdtype(of[path].dtype, jnp.inexact):
                    found[f"update_ratio/{path}"] = jnp.zeros(()) if u is None else _ratio(u, of[path])
        if self.clip_fraction:
            found["clip_fraction"] = clipped
        return found

    def _bound(self, state: Any) -> Any:
        """The norm above which the inner transformation clips, at this step."""
        held = find_states(state)[0]
        step = Step(held.count, None, held.tree, held.hyper, {}, None)
        for name, stage, at in self.inner.each(step) if isinstance(self.inner, Chain) else ():
            if isinstance(stage, Lifted) and isinstance(stage.rule, TreeRule) and stage.rule.norm_bound is not None:
                return stage.at(name, at).norm_bound  # type: ignore[attr-defined]
        raise ValueError("clip_fraction needs clip_by_global_norm in the chain that is measured")


def _ratio(updates: Any, params: Any) -> Any:
    size = global_norm(params)
    return global_norm(updates) / jnp.where(size > 0, size, 1.0)


def _count(state: Any) -> Any:
    held = find_states(state)
    return held[0].count if held else jnp.ones((), jnp.int32)


def _floating(params: Any) -> Any:
    return jax.tree.map(lambda x: x if jnp.issubdtype(x.dtype, jnp.inexact) else None, params)


def measure(
    tx: Any,
    *,
    grad_norm: bool = False,
    update_norm: bool = False,
    param_norm: bool = False,
    update_ratio: str | None = None,
    clip_fraction: bool = False,
) -> Measure:
    """Keep figures of each step in the state; `metrics(state)` reads them.

    grad_norm, update_norm, param_norm: global L2 norms, of the gradients as they arrive, of the updates, of the
    parameters before the step. update_ratio: `"global"` or `"per_leaf"`, ‖u‖ / ‖p‖. clip_fraction: share of the
    steps so far in which `clip_by_global_norm` clipped. Under `jit` a norm that clipping also needs is computed once.
    State: the inner one, and a float32 scalar per figure.
    Raises: ValueError for an unknown update_ratio, or clip_fraction without `clip_by_global_norm`.
    """
    check.boolean(grad_norm=grad_norm, update_norm=update_norm, param_norm=param_norm, clip_fraction=clip_fraction)
    check.choice(None, "global", "per_leaf", update_ratio=update_ratio)
    inner = tx if isinstance(tx, GradientTransformation) else Chain(stages_of(tx, "tx"))
    return Measure(inner, grad_norm, update_norm, param_norm, update_ratio, clip_fraction)


def metrics(state: Any) -> dict[str, Any]:
    """The figures of the last step, flat by name, from any state that `measure` made, wrapped or not.

    Raises: ValueError if there is none.
    """
    found = [x for x in jax.tree.leaves(state, is_leaf=_is_measured) if _is_measured(x)]
    if not found:
        raise ValueError("the state holds no metrics; wrap the transformation in measure(...)")
    return dict(found[0].metrics)


def _is_measured(x: Any) -> bool:
    return isinstance(x, MeasureState)
