"""The objective along a step, for the stages that evaluate it themselves."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from gradxform.core.arithmetic import compute_dtype, real_dtype
from gradxform.core.devices import varying_axes
from gradxform.core.plain import got
from gradxform.core.rows import Rows, is_row_leaf
from gradxform.core.tree import is_trained, open_tree
from gradxform.core.types import Array, Dtype, Loss, OptState, Param, Params, Path, Updates


class LineSearchState(NamedTuple):
    """The rate of the last step, and the objective and its gradient (as `jax.grad` gives it) where that step landed.

    learning_rate, value: scalars. grad: like the parameters, None where it is not kept. info: scalars.
    """

    learning_rate: Array
    value: Array
    grad: Updates
    info: tuple[Array, ...]


class Line(NamedTuple):
    """The objective `f(p + step·u)` as a function of the step, over the leaves that have an update."""

    paths: list[Path]
    us: list[Array]
    ps: list[Array]
    grads: list[Array]
    value: Array
    slope: Array
    objective: Callable[[list[Array]], Array]

    def landed(self, step: Array) -> list[Array]:
        """Where the step lands, rounded as it will be stored."""
        return [(p.astype(u.dtype) + step.astype(u.real.dtype) * u).astype(p.dtype) for p, u in self._pairs()]

    def value_at(self, step: Array) -> Array:
        return self.objective(self.landed(step)).astype(self.value.dtype)

    def at(self, step: Array) -> tuple[Array, list[Array], Array]:
        """Value, gradients and slope after a step."""
        value, grads = jax.value_and_grad(self.objective)(self.landed(step))
        grads = [g.astype(u.dtype) for g, u in zip(grads, self.us, strict=True)]
        return value.astype(self.value.dtype), grads, slope(grads, self.us, self.value.dtype)

    def _pairs(self) -> Iterator[tuple[Array, Array]]:
        return zip(self.ps, self.us, strict=True)


def slope(grads: list[Array], us: list[Array], dtype: Dtype) -> Array:
    """`Re Σ g·u`, for gradients as `jax.grad` gives them."""
    products = [jnp.sum((g * u).real).astype(dtype) for g, u in zip(grads, us, strict=True)]
    return jnp.stack(products).sum() if products else jnp.zeros((), dtype)


def line(name: str, updates: Updates, params: Params, extra: dict[str, Any]) -> Line:
    """The objective along the updates, from `value`, `grad`, `value_fn` and what else `value_fn` takes by name."""
    if params is None:
        raise ValueError(f"{name} needs the parameters: call update(updates, state, params)")
    for key in ("value", "grad", "value_fn"):
        if extra.get(key) is None:
            raise ValueError(f"{name} needs {key!r}: call update(updates, state, params, {key}=...)")
    us, ps, gs = (of_path(tree) for tree in (updates, params, extra["grad"]))
    paths = [path for path, u in us.items() if is_trained(u)]
    for path in paths:
        if gs.get(path) is None:
            raise ValueError(f"{name}: grad has no gradient for {path!r}, which has an update")
    refuse_parts(name, us)
    wide = [compute_dtype(ps[path].dtype) for path in paths]
    moves = [us[path].astype(dtype) for path, dtype in zip(paths, wide, strict=True)]
    grads = [dense(gs[path]).astype(dtype).conj() for path, dtype in zip(paths, wide, strict=True)]
    dtype = value_dtype(params)
    objective = objective_of(name, paths, params if extra.get("whole") is None else extra["whole"], extra)
    value = jnp.asarray(extra["value"], dtype)
    return Line(paths, moves, [ps[path] for path in paths], grads, value, slope(grads, moves, dtype), objective)


def objective_of(name: str, paths: list[Path], whole: Params, extra: dict[str, Any]) -> Callable[[list[Array]], Array]:
    """`value_fn` of the arrays at some paths, the rest of the tree and the other arguments held; no auxiliary data."""
    value_fn, keywords = extra["value_fn"], arguments(name, extra["value_fn"], extra)
    every, leaves, structure = open_tree(whole)

    def objective(xs: list[Array]) -> Array:
        new = dict(zip(paths, xs, strict=True))
        out = value_fn(structure.unflatten([new.get(p, x) for p, x in zip(every, leaves, strict=True)]), **keywords)
        return jnp.asarray(out[0] if isinstance(out, tuple) else out)

    return objective


def arguments(name: str, value_fn: Loss, extra: dict[str, Any]) -> dict[str, Any]:
    """What `value_fn` takes beside the parameters, from the extra arguments by name."""
    if not callable(value_fn):
        raise TypeError(f"{name}: value_fn must be a function, {got(value_fn)}")
    taken: dict[str, Any] = {}
    for p in list(inspect.signature(value_fn).parameters.values())[1:]:
        if p.kind == p.VAR_KEYWORD:
            taken |= {key: x for key, x in extra.items() if key not in ("value", "grad", "value_fn", "whole")}
        elif p.kind != p.VAR_POSITIONAL and p.name in extra:
            taken[p.name] = extra[p.name]
        elif p.kind != p.VAR_POSITIONAL and p.default is p.empty:
            raise ValueError(f"value_fn takes {p.name!r}: {name} needs update(updates, state, params, {p.name}=...)")
    return taken


def of_path(tree: Updates) -> dict[Path, Any]:
    """Path -> leaf, sparse rows made dense."""
    paths, leaves, _ = open_tree(tree)
    return {path: dense(x) for path, x in zip(paths, leaves, strict=True)}


def dense(x: Any) -> Any:
    return x.dense() if isinstance(x, Rows) else x


def refilled(tree: Updates, new: dict[Path, Any]) -> Updates:
    """The tree with the leaves at some paths exchanged, in their dtypes."""
    paths, leaves, structure = open_tree(tree)
    pairs = zip(paths, leaves, strict=True)
    return structure.unflatten([new[p].astype(x.dtype) if x is not None and p in new else x for p, x in pairs])


def zeros(params: Params, *axes: int) -> Updates:
    """Zeros like the parameters, in float32 or wider, with further axes in front; None for what is not trained."""

    def zero(p: Param) -> Array | jax.ShapeDtypeStruct | None:
        if not is_trained(p):
            return None
        shape, dtype = (*axes, *p.shape), compute_dtype(p.dtype)
        if isinstance(p, jax.ShapeDtypeStruct):
            return jax.ShapeDtypeStruct(shape, dtype, **({} if axes else {"sharding": p.sharding}))
        return jnp.broadcast_to(jnp.zeros_like(p, dtype), shape)

    return jax.tree.map(zero, params, is_leaf=is_row_leaf)


def value_dtype(params: Params) -> Any:
    """The real dtype, float32 or wider, in which values and slopes are computed."""
    dtypes = [compute_dtype(p.dtype) for p in jax.tree.leaves(params) if is_trained(p)]
    return real_dtype(jnp.result_type(jnp.float32, *dtypes))


def refuse_parts(name: str, arrays: dict[Path, Any]) -> None:
    """Refuse leaves that differ between devices inside `shard_map`: inner products would see one device's part."""
    for path, x in arrays.items():
        if axes := varying_axes(x):
            raise ValueError(
                f"{name} looks at more than one element of {path!r}, and inside shard_map it would see one device's "
                f"part of it only (it varies over {', '.join(sorted(axes))}); run it under jit, or on replicated "
                "parameters and averaged gradients (mean_across)"
            )


def value_and_grad_from_state(value_fn: Loss, *, has_aux: bool = False) -> Callable[..., tuple[Any, Updates]]:
    """`jax.value_and_grad(value_fn)` that takes both from the state of a line search where it holds them.

    Call it as `f(params, *args, state=state, **kwargs)`, inside `jit` too. For an objective that does not change from
    step to step: the last point of the search is where the next step starts. Gradients in float32 or wider.
    has_aux: value_fn returns `(value, aux)`, and so does f in place of the value; aux is computed afresh.
    Raises: ValueError if the state holds no gradient of one line search; TypeError if value_fn is no function.
    """
    if not callable(value_fn):
        raise TypeError(f"value_fn must be a function, {got(value_fn)}")
    if not isinstance(has_aux, bool):
        raise TypeError(f"has_aux must be True or False, {got(has_aux)}")

    def from_state(params: Params, *args: Any, state: OptState, **kwargs: Any) -> tuple[Any, Updates]:
        search = _searched(state)
        known = of_path(search.grad)

        def stored(params: Params) -> tuple[Any, Updates]:
            paths, ps, structure = open_tree(params)
            gs = [known.get(path) for path in paths]
            grads = structure.unflatten([_zero(p) if g is None else g for g, p in zip(gs, ps, strict=True)])
            return ((search.value, value_fn(params, *args, **kwargs)[1]) if has_aux else search.value), grads

        def fresh(params: Params) -> tuple[Any, Updates]:
            out, grads = jax.value_and_grad(value_fn, has_aux=has_aux)(params, *args, **kwargs)
            value = (out[0] if has_aux else out).astype(search.value.dtype)
            return ((value, out[1]) if has_aux else value), jax.tree.map(_wide, grads)

        out: tuple[Any, Updates] = jax.lax.cond(jnp.isfinite(search.value), stored, fresh, params)
        return out

    return from_state


def _searched(state: OptState) -> LineSearchState:
    def is_search(x: object) -> bool:
        return isinstance(x, LineSearchState)

    searches: list[LineSearchState] = [x for x in jax.tree.leaves(state, is_leaf=is_search) if is_search(x)]
    if len(searches) != 1:
        raise ValueError(f"the state holds {len(searches)} line searches; value_and_grad_from_state reads exactly one")
    if searches[0].grad is None:
        raise ValueError("the line search keeps no gradient: give it store_grad=True")
    return searches[0]


def _wide(x: Array) -> Array:
    return x.astype(compute_dtype(x.dtype))


def _zero(p: Param) -> Array | None:
    return None if p is None else jnp.zeros(p.shape, compute_dtype(p.dtype))
