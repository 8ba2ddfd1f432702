"""torch's L-BFGS: several inner iterations in each step, with or without its own line search."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from gradxform.compat.common.groups import read
from gradxform.compat.torch.checks import REFUSALS, NumberLike, constructor, nonnegative, number
from gradxform.compat.torch.wolfe import strong_wolfe
from gradxform.core import check
from gradxform.core.arithmetic import compute_dtype
from gradxform.core.plain import got
from gradxform.core.transform import GradientTransformation
from gradxform.core.tree import is_trained, open_tree
from gradxform.core.types import Array, Params, Path, Updates
from gradxform.transforms.objective import objective_of, of_path, value_dtype

Closure: TypeAlias = Callable[[Array], tuple[Array, Array]]
"""The row of all parameters -> loss and gradient there."""


class LbfgsState(NamedTuple):
    """What torch keeps: directions in one row for all n parameters, the history as a ring of h pairs.

    d, prev_flat_grad: (n,); old_dirs, old_stps: (h, n); ro: (h,); func_evals, n_iter, pairs: scalar int32; t, h_diag,
    prev_loss: scalars in the dtype of d.
    """

    func_evals: Array
    n_iter: Array
    pairs: Array
    d: Array
    t: Array
    old_dirs: Array
    old_stps: Array
    ro: Array
    h_diag: Array
    prev_flat_grad: Array
    prev_loss: Array


class Inner(NamedTuple):
    """One inner iteration after another. x, grad: (n,); loss: scalar; n, evals: scalar int32; stop: scalar bool."""

    state: LbfgsState
    x: Array
    loss: Array
    grad: Array
    n: Array
    evals: Array
    stop: Array


class TorchLbfgs(GradientTransformation):
    lr: float = 1.0
    max_iter: int = 20
    max_eval: int = 25
    tolerance_grad: float = 1e-7
    tolerance_change: float = 1e-9
    history_size: int = 100
    line_search_fn: str | None = None
    name = "lbfgs"
    sees_whole = True
    turns = True

    def _init(self, params: Params) -> LbfgsState:
        dtype = value_dtype(params)
        size = sum(p.size for p in jax.tree.leaves(params) if is_trained(p))
        count, one = functools.partial(jnp.zeros, (), jnp.int32), functools.partial(jnp.zeros, (), dtype)
        ring = functools.partial(jnp.zeros, (self.history_size, size), dtype)
        row = functools.partial(jnp.zeros, size, dtype)
        ro = jnp.zeros(self.history_size, dtype)
        return LbfgsState(
            count(), count(), count(), row(), one(), ring(), ring(), ro, jnp.ones((), dtype), row(), one()
        )

    def _update(
        self, updates: Updates, state: LbfgsState, params: Params | None, extra: dict[str, Any]
    ) -> tuple[Updates, LbfgsState]:
        if params is None or extra.get("value_fn") is None:
            raise TypeError("lbfgs evaluates the closure itself: call update(updates, state, params, value_fn=...)")
        state = self._admitted(state, params, updates)
        ps, dtype = of_path(params), state.d.dtype
        paths = [path for path, p in ps.items() if is_trained(p)]
        if any(jnp.iscomplexobj(ps[path]) for path in paths):
            raise ValueError("lbfgs takes real parameters; split complex ones into two real arrays")
        objective = objective_of(self.name, paths, params if extra.get("whole") is None else extra["whole"], extra)

        def split(x: Array) -> dict[Path, Array]:
            parts, at = {}, 0
            for path in paths:
                parts[path] = x[at : at + ps[path].size].reshape(ps[path].shape)
                at += ps[path].size
            return parts

        @jax.value_and_grad
        def closure(x: Array) -> Any:
            return objective([x.astype(ps[path].dtype) for path, x in split(x).items()]).astype(dtype)

        x0 = jnp.concatenate([ps[path].astype(dtype).reshape(-1) for path in paths])
        loss, grad = closure(x0)
        state = state._replace(func_evals=state.func_evals + 1)
        flat = jnp.max(jnp.abs(grad)) <= self.tolerance_grad
        zero = jnp.zeros((), jnp.int32)
        start = Inner(state, x0, loss, grad, zero, zero + 1, flat)
        end = jax.lax.while_loop(
            lambda s: ~s.stop & (s.n < self.max_iter), functools.partial(self._iterate, closure), start
        )
        moved = {path: u.astype(compute_dtype(ps[path].dtype)) for path, u in split(end.x - x0).items()}
        every, leaves, structure = open_tree(updates)
        return structure.unflatten([moved.get(path, u) for path, u in zip(every, leaves, strict=True)]), end.state

    def _iterate(self, closure: Closure, s: Inner) -> Inner:
        """torch's loop: direction, step length, then as few evaluations as its checks allow."""
        state, n = self._direction(s.state._replace(n_iter=s.state.n_iter + 1), s.grad), s.n + 1
        first = state.n_iter == 1
        state = state._replace(prev_flat_grad=s.grad, prev_loss=s.loss)
        t = jnp.where(first, jnp.minimum(1.0, 1.0 / jnp.sum(jnp.abs(s.grad))), 1.0).astype(s.loss.dtype) * self.lr
        slope = s.grad @ state.d
        level = slope > -self.tolerance_change

        def rest() -> tuple[Array, ...]:
            return s.x, s.loss, s.grad, t, jnp.zeros_like(n)

        def move() -> tuple[Array, ...]:
            if self.line_search_fn is None:
                x = s.x + t * state.d
                ahead = jax.lax.cond(n != self.max_iter, closure, lambda x: (s.loss, s.grad), x)
                return x, *ahead, t, (n != self.max_iter).astype(jnp.int32)

            def on(t: Array) -> tuple[Array, Array, Array]:
                loss, grad = closure(s.x + t * state.d)
                return loss, grad, grad @ state.d

            most = self.max_eval - s.evals
            loss, grad, length, evals = strong_wolfe(on, t, jnp.max(jnp.abs(state.d)), s.loss, s.grad, slope, most)
            return s.x + length * state.d, loss, grad, length, evals

        x, loss, grad, t, evals = jax.lax.cond(level, rest, move)
        state = state._replace(t=t, func_evals=state.func_evals + evals)
        stop = level | (s.evals + evals >= self.max_eval) | (jnp.max(jnp.abs(grad)) <= self.tolerance_grad)
        small = jnp.max(jnp.abs(state.d * t)) <= self.tolerance_change
        stop = stop | small | (jnp.abs(loss - s.loss) < self.tolerance_change)
        return Inner(state, x, loss, grad, n, s.evals + evals, stop)

    def _direction(self, s: LbfgsState, grad: Array) -> LbfgsState:
        first, many = s.n_iter == 1, self.history_size
        y, step = grad - s.prev_flat_grad, s.d * s.t
        ys = y @ step
        taken = ~first & (ys > 1e-10)
        slot = jnp.where(taken, s.pairs % many, many)  # behind the end nothing is written
        dirs, steps, ro = (
            ring.at[slot].set(new, mode="drop")
            for ring, new in ((s.old_dirs, y), (s.old_stps, step), (s.ro, 1.0 / jnp.where(taken, ys, 1.0)))
        )
        h_diag = jnp.where(taken, ys / jnp.where(taken, y @ y, 1.0), s.h_diag)
        pairs = s.pairs + taken
        order = (pairs + jnp.arange(many)) % many

        def right(q: Array, i: Array) -> tuple[Array, Array]:
            alpha = steps[i] @ q * ro[i]
            return q - alpha * dirs[i], alpha

        def left(r: Array, i_alpha: tuple[Array, Array]) -> tuple[Array, None]:
            i, alpha = i_alpha
            return r + (alpha - dirs[i] @ r * ro[i]) * steps[i], None

        q, alphas = jax.lax.scan(right, -grad, order, reverse=True)
        d, _ = jax.lax.scan(left, q * h_diag, (order, alphas))
        return s._replace(pairs=pairs, old_dirs=dirs, old_stps=steps, ro=ro, h_diag=h_diag, d=d)


@constructor
def lbfgs(
    lr: NumberLike = 1,
    max_iter: int = 20,
    max_eval: int | None = None,
    tolerance_grad: float = 1e-7,
    tolerance_change: float = 1e-9,
    history_size: int = 100,
    line_search_fn: str | None = None,
    *,
    groups: Sequence[Mapping[str, Any]] | None = None,
) -> TorchLbfgs:
    """`torch.optim.LBFGS`: each `update` is one `step(closure)`, up to max_iter inner iterations of L-BFGS.

    The closure is the extra argument `value_fn`, a function of the parameters (and of other extras by name), evaluated
    inside with its gradient; the updates handed over give the structure only. The loops compile once.
    max_eval: evaluations in a step, 5/4 of max_iter unless given. line_search_fn: None or `"strong_wolfe"`.
    Reach: tree. State: d, prev_flat_grad, rows of all parameters; old_dirs, old_stps, history_size of them; scalars.
    Raises: ValueError for lr < 0, several groups or complex parameters; RuntimeError for another line_search_fn;
    TypeError at update without value_fn.
    Source: torch 2.13, optim/lbfgs.py.
    """
    entries = [{"params": ()}] if groups is None else read(groups, REFUSALS)
    if len(entries) != 1:
        raise ValueError(f"lbfgs takes no parameter groups, got {len(entries)}")
    if len(entries[0]) > 1:
        raise ValueError(f"lbfgs takes no options in groups, but as its arguments; got {sorted(entries[0])}")
    nonnegative(lr=lr)
    rate = number("lr", lr)
    if not isinstance(rate, float):
        raise TypeError(f"lr must be a number, {got(lr)}")
    if not isinstance(line_search_fn, str | None) or line_search_fn not in (None, "strong_wolfe"):
        raise RuntimeError(f"line_search_fn must be None or 'strong_wolfe', {got(line_search_fn)}")
    check.integer(max_iter=max_iter)
    check.integer(1, history_size=history_size)
    most = max_iter * 5 // 4 if max_eval is None else max_eval
    check.integer(max_eval=most)
    grad, change = number("tolerance_grad", tolerance_grad), number("tolerance_change", tolerance_change)
    if not isinstance(grad, float) or not isinstance(change, float):
        raise TypeError(f"tolerance_grad and tolerance_change must be numbers, got {grad!r} and {change!r}")
    return TorchLbfgs(rate, int(max_iter), int(most), grad, change, int(history_size), line_search_fn)
