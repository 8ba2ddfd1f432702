"""Plain numbers: what NumPy, JAX and others have for one, as Python's."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core.types import Number


def plain(x: Any) -> Any:
    """A number of NumPy's or JAX's, and each in a tuple, as Python's: of equal ones nobody can tell which was given."""
    if type(x) is tuple:
        return tuple(map(plain, x))
    if not isinstance(x, np.generic | np.ndarray | jax.Array) or isinstance(x, jax.core.Tracer) or x.ndim:
        return x
    if is_gone(x):
        return x
    return x.item() if is_real(x.dtype) else x


def shown(x: object) -> str:
    """A value in a message, also where it can't print itself."""
    if is_gone(x):
        return "an array that was donated to an earlier step and holds no numbers any more"
    try:
        return repr(x)
    except Exception:
        return "what does not print"


def got(x: object) -> str:
    """The end of a refusal."""
    return f"got {shown(x)} of type {type(x).__name__}"


def as_array(what: str, x: Any) -> jax.Array:
    """An array of JAX's. Raises: ValueError for a number that no dtype holds, TypeError for what is no number."""
    try:
        array = jnp.asarray(x)
        if jnp.issubdtype(array.dtype, jnp.number) or array.dtype == bool:
            return array
        raise TypeError
    except OverflowError:
        raise ValueError(f"{what} is {x}, which is more than its dtype holds") from None
    except TypeError:
        raise TypeError(f"{what} must be an array or a number, {got(x)}") from None


def is_real(dtype: Any) -> bool:
    """Whether numbers of a dtype are real; a span of time (`timedelta64`) is none, though NumPy counts it as one."""
    real = jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)
    return bool(real and not jnp.issubdtype(dtype, np.timedelta64))


def is_gone(x: object) -> bool:
    """Whether it is an array whose memory was given away."""
    return isinstance(x, jax.Array) and not isinstance(x, jax.core.Tracer) and x.is_deleted()


def is_array(x: object) -> bool:
    """Whether something is an array, a number of NumPy's, or what NumPy makes one of: JAX's, torch's, pandas's."""
    return hasattr(x, "__array__") and not isinstance(x, type)


def wrong_kind(name: str, x: object) -> TypeError:
    return TypeError(f"{name} must be a number, a schedule, a list of numbers or tunable(...), {got(x)}")


def number_in(name: str, x: Any) -> Number:
    """The number in an array without axes: a float, or the tracer itself."""
    if len(x.shape):
        raise ValueError(
            f"{name} must be one number, got an array of shape {tuple(x.shape)}; "
            "list(x) makes it a table: the i-th value at the i-th update"
        )
    number = x if isinstance(x, jax.core.Tracer) else numbers_in(name, x)
    if not is_real(number.dtype):
        raise wrong_kind(name, x)
    return number if isinstance(number, jax.core.Tracer) else fitting(name, number[()])


def numbers_in(name: str, x: Any) -> np.ndarray[Any, Any]:
    """An array as NumPy's. Raises: TypeError for one that was donated, or lies where NumPy cannot read it."""
    if is_gone(x):
        raise TypeError(f"{name} must hold numbers, {got(x)}")
    try:
        return np.asarray(x)
    except (RuntimeError, TypeError) as error:
        raise TypeError(f"{name} must be a number, {got(x)}: {error}") from None


def fitting(name: str, x: Any) -> float:
    """A plain number as a float. Raises: ValueError for a finite one that JAX's float makes infinite."""
    most = jnp.finfo(jnp.result_type(float))
    try:
        number = float(x)
    except OverflowError:
        number = math.inf
    if abs(number) > float(most.max) and x not in (math.inf, -math.inf):
        shown = f"one of the size 1e{int(math.log10(abs(x)))}" if isinstance(x, int) else x
        raise ValueError(f"{name} must be a number that {most.dtype} holds, at most {most.max:.4g}, got {shown}")
    return number
