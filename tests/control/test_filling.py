"""What a chain remembers, filled from what was found: whose leaf shares a buffer, and which counter rules."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.control.filling import Book, Filling, Found, Report
from gradxform.core.stage import Plan
from gradxform.core.tree import Leaf


class Mean(NamedTuple):
    mu: Any


class Dated(NamedTuple):
    mu: Any
    last: Any


def leaves(*sizes: int) -> list[Leaf]:
    return [Leaf(f"p{i}", None, jnp.zeros(n), {}) for i, n in enumerate(sizes)]


def found(memories: Any, count: int = 3, **buffers: Any) -> Found:
    return Found(gx.State(jnp.int32(count), {}, {}, {}), False, memories, buffers)


def filling(ls: list[Leaf], *sources: Found) -> Filling:
    at = Filling(Book(), list(sources), ls, Plan(), jnp.int32(0))
    at.rules = {(leaf.path, "mean"): None for leaf in ls}
    return at


def test_a_leaf_gets_its_part_of_a_buffer() -> None:
    ls = leaves(2, 3, 1)
    shared = {"mean": Mean(jnp.arange(5.0))}
    at = filling(ls, found({"p0": {}, "p1": {}, "p2": {"mean": Mean(jnp.ones(1))}}, p0=shared))
    for leaf, right in zip(ls, ([0.0, 1.0], [2.0, 3.0, 4.0], [1.0]), strict=True):
        np.testing.assert_array_equal(at.memory(leaf, "mean", Mean(jnp.zeros(leaf.p.shape))).mu, right)
    assert at.book.report["kept"] == ["p0: mean/mu", "p1: mean/mu", "p2: mean/mu"]
    assert at.count() == 3


def test_a_buffer_whose_leaves_cannot_be_told_is_left() -> None:
    ls = leaves(2, 3)
    at = filling(ls, found({"p0": {}, "p1": {}}, p0={"mean": Mean(jnp.arange(9.0))}))
    np.testing.assert_array_equal(at.memory(ls[0], "mean", Mean(jnp.zeros(2))).mu, [0.0, 0.0])
    assert at.book.report["fresh"] == ["p0: mean/mu"]


def test_a_buffer_is_joined_from_what_its_leaves_had() -> None:
    ls = leaves(2, 1)
    at = filling(ls, found({"p0": {"mean": Mean(jnp.array([1.0, 2.0]))}, "p1": {"mean": Mean(jnp.array([3.0]))}}))
    assert at.buffer(ls, {"mean": Mean(jnp.zeros(3))})["mean"].mu.tolist() == [1.0, 2.0, 3.0]


def test_a_counter_that_is_new_beside_kept_memory_says_how_old_that_is() -> None:
    (leaf,) = leaves(2)
    at = filling([leaf], found({"p0": {"mean": Mean(jnp.ones(2))}}))
    assert at.memory(leaf, "mean", Dated(jnp.zeros(2), jnp.zeros(2, jnp.int32))).last.tolist() == [3, 3]
    at = filling([leaf], found({"p0": {}}))
    assert at.memory(leaf, "mean", Dated(jnp.zeros(2), jnp.zeros(2, jnp.int32))).last.tolist() == [0, 0]


def test_one_counter_cannot_serve_memories_of_two() -> None:
    at = filling(leaves(1))
    at.sources = [(False, jnp.int32(7)), (True, jnp.int32(3)), (True, jnp.int32(3))]
    assert at.count() == 3
    at.sources.append((True, jnp.int32(4)))
    with pytest.raises(ValueError, match="filled by 4 and by 3 steps"):
        at.count()


def test_a_report_prints_a_line_for_each_kind() -> None:
    assert (
        str(Report(("a",), (), (), ("b", "c"))) == "kept (1): a\nreencoded: nothing\nfresh: nothing\ndropped (2): b, c"
    )
