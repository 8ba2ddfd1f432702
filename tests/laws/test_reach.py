"""`reach` is true: a rule looks as far as it says, and no less.

All comparisons are bit for bit, compiled program with compiled program.
"""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np

import gradxform as gx
from gradxform import Reach
from gradxform.core.stacks import ByMatrix
from gradxform.strategies.lazy import Lazy
from gradxform.testing import laws
from gradxform.testing.laws import Change, same_bits
from tests.catalogue import SHAPES, Entry, entries, moved, tree

ROWS, COLUMNS = SHAPES["dense"]["kernel"]
ELEMENTS = np.random.default_rng(1).permutation(ROWS * COLUMNS)
PERMUTED_ROWS = np.random.default_rng(2).permutation(ROWS)


permute_elements = Change(lambda x: x.reshape(-1)[ELEMENTS].reshape(x.shape))
permute_rows = Change(lambda x: x[PERMUTED_ROWS], by_rows=True)
keep_some_rows = Change(lambda x: x[1:4], by_rows=True)
keep_some_columns = Change(lambda x: x[:, 1:4])
KERNEL = 1
"""Its place among the leaves."""


def commutes(entry: Entry, change: Change) -> bool:
    """Whether changing the kernel's gradient, state and parameter, then updating, is updating and then changing."""
    return laws.commutes(entry.run, moved(entry.name), KERNEL, change)


def with_other_leaves(entry: Entry, seed: int, steps: int = 1) -> Any:
    """What happens to the kernel when gradient, state and parameters of all other leaves are others."""
    g, state, p = moved(entry.name)
    other = None, moved(entry.name, 3)[1], tree(seed + 1)
    return laws.with_others(entry.run, (g, state, p), other, [tree(seed)] * steps, KERNEL)


@entries(lambda e: e.reach == Reach.ELEMENT)
def test_element_reach_commutes_with_permuting_elements(entry: Entry):
    assert commutes(entry, permute_elements)


@entries(lambda e: e.reach == Reach.ELEMENT)
def test_element_reach_commutes_with_taking_columns(entry: Entry):
    assert commutes(entry, keep_some_columns)


@entries(lambda e: e.reach == Reach.ROW)
def test_row_reach_commutes_with_permuting_rows(entry: Entry):
    assert commutes(entry, permute_rows)


@entries(lambda e: e.reach == Reach.ROW)
def test_row_reach_commutes_with_taking_rows(entry: Entry):
    assert commutes(entry, keep_some_rows)


def dates_rows(entry: Entry) -> bool:
    """Whether it keeps a date for each row: dense gradients date all rows alike, and show none of its reach."""
    return any(isinstance(rule, Lazy) for _, rule in entry.rules)


@entries(lambda e: e.reach == Reach.ROW and not dates_rows(e))
def test_row_reach_is_no_less(entry: Entry):
    assert not commutes(entry, permute_elements)


def keeps_stacks(entry: Entry) -> bool:
    """Whether what it keeps are stacks of matrices, from which rows of the parameter cannot be cut."""
    return any(isinstance(rule, ByMatrix) for _, rule in entry.rules)


@entries(lambda e: e.reach == Reach.ARRAY and not keeps_stacks(e))
def test_array_reach_is_no_less(entry: Entry):
    with contextlib.suppress(ValueError):  # memory by axes, of which the largest is another one now
        assert not commutes(entry, keep_some_rows)


@entries(lambda e: e.reach is not None and e.reach < Reach.TREE)
def test_no_leaf_sees_another(entry: Entry):
    kernel = with_other_leaves(entry, 7), with_other_leaves(entry, 17)
    assert same_bits(*kernel)


@entries(lambda e: e.reach == Reach.TREE)
def test_tree_reach_is_no_less(entry: Entry):
    """At the next step, where what is measured takes its effect there."""
    assert not same_bits(with_other_leaves(entry, 7, 2), with_other_leaves(entry, 17, 2))


@entries(lambda e: e.reach is not None)
def test_a_chain_reaches_as_far_as_the_farthest_stage(entry: Entry):
    assert gx.chain(gx.identity(), entry.tx).reach == entry.reach
    assert gx.chain(gx.centralize(), entry.tx).reach == max(Reach.ROW, entry.reach)
    assert gx.chain(entry.tx, gx.clip_by_norm(1.0)).reach == max(Reach.ARRAY, entry.reach)
    assert gx.chain(entry.tx, gx.clip_by_global_norm(1.0)).reach == Reach.TREE


def test_slicing_changes_only_the_kernel():
    p = tree(0)
    cut = laws.at_leaf(p, p, KERNEL, lambda x: keep_some_rows.everywhere(x, (ROWS, COLUMNS)))
    assert cut["dense"]["kernel"].shape == (3, COLUMNS)
    assert same_bits(cut["scale"], p["scale"])
