"""torch's Adafactor beside torch itself, step by step."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat import torch as compat
from tests.compat.torch.live import RTOL, agree, agree_in_groups, ours, theirs

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("dtype", RTOL)
def test_adafactor(dtype: str) -> None:
    agree_in_groups("Adafactor/adafactor", dtype, eps=(1e-3, 0.5), d=1.2, weight_decay=0.1)


def test_defaults_and_a_large_rate() -> None:
    agree("Adafactor/adafactor", 2, "float32")
    agree("Adafactor/adafactor", 3, "float32", lr=1.0, beta2_decay=-0.5, maximize=True)


def test_more_than_two_axes_and_gradients_of_zero() -> None:
    """Factored by the last two axes; the epsilon of float32 keeps rows of zeros at rest."""
    rng = np.random.default_rng(4)
    params = {"conv": rng.normal(size=(2, 3, 4)).astype(np.float32), "w": rng.normal(size=(3, 2)).astype(np.float32)}
    grads = [{name: rng.normal(size=w.shape).astype(np.float32) for name, w in params.items()} for _ in range(3)]
    for now in grads:
        now["w"][1] = 0.0
    then = theirs(torch.optim.Adafactor, params, grads, None, lr=0.5)
    for a, b in zip(ours(compat.adafactor(lr=0.5), params, grads), then, strict=True):
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=2e-6, atol=2e-6), a, b)


@pytest.mark.parametrize(
    ("kwargs", "error", "words"),
    [
        ({"beta2_decay": 0.1}, ValueError, r"beta2_decay must be at most 0, got 0\.1"),
        ({"d": 0.5}, ValueError, r"d must be at least 1, got 0\.5"),
        ({"eps": (-1.0, 1e-3)}, ValueError, r"eps\[0\].*-1"),
        ({"eps": (None, -1.0)}, ValueError, r"eps\[1\].*-1"),
        ({"eps": (1e-3, None)}, TypeError, "eps must be a pair of numbers"),
        ({"eps": 1e-3}, TypeError, "eps must be a pair of numbers"),
        ({"weight_decay": -0.1}, ValueError, r"weight_decay.*-0\.1"),
    ],
    ids=str,
)
def test_refused(kwargs: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        compat.adafactor(**kwargs)


def test_a_turned_kernel_takes_the_other_factors() -> None:
    """What torch keeps for rows belongs to columns here."""
    w, tx = torch.nn.Parameter(torch.ones(3, 2)), compat.adafactor(lr=0.1)
    opt = torch.optim.Adafactor([w], lr=0.1)
    w.grad = torch.tensor([[1.0, 2.0], [0.5, 1.0], [3.0, 0.1]])
    opt.step()
    params = {"kernel": jnp.asarray(w.detach().numpy().T)}
    names = {0: ("kernel", "T")}
    state = compat.load_state(opt.state_dict(), params, names)
    saved = compat.save_state(state, params, names)["state"][0]
    for entry in ("row_var", "col_var"):
        np.testing.assert_array_equal(saved[entry], opt.state_dict()["state"][0][entry])
    opt.step()
    updates, _ = tx.update({"kernel": jnp.asarray(w.grad.numpy().T)}, state, params)
    found = gx.apply_updates(params, updates)["kernel"]
    np.testing.assert_allclose(found, w.detach().numpy().T, rtol=2e-6)
    with pytest.raises(ValueError, match="names must leave torch's last two axes last for 'kernel'"):
        compat.load_state(opt.state_dict(), params, {0: ("kernel", "T", (3, 2))})
