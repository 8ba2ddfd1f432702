"""A state as a checkpoint gives it back, of NumPy arrays with counters in int64, does what one of JAX arrays does."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest

from tests.catalogue import Entry, entries, moved


def restored(tree: Any) -> Any:
    """NumPy arrays in the dtypes that NumPy likes."""

    def host(x: Any) -> Any:
        x = np.asarray(x)
        return x.astype(np.int64) if x.dtype == np.int32 else x

    return jax.tree.map(host, tree)


def assert_same(found: Any, expected: Any) -> None:
    def same(a: Any, b: Any) -> None:
        assert (a.shape, a.dtype, a.weak_type) == (b.shape, b.dtype, b.weak_type)
        np.testing.assert_array_equal(a, b)

    jax.tree.map(same, found, expected)


@entries(lambda e: e.axis is None)
def test_unjitted(entry: Entry) -> None:
    """One program serves both: the numbers are the same bit for bit."""
    args = moved(entry.name)
    assert_same(entry.tx.update(*map(restored, args), **entry.extra), entry.tx.update(*args, **entry.extra))


def assert_same_op_by_op(entry: Entry) -> None:
    """As with a loss that is a function among the arguments: nothing is compiled as a whole."""
    args, extra = moved(entry.name), entry.extra | {"value_fn": lambda p: 0.0}
    assert_same(entry.tx.update(*map(restored, args), **extra), entry.tx.update(*args, **extra))


@entries(lambda e: e.name in ("clip_by_percentile", "scale_by_lbfgs", "chain tunables"))
def test_op_by_op(entry: Entry) -> None:
    assert_same_op_by_op(entry)


@pytest.mark.slow
@entries(lambda e: e.axis is None)
def test_every_entry_op_by_op(entry: Entry) -> None:
    assert_same_op_by_op(entry)
