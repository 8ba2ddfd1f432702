"""Sharpness-aware minimization: the gradient of the worst point nearby."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import compute_dtype
from gradxform.core.chain import Chain, stages_of
from gradxform.core.devices import along
from gradxform.core.orders import UPHILL, refuse_loss_scale, undone_in
from gradxform.core.rows import Rows, is_row_leaf
from gradxform.core.state import renewed
from gradxform.core.step import apply_updates
from gradxform.core.transform import GradientTransformation
from gradxform.core.tree import is_trained, open_together, parameter
from gradxform.core.types import Array, AxisName, Gradient, OptState, Param, Params, Transformation, Tree, Updates
from gradxform.core.value import Child


class SamState(NamedTuple):
    """Steps since the last outer one, both states, and the parameters of the last outer step (empty in opaque mode)."""

    steps_since_sync: Array
    inner: OptState
    adversary: OptState
    cache: Params

    @property
    def waiting(self) -> Params:
        """The parameters to go on from without it: those that a round began from which is not finished."""
        unknown = isinstance(self.steps_since_sync, jax.core.Tracer | jax.ShapeDtypeStruct)
        return () if unknown or self.steps_since_sync == 0 else self.cache


class Sam(GradientTransformation):
    inner: Child[GradientTransformation]
    adversary: Child[GradientTransformation]
    sync_period: int = 2
    reset_state: bool = True
    opaque_mode: bool = False
    batch_axis_name: AxisName | None = None
    adaptive: bool = False
    wraps = ("inner", "adversary")
    together = ("steps_since_sync", "cache")
    renews = True
    name = "sam"
    needs_params = True

    @property
    def own_gradients(self) -> bool:
        return self.opaque_mode

    @property
    def between(self) -> str | None:
        return None if self.opaque_mode or self.sync_period == 1 else UPHILL

    def _init(self, params: Params) -> SamState:
        cache = () if self.opaque_mode else jax.tree.map(_kept, params)
        return SamState(jnp.zeros((), jnp.int32), self.inner.init(params), self.adversary.init(params), cache)

    def _update(
        self, updates: Updates, state: SamState, params: Params, extra: dict[str, Any]
    ) -> tuple[Updates, SamState]:
        if params is None:
            raise ValueError("sam needs the parameters: call update(updates, state, params)")
        state = self._admitted(state, params, updates)
        open_together(updates, params, params)
        extra = dict(extra)
        grad_fn = extra.pop("grad_fn", None)
        if not self.opaque_mode:
            return self._step(updates, state, params, extra)
        if grad_fn is None:
            raise ValueError("sam in opaque mode needs 'grad_fn': call update(updates, state, params, grad_fn=...)")
        return self._loop(updates, state, params, extra, grad_fn)

    def _step(
        self, updates: Updates, state: SamState, params: Params, extra: dict[str, Any]
    ) -> tuple[Updates, SamState]:
        """One call, one step: a step uphill, or after sync_period - 1 of them the outer step from where they began."""
        first, last = state.steps_since_sync == 0, state.steps_since_sync == self.sync_period - 1
        cache = _pick(first, jax.tree.map(_kept, params), state.cache)
        begun = jax.tree.map(lambda p, c: p if c is None else c, params, cache)
        up, adversary = self._uphill(updates, state.adversary, params)
        out, inner = self.inner.update(updates, state.inner, begun, **extra)
        out = _map(_from, out, params, begun)
        start = renewed(self.adversary.init(params), state.adversary) if self.reset_state else state.adversary
        states = _pick(last, inner, state.inner), _pick(last, start, adversary)
        steps = (state.steps_since_sync + 1) % self.sync_period
        return _map(lambda a, b: jnp.where(last, a, b), out, up), SamState(steps, *states, cache)

    def _loop(
        self, updates: Updates, state: SamState, params: Params, extra: dict[str, Any], grad_fn: Callable[..., Updates]
    ) -> tuple[Updates, SamState]:
        """The steps uphill inside one call, with gradients from grad_fn; then the outer step."""
        at, grads, adversary = params, updates, state.adversary
        for i in range(self.sync_period - 1):
            up, adversary = self._uphill(grads, adversary, at)
            at = apply_updates(at, up)
            grads = grad_fn(at, i)
            if self.batch_axis_name is not None:
                along(self.batch_axis_name)
                grads = jax.lax.pmean(grads, self.batch_axis_name)
            grads = _map(lambda g, new: new, updates, grads)
        start = renewed(self.adversary.init(params), adversary) if self.reset_state else adversary
        out, inner = self.inner.update(grads, state.inner, params, **extra)
        return out, SamState(state.steps_since_sync, inner, start, ())

    def _uphill(self, grads: Updates, state: OptState, params: Params) -> tuple[Updates, OptState]:
        """The adversary's step, turned uphill; in units of |p| where it is adaptive."""
        grads = _map(self._in_units, grads, params)
        down, state = self.adversary.update(grads, state, params)
        return _map(lambda u, p: -self._in_units(u, p), down, params), state

    def _in_units(self, x: Gradient, p: Param) -> Gradient:
        x = x.dense() if isinstance(x, Rows) else x
        return x * jnp.abs(p).astype(compute_dtype(p.dtype)) if self.adaptive and is_trained(p) else x

    def _evaluate(self, state: SamState, params: Params) -> Params:
        """Between outer steps the parameters are an adversary's; the ones to evaluate with wait in the cache."""
        state = self._admitted(state, params)
        if not self.opaque_mode:
            params = jax.tree.map(
                lambda p, c: p if c is None else jnp.where(state.steps_since_sync == 0, p, c), params, state.cache
            )
        return self.inner._evaluate(state.inner, params)


def _kept(p: Param) -> Param:
    """A copy of a parameter; None for one that never moves."""
    if not is_trained(p := parameter("", p)):
        return None
    return p if isinstance(p, jax.ShapeDtypeStruct) else jnp.array(p, dtype=p.dtype, copy=True)


def _from(u: Gradient, p: Param, c: Param) -> Gradient:
    """The update from p that lands where `c + u` does."""
    u = u.dense() if isinstance(u, Rows) else u
    wide = compute_dtype(u.dtype)
    return (c.astype(wide) - p.astype(wide)) + u.astype(wide)


def _pick(condition: Array, yes: Tree, no: Tree) -> Tree:
    return jax.tree.map(lambda y, n: jnp.where(condition, y, n), yes, no)


def _map(f: Callable[..., Gradient], updates: Updates, *rest: Tree) -> Updates:
    """Leaf by leaf, None where there is no update."""

    def at(u: Gradient, *others: Any) -> Gradient:
        return None if u is None or getattr(u, "dtype", None) == jax.dtypes.float0 else f(u, *others)

    return jax.tree.map(at, updates, *rest, is_leaf=is_row_leaf)


def sam(
    optimizer: Transformation,
    adv_optimizer: Transformation,
    sync_period: int = 2,
    reset_state: bool = True,
    opaque_mode: bool = False,
    batch_axis_name: AxisName | None = None,
    *,
    adaptive: bool = False,
) -> Sam:
    """Minimize the worst loss nearby: `sync_period - 1` adversary's steps uphill, then the optimizer's from the start.

    Foret's SAM: `sam(sgd(lr), chain(normalize_by_update_norm(eps=0.0), sgd(rho)))`. Each `update` is one step,
    and the parameters visit the adversary's points; `eval_params` gives the true ones. opaque_mode: each `update` is
    the whole round, with gradients from the extra argument `grad_fn(params, i)`, averaged over batch_axis_name.
    adaptive: ASAM: gradients and steps of adv_optimizer in units of |p|, `ε = ρ·|p|²g / ‖|p|g‖`.
    State: both inner ones; in the transparent mode cache, the parameters of the last outer step.
    Raises: ValueError if sync_period < 1, for a loss scale or guard inside that goes outside; at update if
    params, or in opaque mode grad_fn, are missing.
    Source: Foret et al. 2020, arXiv:2010.01412, algorithm 1; Kwon et al. 2021, arXiv:2102.11600, equation 4.
    """
    inner, adversary = (
        tx if isinstance(tx, GradientTransformation) else Chain(stages_of(tx, what))
        for tx, what in ((optimizer, "optimizer"), (adv_optimizer, "adv_optimizer"))
    )
    refuse_loss_scale("sam", inner)
    refuse_loss_scale("sam", adversary)
    if bool(undone := undone_in(inner)) != bool(undone_in(adversary)):
        one, other = ("optimizer", "adv_optimizer") if undone else ("adv_optimizer", "optimizer")
        raise ValueError(f"{one} undoes a loss scale and {other} does not: put unscale into both, or in front of sam")
    check.integer(1, sync_period=sync_period)
    check.boolean(reset_state=reset_state, opaque_mode=opaque_mode, adaptive=adaptive)
    if batch_axis_name is not None:
        check.axis(batch_axis_name=batch_axis_name)
        if not opaque_mode:
            raise ValueError(
                "batch_axis_name is for opaque_mode, in which sam asks for gradients itself; what it is given is "
                f"averaged outside: chain(mean_across({batch_axis_name!r}), sam(...))"
            )
    unguarded = [] if opaque_mode or any(x.guards for x in adversary.inside()) else inner.inside()
    if guard := next((x.name for x in unguarded if x.guards), None):
        raise ValueError(
            f"sam steps uphill on a gradient that is not finite before the {guard} of its optimizer sees it: "
            f"{guard} goes outside: {guard}(sam(...))"
        )
    return Sam(inner, adversary, int(sync_period), reset_state, opaque_mode, batch_axis_name, adaptive)
