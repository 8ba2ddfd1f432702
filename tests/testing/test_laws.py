from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from gradxform.testing import laws

TREE = {"a": np.ones((3, 2)), "b": {"c": np.zeros(3), "d": np.zeros(())}}


def test_a_change_is_of_one_leaf_and_of_what_has_its_rows():
    first = laws.Change(lambda x: x[:1], by_rows=True)
    cut = laws.at_leaf(TREE, TREE, 0, lambda x: first.everywhere((x, np.ones(3), np.ones(2)), (3, 2)))
    assert [x.shape for x in cut["a"]] == [(1, 2), (1,), (2,)]
    assert cut["b"] is not None
    assert laws.leaf_of(cut, TREE, 1) is TREE["b"]["c"]


def test_bits_and_forms():
    assert laws.same_bits(TREE, TREE)
    assert not laws.same_bits(np.float32(0.0), np.float32(-0.0))
    assert laws.same_form(TREE, {"a": 0, "b": {"c": 0, "d": 0}})
    assert laws.kinds(jnp.ones(2))[1] == [((2,), jnp.float32, False)]


def test_what_is_spoilt_was_finite_before():
    start = laws.figures({"x": jnp.ones(2), "y": jnp.array([jnp.inf])})
    now = laws.figures({"x": jnp.array([1.0, jnp.nan]), "y": jnp.array([jnp.inf])})
    assert laws.spoilt(now, start) == ["['x']"]
    assert laws.with_size(jnp.array([-2.0, 3.0]), 1e6, everywhere=False).tolist() == [-1e6, 3.0]
