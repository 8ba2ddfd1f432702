"""What is one function where a program is compiled for one kind of device, and another where it is for others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from gradxform.core.types import Dtype


def on_gpus(there: Callable[..., Any], elsewhere: Callable[..., Any], *args: Any) -> Any:
    """What one function gives where the program is compiled for a GPU, another for all else."""
    return jax.lax.platform_dependent(*args, cuda=there, rocm=there, default=elsewhere)


def on_cpus(
    name: str, there: Callable[..., Any], elsewhere: Callable[..., Any], dtype: Dtype | None = None
) -> Primitive:
    """One function of arrays, by element, to as many where the program is compiled for a CPU, another for all else.

    dtype: of the results, where they have another. A primitive, and no `platform_dependent`: that traces and lowers a
    conditional each time, and XLA writes to memory what a conditional reads.
    """
    chosen = Primitive(name)
    chosen.multiple_results = True
    chosen.def_impl(jax.jit(chosen.bind))
    other = {} if dtype is None else {"dtype": jnp.dtype(dtype), "weak_type": False}
    chosen.def_abstract_eval(lambda *xs: tuple(x.update(**other) for x in xs))
    batching.primitive_batchers[chosen] = lambda xs, axes: (chosen.bind(*xs), axes)
    mlir.register_lowering(chosen, mlir.lower_fun(elsewhere, multiple_results=True))
    mlir.register_lowering(chosen, mlir.lower_fun(there, multiple_results=True), platform="cpu")
    return chosen
