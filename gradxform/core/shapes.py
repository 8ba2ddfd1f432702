"""What a rule would keep, by shape and dtype: nothing is computed for it."""

from __future__ import annotations

import functools
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from gradxform.core.hyper import hyper_fields, replace_hyper
from gradxform.core.keys import drawn
from gradxform.core.rule import Rule
from gradxform.core.types import Dtype, Memory
from gradxform.core.unjitted import NEEDS_NUMBERS
from gradxform.core.value import is_hashable

R = TypeVar("R", bound=Rule)
NO_MEMORY = object()


def without_numbers(rule: R) -> R:
    """The rule with numbers that say nothing: what shapes do not depend on, and what leaves differ in."""
    rule = replace_hyper(rule, dict.fromkeys(hyper_fields(rule), 0.5))
    new: R = jax.tree.map(lambda x: x if isinstance(x, float) else np.zeros((), jnp.result_type(x))[()], rule)
    return new


def memory_shapes(rule: Rule, shape: tuple[int, ...], dtype: Dtype) -> Memory:
    """The memory for an array of such a shape, or `NO_MEMORY`; None where that cannot be told without numbers."""
    rule = without_numbers(rule)
    made: Any = _once if is_hashable(rule) else _once.__wrapped__
    return made(rule, shape, dtype, jax.config.jax_enable_x64)  # type: ignore[attr-defined]


@functools.lru_cache(maxsize=4096)
def _once(rule: Rule, shape: tuple[int, ...], dtype: Any, wide: bool) -> Memory:
    try:
        s = jax.eval_shape(drawn(rule).init, jax.ShapeDtypeStruct(shape, dtype))
    except NEEDS_NUMBERS:
        return None
    return NO_MEMORY if s is None else s
