"""A float32 copy of parameters that are kept in fewer bits."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradxform.core.admit import of_kind
from gradxform.core.arithmetic import compute_dtype, rounded
from gradxform.core.chain import Chain, stages_of
from gradxform.core.rows import is_row_leaf
from gradxform.core.step import apply_updates
from gradxform.core.transform import GradientTransformation
from gradxform.core.tree import in_boxes, is_trained, memory_structure, parameter, unboxed
from gradxform.core.types import Gradient, OptState, Param, Params, Structure, Taken, Transformation, Tree, Updates
from gradxform.core.value import Child
from gradxform.core.walk import kept


class MasterState(NamedTuple):
    """The inner state, and the master of each parameter in fewer bits: {} for the others."""

    inner: OptState
    master: Tree


class MasterWeights(GradientTransformation):
    """A transformation that sees, and moves, a float32 copy of the parameters."""

    inner: Child[GradientTransformation]
    holds = True
    wraps = ("inner",)

    def __repr__(self) -> str:
        return f"master_weights({self.inner!r})"

    @property
    def name(self) -> str:
        return "master_weights"

    def _init(self, params: Params) -> MasterState:
        ps = jax.tree.leaves(params, is_leaf=is_row_leaf)
        masters = in_boxes(params, [_master(p) for p in ps])
        return MasterState(self.inner.init(_seen(params, masters)), masters)

    def inner_params(self, state: MasterState, params: Params) -> Params:
        return _seen(params, state.master)

    def _update(
        self, updates: Updates, state: MasterState, params: Params, extra: dict[str, Any], ok: Taken = None
    ) -> tuple[Updates, MasterState]:
        if params is None:
            of_kind(state, MasterState, self)
            if jax.tree.leaves(state.master):
                raise ValueError("master_weights needs the parameters: call update(updates, state, params)")
            steps, inner = self.inner.advance(updates, state.inner, None, extra, ok)
            return steps, MasterState(inner, state.master)
        state = self._admitted(state, params, updates)
        seen = _seen(params, state.master)
        steps, inner = self.inner.advance(updates, state.inner, seen, extra, ok)
        structure: Structure = jax.tree.structure(params, is_leaf=is_row_leaf)
        place = memory_structure(params)
        old = place.flatten_up_to(unboxed(state.master))
        moved = structure.flatten_up_to(apply_updates(seen, steps))
        new = [kept(ok, m, o) if _is_kept(o) else {} for o, m in zip(old, moved, strict=True)]
        towards = map(_towards, structure.flatten_up_to(steps), structure.flatten_up_to(params), new)
        master = jax.tree.unflatten(jax.tree.structure(state.master), jax.tree.leaves(new))
        return structure.unflatten(list(towards)), MasterState(inner, master)

    def _evaluate(self, state: MasterState, params: Params) -> Params:
        state = self._admitted(state, params)
        better = self.inner._evaluate(state.inner, _seen(params, state.master))
        return jax.tree.map(lambda x, p: x if p is None else x.astype(p.dtype), better, params, is_leaf=is_row_leaf)


def _master(p: Param) -> Param:
    """A copy in float32 or wider of a parameter that has fewer bits, {} for another."""
    p = parameter("", p)
    if not is_trained(p) or compute_dtype(p.dtype) == p.dtype:
        return {}
    if isinstance(p, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(p.shape, compute_dtype(p.dtype), sharding=p.sharding)
    return p.astype(compute_dtype(p.dtype))


def _is_kept(master: Param) -> bool:
    return not isinstance(master, dict)


def _seen(params: Params, masters: Tree) -> Params:
    """The parameters with their masters in place of them."""
    structure: Structure = jax.tree.structure(params, is_leaf=is_row_leaf)
    places = memory_structure(params).flatten_up_to(unboxed(masters))
    pairs = zip(structure.flatten_up_to(params), places, strict=True)
    return structure.unflatten([m if _is_kept(m) else p for p, m in pairs])


def _towards(u: Gradient, p: Param, master: Param) -> Gradient:
    """u such that p + u rounds to the master rounded."""
    if u is None or not _is_kept(master):
        return u
    target = rounded(master, p.dtype)
    p = p.astype(master.dtype)
    return jnp.where(jnp.isfinite(p) & jnp.isfinite(target), target - p, target)


def master_weights(tx: Transformation) -> MasterWeights:
    """Keep a float32 copy of parameters in bfloat16 or float16: `m <- m + u(g, m)`, and `apply_updates` gives round(m).

    The transformation inside sees the master in place of the parameters; parameters in float32 or wider have none.
    A step lands on round(m) but where float32 cannot hold the way there: when p is 2¹⁶ times larger than what remains.
    Sparse rows make a dense update. `round_updates("split16")` keeps the same bits in half the room.
    State: the inner one, and master, shaped like p, float32.
    Raises: ValueError if params are missing.
    Source: Micikevicius et al. 2017, arXiv:1710.03740, section 3.1.
    """
    inner = tx if isinstance(tx, GradientTransformation) else Chain(stages_of(tx, "tx"))
    return MasterWeights(inner)
