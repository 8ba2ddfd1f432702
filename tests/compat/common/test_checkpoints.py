"""What the frameworks' checkpoints share: leaves beside their memory, names, shapes."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat.common.checkpoints import innermost, opened, shaped, spellings
from gradxform.core.clock import OwnClock
from gradxform.core.state import find_state
from gradxform.optimizers.adam import ScaleByAdam

PARAMS = {"fc": {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}}


def test_leaves_are_opened_beside_their_memory() -> None:
    state = find_state(gx.adam(0.1).init(PARAMS))
    leaves = {leaf.path: leaf for leaf in opened(state, PARAMS).leaves}
    assert {path: leaf.array.shape for path, leaf in leaves.items()} == {"fc/w": (2, 3), "fc/b": (3,)}
    assert all(leaf.memory["adam"].mu.shape == leaf.array.shape for leaf in leaves.values())


def test_the_innermost_rule() -> None:
    rule = ScaleByAdam()
    assert innermost(OwnClock(rule)) == innermost(rule) == rule


def test_spellings() -> None:
    assert spellings("fc/w", None) == ["fc/w", "fc.w"]
    assert spellings("fc/w", {"linear_0.w_0": "fc/w", "linear_0.b_0": "fc/b"}) == ["linear_0.w_0"]
    assert spellings("fc/w", {}) == []


def test_shapes_are_those_of_the_parameter_or_those_that_are_given() -> None:
    leaf = next(leaf for leaf in opened(find_state(gx.adam(0.1).init(PARAMS)), PARAMS).leaves if leaf.path == "fc/w")
    found = shaped("m", [[1, 2, 3]] * 2, leaf)
    np.testing.assert_array_equal(found, np.tile([1, 2, 3], (2, 1)))
    assert shaped("step", 3.0, leaf, [(), (1,)]).shape == ()
    with pytest.raises(ValueError, match=r"'m' of shape \(3,\), the parameter 'fc/w' has \(2, 3\)"):
        shaped("m", np.ones(3), leaf)
    with pytest.raises(ValueError, match=r"'step' of shape \(2, 3\)"):
        shaped("step", np.ones((2, 3)), leaf, [(), (1,)])
