"""What controls share: the norm that decides, and an update that is taken or held back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import cast, compute_dtype, real_dtype
from gradxform.core.chain import Chain, stages_of
from gradxform.core.devices import varying_axes
from gradxform.core.norms import barrier, barrier_each, norm_of
from gradxform.core.rows import Rows, is_row_leaf
from gradxform.core.transform import GradientTransformation
from gradxform.core.tree import is_inexact, open_tree


def inner_of(**named: Any) -> GradientTransformation:
    """The transformation to wrap; another library's pair as a chain of one stage."""
    ((what, tx),) = named.items()
    return tx if isinstance(tx, GradientTransformation) else Chain(stages_of(tx, what))


def number(least: Callable[..., None], **named: Any) -> float:
    """A plain number in its range: what a schedule or a tunable cannot stand for."""
    ((name, x),) = named.items()
    found = check.given(least, **named)
    if not isinstance(found, float):
        raise TypeError(f"{name} must be a number, got {x!r} of type {type(x).__name__}")
    return found


def axis_or_none(axis_name: Any) -> Any:
    if axis_name is not None:
        check.axis(axis_name=axis_name)
    return axis_name


def tree_norm(tree: Any, axis_name: Any, what: str, by: Any = None) -> Any:
    """The norm over all floating leaves, times `by` if given: the same reduction that clipping makes."""
    leaves = [x if hasattr(x, "dtype") or x is None else jnp.asarray(x) for x in open_tree(tree)[1]]
    leaves = [x for x in leaves if _counts(x)]
    if axis_name is None and any(varying_axes(x) for x in leaves):
        raise ValueError(f"{what} sees one device's part of a leaf inside shard_map: give axis_name")
    if by is None:
        return norm_of(barrier_each(leaves), axis_name)
    pairs = [barrier((by, x)) for x in leaves]
    return norm_of([times(x, k) for k, x in pairs], axis_name)


def _counts(x: Any) -> bool:
    return x is not None and is_inexact(x) and x.size > 0


def map_gradients(f: Callable[[Any], Any], grads: Any) -> Any:
    """`f` of every floating gradient, of the values of sparse rows; None, float0 and integers as they are."""

    def at(g: Any) -> Any:
        if isinstance(g, int | float | complex):
            g = jnp.asarray(g)
        if g is None or not hasattr(g, "dtype") or not is_inexact(g):
            return g
        return g.with_values(f(g.values)) if isinstance(g, Rows) else f(jnp.asarray(g))

    return jax.tree.map(at, grads, is_leaf=is_row_leaf)


def times(grads: Any, by: Any) -> Any:
    """Gradients times a number, in float32 or wider."""

    def multiply(g: Any) -> Any:
        g = cast(g, compute_dtype(g.dtype))
        return g * cast(by, real_dtype(g.dtype))

    return map_gradients(multiply, grads)


def multiplied(inner: GradientTransformation, grads: Any, by: Any) -> tuple[GradientTransformation, Any, Any]:
    """`inner`, and gradients times `by` for it; or a chain that multiplies itself, the gradients, and `by`.

    What multiplies inside the chain is never written to memory.
    """
    if isinstance(inner, Chain) and not inner.per_example:
        return inner.scaled(by), grads, by
    return inner, times(grads, by), None


def update_if(
    ok: Any, inner: GradientTransformation, updates: Any, state: Any, params: Any, extra: dict[str, Any]
) -> tuple[Any, Any]:
    """The inner update where `ok`; elsewhere zeros, and the state as it was.

    Old or new is chosen where each statistic is made, and what follows is computed from the chosen one. A choice
    among the results would make XLA keep both: two copies of the parameters for Adam, measured.
    """
    closed, shapes = jax.make_jaxpr(lambda s: inner.update(updates, s, params, **extra), return_shape=True)(state)
    held = jax.tree.leaves(state)
    structure: Any = jax.tree.structure(shapes[0])
    after: Any = jax.tree.structure(shapes[1])
    us, ss = _run_held(ok, closed, held, structure.num_leaves)
    # -0.0 leaves every parameter as it is, -0.0 too.
    zeroed = map_gradients(lambda u: jnp.where(ok, u, -0.0), structure.unflatten(us))
    return zeroed, after.unflatten(ss)


def _run_held(ok: Any, closed: Any, held: list[Any], n: int) -> tuple[list[Any], list[Any]]:
    """Run a program `state -> updates, state`; `n` of its results are updates."""
    jaxpr = closed.jaxpr
    slots = list(zip(jaxpr.outvars[n:], jaxpr.invars, held, strict=True))
    old = _made(jaxpr, {v: x for v, _, x in slots if not _is_literal(v)})
    known = _run(ok, closed, held, old)

    def settle(v: Any, own: Any, x: Any) -> Any:
        chosen = v is own or (not _is_literal(v) and old.get(v) is x)
        return (_read(known, v) if chosen else _choose(ok, _read(known, v), x)).astype(x.dtype)

    return [_read(known, v) for v in jaxpr.outvars[:n]], [settle(*slot) for slot in slots]


def _run(ok: Any, closed: Any, args: Sequence[Any], old: dict[Any, Any]) -> dict[Any, Any]:
    """The values of a program's variables, those in `old` chosen where they are made, in called functions too."""
    from jax.extend.core import ClosedJaxpr, jaxpr_as_fun  # slow to import, and few programs hold anything

    jaxpr = closed.jaxpr
    known = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*closed.consts, *args], strict=True))
    wanted = set(_variables(v for eqn in jaxpr.eqns for v in eqn.invars)) | set(_variables(jaxpr.outvars))
    for part in _parts(jaxpr.eqns, old):
        if _calls(part[0]) and len(part) == 1:
            (eqn,) = part
            inner = eqn.params["jaxpr"]
            pairs = list(zip(inner.jaxpr.outvars, eqn.outvars, strict=True))
            chosen = _made(inner.jaxpr, {v: old[w] for v, w in pairs if w in old and not _is_literal(v)})
            values = _run(ok, inner, [_read(known, v) for v in eqn.invars], chosen)
            for v, w in pairs:
                x = _read(values, v)
                known[w] = _choose(ok, x, old[w]) if w in old and (_is_literal(v) or v not in chosen) else x
            continue
        results = {v: None for eqn in part for v in eqn.outvars if v in wanted}
        needed = {v: None for v in _variables(v for eqn in part for v in eqn.invars) if v in known}
        run = jaxpr_as_fun(
            ClosedJaxpr(jaxpr.replace(constvars=[], invars=[*needed], outvars=[*results], eqns=part), ())
        )
        for v, x in zip(results, run(*(known[v] for v in needed)), strict=True):
            known[v] = _choose(ok, x, old[v]) if v in old else x
    return known


def _made(jaxpr: Any, old: dict[Any, Any]) -> dict[Any, Any]:
    """Those of the variables that an equation of the program makes."""
    made = {v for eqn in jaxpr.eqns for v in eqn.outvars}
    return {v: x for v, x in old.items() if v in made}


def _calls(eqn: Any) -> bool:
    return eqn.primitive.name in ("jit", "pjit")


def _read(known: dict[Any, Any], v: Any) -> Any:
    kind: Any = v.aval
    return jnp.asarray(v.val, kind.dtype) if _is_literal(v) else known[v]


def _is_literal(v: Any) -> bool:
    return hasattr(v, "val")


def _variables(atoms: Any) -> Iterator[Any]:
    return (v for v in atoms if not _is_literal(v))


def _parts(eqns: list[Any], old: dict[Any, Any]) -> Iterator[list[Any]]:
    """The equations in order, a part ending where a new statistic is made; a call that makes some stands alone."""
    part: list[Any] = []
    for eqn in eqns:
        makes = any(v in old for v in eqn.outvars)
        if makes and _calls(eqn) and part:
            yield part
            part = []
        part.append(eqn)
        if makes:
            yield part
            part = []
    if part:
        yield part


def _choose(ok: Any, new: Any, old: Any) -> Any:
    """`where(ok, new, old)` in new's dtype; on the device for what lives in host memory."""
    space = getattr(jax.typeof(new), "memory_space", None)
    if space is None or space == jax.memory.Space.Device:
        return jnp.where(ok, new, old.astype(new.dtype))
    new, old = (jax.device_put(x, jax.memory.Space.Device) for x in (new, old))
    return jax.device_put(jnp.where(ok, new, old.astype(new.dtype)), space)
