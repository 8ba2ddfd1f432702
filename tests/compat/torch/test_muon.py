"""torch's Muon beside torch itself, step by step."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat import torch as compat
from tests.compat.torch.live import STEPS, ours, theirs
from tests.trajectories import near

torch = pytest.importorskip("torch")


def drawn(shape: tuple[int, int]) -> tuple[Any, Any]:
    rng = np.random.default_rng(6)

    def make() -> Any:
        return {"w": rng.normal(size=shape).astype(np.float32)}

    return make(), [make() for _ in range(STEPS)]


@pytest.mark.parametrize(
    ("shape", "kwargs"),
    [
        ((4, 3), {}),
        ((4, 3), {"eps": 3.3}),  # more than most norms, and rounded like them
        ((3, 5), {"nesterov": False, "adjust_lr_fn": "match_rms_adamw", "weight_decay": 0.3}),
        ((5, 5), {"momentum": 0.5, "ns_steps": 3, "ns_coefficients": (2.0, -1.5, 0.5), "adjust_lr_fn": "original"}),
    ],
    ids=str,
)
def test_small_matrices(shape: tuple[int, int], kwargs: dict[str, Any]) -> None:
    params, grads = drawn(shape)
    then = theirs(torch.optim.Muon, params, grads, None, lr=0.1, **kwargs)
    for a, b in zip(ours(compat.muon(lr=0.1, **kwargs), params, grads), then, strict=True):
        near(a, b, 2e-6)


def test_larger_matrices() -> None:
    """Sums of bfloat16 products in another order round some elements the other way: 2^-8 of a step of 0.1."""
    params, grads = drawn((64, 32))
    then = theirs(torch.optim.Muon, params, grads, None, lr=0.1)[-1]["w"]
    found = ours(compat.muon(lr=0.1), params, grads)[-1]["w"]
    np.testing.assert_allclose(found, then, rtol=0, atol=STEPS * 0.1 * 2**-8)
    assert np.mean(np.abs(found - then) > 1e-6) < 0.2


def test_its_state_goes_both_ways() -> None:
    w, bias = torch.nn.Parameter(torch.ones(3, 2)), jnp.ones(2)
    opt = torch.optim.Muon([w], lr=0.1)
    w.grad = torch.tensor([[1.0, 2.0], [0.5, 1.0], [3.0, 0.1]])
    opt.step()
    params = {"w": jnp.asarray(w.detach().numpy())}
    state = compat.load_state(opt.state_dict(), params)
    np.testing.assert_array_equal(compat.save_state(state, params)["state"][0]["momentum_buffer"], 0.05 * w.grad)
    updates, _ = compat.muon(lr=0.1).update({"w": jnp.asarray(w.grad.numpy())}, state, params)
    opt.step()
    near(gx.apply_updates(params, updates), {"w": w.detach().numpy()}, 2e-6)
    with pytest.raises(ValueError, match="'bias'"):
        compat.muon().init({"bias": bias})


def test_a_kernel_that_stands_transposed() -> None:
    """`gx.matrices` says which axis torch has as rows, which tells the factor."""
    params, grads = drawn((6, 2))
    turned = jax.tree.map(np.transpose, (params, grads))
    tx = gx.matrices(compat.muon(lr=0.1), {"w": gx.Matrix("in out", rows="out", columns="in")})
    then = theirs(torch.optim.Muon, params, grads, None, lr=0.1)[-1]
    near(jax.tree.map(np.transpose, ours(tx, *turned)[-1]), then, 2e-6)


@pytest.mark.parametrize(
    ("kwargs", "error", "words"),
    [
        ({"adjust_lr_fn": "rms"}, ValueError, "adjust_lr_fn must be None, 'original' or 'match_rms_adamw', got 'rms'"),
        ({"ns_coefficients": (1.0, 2.0)}, ValueError, "ns_coefficients must be 3 numbers"),
        ({"ns_steps": 100}, ValueError, "ns_steps must be at most 99, got 100"),
        ({"momentum": -0.1}, ValueError, r"momentum.*-0\.1"),
    ],
    ids=str,
)
def test_refused(kwargs: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        compat.muon(**kwargs)
