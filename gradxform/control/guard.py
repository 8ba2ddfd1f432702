"""A guard: steps that would do harm are not taken, and counted."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, NamedTuple

import jax.numpy as jnp

from gradxform.control.hold import Asked, Control, axis_or_none, map_gradients, tree_norm, update_if, watched
from gradxform.core import check
from gradxform.core.arithmetic import next_count
from gradxform.core.devices import mean_over
from gradxform.core.dither import APART, plus, turn
from gradxform.core.sizes import squarable
from gradxform.core.types import Array, ArrayLike, AxisName, Dtype, OptState, Params, Transformation, Updates
from gradxform.core.walk import kept

ROUNDING = 1e-5
"""Equal figures may differ by so much, relatively; norms of clipped gradients have next to no variance."""


class Running(NamedTuple):
    """Mean and variance over the steps taken, and how many of them."""

    mean: Array
    var: Array
    seen: Array


class GuardState(NamedTuple):
    """The inner state; running statistics by name; counts of steps, and whether the last one was skipped."""

    inner: OptState
    statistics: dict[str, Running]
    skipped: Array
    nonfinite: Array
    spikes: Array
    consecutive: Array
    last_skipped: Array


class Guard(Control):
    nonfinite: str = "skip"
    spike: float | None = None
    max_consecutive: int | None = None
    then: str | None = None
    decay: float = 0.99
    warmup: int = 20
    axis_name: AxisName | None = None
    max_norm: float | None = None
    guards = True

    def __repr__(self) -> str:
        changed = {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}
        changed.pop("inner")
        return f"guard({', '.join([repr(self.inner), *(f'{name}={x!r}' for name, x in changed.items())])})"

    @property
    def name(self) -> str:
        return "guard"

    def _init(self, params: Params) -> GuardState:
        def zero(dtype: Dtype = jnp.int32) -> Array:
            return jnp.zeros((), dtype)

        names = () if self.spike is None else ("norm", "value")
        statistics = {name: Running(zero(jnp.float32), zero(jnp.float32), zero()) for name in names}
        return GuardState(self.inner.init(params), statistics, zero(), zero(), zero(), zero(), zero(bool))

    def _step(
        self, updates: Updates, state: GuardState, params: Params, extra: dict[str, Any], asked: Asked
    ) -> tuple[Updates, GuardState]:
        worn = jnp.asarray(False) if self.max_consecutive is None else state.consecutive >= self.max_consecutive
        figures = {"norm": tree_norm(updates, self.axis_name, self.name)}
        if extra.get("value") is not None:
            figures["value"] = self._loss(extra["value"])
        finite = jnp.stack([jnp.isfinite(x) for x in figures.values()]).all()
        if "zero" in (self.nonfinite, self.then):
            cleansed = jnp.asarray(True) if self.nonfinite == "zero" else worn
            updates = map_gradients(lambda g: jnp.where(cleansed & ~jnp.isfinite(g), 0, g), updates)
            figures["norm"] = tree_norm(updates, self.axis_name, self.name)
        spike = jnp.asarray(False)
        for name, running in state.statistics.items():
            if name in figures:
                spike |= finite_and_above(figures[name], running, self.spike, self.warmup)
        if self.max_norm is not None:
            spike |= jnp.isfinite(figures["norm"]) & (figures["norm"] > self.max_norm)
        bad = spike if self.nonfinite == "zero" else spike | ~finite
        taken = ~bad | (worn & self._gives_in(finite))
        new, inner = update_if(asked.where(taken), self.inner, updates, state.inner, params, extra)
        statistics = {
            name: self._moved(running, figures[name], taken) if name in figures else running
            for name, running in state.statistics.items()
        }
        counts = (_counted(state.skipped, ~taken), _counted(state.nonfinite, ~finite), _counted(state.spikes, spike))
        consecutive = jnp.where(bad, next_count(state.consecutive), 0)
        figures_kept = statistics, *counts, consecutive, ~taken
        return new, GuardState(inner, *kept(asked.ok, figures_kept, tuple(state[1:])))

    def _loss(self, value: ArrayLike) -> Array:
        value = jnp.asarray(value)
        if value.shape != ():
            raise ValueError(f"value, the loss, must be a scalar, got an array of shape {value.shape}")
        return value if self.axis_name is None else mean_over(value, self.axis_name)

    def _gives_in(self, finite: Array) -> Any:
        """Whether a bad step is taken once `max_consecutive` of them have been skipped."""
        if self.then == "accept_finite":
            return finite
        return jnp.asarray(self.then in ("accept", "zero"))

    def _moved(self, old: Running, x: Array, taken: Array) -> Running:
        """The mean and variance of all so far, of the last 1/(1-decay) or so once there are more."""
        seen = next_count(old.seen)
        share = jnp.maximum(1.0 - self.decay, 1.0 / seen)
        off = x.astype(jnp.float32) - old.mean
        near = squarable(off)
        mean, var = plus(old.mean, share * off, turn(seen)), (1 - share) * (old.var + share * near * near)
        var = plus(old.var, share * ((1 - share) * near * near - old.var), turn(seen, APART), var)
        new = Running(mean, var, seen)
        return Running(*(jnp.where(taken & jnp.isfinite(x), a, b) for a, b in zip(new, old, strict=True)))


def finite_and_above(x: Array, running: Running, deviations: float | None, warmup: int) -> Array:
    """Whether a finite figure is a spike: above the mean by so many standard deviations, and by more than rounding."""
    bound = running.mean + jnp.maximum((deviations or 0.0) * jnp.sqrt(running.var), ROUNDING * jnp.abs(running.mean))
    return jnp.isfinite(x) & (running.seen >= warmup) & (x > bound)


def _counted(count: Array, happened: Array) -> Array:
    return jnp.where(happened, next_count(count), count)


def guard(
    tx: Transformation,
    nonfinite: str = "skip",
    spike: float | None = None,
    max_consecutive: int | None = None,
    then: str | None = None,
    *,
    decay: float = 0.99,
    warmup: int = 20,
    axis_name: AxisName | None = None,
    max_norm: float | None = None,
) -> Guard:
    """Take no step that does harm: zero update, and parameters, statistics and counters stand still.

    nonfinite: `"skip"` such steps, or `"zero"` the elements that are not finite and go on. The gradients are finite if
    their global norm is (above 1.8e19 its square overflows float32); so must be the loss, where it is given as
    `update(..., value=loss)`. spike: also skip a step whose norm, or loss, is more than so many standard deviations
    above the running mean of the steps taken (over about `1/(1-decay)` of them, after `warmup`); 6 is usual. max_norm:
    also skip a step whose global norm is above it, which counts as a spike.
    max_consecutive: after so many bad steps in a row, `then`: `"skip"` on, `"accept_finite"` ones (spikes) or
    `"accept"` all, or `"zero"` what is not finite and take the step. axis_name: device axes to decide over.
    State: the inner one; skipped, nonfinite, spikes, consecutive (int32), last_skipped; mean, var, seen of each figure.
    Raises: ValueError if max_consecutive stands without `then`, or the reverse; for arguments out of range; for a loss
    scale inside, which goes outside.
    Source: for spikes as OLMo-core's SkipStepOptimizer, with moving statistics instead of windowed ones.
    """
    check.choice("skip", "zero", nonfinite=nonfinite)
    spike = None if spike is None else check.number(check.positive, spike=spike)
    check.choice(None, "skip", "accept_finite", "accept", "zero", then=then)
    if max_consecutive is not None:
        check.integer(0, max_consecutive=max_consecutive)
    max_norm = None if max_norm is None else check.number(check.positive, max_norm=max_norm)
    if (max_consecutive is None) != (then is None):
        raise ValueError(
            f"max_consecutive and then stand together: say what happens, got max_consecutive={max_consecutive}, "
            f"then={then!r}"
        )
    decay = check.number(check.fraction, decay=decay)
    check.integer(1, warmup=warmup)
    return Guard(
        watched("guard", tx=tx),
        nonfinite,
        spike,
        max_consecutive,
        then,
        decay,
        warmup,
        axis_or_none(axis_name),
        max_norm,
    )


def apply_if_finite(inner: Transformation, max_consecutive_errors: int) -> Guard:
    """Skip steps whose gradients are not finite, and accept them after so many in a row: as optax's.

    `guard(inner, max_consecutive=max_consecutive_errors, then="accept")`; guard offers better ways out.
    State: that of `guard`: nonfinite is optax's total_notfinite, consecutive its notfinite_count.
    Raises: TypeError unless max_consecutive_errors is an integer, ValueError if it is negative.
    """
    check.integer(0, max_consecutive_errors=max_consecutive_errors)
    return Guard(watched("apply_if_finite", inner=inner), max_consecutive=max_consecutive_errors, then="accept")
