from __future__ import annotations

import ast
import importlib
import inspect

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest

import gradxform as gx
from tests import transcripts
from tests.trajectories import STEPS, agrees, as_written, double, follows, walk

RATES = 0.05 * np.exp(-np.arange(STEPS) / 20)
KERNEL = {"kernel": True, "bias": False, "scale": False}


def kernel(params):
    return jax.tree.map(lambda p: p.ndim > 1, params)


@pytest.mark.reference("Kingma, Ba 2014; Loshchilov, Hutter 2017; Dozat 2016", "adam", "adamw", "nadam", "nadamw")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.adam(0.02), {}),
        (gx.adam(0.02, 0.8, 0.95, 1e-3, 1e-4), {"beta1": 0.8, "beta2": 0.95, "eps": 1e-3, "eps_root": 1e-4}),
        (gx.adam(0.02, b1=0.0, b2=0.0), {"beta1": 0.0, "beta2": 0.0}),
        (gx.adam(0.02, b1=0.99, b2=0.9999), {"beta1": 0.99, "beta2": 0.9999}),
        (gx.adam(0.02, nesterov=True), {"nesterov": True}),
        (gx.nadam(0.02), {"nesterov": True}),
        (gx.nadam(0.02, 0.7, 0.9, 1e-2), {"beta1": 0.7, "beta2": 0.9, "eps": 1e-2, "nesterov": True}),
        (gx.nadam(0.02, nesterov=False), {}),
        (gx.adamw(0.02), {"lam": 1e-4}),
        (gx.adamw(0.02, 0.8, 0.95, 1e-3, 1e-4, None, 0.3, nesterov=True),
         {"beta1": 0.8, "beta2": 0.95, "eps": 1e-3, "eps_root": 1e-4, "lam": 0.3, "nesterov": True}),
        (gx.nadamw(0.02, weight_decay=0.2), {"lam": 0.2, "nesterov": True}),
        (gx.adam(0.02, mu_dtype=jnp.bfloat16), {"keep": transcripts.kept_in(ml_dtypes.bfloat16)}),
    ],
    ids=as_written,
)  # fmt: skip
def test_adam_follows_its_papers(tx, letters):
    follows(tx, transcripts.adam, 0.02, **letters)


@pytest.mark.parametrize(
    "rate",
    [RATES.tolist(), list(jnp.asarray(RATES, jnp.float64 if jax.config.jax_enable_x64 else jnp.float32)), iter(RATES)],
    ids=["list", "list of jax numbers", "iterator of numpy's"],
)
def test_rate_as_a_table(rate):
    known = np.asarray(rate, np.float64) if isinstance(rate, list) else RATES
    follows(gx.adam(rate), transcripts.adam, known)


def test_rate_as_a_function():
    follows(gx.adam(lambda count: 0.05 / (1 + count)), transcripts.adam, 0.05 / (1 + np.arange(STEPS)))


@pytest.mark.parametrize(
    "mask", [gx.named("kernel"), "kernel", KERNEL, kernel, gx.ndim_at_least(2), gx.weights_only], ids=as_written
)
def test_adamw_decays_where_the_mask_says(mask):
    follows(gx.adamw(0.02, weight_decay=0.5, mask=mask), transcripts.adam, 0.02, per_leaf={"kernel": {"lam": 0.5}})


@pytest.mark.reference("Reddi et al. 2018, algorithm 2", "amsgrad")
@pytest.mark.parametrize(
    ("tx", "letters"),
    [
        (gx.amsgrad(0.02), {}),
        (gx.amsgrad(0.02, 0.8, 0.7, 1e-3, 1e-4), {"beta1": 0.8, "beta2": 0.7, "eps": 1e-3, "eps_root": 1e-4}),
        (gx.amsgrad(0.02, b2=0.7, bias_correction_mu=False, bias_correction_nu=False),
         {"beta2": 0.7, "correct_m": False, "correct_v": False}),
        (gx.amsgrad(0.02, b2=0.7, bias_correction_mu=False), {"beta2": 0.7, "correct_m": False}),
        (gx.amsgrad(0.02, b2=0.7, bias_correction_nu=False), {"beta2": 0.7, "correct_v": False}),
    ],
    ids=as_written,
)  # fmt: skip
def test_amsgrad_follows_its_paper(tx, letters):
    follows(tx, transcripts.amsgrad, 0.02, **letters)


@pytest.mark.parametrize("name", ["adam", "adamw", "nadam", "nadamw", "amsgrad"])
def test_equals_optax_in_single(name):
    """optax computes 1 - 0.999**t in float32, off by 3e-5 at t = 1, of which the root keeps half."""
    agrees(name, 0.02, dtype=np.float32, rtol=2e-5)


@pytest.mark.reference("optax")
@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [
        ("adam", (0.02, 0.8, 0.95, 1e-3, 1e-4), {}),
        ("adam", (optax.cosine_decay_schedule(0.1, 40),), {"nesterov": True}),
        ("adamw", (0.02, 0.8, 0.95, 1e-3, 1e-4, None, 0.1, KERNEL), {"nesterov": True}),
        ("adamw", (0.02,), {"weight_decay": 0.1, "mask": kernel}),
        ("adamw", (0.02,), {"weight_decay": optax.linear_schedule(0.5, 0.0, 30)}),
        ("nadam", (0.02, 0.8, 0.95, 1e-3, 1e-4), {}),
        ("nadamw", (0.02, 0.8, 0.95, 1e-3, 1e-4, None, 0.1, kernel), {"nesterov": False}),
        ("amsgrad", (0.02, 0.8, 0.7, 1e-3, 1e-4), {}),
        ("amsgrad", (0.02, 0.8, 0.7), {"bias_correction_mu": False, "bias_correction_nu": False}),
        ("scale_by_adam", (), {}),
        ("scale_by_adam", (0.8, 0.95, 1e-3, 1e-4), {"nesterov": True}),
        ("scale_by_amsgrad", (0.8, 0.7, 1e-3, 1e-4, None, False, True), {}),
    ],
)
def test_equals_optax(name, args, kwargs):
    agrees(name, *args, **kwargs)


@pytest.mark.parametrize("name", ["adam", "adamw", "nadam", "amsgrad"])
def test_first_moment_in_float32_equals_optax(name):
    """Between float64 steps both round mu to float32; optax multiplies it there too (6e-8 a step)."""
    agrees(name, 0.02, mu_dtype=jnp.float32, rtol=1e-6)


def test_first_moment_in_bfloat16_is_near_optax():
    """optax multiplies the bfloat16 moment by b1 in bfloat16 (2^-9 a step, summed with decay 0.9); ours does not."""
    agrees("adam", 0.02, mu_dtype=jnp.bfloat16, rtol=10 * 2**-9)


@pytest.mark.parametrize(("b1", "b2"), [(0.9, 0.9999), (0.99, 0.99999)])
def test_bias_correction_keeps_float32s_digits(b1, b2):
    """With one constant gradient the update is g / (|g| + eps) at every step, whatever the rates."""
    params = {"x": np.zeros(3)}
    grads = {"x": np.broadcast_to(np.array([1.0, -0.5, 3.0]), (STEPS, 3))}
    updates = walk(gx.scale_by_adam(b1, b2, eps=0.0), params, grads, jnp.float32)[1]
    np.testing.assert_allclose(updates["x"], np.sign(grads["x"]), rtol=0, atol=1e-6)


def test_state_holds_the_moments():
    tx, p, g = gx.adam(0.1, 0.75, 0.5), jnp.zeros(2), jnp.array([2.0, -4.0])
    _, state = tx.update(g, tx.init(p), p)
    np.testing.assert_array_equal(gx.view(state, "mu"), [0.5, -1.0])
    np.testing.assert_array_equal(gx.view(state, "nu"), [2.0, 8.0])
    assert state.count == 1


def test_complex_parameters():
    """The second moment is of |g|^2: turning every gradient by one phase turns the path by it."""
    with double():
        turn = np.exp(0.7j)
        g = np.random.default_rng(0).normal(size=(STEPS, 3)) + 0j
        paths = []
        for factor in (1.0, turn):
            tx, p = gx.adam(0.1), jnp.zeros(3, jnp.complex128)
            state = tx.init(p)
            assert gx.view(state, "nu").dtype == jnp.float64
            for t in range(5):
                updates, state = tx.update(jnp.asarray(factor * g[t]), state, p)
                p = gx.apply_updates(p, updates)
            paths.append(np.asarray(p))
        np.testing.assert_allclose(paths[1], turn * paths[0], rtol=1e-13)


def test_reading_adam_takes_one_file_and_under_sixty_lines():
    """From the public name to the last arithmetic, documentation included, blank lines not."""
    names = ["Moments", "ScaleByAdam", "scale_by_adam", "adam"]
    module = importlib.import_module(gx.adam.__module__)
    assert gx.scale_by_adam.__module__ == gx.adam.__module__
    lines = inspect.getsource(module).splitlines()
    found = {node.name: node for node in ast.parse("\n".join(lines)).body if hasattr(node, "name")}
    shown = [line for name in names for line in lines[found[name].lineno - 1 : found[name].end_lineno] if line.strip()]
    assert len(shown) < 60
    assert any("root(s.nu" in line for line in shown)
