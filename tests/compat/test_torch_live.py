"""torch's optimizers beside torch itself, step by step."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradxform as gx
from gradxform.compat import torch as compat
from tests.trajectories import double, near

torch = pytest.importorskip("torch")

SHAPES = {"kernel": (4, 3), "bias": (5,), "scale": (6,)}
STEPS = 6
RTOL = {"float32": 2e-6, "float64": 1e-12}


def data(seed: int, dtype: str, missing: Any = ()) -> tuple[Any, Any]:
    """Parameters, and gradients for each step; missing: pairs of a step and a leaf that has none there."""
    rng = np.random.default_rng(seed)
    params = {name: rng.normal(size=shape).astype(dtype) for name, shape in SHAPES.items()}
    grads = [{name: rng.normal(size=shape).astype(dtype) for name, shape in SHAPES.items()} for _ in range(STEPS)]
    return params, [{n: None if (k, n) in missing else g for n, g in now.items()} for k, now in enumerate(grads)]


def theirs(make: Any, params: Any, grads: Any, groups: Any, **kwargs: Any) -> list[Any]:
    """Copies of the parameters after each step of torch."""
    leaves = {name: torch.tensor(w, requires_grad=True) for name, w in params.items()}
    listed = list(leaves.values())
    if groups is not None:
        listed = [{**group, "params": [leaves[name] for name in group["params"]]} for group in groups]
    opt, after = make(listed, **kwargs), []
    for now in grads:
        for name, g in now.items():
            leaves[name].grad = None if g is None else torch.tensor(g)
        opt.step()
        after.append({name: w.detach().numpy().copy() for name, w in leaves.items()})
    return after


def ours(tx: gx.GradientTransformation, params: Any, grads: Any) -> list[Any]:
    @jax.jit
    def run(params: Any, grads: Any) -> list[Any]:
        state, after = tx.init(params), []
        for now in grads:
            updates, state = tx.update(now, state, params)
            params = gx.apply_updates(params, updates)
            after.append(params)
        return after

    return run(params, grads)


def agree(name: str, seed: int, dtype: str, missing: Any = (), groups: Any = None, **kwargs: Any) -> None:
    """Each leaf after each step, to rounding, relative to its largest value."""
    params, grads = data(seed, dtype, missing)
    theirs_name, ours_name = name.split("/")
    expected = theirs(getattr(torch.optim, theirs_name), params, grads, groups, **kwargs)
    with double() if dtype == "float64" else nullcontext():
        found = ours(getattr(compat, ours_name)(**kwargs, groups=groups), params, grads)
        for now, then in zip(found, expected, strict=True):
            assert {w.dtype.name for w in now.values()} == {dtype}
            near(now, then, RTOL[dtype])


def rounded(low: float, high: float) -> Any:
    return st.floats(low, high).map(lambda x: round(x, 3))


OPTIONS = {
    "lr": rounded(0.0, 0.3),
    "momentum": st.just(0.0) | rounded(0.01, 1.2),
    "dampening": st.just(0.0) | rounded(-0.5, 1.5),
    "weight_decay": st.just(0.0) | rounded(0.01, 0.3),
    "nesterov": st.booleans(),
    "maximize": st.booleans(),
}
changes = st.fixed_dictionaries({}, optional=OPTIONS)
allowed = st.fixed_dictionaries(OPTIONS).map(
    lambda x: {**x, "momentum": x["momentum"] or 0.9, "dampening": 0.0} if x["nesterov"] else x
)
splits = st.none() | st.tuples(changes, changes)
absences = st.sets(st.tuples(st.integers(0, STEPS - 1), st.sampled_from(sorted(SHAPES))), max_size=6)


@pytest.mark.parametrize("dtype", RTOL)
@given(options=allowed, parts=splits, left_out=st.booleans(), missing=absences, seed=st.integers(0, 1000))
def test_sgd(dtype: str, options: Any, parts: Any, left_out: bool, missing: Any, seed: int) -> None:
    """Options of a group are taken as they come, nesterov with dampening too; a leaf in no group rests."""
    groups = None
    if parts is not None:
        wheres = (["bias"], ["kernel"] if left_out else ["scale", "kernel"])
        groups = [{"params": where, **part} for where, part in zip(wheres, parts, strict=True)]
    agree("SGD/sgd", seed, dtype, missing, groups, **options)


@pytest.mark.parametrize("dtype", RTOL)
def test_a_rate_in_a_tensor(dtype: str) -> None:
    params, grads = data(0, dtype)
    rate = np.array(0.1, np.float32)
    expected = theirs(torch.optim.SGD, params, grads, None, lr=torch.tensor(rate), momentum=0.9)
    with double() if dtype == "float64" else nullcontext():
        near(ours(compat.sgd(jnp.asarray(rate), 0.9), params, grads)[-1], expected[-1], RTOL[dtype])


EXTRAS: list[tuple[str, dict[str, Any]]] = [
    ("Adam/adam", {"lr": 0.1, "betas": (0.8, 0.95), "weight_decay": 0.1, "amsgrad": True}),
    ("AdamW/adamw", {"lr": 0.1, "betas": (0.8, 0.95), "weight_decay": 0.1, "maximize": True}),
    ("Adamax/adamax", {"lr": 0.1, "betas": (0.8, 0.95), "weight_decay": 0.1}),
    ("NAdam/nadam", {"lr": 0.1, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("RAdam/radam", {"lr": 0.1, "betas": (0.8, 0.95), "weight_decay": 0.1}),
    ("RMSprop/rmsprop", {"lr": 0.1, "alpha": 0.9, "weight_decay": 0.1, "momentum": 0.8, "centered": True}),
    ("Adagrad/adagrad", {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1, "initial_accumulator_value": 0.1}),
    ("Adadelta/adadelta", {"lr": 0.5, "rho": 0.8, "weight_decay": 0.1}),
    ("Rprop/rprop", {"lr": 0.1, "etas": (0.4, 1.3), "step_sizes": (0.05, 0.2)}),
    ("ASGD/asgd", {"lr": 0.1, "lambd": 0.01, "alpha": 0.7, "t0": 3, "weight_decay": 0.1}),
]


@pytest.mark.parametrize("dtype", RTOL)
@pytest.mark.parametrize(("name", "kwargs"), EXTRAS, ids=[name.split("/")[1] for name, _ in EXTRAS])
def test_extras(name: str, kwargs: dict[str, Any], dtype: str) -> None:
    """One leaf rests at two steps; two groups, one with a rate of its own."""
    groups = [{"params": ["bias"], "lr": 0.05}, {"params": ["scale", "kernel"]}]
    agree(name, 1, dtype, {(0, "bias"), (3, "kernel")}, groups, **kwargs)


@pytest.mark.parametrize("dtype", RTOL)
def test_sparse_adam(dtype: str) -> None:
    """Rows 0 and 2 at turns, row 1 twice at each step."""
    rng = np.random.default_rng(2)
    start = rng.normal(size=(4, 3)).astype(dtype)
    indices = [np.array([1, 2 * (k % 2), 1]) for k in range(STEPS)]
    values = rng.normal(size=(STEPS, 3, 3)).astype(dtype)
    w = torch.tensor(start, requires_grad=True)
    opt, expected = torch.optim.SparseAdam([w], lr=0.1, betas=(0.8, 0.95)), []
    for at, rows in zip(indices, values, strict=True):
        w.grad = torch.sparse_coo_tensor(torch.tensor(at)[None], torch.tensor(rows), w.shape, check_invariants=True)
        opt.step()
        expected.append({"table": w.detach().numpy().copy()})
    with double() if dtype == "float64" else nullcontext():
        grads = [
            {"table": gx.Rows(jnp.asarray(at), jnp.asarray(rows), start.shape)}
            for at, rows in zip(indices, values, strict=True)
        ]
        found = ours(compat.sparse_adam(0.1, (0.8, 0.95)), {"table": start}, grads)
        for now, then in zip(found, expected, strict=True):
            near(now, then, RTOL[dtype])


@pytest.mark.parametrize(
    ("name", "rests", "kwargs"),
    [
        ("Adam", True, {}),
        ("Adam", False, {"amsgrad": True}),
        ("Adamax", True, {}),
        ("NAdam", False, {}),
        ("RAdam", False, {}),
        ("Adagrad", False, {}),
        ("Adadelta", True, {}),
        ("RMSprop", True, {}),
        ("RMSprop", True, {"centered": True}),
    ],
)
def test_an_eps_of_zero_makes_torchs_nan_or_rests(name: str, rests: bool, kwargs: dict[str, Any]):
    """The first element has gradients of 0 only; RAdam divides from its sixth step on."""
    params, grads = {"w": np.ones(2, np.float32)}, [{"w": np.asarray([0.0, 0.5], np.float32)}] * STEPS
    kwargs = {"lr": 0.1, "eps": 0.0, **kwargs}
    then = theirs(getattr(torch.optim, name), params, grads, None, **kwargs)[-1]["w"]
    now = ours(getattr(compat, name.lower())(**kwargs), params, grads)[-1]["w"]
    assert np.isnan(then[0])
    np.testing.assert_array_equal(now[0], 1.0 if rests else np.nan)
    np.testing.assert_allclose(now[1], then[1], rtol=1e-5)
