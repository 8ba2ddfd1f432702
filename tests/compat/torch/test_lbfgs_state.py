"""torch's `state_dict` of L-BFGS, both ways."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat import torch as compat

torch = pytest.importorskip("torch")
OPTIONS: dict[str, Any] = {"lr": 0.5, "max_iter": 3, "history_size": 4}
A = np.array([[3.0, 1.0], [1.0, 2.0], [0.5, -1.0]], np.float32)
NAMES = {0: ("kernel", "T"), 1: "bias"}
"""torch's order of the parameters is not that of the leaves, and its kernel is turned."""


def in_torch(kernel: Any, bias: Any) -> Any:
    ws = [torch.nn.Parameter(torch.tensor(np.array(x))) for x in (kernel, bias)]
    return ws, torch.optim.LBFGS(ws, **OPTIONS)


def torch_steps(ws: Any, opt: Any, steps: int) -> None:
    def closure() -> Any:
        opt.zero_grad()
        loss = ((ws[0] @ torch.tensor(A).T - ws[1][:, None]) ** 2).sum() + (ws[1] ** 4).sum() + ws[0].sum()
        loss.backward()
        return loss

    for _ in range(steps):
        opt.step(closure)


def loss(p: Any) -> Any:
    return ((p["kernel"].T @ A.T - p["bias"][:, None]) ** 2).sum() + (p["bias"] ** 4).sum() + p["kernel"].sum()


TX = compat.lbfgs(**OPTIONS)
UPDATE = jax.jit(lambda p, s: TX.update(p, s, p, value_fn=loss))


def our_steps(params: Any, state: Any, steps: int) -> tuple[Any, Any]:
    for _ in range(steps):
        updates, state = UPDATE(params, state)
        params = gx.apply_updates(params, updates)
    return params, state


def start() -> tuple[Any, Any]:
    """torch's kernel (2, 2) and bias, ours."""
    kernel, bias = np.array([[1.0, 0.5], [-0.5, 1.5]], np.float32), np.array([0.5, -1.0], np.float32)
    return (kernel, bias), {"kernel": jnp.asarray(kernel.T), "bias": jnp.asarray(bias)}


def test_a_run_of_torch_goes_on_here_and_the_other_way_round() -> None:
    """After 1 step, with 2 pairs, and after 3, when the history is full."""
    for split in (1, 3):
        theirs, ours = start()
        ws, opt = in_torch(*theirs)
        torch_steps(ws, opt, split)
        params = {"kernel": jnp.asarray(ws[0].detach().numpy().T), "bias": jnp.asarray(ws[1].detach().numpy().copy())}
        state = compat.load_state(opt.state_dict(), params, NAMES)
        saved = compat.save_state(*our_steps(ours, TX.init(ours), split)[::-1], NAMES)
        assert len(saved["state"][0]["ro"]) == len(opt.state_dict()["state"][0]["ro"])
        other, resumed = in_torch(*(w.detach().numpy() for w in ws))
        resumed.load_state_dict({**resumed.state_dict(), "state": jax.tree.map(torch.as_tensor, saved["state"])})
        torch_steps(ws, opt, 2)
        torch_steps(other, resumed, 2)
        params, state = our_steps(params, state, 2)
        np.testing.assert_allclose(params["kernel"].T, ws[0].detach().numpy(), atol=2e-5)
        np.testing.assert_allclose(other[0].detach().numpy(), ws[0].detach().numpy(), atol=2e-5)
        assert int(state.func_evals) == opt.state_dict()["state"][0]["func_evals"]


def test_before_the_first_step_there_is_nothing() -> None:
    (kernel, bias), ours = start()
    _, opt = in_torch(kernel, bias)
    state = compat.load_state(opt.state_dict(), ours, NAMES)
    assert int(state.n_iter) == 0
    assert compat.save_state(state, ours, NAMES) == {"state": {}}


def test_what_does_not_fit_is_refused() -> None:
    theirs, ours = start()
    ws, opt = in_torch(*theirs)
    torch_steps(ws, opt, 3)
    state_dict = opt.state_dict()
    entry = state_dict["state"][0]

    def changed(**new: Any) -> Any:
        return {**state_dict, "state": {0: {key: x for key, x in {**entry, **new}.items() if x is not None}}}

    for wrong, words in (
        (changed(d=None), "state has no 'd' of L-BFGS"),
        (changed(d=torch.ones(5)), "state has 'd' of 5 elements, and params have 6"),
        (changed(ro=[torch.ones(())] * 9), "a history of 9 pairs, and history_size is 4"),
    ):
        with pytest.raises(ValueError, match=words):
            compat.load_state(wrong, ours, NAMES)
    with pytest.raises(ValueError, match="names has no index for the parameter 'bias'"):
        compat.load_state(state_dict, ours, {0: ("kernel", "T")})
    with pytest.raises(ValueError, match="names must say how the axes of 'kernel' stand"):
        compat.load_state(state_dict, ours, {0: "kernel", 1: "bias"})
