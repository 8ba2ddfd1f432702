"""L-BFGS: the gradient times an inverse Hessian estimated from the last steps, then a line search."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import compute_dtype, next_count
from gradxform.core.chain import Chain, chain, lift, stages_of
from gradxform.core.hyper import Hyper
from gradxform.core.transform import GradientTransformation
from gradxform.core.tree import is_trained, open_tree
from gradxform.core.types import Array, Dtype, Params, Path, Transformation, Updates
from gradxform.core.walk import kept
from gradxform.transforms.objective import of_path, refilled, refuse_parts, value_dtype, zeros
from gradxform.transforms.scale import Turn, descend
from gradxform.transforms.zoom import scale_by_zoom_linesearch

Arrays = dict[Path, Array]
"""Arrays by their paths: a vector over all leaves."""


class LbfgsState(NamedTuple):
    """count: updates done. pairs: pairs taken in. Memories: the last pairs, in a ring; weights: 1 / y·s of each.

    params, updates: like the parameters; the two memories with an axis of memory_size in front; weights_memory: that
    axis alone; count, pairs, scale: scalars.
    """

    count: Any
    pairs: Array
    params: Params
    updates: Updates
    diff_params_memory: Params
    diff_updates_memory: Updates
    weights_memory: Array
    scale: Array


class ScaleByLbfgs(GradientTransformation):
    memory_size: int = 10
    scale_init_precond: bool = True
    name = "lbfgs"
    needs_params = True
    holds = True

    def _init(self, params: Params) -> LbfgsState:
        refuse_parts(self.name, of_path(params))
        dtype, many = value_dtype(params), self.memory_size
        count = jnp.zeros((), jnp.int32)
        last, rings = (zeros(params), zeros(params)), (zeros(params, many), zeros(params, many))
        return LbfgsState(count, jnp.copy(count), *last, *rings, jnp.zeros(many, dtype), jnp.ones((), dtype))

    def _update(
        self, updates: Updates, state: LbfgsState, params: Params, extra: dict[str, Any], ok: Array | None = None
    ) -> tuple[Updates, LbfgsState]:
        if params is None:
            raise ValueError("lbfgs needs the parameters: call update(updates, state, params)")
        state = self._admitted(state, params, updates)
        every_g, ps = of_path(updates), of_path(params)
        refuse_parts(self.name, {**every_g, **ps})
        paths = [path for path, g in every_g.items() if g is not None and is_trained(ps[path])]
        gs = {path: every_g[path].astype(compute_dtype(ps[path].dtype)) for path in paths}
        ps = {path: jnp.array(ps[path], gs[path].dtype, copy=True) for path in paths}
        new, ss, ys = self._taken_in(state, ps, gs, ok)
        weights, dtype = new.weights_memory, new.weights_memory.dtype
        rings = (ss, ys)

        # Either loop reads a pair once and q twice, and writes q: 10 passes over the parameters a pair. A sum and the
        # next product in one kernel would save one of 5 on GPUs, and cost one on CPUs, where they stay two kernels.
        def right(q: Arrays, i: Array) -> tuple[Arrays, Array]:
            s, y = _at(rings, i)
            alpha = weights[i] * _dot(s, q, dtype)
            return _add(q, -alpha, y), alpha

        def left(r: Arrays, i_alpha: tuple[Array, Array]) -> tuple[Arrays, None]:
            i, alpha = i_alpha
            s, y = _at(rings, i)
            return _add(r, alpha - weights[i] * _dot(y, r, dtype), s), None

        oldest_first = (new.pairs + jnp.arange(self.memory_size)) % self.memory_size
        q, alphas = jax.lax.scan(right, gs, oldest_first, reverse=True)
        q = {path: x * new.scale.astype(x.real.dtype) for path, x in q.items()}
        r, _ = jax.lax.scan(left, q, (oldest_first, alphas))
        every, leaves, structure = open_tree(updates)
        return structure.unflatten([r.get(path, x) for path, x in zip(every, leaves, strict=True)]), new

    def _taken_in(
        self, state: LbfgsState, ps: Arrays, gs: Arrays, ok: Array | None
    ) -> tuple[LbfgsState, Arrays, Arrays]:
        """The state with the last step's pair in the ring where its curvature is positive; the memories by path."""
        dtype = state.weights_memory.dtype
        old_p, old_g = of_path(state.params), of_path(state.updates)
        s, y = {k: ps[k] - old_p[k] for k in ps}, {k: gs[k] - old_g[k] for k in gs}
        ys, yy = _dot(y, s, dtype), _dot(y, y, dtype)
        curved = (state.count > 0) & (ys > 0.0) & jnp.isfinite(ys) & jnp.isfinite(yy) & jnp.isfinite(1.0 / ys)
        curved = curved if ok is None else curved & ok
        # Behind the end nothing is written. To choose between new and old would read the ring, and copy what it reads.
        slot = jnp.where(curved, state.pairs % self.memory_size, self.memory_size)
        memories = of_path(state.diff_params_memory), of_path(state.diff_updates_memory)
        ss, yys = (
            {k: m.at[slot].set(x.get(k, 0.0), mode="drop") for k, m in memory.items() if m is not None}
            for memory, x in zip(memories, (s, y), strict=True)
        )
        weights = state.weights_memory.at[slot].set(1.0 / jnp.where(curved, ys, 1.0), mode="drop")
        size = state.scale
        if self.scale_init_precond:
            begins = (state.count == 0) | (size == 0)  # 0 from a gradient whose square overflowed
            size = jnp.where(begins, jnp.minimum(1.0, 1.0 / jnp.sqrt(_dot(gs, gs, dtype))), size)
            size = jnp.where(curved, ys / jnp.where(curved, yy, 1.0), size).astype(dtype)
        copies = {k: jnp.array(g, copy=True) for k, g in gs.items()}
        for k, g in old_g.items():  # Of a leaf that rests at the first step: its next pair, without a last gradient,
            if g is not None and k not in gs:  # has a square that overflows, and is left out.
                copies[k] = jnp.where(state.count == 0, jnp.finfo(g.dtype).max, g)
        params = kept(ok, refilled(state.params, ps), state.params)
        updates = kept(ok, refilled(state.updates, copies), state.updates)
        count, pairs = kept(ok, next_count(state.count), state.count), state.pairs + curved
        rings = refilled(state.diff_params_memory, ss), refilled(state.diff_updates_memory, yys)
        new = LbfgsState(count, pairs, params, updates, *rings, weights, kept(ok, size, state.scale))
        return new, {k: ss[k] for k in ps}, {k: yys[k] for k in ps}


def _dot(a: Arrays, b: Arrays, dtype: Dtype) -> Array:
    """The real inner product over all leaves."""
    products = [jnp.sum((a[k].conj() * b[k]).real).astype(dtype) for k in a]
    return jnp.stack(products).sum() if products else jnp.zeros((), dtype)


def _add(x: Arrays, factor: Array, y: Arrays) -> Arrays:
    return {k: x[k] + factor.astype(x[k].real.dtype) * y[k] for k in x}


def _at(rings: tuple[Arrays, Arrays], i: Array) -> tuple[Arrays, Arrays]:
    one: tuple[Arrays, Arrays] = jax.tree.map(lambda x: x[i], rings)
    return one


def scale_by_lbfgs(memory_size: int = 10, scale_init_precond: bool = True) -> Chain:
    """Multiply the gradient by an inverse Hessian: `u = H·g`, H from the last pairs `s = Δp`, `y = Δg` by BFGS updates.

    H starts from `(s·y / y·y)·I` of the newest pair (at the first step from `min(1, 1/‖g‖)·I`), from I without
    scale_init_precond. A pair with `s·y <= 0` is left out, so that u stays uphill for any step length. A leaf without
    gradient takes no part, its step in that pair is 0. Sharded parameters run under `jit` as they are.
    Reach: tree. State: params, updates, shaped like p, and two memories of memory_size times p, float32 or wider;
    weights_memory, scale, count, pairs.
    Raises: ValueError if memory_size < 1 or params are missing; inside shard_map for leaves that vary.
    Source: Liu, Nocedal 1989, doi:10.1007/BF01589116; Nocedal, Wright 2006, algorithms 7.4, 7.5.
    """
    check.integer(1, memory_size=memory_size)
    check.boolean(scale_init_precond=scale_init_precond)
    return chain(ScaleByLbfgs(int(memory_size), scale_init_precond))


def lbfgs(
    learning_rate: Hyper | None = None,
    memory_size: int = 10,
    scale_init_precond: bool = True,
    linesearch: Transformation | None = scale_by_zoom_linesearch(20, initial_guess_strategy="one"),  # noqa: B008
) -> Chain:
    """L-BFGS with a line search: `scale_by_lbfgs`, `scale(-1)` (or the learning rate), `scale_by_zoom_linesearch(20)`.

    `update` takes `value`, `grad`, `value_fn` for the line search (see there). linesearch: None for fixed steps.
    Source: Liu, Nocedal 1989; Nocedal, Wright 2006, algorithm 7.5.
    """
    step = lift(Turn()) if learning_rate is None else descend(learning_rate)
    search = chain() if linesearch is None else Chain(stages_of(linesearch, "linesearch"))
    direction = scale_by_lbfgs(memory_size, scale_init_precond)
    try:
        return chain(direction, step, search)
    except ValueError as error:
        raise ValueError(f"linesearch: {error}") from None
