"""What the frameworks' scheduler families share: names, users' functions, waves and one-cycle policies."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from gradxform.core import check
from gradxform.core.arithmetic import power
from gradxform.core.hyper import Beta, FromFunction, Hyper, Schedule
from gradxform.core.plain import got
from gradxform.schedules.arithmetic import SHAPES, between, half_cosine, raised, shares
from gradxform.schedules.piecewise import Interpolated
from gradxform.schedules.timed import Composed, Steps, Timed


class FrameworkSchedule(Composed):
    """A framework's scheduler under its own name, made of schedules of this library."""

    @classmethod
    def public_name(cls) -> str:
        return cls.__name__


class PythonFunction(FromFunction):
    """A user's function of the step: traced where that is possible, else run on the host."""

    def __call__(self, count: Any) -> Any:
        return traced_or_host(self.function, lambda n: float(self.function(n)), count)


def python_function(name: str, x: object) -> PythonFunction:
    if not callable(x):
        raise TypeError(f"{name} must be a function, {got(x)}")
    return x if isinstance(x, PythonFunction) else PythonFunction(x)


def traced_or_host(traced: Callable[[Any], Any], host: Callable[[Any], float], count: Any) -> Any:
    """`traced(count)` under a trace, if it can be traced; otherwise `host(n)` for each n as Python has it."""
    out = jax.ShapeDtypeStruct(jnp.shape(count), jnp.zeros((), dtype=float).dtype)

    def each(counts: Any) -> Any:
        return np.asarray(np.vectorize(host, otypes=[out.dtype])(np.asarray(counts)))

    if not isinstance(count, jax.core.Tracer):
        return jnp.asarray(each(count))
    try:
        return jnp.vectorize(lambda n: jnp.asarray(traced(n), dtype=float))(count)
    except TypeError:
        host(1)
        return jax.pure_callback(each, out, count, vmap_method="expand_dims")


class RunningProduct(Timed):
    """`init_value · f(1) · f(2) · ... · f(count)`, at a cost of `count` evaluations a call."""

    init_value: Hyper
    function: PythonFunction

    def at(self, count: Any) -> Any:
        return self.init_value * traced_or_host(self._traced, self._host, count)

    def _traced(self, count: Any) -> Any:
        def times(n: Any, product: Any) -> Any:
            return jnp.asarray(product * self.function.function(n), dtype=float)

        return lax.fori_loop(1, count + 1, times, jnp.ones((), dtype=float))

    def _host(self, count: int) -> float:
        return math.prod(float(self.function.function(n)) for n in range(1, count + 1))


class CosineWave(Timed):
    """From `high` to `low` in `half_period` steps along a half cosine, back in as many, and so on."""

    high: Hyper
    low: Hyper
    half_period: int

    def at(self, count: Any) -> Any:
        since = count % (2 * self.half_period)
        weights = half_cosine(*shares(jnp.minimum(since, 2 * self.half_period - since), self.half_period))
        return between(self.high, self.low, weights)


class PolynomialCycles(Timed):
    """Polynomial decay over a length that grows to the next multiple of itself when it has passed."""

    init_value: Hyper
    end_value: Hyper
    power: Hyper
    decay_steps: int

    def at(self, count: Any) -> Any:
        cycles = jnp.maximum((count + self.decay_steps - 1) // self.decay_steps, 1)
        length = self.decay_steps * cycles
        left = jnp.asarray(length - count, dtype=float) / length
        return between(self.init_value, self.end_value, raised(left, self.power))


class Triangles(Timed):
    """From `low` to `high` in `up` steps and back in `down`, again and again, the height scaled by a policy."""

    low: Hyper
    high: Hyper
    up: Steps
    down: Steps
    mode: str
    gamma: Beta = 1.0
    scale_fn: PythonFunction | None = None
    scale_mode: str = "cycle"

    def at(self, count: Any) -> Any:
        size = self.up + self.down
        since = count % size
        height = jnp.minimum(since / self.up, (size - since) / self.down) * self.scale(count, count // size)
        return between(self.high, self.low, (height, 1.0 - height))

    def scale(self, count: Any, cycles: Any) -> Any:
        if self.scale_fn is not None:
            return self.scale_fn(cycles + 1 if self.scale_mode == "cycle" else count)
        if self.mode == "exp_range":
            return power(self.gamma, count)
        return 1.0 if self.mode == "triangular" else jnp.ldexp(jnp.ones((), dtype=float), -cycles.astype(int))


def check_triangles(mode: str, gamma: Beta, scale_fn: Callable[[Any], Any] | None, scale_mode: str, name: str) -> None:
    """`name` is what the framework calls the base of its exponential policy."""
    if scale_fn is None:
        check.choice("triangular", "triangular2", "exp_range", mode=mode)
    check.choice("cycle", "iterations", scale_mode=scale_mode)
    check.positive(**{name: gamma})


def one_cycle(
    total_steps: int, share_up: float, values: tuple[Hyper, Hyper, Hyper], strategy: str, three_phase: bool
) -> Schedule:
    """From `start` to `peak`, (back to `start`,) and to `end` at the last step, with fractional turning points.

    The frameworks extrapolate to one step past the end and raise after it; here `end` stays after it.
    """
    start, peak, end = values
    top = share_up * total_steps - 1
    knots = [(0.0, start), (top, peak), *([(2 * top, start)] if three_phase else []), (total_steps - 1.0, end)]
    while knots[1][0] < 0:
        knots.pop(0)
    if knots[-1][0] <= knots[-2][0]:
        knots.pop()
    else:
        (before, first), (last, _) = knots[-2:]
        done = (total_steps - before) / (last - before)
        with jax.ensure_compile_time_eval():
            weights = tuple(map(float, SHAPES[strategy](1.0 - done, done)))
        beyond = first * weights[0] + end * weights[1]
        knots += [(float(total_steps), beyond), (total_steps + 1.0, end)]
    steps, rates = zip(*knots, strict=True)
    return Interpolated(steps, rates, strategy)


def check_one_cycle(total_steps: int, share_up: float, name: str) -> None:
    """`name` is what the framework calls the share of steps that go up."""
    if share_up * total_steps == 1.0:
        raise ValueError(f"{name} must not give a first phase of no steps, got {share_up} of {total_steps} steps")
