"""Complex parameters, beside torch itself: real and imaginary part are two numbers to it."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat import torch as compat
from tests.compat.torch.live import RTOL, theirs
from tests.compat.torch.live import ours as run
from tests.trajectories import double, near

torch = pytest.importorskip("torch")
CASES: list[tuple[str, dict[str, Any]]] = [
    ("Adam", {"lr": 0.05, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.05, "betas": (0.8, 0.9), "amsgrad": True, "maximize": True}),
    ("AdamW", {"lr": 0.05}),
    ("Adamax", {"lr": 0.05}),
    ("NAdam", {"lr": 0.05, "momentum_decay": 0.1}),
    ("RAdam", {"lr": 0.05, "betas": (0.9, 0.9)}),
    ("RMSprop", {"lr": 0.02}),
    ("RMSprop", {"lr": 0.02, "alpha": 0.9, "centered": True, "momentum": 0.8}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.5}),
    ("Adadelta", {"lr": 0.5, "eps": 1e-3}),
    ("Rprop", {"lr": 0.05}),
    ("ASGD", {"lr": 0.05, "lambd": 0.1, "t0": 2.0}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.5, "weight_decay": 0.05}),
]
IDS = ["-".join((name, *options)) for name, options in CASES]
SHAPES = {"kernel": (4, 3), "pair": (2,), "scale": (), "real": (3,)}


def drawn(seed: int, dtype: str) -> dict[str, Any]:
    """Complex leaves and a real one."""
    random = np.random.default_rng(seed)
    both = {name: np.stack([random.normal(size=shape), random.normal(size=shape)]) for name, shape in SHAPES.items()}
    found = {name: np.asarray(re + 1j * im, "complex64") for name, (re, im) in both.items()} | {
        "real": both["real"][0].astype("float32")
    }
    if dtype == "float64":
        return {name: x.astype(np.result_type(x, np.float64)) for name, x in found.items()}
    return found


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_real_and_imaginary_part_are_two_numbers(name: str, options: dict[str, Any]) -> None:
    params, grads = drawn(0, "float64"), [drawn(t, "float64") for t in range(1, 6)]
    expected = theirs(getattr(torch.optim, name), params, grads, None, **options)
    with double():
        found = run(getattr(compat, name.lower())(**options), params, grads)
        for now, then in zip(found, expected, strict=True):
            assert {leaf: x.dtype for leaf, x in now.items()} == {leaf: x.dtype for leaf, x in params.items()}
            near(now, then, RTOL["float64"])


def test_a_gradient_through_complex_numbers_is_the_conjugate_of_jaxs() -> None:
    a, z = np.array([1 + 1j, 2]), np.array([1 + 2j, 0.5 - 1j])
    there = torch.nn.Parameter(torch.tensor(z))
    opt = torch.optim.Adam([there], lr=0.05)
    with double():
        here, tx = jnp.asarray(z), compat.adam(0.05)
        state = tx.init(here)
        for _ in range(6):
            opt.zero_grad()
            (torch.tensor(a) * there).abs().square().sum().backward()
            opt.step()
            g = jax.grad(lambda z: jnp.sum(jnp.abs(a * z) ** 2))(here).conj()
            updates, state = tx.update(g, state, here)
            here = gx.apply_updates(here, updates)
        np.testing.assert_allclose(here, there.detach().numpy(), rtol=1e-12)
        np.testing.assert_allclose(here, [0.7026 + 1.7011j, 0.2071 - 0.7026j], atol=5e-5)


@pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
def test_states_of_complex_parameters_go_both_ways(name: str, options: dict[str, Any]) -> None:
    params, tx = drawn(0, "float32"), getattr(compat, name.lower())(**options)
    ws = {path: torch.nn.Parameter(torch.tensor(w)) for path, w in params.items()}
    opt = getattr(torch.optim, name)(list(ws.values()), **options)

    def there(t: int) -> dict[str, Any]:
        for path, g in drawn(t, "float32").items():
            ws[path].grad = torch.tensor(g)
        opt.step()
        return {path: w.detach().numpy().copy() for path, w in ws.items()}

    def here(params: Any, state: Any, t: int) -> tuple[Any, Any]:
        updates, state = jax.jit(tx.update)(drawn(t, "float32"), state, params)
        return gx.apply_updates(params, updates), state

    for t in (1, 2):
        params = there(t)
    params, state = here(params, compat.load_state(opt.state_dict(), params, [*ws], tx), 3)
    near(params, there(3), RTOL["float32"])
    saved = jax.tree.map(torch.as_tensor, compat.save_state(state, params, [*ws])["state"])
    opt.load_state_dict({**opt.state_dict(), "state": saved})
    near(here(params, state, 4)[0], there(4), RTOL["float32"])


def test_rows_and_real_gradients_of_complex_parameters() -> None:
    """Rows count as the dense gradient that they stand for, a real gradient as a complex one."""
    w, tx = jnp.asarray(drawn(0, "float32")["kernel"]), compat.adagrad(0.1)
    rows = gx.Rows(np.array([1, 3, 1]), drawn(1, "float32")["kernel"][:3], (4, 3))
    state = tx.init(w)
    np.testing.assert_allclose(tx.update(rows, state, w)[0], tx.update(rows.dense(), state, w)[0], rtol=1e-6)
    found = tx.update(rows.dense().real, state, w)[0]
    np.testing.assert_allclose(found, tx.update(rows.dense().real + 0j, state, w)[0], rtol=1e-6)
