"""A line search for the strong Wolfe conditions: after the step, before the update is applied."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.chain import Chain, chain
from gradxform.core.transform import GradientTransformation
from gradxform.core.types import Array, OptState, Params, Updates
from gradxform.transforms.line_search import emitted, report
from gradxform.transforms.objective import Line, LineSearchState, line, refilled, value_dtype, zeros

Picked = TypeVar("Picked")


class Point(NamedTuple):
    """The objective on the line: scalars."""

    step: Array
    value: Array
    slope: Array


class ZoomInfo(NamedTuple):
    """How the last search went, in scalars; an error of 0 means that the condition holds."""

    num_linesearch_steps: Array
    decrease_error: Array
    curvature_error: Array


class Search(NamedTuple):
    """The search under way: so many `evaluations`, the last at `at`, the interval from `low` to `high`, all scalars.

    grads: at `safe`; once the search has ended, where it lands: one gradient is carried, in the place of the last one.
    """

    evaluations: Array
    at: Point
    low: Point
    high: Point
    third: Point
    decrease_error: Array
    curvature_error: Array
    bracketed: Array
    done: Array
    failed: Array
    safe: Point
    grads: list[Array]


class ZoomLinesearch(GradientTransformation):
    max_linesearch_steps: int
    max_learning_rate: float | None = None
    tol: float = 0.0
    increase_factor: float = 2.0
    slope_rtol: float = 1e-4
    curv_rtol: float = 0.9
    approx_dec_rtol: float | None = 1e-6
    stepsize_precision: float = 1e-5
    initial_guess_strategy: str = "keep"
    verbose: bool = False
    name = "zoom_linesearch"
    sees_whole = True
    needs_params = True

    @classmethod
    def public_name(cls) -> str:
        return "scale_by_zoom_linesearch"

    def _init(self, params: Params) -> LineSearchState:
        dtype = value_dtype(params)
        inf = jnp.full((), jnp.inf, dtype)
        info = ZoomInfo(jnp.zeros((), jnp.int32), inf, jnp.copy(inf))
        return LineSearchState(jnp.ones((), dtype), jnp.copy(inf), zeros(params), info)

    def _update(
        self, updates: Updates, state: LineSearchState, params: Params, extra: dict[str, Any]
    ) -> tuple[Updates, OptState]:
        on = line(self.name, updates, params, extra)
        state = self._admitted(state, params, updates)
        anew = (state.learning_rate == 0.0) | (self.initial_guess_strategy == "one")
        guess = jnp.where(anew, jnp.ones_like(state.learning_rate), state.learning_rate)
        s = jax.lax.while_loop(lambda s: ~(s.done | s.failed), lambda s: self._step(on, guess, s), _start(on))
        at = _pick(_retreats(s.failed, s.safe, s.decrease_error), s.safe, s.at)
        if self.verbose:
            report(self.name, s.failed, on, at.step, s.decrease_error)
        grad = refilled(state.grad, dict(zip(on.paths, s.grads, strict=True)))
        info = ZoomInfo(s.evaluations, s.decrease_error, s.curvature_error)
        return emitted(updates, on, at.step), LineSearchState(at.step, at.value, grad, info)

    def _step(self, on: Line, guess: Any, s: Search) -> Search:
        """One evaluation, outwards until the interval holds a good step, then inside it."""
        wider = jnp.where(s.evaluations == 0, guess, self.increase_factor * s.at.step)
        most = jnp.inf if self.max_learning_rate is None else self.max_learning_rate
        step = jnp.where(s.bracketed, _between(s), jnp.minimum(wider, most))
        value, grads, slope = on.at(step)
        new = Point(step, value, slope)
        decrease, curvature = self._decrease_error(on, new), self._curvature_error(on, new)
        good = jnp.maximum(decrease, curvature) <= self.tol
        accept = (decrease <= self.tol) & (~s.bracketed | (value < s.safe.value))
        safe = _pick(accept, new, s.safe)
        last = s.evaluations + 1 >= self.max_linesearch_steps

        too_far = (decrease > 0.0) | ((value >= s.at.value) & (s.evaluations > 0))
        past = (slope >= 0.0) & ~too_far
        low, high = _pick(past, (new, s.at), (s.at, new))
        bracketed = too_far | past | good
        done = good | ((wider >= most) & ~bracketed)
        outer = (low, high, low, bracketed, done, last & ~done)

        too_high = (decrease > 0.0) | (value >= s.low.value)
        turned = (slope * (s.high.step - s.low.step) >= 0.0) & ~too_high
        high = _pick(turned, s.low, _pick(too_high, new, s.high))
        third = _pick(too_high | turned, s.high, s.low)
        narrow = jnp.abs(s.high.step - s.low.step) <= self.stepsize_precision
        failed = (last | (narrow & (safe.step > 0.0))) & ~good
        inner = (_pick(too_high, s.low, new), high, third, s.bracketed, good, failed)

        low, high, third, bracketed, done, failed = _pick(s.bracketed, inner, outer)
        how = (decrease, curvature, bracketed, done, failed)
        lands = (done | failed) & ~_retreats(failed, safe, decrease)
        return Search(s.evaluations + 1, new, low, high, third, *how, safe, _pick(accept | lands, grads, s.grads))

    def _decrease_error(self, on: Line, new: Point) -> Array:
        error = new.value - on.value - self.slope_rtol * new.step * on.slope
        if self.approx_dec_rtol is not None:
            flat = new.slope - (2 * self.slope_rtol - 1.0) * on.slope
            near = new.value - on.value - self.approx_dec_rtol * jnp.abs(on.value)
            error = jnp.minimum(jnp.maximum(flat, near), error)
        return jnp.where(jnp.isnan(error), jnp.inf, jnp.maximum(error, 0.0))

    def _curvature_error(self, on: Line, new: Point) -> Array:
        error = jnp.abs(new.slope) - self.curv_rtol * jnp.abs(on.slope)
        return jnp.where(jnp.isnan(error), jnp.inf, jnp.maximum(error, 0.0))


def _start(on: Line) -> Search:
    start = Point(jnp.zeros_like(on.value), on.value, on.slope)
    inf, no = jnp.full_like(on.value, jnp.inf), jnp.zeros((), bool)
    count = jnp.zeros((), jnp.int32)
    return Search(count, start, start, start, start, inf, inf, no, no, no, start, on.grads)


def _retreats(failed: Array, safe: Point, decrease_error: Array) -> Array:
    """Whether a search that has failed goes back to its safe point."""
    return failed & ((safe.step > 0.0) | jnp.isinf(decrease_error))


def _between(s: Search) -> Array:
    """A step inside the interval: at the minimum of a cubic, else of a parabola, else in the middle."""
    low, high = s.low, s.high
    left, right = jnp.minimum(low.step, high.step), jnp.maximum(low.step, high.step)
    cubic, parabola = _cubic_minimum(low, high, s.third), _parabola_minimum(low, high)
    inside = 0.2 * (right - left)
    use_cubic = (cubic > left + inside) & (cubic < right - inside)
    inside = 0.1 * (right - left)
    use_parabola = (parabola > left + inside) & (parabola < right - inside)
    return jnp.where(use_cubic, cubic, jnp.where(use_parabola, parabola, (low.step + high.step) / 2.0))


def _cubic_minimum(a: Point, b: Point, c: Point) -> Array:
    db, dc = b.step - a.step, c.step - a.step
    rb, rc = b.value - a.value - a.slope * db, c.value - a.value - a.slope * dc
    scale = (db * dc) ** 2 * (db - dc)
    third = (dc**2 * rb - db**2 * rc) / scale
    second = (db**3 * rc - dc**3 * rb) / scale
    return a.step + (-second + jnp.sqrt(second**2 - 3.0 * third * a.slope)) / (3.0 * third)


def _parabola_minimum(a: Point, b: Point) -> Array:
    width = b.step - a.step
    return a.step - a.slope / (2.0 * (b.value - a.value - a.slope * width) / width**2)


def _pick(condition: Array, yes: Picked, no: Picked) -> Picked:
    picked: Picked = jax.tree.map(lambda y, n: jnp.where(condition, y, n), yes, no)
    return picked


def scale_by_zoom_linesearch(
    max_linesearch_steps: int,
    max_learning_rate: float | None = None,
    tol: float = 0.0,
    increase_factor: float = 2.0,
    slope_rtol: float = 1e-4,
    curv_rtol: float = 0.9,
    approx_dec_rtol: float = 1e-6,
    stepsize_precision: float = 1e-5,
    initial_guess_strategy: str = "keep",
    verbose: bool = False,
) -> Chain:
    """Scale u by a step η of the strong Wolfe conditions: `f(p + ηu) <= f + c₁η⟨∇f, u⟩`, `|f'(η)| <= c₂|f'(0)|`.

    Last in the chain, behind the sign: `chain(sgd(1.0), scale_by_zoom_linesearch(15))`. `update` takes `value`, `grad`
    and `value_fn`, and what value_fn takes beside the parameters by name; value_fn returns the value, or (value, aux).
    It is traced once, inside one loop.
    slope_rtol, curv_rtol: c₁, c₂. approx_dec_rtol: also accept the approximate decrease of Hager, Zhang; None: no.
    max_linesearch_steps: evaluations. stepsize_precision: the smallest interval. initial_guess_strategy: `"one"`, or
    `"keep"` the last η. State: learning_rate, value, info; grad, shaped like p, float32 or wider.
    Raises: ValueError for arguments out of range; at update if params or one of the extras is missing.
    Source: Nocedal, Wright 2006, algorithms 3.5, 3.6; Hager, Zhang 2006, doi:10.1145/1132973.1132979.
    """
    check.integer(1, max_linesearch_steps=max_linesearch_steps)
    check.choice("one", "keep", initial_guess_strategy=initial_guess_strategy)
    check.boolean(verbose=verbose)
    return chain(
        ZoomLinesearch(
            int(max_linesearch_steps),
            None
            if max_learning_rate is None
            else check.number(check.positive, infinite=True, max_learning_rate=max_learning_rate),
            check.number(check.nonnegative, tol=tol),
            check.number(check.positive, increase_factor=increase_factor),
            check.number(check.nonnegative, slope_rtol=slope_rtol),
            check.number(check.nonnegative, infinite=True, curv_rtol=curv_rtol),
            None if approx_dec_rtol is None else check.number(check.nonnegative, approx_dec_rtol=approx_dec_rtol),
            check.number(check.nonnegative, stepsize_precision=stepsize_precision),
            initial_guess_strategy,
            verbose,
        )
    )
