"""What the frameworks' checkpoints share: names, shapes."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat.common.checkpoints import shaped, spellings
from gradxform.core.tree import open_memories

PARAMS = {"fc": {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}}


def test_spellings() -> None:
    assert spellings("fc/w", None) == ["fc/w", "fc.w"]
    assert spellings("fc/w", {"linear_0.w_0": "fc/w", "linear_0.b_0": "fc/b"}) == ["linear_0.w_0"]
    assert spellings("fc/w", {}) == []


def test_shapes_are_those_of_the_parameter_or_those_that_are_given() -> None:
    leaf = next(leaf for leaf in open_memories(gx.adam(0.1).init(PARAMS).leaves, PARAMS).leaves if leaf.path == "fc/w")
    found = shaped("m", [[1, 2, 3]] * 2, leaf)
    np.testing.assert_array_equal(found, np.tile([1, 2, 3], (2, 1)))
    assert shaped("step", 3.0, leaf, [(), (1,)]).shape == ()
    with pytest.raises(ValueError, match=r"'m' of shape \(3,\), the parameter 'fc/w' has \(2, 3\)"):
        shaped("m", np.ones(3), leaf)
    with pytest.raises(ValueError, match=r"'step' of shape \(2, 3\)"):
        shaped("step", np.ones((2, 3)), leaf, [(), (1,)])
