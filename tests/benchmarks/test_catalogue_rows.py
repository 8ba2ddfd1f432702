"""The floors of the catalogue's rows, beside the states of its entries."""

from __future__ import annotations

import math
import re

import jax
import pytest

import gradxform as gx
from benchmarks.compiled import catalogue
from benchmarks.compiled.rows import passes

SHAPED = jax.tree.map(
    lambda s: jax.ShapeDtypeStruct(s, "float32"), catalogue.SHAPES, is_leaf=lambda x: isinstance(x, tuple)
)
WHOLE = 4 * sum(math.prod(x.shape) for x in jax.tree.leaves(SHAPED))
ROWS = {row.name: row for row in catalogue.ROWS}
OTHERWISE = {"cocob", "scale_by_cocob", "madgrad", "scale_by_madgrad", "lbfgs", "scale_by_lbfgs", "accumulate", "sam"}
OTHERWISE |= {"scale_by_backtracking_linesearch", "scale_by_zoom_linesearch", "offloaded", "cautious", "groups"}
OTHERWISE |= {"groups clipped", "freeze", "set_to_zero"}
"""What does not move all of its state or all parameters, or writes something else on the way."""


def test_floors_are_of_entries() -> None:
    assert set(catalogue.FLOORS) <= set(ROWS)
    assert set(ROWS) >= OTHERWISE


@pytest.mark.parametrize("name", [name for name in ROWS if name not in OTHERWISE])
def test_floor_reads_and_writes_the_state(name: str) -> None:
    row = ROWS[name]
    state = jax.eval_shape(row.make(gx).init, SHAPED)
    size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state)) / WHOLE
    assert passes(row.floor) == pytest.approx(2 + (row.examples or 1) + 2 * size + again(row.floor), abs=0.05)


def again(floor: str) -> float:
    """What a floor reads twice."""
    return sum(passes(words) for words in re.findall(r"again ([^->]*)", floor))
