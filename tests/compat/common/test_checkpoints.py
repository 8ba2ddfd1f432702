"""What the frameworks' checkpoints share: names, shapes."""

from __future__ import annotations

import math
from typing import Any

import jax
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


def placed(values: Any, offset: int) -> Any:
    """An array at so many bytes behind a multiple of 64: JAX's CPU takes those at 0 without a copy."""
    values = np.asarray(values, np.float32)
    room = np.zeros(values.nbytes + 128, np.uint8)
    start = -room.ctypes.data % 64 + offset
    found = room[start : start + values.nbytes].view(np.float32).reshape(values.shape)
    found[...] = values
    return found


WHOLE: dict[str, Any] = {
    "torch": (
        lambda a: {0: {"step": 3, "exp_avg": a, "exp_avg_sq": a}},
        lambda entries: torch.load_state({"state": entries}, W, tx=torch.adam()),
        lambda state: torch.save_state(state, W)["state"],
    ),
    "paddle": (
        lambda a: {"w_moment1_0": a, "w_moment2_0": a, "w_beta1_pow_acc_0": a[:1], "w_beta2_pow_acc_0": a[:1]},
        lambda entries: paddle.load_state(entries, W, tx=paddle.adam()),
        lambda state: paddle.save_state(state, W),
    ),
    "mindspore": (
        lambda a: {"moment1.w": a, "moment2.w": a, "global_step": a[:1] * 0, "beta1_power": a[0], "beta2_power": a[0]},
        lambda entries: mindspore.load_state(entries, W, tx=mindspore.adam()),
        lambda state: mindspore.save_state(state, W),
    ),
}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("offset", [0, 1, 4])
def test_nothing_is_shared_with_the_caller(name: str, offset: int) -> None:
    """Neither in nor out: what one side writes afterwards, the other does not see."""
    entries_of, load, save = WHOLE[name]
    array = placed([0.25, 0.5], offset)
    state = load(entries_of(array))
    array[...] = 0.875
    np.testing.assert_array_equal(gx.view(state, "mu")["w"], np.float32([0.25, 0.5]))
    for saved in jax.tree.leaves(save(state)):
        if isinstance(saved, np.ndarray):
            saved[...] = 0
    np.testing.assert_array_equal(gx.view(state, "nu")["w"], np.float32([0.25, 0.5]))
    array.flags.writeable = False
    np.testing.assert_array_equal(gx.view(load(entries_of(array)), "mu")["w"], np.float32([0.875, 0.875]))
