"""Line search by backtracking: after the step, before the update is applied."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.chain import Chain, chain
from gradxform.core.transform import GradientTransformation
from gradxform.core.tree import open_tree
from gradxform.core.types import Array, OptState, Params, Updates
from gradxform.transforms.objective import Line, LineSearchState, line, refilled, value_dtype, zeros

Steps = tuple[Array, Array, Array, Array]
"""Of a search: how many, the step, the objective there, the error of the decrease."""


class BacktrackingInfo(NamedTuple):
    """How the last search went, in scalars; an error of 0 means that the condition holds."""

    num_linesearch_steps: Array
    decrease_error: Array


class BacktrackingLinesearch(GradientTransformation):
    max_backtracking_steps: int
    slope_rtol: float = 1e-4
    decrease_factor: float = 0.8
    increase_factor: float = 1.5
    max_learning_rate: float = 1.0
    atol: float = 0.0
    rtol: float = 0.0
    store_grad: bool = False
    verbose: bool = False
    name = "backtracking_linesearch"
    sees_whole = True
    needs_params = True

    @classmethod
    def public_name(cls) -> str:
        return "scale_by_backtracking_linesearch"

    def _init(self, params: Params) -> LineSearchState:
        dtype = value_dtype(params)
        inf = jnp.full((), jnp.inf, dtype)
        info = BacktrackingInfo(jnp.zeros((), jnp.int32), inf)
        return LineSearchState(jnp.ones((), dtype), jnp.copy(inf), zeros(params) if self.store_grad else None, info)

    def _update(
        self, updates: Updates, state: LineSearchState, params: Params, extra: dict[str, Any]
    ) -> tuple[Updates, OptState]:
        on = line(self.name, updates, params, extra)
        state = self._admitted(state, params, updates)
        longer = jnp.minimum(self.increase_factor * state.learning_rate, self.max_learning_rate)
        anew = self.max_learning_rate if math.isfinite(self.max_learning_rate) else 1.0
        first = jnp.where(state.learning_rate > 0.0, longer, anew).astype(on.value.dtype)

        def unfit(s: Steps) -> Array:
            return ~(s[3] <= self.atol) & (s[0] <= self.max_backtracking_steps)

        def shorten(s: Steps) -> Steps:
            count, step = s[0], jnp.where(s[0] > 0, self.decrease_factor * s[1], s[1])
            value = on.value_at(step)
            return count + 1, step, value, self._error(on, step, value)

        begin = (jnp.zeros((), jnp.int32), first, on.value, jnp.full_like(on.value, jnp.inf))
        count, step, value, error = jax.lax.while_loop(unfit, shorten, begin)
        lost = jnp.isinf(error)
        step, value = jnp.where(lost, 0.0, step), jnp.where(lost, on.value, value)
        if self.verbose:
            report(self.name, error > self.atol, on, step, error)
        grad = state.grad
        if self.store_grad:
            grad = refilled(grad, dict(zip(on.paths, on.at(step)[1], strict=True)))
        return emitted(updates, on, step), LineSearchState(step, value, grad, BacktrackingInfo(count, error))

    def _error(self, on: Line, step: Array, value: Array) -> Array:
        error = value - (1.0 + self.rtol) * on.value - self.slope_rtol * step * on.slope
        return jnp.where(jnp.isnan(error), jnp.inf, jnp.maximum(error, 0.0))


def emitted(updates: Updates, on: Line, step: Array) -> Updates:
    """The updates times the step; 0 where the step is, whatever the update."""
    pairs = zip(on.paths, on.us, strict=True)
    scaled = {path: jnp.where(step == 0, 0, step.astype(u.real.dtype) * u) for path, u in pairs}
    paths, leaves, structure = open_tree(updates)
    return structure.unflatten([scaled.get(path, u) for path, u in zip(paths, leaves, strict=True)])


def report(name: str, failed: Array, on: Line, step: Array, error: Array) -> None:
    """Print where a search failed, from inside the compiled program."""
    text = name + " failed: value {value}, slope {slope}, step {step}, error of the decrease {error}"
    figures: dict[str, Any] = {"value": on.value, "slope": on.slope, "step": step, "error": error}
    jax.lax.cond(failed, lambda: jax.debug.print(text, **figures), lambda: None)


def scale_by_backtracking_linesearch(
    max_backtracking_steps: int,
    slope_rtol: float = 1e-4,
    decrease_factor: float = 0.8,
    increase_factor: float = 1.5,
    max_learning_rate: float = 1.0,
    atol: float = 0.0,
    rtol: float = 0.0,
    store_grad: bool = False,
    verbose: bool = False,
) -> Chain:
    """Scale u by a step η of sufficient decrease: `f(p + ηu) <= (1 + rtol)·f + slope_rtol·η⟨∇f, u⟩ + atol`.

    Starts from the last η times increase_factor, at most max_learning_rate, and shortens it by decrease_factor; a
    search that meets no finite value takes no step. Place and extras as for `scale_by_zoom_linesearch`.
    increase_factor: infinity starts from max_learning_rate; one of the two may be infinite. store_grad: keep the
    gradient where the step lands, for `value_and_grad_from_state`; it costs one more evaluation with gradient. verbose:
    print failures.
    State: learning_rate, value, info; grad where stored, shaped like p, float32 or wider.
    Raises: ValueError for arguments out of range; at update if params or one of the extras is missing.
    Source: Nocedal, Wright 2006, algorithm 3.1; Armijo 1966.
    """
    check.integer(1, max_backtracking_steps=max_backtracking_steps)
    check.boolean(store_grad=store_grad, verbose=verbose)
    most = check.number(check.positive, infinite=True, max_learning_rate=max_learning_rate)
    increase_factor = check.number(check.positive, infinite=True, increase_factor=increase_factor)
    if math.isinf(most) and math.isinf(increase_factor):
        raise ValueError("max_learning_rate must be finite where increase_factor is not, got inf: no step begins")
    return chain(
        BacktrackingLinesearch(
            int(max_backtracking_steps),
            check.number(check.nonnegative, slope_rtol=slope_rtol),
            check.number(check.unit, decrease_factor=decrease_factor),
            increase_factor,
            most,
            check.number(check.nonnegative, atol=atol),
            check.number(check.nonnegative, rtol=rtol),
            store_grad,
            verbose,
        )
    )
