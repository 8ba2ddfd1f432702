"""`reach` is true: a rule looks as far as it says, and no less.

All comparisons are bit for bit, compiled program with compiled program.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import gradxform as gx
from gradxform import Reach
from gradxform.core.stacks import ByMatrix
from gradxform.strategies.lazy import Lazy
from tests.catalogue import SHAPES, Entry, entries, moved, own, tree, with_own

ROWS, COLUMNS = SHAPES["dense"]["kernel"]
ELEMENTS = np.random.default_rng(1).permutation(ROWS * COLUMNS)
PERMUTED_ROWS = np.random.default_rng(2).permutation(ROWS)


def permute_elements(x: Any) -> Any:
    return x.reshape(-1)[ELEMENTS].reshape(x.shape)


def permute_rows(x: Any) -> Any:
    return x[PERMUTED_ROWS]


def keep_some_rows(x: Any) -> Any:
    return x[1:4]


def keep_some_columns(x: Any) -> Any:
    return x[:, 1:4]


def in_kernel(change: Callable[[Any], Any], tree: Any) -> Any:
    """A change of every array in the kernel's place that has the kernel's shape, or its rows where those change."""
    by_rows = change in (permute_rows, keep_some_rows)

    def at(x: Any) -> Any:
        return change(np.asarray(x)) if x.shape == (ROWS, COLUMNS) or (by_rows and x.shape[:1] == (ROWS,)) else x

    return tree | {"dense": tree["dense"] | {"kernel": jax.tree.map(at, tree["dense"]["kernel"])}}


def commutes(entry: Entry, change: Callable[[Any], Any]) -> bool:
    """Whether changing the kernel's gradient, state and parameter, then updating, is updating and then changing."""
    g, state, p = moved(entry.name)
    updates, after = entry.run(g, state, p)
    inputs = in_kernel(change, g), with_own(state, leaves=in_kernel(change, own(state).leaves)), in_kernel(change, p)
    changed_updates, changed_after = entry.run(*inputs)
    expected = in_kernel(change, updates), in_kernel(change, own(after).leaves)
    return same_bits(expected, (changed_updates, own(changed_after).leaves))


def same_bits(a: Any, b: Any) -> bool:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return all(x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes() for x, y in pairs)


def with_other_leaves(entry: Entry, seed: int, steps: int = 1) -> Any:
    """What happens to the kernel when gradient, state and parameters of all other leaves are others."""
    g, state, p = moved(entry.name)
    _, other_state, _ = moved(entry.name, 3)

    def only_kernel(kept: Any, other: Any) -> Any:
        return other | {"dense": other["dense"] | {"kernel": kept["dense"]["kernel"]}}

    leaves = only_kernel(own(state).leaves, own(other_state).leaves)
    g, after, p = only_kernel(g, tree(seed)), with_own(state, leaves=leaves), only_kernel(p, tree(seed + 1))
    for _ in range(steps):
        updates, after = entry.run(g, after, p)
    return updates["dense"]["kernel"], own(after).leaves["dense"]["kernel"]


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
    assert in_kernel(keep_some_rows, tree(0))["dense"]["kernel"].shape == (3, COLUMNS)
    assert same_bits(in_kernel(keep_some_rows, tree(0))["scale"], tree(0)["scale"])
