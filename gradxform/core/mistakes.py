"""What a rule or a loss does wrong when it is made and while it is traced: each in a sentence, with what to write."""

from __future__ import annotations

import contextlib
import types
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core.devices import in_host_memory
from gradxform.core.hyper import Schedule, Tunable
from gradxform.core.plain import as_array, got
from gradxform.core.schema import schema
from gradxform.core.types import Array, Gradient, Memory, Param, Path, Scalars, Structure
from gradxform.core.value import is_hashable

if TYPE_CHECKING:
    from gradxform.core.rule import Rule


def refuse_fields(rule: Rule) -> None:
    """Raises: TypeError for a value that a field cannot hold: a schedule in place of a number, a list."""
    for f in schema(type(rule)):
        x, what = getattr(rule, f.name), f"{type(rule).__name__} has {f.name!r}"
        if f.kind != "static" or isinstance(x, jax.core.Tracer):
            continue
        told = {*(typing.get_args(f.annotation) or (f.annotation,))} - {types.NoneType}
        if isinstance(x, Schedule | Tunable) or (told <= {int, float} and (callable(x) or isinstance(x, list | tuple))):
            raise TypeError(f"{what}, which is no hyperparameter and takes no {x!r}: annotate it {f.name}: Hyper")
        if not is_hashable(x):
            raise TypeError(
                f"{what}, which must be hashable, {got(x)}: write a tuple, or annotate it "
                f"{f.name}: Child[Any] if it is made of arrays"
            )


def refuse_result(rule: Rule, result: object) -> None:
    """Raises: TypeError where `update` does not return two things, an array first."""
    if not isinstance(result, tuple) or hasattr(result, "_fields") or len(result) != 2:
        raise TypeError(
            f"update of {type(rule).__name__} must return the update and the memory, `return u, s`; got {kind(result)}"
        )


def refuse_factor(name: str, by: Any) -> None:
    """Raises: TypeError for a factor that is not one number."""
    if isinstance(by, str) or by is None or np.ndim(by) > 0:
        raise TypeError(f"factor of {name} must return one number, got {kind(by)}; an array is for update of a Rule")


def refuse_update(name: str, u: Any, g: Any) -> None:
    """Raises: TypeError where a rule made of a gradient what is none."""
    if not hasattr(u, "dtype") or not jnp.issubdtype(u.dtype, jnp.inexact):
        raise TypeError(f"{name} must return an update in floating point, got {kind(u)}: u = u.astype(g.dtype)")
    if jnp.issubdtype(u.dtype, jnp.complexfloating) and not jnp.issubdtype(g.dtype, jnp.complexfloating):
        raise TypeError(f"{name} made a complex update ({u.dtype}) of a real gradient: take its .real")


def refuse_memory(name: str, s: Memory) -> None:
    """Raises: TypeError where `init` made no NamedTuple."""
    if s is not None and not (isinstance(s, tuple) and hasattr(s, "_fields")):
        raise TypeError(
            f"init of {name} must return a NamedTuple of arrays, or None for nothing, got {kind(s)}: "
            "class Memory(NamedTuple): mean: jax.Array"
        )


def refuse_new_memory(name: str, new: Memory, old: Memory) -> None:
    """Raises: TypeError where a rule keeps other memory than `init` made."""
    if old is None and new is not None:
        raise TypeError(f"{name} returns {kind(new)} as its memory, and its init makes none: write init(self, p)")
    there: Structure = jax.tree.structure(old)
    if jax.tree.structure(new) != there:
        raise TypeError(f"{name} must return memory as its init makes it, {_shape(old)}, got {_shape(new)}")
    for n, o in zip(jax.tree.leaves(new), jax.tree.leaves(old), strict=True):
        if jnp.iscomplexobj(n) and not jnp.iscomplexobj(o):
            raise TypeError(f"{name} returns complex memory where its init makes {o.dtype}: make it complex there")


def refuse_scalars(name: str, k: Scalars) -> None:
    """Raises: TypeError for scalars that are none."""
    for x in jax.tree.leaves(k):
        if isinstance(x, str) or np.ndim(x) > 0:
            raise TypeError(
                f"scalars of {name} must be numbers, the same for every array, got {kind(x)}: what belongs to one "
                "array is found in update"
            )


def told_of_none(rule: Rule, name: str, error: Exception, p: Param, k: Scalars, works: Callable[[], Any]) -> str | None:
    """What to say where a rule read what is None for it, if it did; works: the same step with a parameter."""
    if "None" not in str(error):
        return None
    if p is None:
        with contextlib.suppress(Exception):
            works()
            return f"{name} reads p without saying so: facts = Facts(needs_params=True)"
    missing = ["s, and has no init"] * (not rule.remembers) + ["k, and has no scalars"] * (k is None)
    return f"{name} reads {' or '.join(missing)}: {error}" if missing else None


def refuse_host_memory(path: Path, error: Exception, g: Gradient, p: Param, memory: dict[str, Memory]) -> None:
    """Raises: ValueError where JAX refused to compute on the device with what is in host memory."""
    where = {"gradient": g, "parameter": p} | {f"memory of {name}": s for name, s in memory.items()}
    there = next((what for what, x in where.items() if any(map(in_host_memory, jax.tree.leaves(x)))), None)
    if there is not None and "memory_space" in str(error):
        fetched = " gx.offloaded(tx) fetches it for each step," if there.startswith("memory") else ""
        raise ValueError(
            f"the {there} at {path!r} is in host memory (pinned_host), and the step runs on the device:{fetched} "
            "jax.device_put(x, jax.memory.Space.Device) brings it there"
        ) from error


def loss_and_aux(out: Any, has_aux: bool) -> tuple[Array, Any]:
    """The loss and aux of what loss_fn returned. Raises: TypeError or ValueError for anything else."""
    if has_aux:
        if not isinstance(out, tuple) or len(out) != 2:
            raise TypeError(f"with has_aux=True loss_fn must return the pair (loss, aux), it returned {kind(out)}")
        out, aux = out
    elif isinstance(out, tuple | list):
        raise TypeError(f"loss_fn must return the loss, it returned {kind(out)}: (loss, aux) needs has_aux=True")
    if out is None:
        raise TypeError("loss_fn must return the loss, it returned None: write `return loss`")
    if not hasattr(out, "dtype") and not isinstance(out, int | float | complex):
        raise TypeError(f"loss_fn must return the loss, a scalar, it returned {kind(out)}")
    loss = as_array("the loss that loss_fn returns", out)
    if loss.shape != ():
        raise ValueError(f"the loss must be a scalar, loss_fn returned {kind(loss)}: take its mean, loss.mean()")
    if not jnp.issubdtype(loss.dtype, jnp.floating):
        remedy = "take its .real" if jnp.iscomplexobj(loss) else "what is counted has no gradient"
        raise TypeError(f"the loss must be a real floating number, loss_fn returned {kind(loss)}: {remedy}")
    return loss, aux if has_aux else None


def kind(x: object) -> str:
    """What something is, in a few words."""
    if hasattr(x, "dtype") and hasattr(x, "shape"):
        return f"an array of shape {x.shape} and dtype {x.dtype}"
    return f"{x!r} of type {type(x).__name__}" if isinstance(x, str | int | float) else f"a {type(x).__name__}"


def _shape(s: Memory) -> str:
    return f"{type(s).__name__}({', '.join(s._fields)})" if hasattr(s, "_fields") else kind(s)
