"""What the frameworks' checkpoints share: names, shapes."""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat import mindspore, paddle, torch
from gradxform.compat.common.checkpoints import shaped, spellings, steps_done
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


W = {"w": jnp.ones(2)}
BUFFER = {0: {"momentum_buffer": np.ones(2)}}
LOADS: dict[str, Any] = {
    "torch": lambda n: torch.load_state({"state": BUFFER}, W, tx=torch.sgd(0.1, 0.9), step=n),
    "torch's own": lambda n: torch.load_state(
        {"state": {0: {"step": n, "exp_avg": np.ones(2), "exp_avg_sq": np.ones(2)}}}, W, tx=torch.adam()
    ),
    "paddle": lambda n: paddle.load_state({"w_velocity_0": np.ones(2), "LR_Scheduler": {"last_epoch": n}}, W),
    "mindspore": lambda n: mindspore.load_state({"moments.w": np.ones(2), "global_step": n}, W),
}


@pytest.mark.parametrize("load", LOADS.values(), ids=LOADS)
def test_the_number_of_steps_is_one(load: Any) -> None:
    for n in (7, 7.0, np.float32(7), np.asarray(7), jnp.asarray(7), jnp.float32(7)):
        assert int(load(n).count) == 7
    for n in (math.nan, math.inf, -math.inf, -1, 2.5, 2**31, 1e39, 10**400):
        with pytest.raises((ValueError, TypeError), match=r"step|last_epoch") as raised:
            load(n)
        assert type(raised.value) is (TypeError if n == 10**400 else ValueError)
    for n in ("7", lambda: 7, object(), np.asarray([7, 8])):
        with pytest.raises((TypeError, ValueError), match=r"step|last_epoch"):
            load(n)


@pytest.mark.parametrize("value", [np.asarray([None, 1.0]), np.asarray(["a", "b"]), lambda: 1])
def test_entries_that_are_no_numbers_are_refused_by_name(value: Any) -> None:
    loads = (
        lambda: torch.load_state({"state": {0: {"momentum_buffer": value}}}, W, tx=torch.sgd(0.1, 0.9)),
        lambda: paddle.load_state({"w_velocity_0": value}, W),
        lambda: mindspore.load_state({"moments.w": value, "global_step": 1}, W),
    )
    for load in loads:
        with pytest.raises(
            TypeError, match=r"checkpoint has .*(momentum_buffer|velocity|moments).* which are no numbers"
        ):
            load()


def test_steps_done() -> None:
    with pytest.raises(ValueError, match=r"n must be a whole number of steps, at least 0, that int32 holds, got -1"):
        steps_done("n", -1)
    assert [steps_done("n", n) for n in (0, 3.0, np.asarray([5]), 2**31 - 1)] == [0, 3, 5, 2**31 - 1]
