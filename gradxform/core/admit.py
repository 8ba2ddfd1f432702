"""A state held against what `init` would make, while tracing: names, structure, shapes and dtypes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core.state import REMEDY
from gradxform.core.tree import name_of
from gradxform.core.types import Memory, OptState, Param, Shaped, Structure, Tree

COUNTERS = {"int64": "int32", "uint64": "uint32"}
"""Counters as a checkpoint may hold them, and as they are counted."""
WIDTHS = {"float64": "float32", "complex128": "complex64"}
"""What depends on the parameters' width where there are none, and on `jax_enable_x64` for scalars."""
NOTHING: dict[str, Any] = {}


def is_nothing(state: OptState) -> bool:
    """What one gives to a transformation that remembers nothing: None, `()`, an empty NamedTuple."""
    return state is None or (isinstance(state, tuple) and not state)


def of_kind(state: OptState, kind: type, whose: object) -> None:
    """Raises: ValueError for a state of another kind, TypeError for what is no state."""
    if not isinstance(state, kind):
        error = ValueError if hasattr(state, "_fields") and state else TypeError
        what = f"state must be what init returns, here the {kind.__name__} of {whose!r}"
        raise error(f"{what}, got {type(state).__name__}; {REMEDY}")


def admitted(have: Tree, want: Memory, where: str, loose: bool = False) -> Tree:
    """`have` where it is like `want`, NumPy arrays and wide counters cast; `want` None takes anything.

    loose: floats may have twice the width.
    Raises: ValueError naming `where`, what is there and what is wanted.
    """
    if want is None:
        return have
    structure: Structure = jax.tree.structure(want)
    wanted = jax.tree.leaves(want)
    try:
        found = structure.flatten_up_to(have)
    except (ValueError, TypeError, KeyError):
        raise _unfit(where, have, want) from None
    cast = [_cast(x, w, loose) for x, w in zip(found, wanted, strict=True)]
    if any(x is None for x in cast):
        raise _unfit(where, have, want)
    return have if all(x is y for x, y in zip(found, cast, strict=True)) else structure.unflatten(cast)


def admitted_by_name(have: object, want: Mapping[str, Any], place: str = "", loose: bool = False) -> Any:
    """As `admitted`, for memories by name at one place: no name missing, and none too many."""
    if not want and not have and have is None:
        return have
    if not isinstance(have, Mapping):
        raise _unfit(place, have, want)
    for name in (*want, *have):
        if name not in have or name not in want:
            raise _unfit(name + place, have.get(name, NOTHING), want.get(name, NOTHING))
    new = {name: admitted(x, want[name], name + place, loose) for name, x in have.items()}
    return have if all(new[name] is x for name, x in have.items()) else new


def admitted_by_path(have: Tree, want: Tree, where: str, loose: bool = False) -> Tree:
    """As `admitted`, for a tree like the parameters: in whatever containers, by the names on the way to its arrays.

    loose: there may also be more than is wanted.
    """
    try:
        return admitted(have, want, where, loose)
    except ValueError:
        wants = {_path(keys): x for keys, x in jax.tree_util.tree_flatten_with_path(want)[0]}
        keyed = jax.tree_util.tree_flatten_with_path(have)[0]
        structure: Structure = jax.tree.structure(have)
        haves = {_path(keys): x for keys, x in keyed}
        if loose:
            wants |= {path: None for path in haves if path not in wants}
        new = {path: haves.get(path, NOTHING) for path in (*wants, *haves)}
        for path, x in new.items():
            new[path] = admitted(x, wants.get(path, NOTHING), f"{where} at {path!r}", loose)
        return structure.unflatten([new[_path(keys)] for keys, _ in keyed])


def _path(keys: tuple[Any, ...]) -> str:
    return "/".join(map(name_of, keys)).removesuffix("/value")


def _cast(x: Any, want: Shaped, loose: bool) -> Param:
    """One array as it is wanted, None where it is another."""
    if not isinstance(x, jax.Array):
        leaves = jax.tree.leaves(x)
        if len(leaves) != 1 or not isinstance(leaves[0], jax.Array | np.ndarray | np.generic | int | float):
            return None
        inside = leaves[0]
        # A variable (flax's nnx) around an array stays around it.
        if inside is not x and isinstance(inside, jax.Array) and _cast(inside, want, loose) is inside:
            return x
        x = jnp.asarray(inside)
    if x.shape != want.shape:
        return None
    if x.dtype == want.dtype:
        return x
    have, wanted = x.dtype.name, want.dtype.name
    if COUNTERS.get(have, have) == COUNTERS.get(wanted, wanted):
        return x if wanted in COUNTERS else x.astype(want.dtype)
    return x if loose and WIDTHS.get(have, have) == WIDTHS.get(wanted, wanted) else None


def _unfit(where: str, have: Any, want: Any) -> ValueError:
    return ValueError(f"{where}: the state holds {shown(have)}, wanted is {shown(want)}; {REMEDY}")


def shown(x: Any) -> str:
    """A memory in one line, arrays by dtype and shape."""
    if x is None:
        return "None"
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return f"{type(x).__name__}({', '.join(f'{f}={shown(v)}' for f, v in zip(x._fields, x, strict=True))})"
    if isinstance(x, Mapping):
        return f"{{{', '.join(f'{k!r}: {shown(v)}' for k, v in x.items())}}}" if x else "nothing"
    if hasattr(x, "shape") and hasattr(x, "dtype"):
        return f"{x.dtype}{list(x.shape)}"
    return f"{type(x).__name__}"
