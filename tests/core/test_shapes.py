"""What a rule would keep, by shape and dtype, against what it keeps."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest

import gradxform as gx
from gradxform.core.keys import owned
from gradxform.core.shapes import NO_MEMORY, memory_shapes, without_numbers
from gradxform.optimizers.adam import ScaleByAdam
from tests.catalogue import ENTRIES

RULES = {repr(rule): rule for e in ENTRIES for _, rule in e.rules if rule.remembers}


@pytest.mark.parametrize("rule", RULES.values(), ids=range(len(RULES)))
def test_it_is_what_init_makes(rule: Any) -> None:
    p = jnp.ones((6, 5))
    there = owned(rule.for_leaf("dense/kernel", p), "dense/kernel", rule.name, False)
    want = memory_shapes(there, p.shape, p.dtype)
    if want is NO_MEMORY or want is None:
        return
    made = jax.eval_shape(lambda p: gx.lift(rule).init({"dense/kernel": p}).leaves["dense/kernel"], p)
    assert jax.tree.leaves(want) == jax.tree.leaves(made)
    assert jax.tree.leaves(want)


def test_no_memory_is_not_unknown() -> None:
    assert memory_shapes(gx.clip(1.0).stages[0].rule, (2,), jnp.dtype("float32")) is NO_MEMORY


def test_numbers_do_not_tell_shapes_apart() -> None:
    a, b = (without_numbers(ScaleByAdam(b1=b1, eps=eps)) for b1, eps in ((0.9, 1e-8), (0.5, 1e-3)))
    assert a == b
