"""torch's `state_dict` of optimizers, with the live torch: training goes on here, and the other way round."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.compat import torch as compat

torch = pytest.importorskip("torch")

SPLIT, LAST = 4, 8
ORDER = ["fc/kernel", "fc/bias", "conv/kernel", "scale"]
"""torch's order of the parameters, which is not that of the sorted tree; two have one shape."""
SHAPES = {"fc/kernel": (3, 4), "fc/bias": (4,), "conv/kernel": (3, 4), "scale": ()}
CASES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.5, "weight_decay": 0.05}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "maximize": True}),
    ("Adam", {"lr": 0.05, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.05, "betas": (0.8, 0.9), "amsgrad": True}),
    ("AdamW", {"lr": 0.05, "weight_decay": 0.1}),
    ("Adamax", {"lr": 0.05}),
    ("NAdam", {"lr": 0.05, "momentum_decay": 0.1}),
    ("RAdam", {"lr": 0.05, "betas": (0.9, 0.9)}),
    ("RMSprop", {"lr": 0.02}),
    ("RMSprop", {"lr": 0.02, "alpha": 0.9, "eps": 1e-3, "centered": True, "momentum": 0.8}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.5}),
    ("Adadelta", {"lr": 0.5, "eps": 1e-3}),
    ("Rprop", {"lr": 0.05}),
    ("ASGD", {"lr": 0.05, "lambd": 0.1, "t0": 2.0}),
    ("Adafactor", {"lr": 0.3, "weight_decay": 0.1, "d": 1.5}),
]
FUNCTIONS = {"SparseAdam": compat.sparse_adam, **{name: getattr(compat, name.lower()) for name, _ in CASES}}
GROUPS: list[dict[str, Any]] = [
    {"params": ["fc/kernel", "conv/kernel"], "momentum": 0.5, "weight_decay": 0.1},
    {"params": ["scale"], "momentum": 0.0},
    {"params": ["fc/bias"], "nesterov": True},
]


def drawn(seed: int) -> dict[str, np.ndarray[Any, Any]]:
    random = np.random.default_rng(seed)
    return {path: np.asarray(random.normal(size=shape), np.float32) for path, shape in SHAPES.items()}


def tree(flat: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "conv": {"kernel": flat["conv/kernel"]},
        "fc": {"bias": flat["fc/bias"], "kernel": flat["fc/kernel"]},
        "scale": flat["scale"],
    }


def flat(found: Any) -> dict[str, Any]:
    return {
        "conv/kernel": found["conv"]["kernel"],
        "fc/bias": found["fc"]["bias"],
        "fc/kernel": found["fc"]["kernel"],
        "scale": found["scale"],
    }


def gradient(t: int, absent: str | None = None) -> dict[str, Any]:
    """The gradients of step t; one leaf has none until training has changed sides."""
    return {path: None if path == absent and t <= SPLIT + 1 else g for path, g in drawn(100 + t).items()}


def in_torch(name: str, options: dict[str, Any], weights: Mapping[str, Any], groups: Any = None) -> Any:
    """The parameters by path, and the optimizer."""
    ws = {path: torch.nn.Parameter(torch.tensor(np.asarray(weights[path]))) for path in ORDER}
    listed = [{**group, "params": [ws[path] for path in group["params"]]} for group in groups or []]
    return ws, getattr(torch.optim, name)(listed or [ws[path] for path in ORDER], **options)


def torch_steps(ws: Any, opt: Any, steps: range, absent: str | None = None) -> dict[str, Any]:
    for t in steps:
        for path, g in gradient(t, absent).items():
            ws[path].grad = None if g is None else torch.tensor(g)
        opt.step()
    return {path: w.detach().numpy().copy() for path, w in ws.items()}


def our_steps(tx: Any, params: Any, state: Any, steps: range, absent: str | None = None) -> tuple[Any, Any]:
    update = jax.jit(tx.update)
    for t in steps:
        updates, state = update(tree(gradient(t, absent)), state, params)
        params = gx.apply_updates(params, updates)
    return params, state


def tensors(saved: Any) -> Any:
    return jax.tree.map(torch.as_tensor, saved["state"])


def close(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    for path, w in theirs.items():
        np.testing.assert_allclose(ours[path], w, rtol=0, atol=2e-6 * np.abs(w).max(), err_msg=path)


def there_and_here(name: str, options: dict[str, Any], groups: Any = None, absent: str | None = None) -> None:
    """4 steps in torch, then 4 more both there and here."""
    ws, opt = in_torch(name, options, drawn(0), groups)
    half = torch_steps(ws, opt, range(1, SPLIT + 1), absent)
    order = ORDER if groups is None else [path for group in groups for path in group["params"]]
    params = jax.tree.map(jnp.asarray, tree(half))
    tx = FUNCTIONS[name](**options, groups=groups)
    dictionary = copy.deepcopy(opt.state_dict())
    state = compat.load_state(dictionary, params, dict(enumerate(order)))
    given = compat.load_state(dictionary, params, order, tx)
    assert jax.tree.structure(state) == jax.tree.structure(given) == jax.tree.structure(tx.init(params))
    jax.tree.map(np.testing.assert_array_equal, state, given)
    ours, _ = our_steps(tx, params, state, range(SPLIT + 1, LAST + 1), absent)
    close(flat(ours), torch_steps(ws, opt, range(SPLIT + 1, LAST + 1), absent))


def here_and_there(name: str, options: dict[str, Any], groups: Any = None, absent: str | None = None) -> None:
    """4 steps here, 4 more in torch from our state, against 8 in torch alone."""
    tx = FUNCTIONS[name](**options, groups=groups)
    params = jax.tree.map(jnp.asarray, tree(drawn(0)))
    half, state = our_steps(tx, params, tx.init(params), range(1, SPLIT + 1), absent)
    order = ORDER if groups is None else [path for group in groups for path in group["params"]]
    saved = compat.save_state(state, half, order)
    before = jax.tree.map(np.array, state)
    ws, opt = in_torch(name, options, flat(half), groups)
    opt.load_state_dict({**opt.state_dict(), "state": tensors(saved)})
    after = torch_steps(ws, opt, range(SPLIT + 1, LAST + 1), absent)
    jax.tree.map(np.testing.assert_array_equal, state, before)
    close(after, torch_steps(*in_torch(name, options, drawn(0), groups), range(1, LAST + 1), absent))


@pytest.mark.parametrize(("name", "options"), CASES, ids=lambda x: x if isinstance(x, str) else "-".join(x))
def test_a_run_of_torch_goes_on_here(name: str, options: dict[str, Any]) -> None:
    there_and_here(name, options)


@pytest.mark.parametrize(("name", "options"), CASES, ids=lambda x: x if isinstance(x, str) else "-".join(x))
def test_a_run_of_ours_goes_on_in_torch(name: str, options: dict[str, Any]) -> None:
    here_and_there(name, options)


def test_torch_goes_on_without_moving_our_state() -> None:
    ws, opt = in_torch("Adam", {"lr": 0.1}, drawn(0))
    torch_steps(ws, opt, range(1, 3))
    state = compat.load_state(opt.state_dict(), tree(drawn(0)), ORDER)
    before = jax.tree.map(np.array, state)
    torch_steps(ws, opt, range(3, 5))
    jax.tree.map(np.testing.assert_array_equal, state, before)


def test_groups() -> None:
    """torch counts its parameters through the groups; one of them has no momentum, and so no entry."""
    options = {"lr": 0.1, "momentum": 0.9}
    there_and_here("SGD", options, GROUPS)
    here_and_there("SGD", options, GROUPS)


@pytest.mark.parametrize("name", ["SGD", "Adam", "Adagrad", "NAdam"])
def test_a_parameter_that_had_no_gradient_yet(name: str) -> None:
    """It begins after the change of sides: SGD's momentum with its first gradient, undampened, Adam's count at 1."""
    options = {"lr": 0.1, "momentum": 0.9, "dampening": 0.5} if name == "SGD" else {"lr": 0.1}
    there_and_here(name, options, absent="fc/bias")
    here_and_there(name, options, absent="fc/bias")


def test_sparse_gradients() -> None:
    rows, options = np.array([[1, 3, 1], [0, 3, 2]]), {"lr": 0.1, "betas": (0.8, 0.9)}
    values = np.asarray(np.random.default_rng(3).normal(size=(2, 3, 2)), np.float32)
    w = torch.nn.Parameter(torch.ones(5, 2))
    opt, tx = torch.optim.SparseAdam([w], **options), compat.sparse_adam(**options)

    def step(i: int) -> Any:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse invariant checks", UserWarning)
            w.grad = torch.sparse_coo_tensor(rows[i][None], torch.tensor(values[i]), w.shape)
        opt.step()
        return w.detach().numpy().copy()

    params = {"w": jnp.asarray(step(0))}
    state = compat.load_state(copy.deepcopy(opt.state_dict()), params)
    updates, after = tx.update({"w": gx.Rows(rows[1], values[1], (5, 2))}, state, params)
    expected = step(1)
    close(gx.apply_updates(params, updates), {"w": expected})
    with torch.no_grad():
        w.copy_(torch.tensor(np.asarray(params["w"])))
    opt.load_state_dict({**opt.state_dict(), "state": tensors(compat.save_state(state, params))})
    close({"w": step(1)}, {"w": expected})
    assert int(after.count) == 2


def test_a_schedule_goes_on_where_torchs_scheduler_stood() -> None:
    ws, opt = in_torch("SGD", {"lr": 0.1, "momentum": 0.9}, drawn(0))
    scheduler = torch.optim.lr_scheduler.StepLR(opt, 3, gamma=0.5)
    for t in range(1, SPLIT + 1):
        torch_steps(ws, opt, range(t, t + 1))
        scheduler.step()
    params = jax.tree.map(jnp.asarray, tree({path: w.detach().numpy().copy() for path, w in ws.items()}))
    tx = compat.sgd(gx.compat.torch_schedules.StepLR(0.1, 3, gamma=0.5), momentum=0.9)
    dictionary = copy.deepcopy(opt.state_dict())
    assert int(compat.load_state(dictionary, params, ORDER).count) == 0
    state = compat.load_state(dictionary, params, ORDER, step=scheduler.last_epoch)
    ours, _ = our_steps(tx, params, state, range(SPLIT + 1, LAST + 1))
    for t in range(SPLIT + 1, LAST + 1):
        after = torch_steps(ws, opt, range(t, t + 1))
        scheduler.step()
    close(flat(ours), after)


def test_numpy_arrays_numbers_and_bfloat16() -> None:
    """What a state dict holds may be arrays, Python's numbers, or tensors of a dtype that NumPy has not."""
    params = {"a": jnp.ones(2), "b": jnp.ones(3)}
    groups = [{"lr": torch.tensor(0.1), "betas": (0.9, 0.999), "amsgrad": False, "params": [0, 1]}]
    entries = {
        0: {"step": 3, "exp_avg": np.full(2, 0.5), "exp_avg_sq": [0.25, 0.5]},
        1: {
            "step": np.ones(1),
            "exp_avg": torch.ones(3, dtype=torch.bfloat16),
            "exp_avg_sq": torch.ones(3, requires_grad=True),
        },
    }
    state = compat.load_state({"state": entries, "param_groups": groups}, params)
    assert int(state.count) == 3
    assert [int(x) for x in jax.tree.leaves(gx.view(state, "count"))] == [3, 1]
    np.testing.assert_array_equal(gx.view(state, "nu")["a"], np.float32([0.25, 0.5]))
    np.testing.assert_array_equal(gx.view(state, "mu")["b"], np.ones(3, np.float32))
    saved = compat.save_state(state, params)
    jax.tree.map(np.testing.assert_array_equal, compat.load_state(saved, params, tx=compat.adam()).leaves, state.leaves)


def test_state_dicts_that_do_not_fit_are_refused() -> None:
    params, tx = {"w": jnp.ones(3), "x": jnp.ones(3)}, compat.sgd(0.1, momentum=0.9)
    group = {"momentum": 0.9, "dampening": 0, "nesterov": False, "params": [0, 1], "param_names": ["w", "x"]}
    buffers = {i: {"momentum_buffer": np.full(3, 1.0 + i)} for i in range(2)}
    whole = {"state": buffers, "param_groups": [group]}
    np.testing.assert_array_equal(gx.view(compat.load_state(whole, params), "trace")["x"], np.full(3, 2.0))
    wrong = {**whole, "state": {**buffers, 1: {"momentum_buffer": np.ones(4)}}}
    with pytest.raises(ValueError, match=r"'momentum_buffer of 1' of shape \(4,\), the parameter 'x' has \(3,\)"):
        compat.load_state(wrong, params)
    with pytest.raises(ValueError, match=r"state\[1\] has no 'momentum_buffer' for the parameter 'x', only \['sum'\]"):
        compat.load_state({**whole, "state": {**buffers, 1: {"sum": np.ones(3)}}}, params)
    with pytest.raises(ValueError, match="param_groups have 2 parameters, params 1"):
        compat.load_state(whole, {"w": jnp.ones(3)})
    with pytest.raises(ValueError, match="0 leads to 'v'"):
        compat.load_state(whole, params, {0: "v", 1: "x"})
    with pytest.raises(ValueError, match="index 7 for 'x'"):
        compat.load_state(whole, params, {0: "w", 7: "x"})
    with pytest.raises(ValueError, match="every parameter once"):
        compat.load_state(whole, params, ["w", "w"])
    with pytest.raises(ValueError, match="no index for the parameter 'x'"):
        compat.load_state(whole, params, {0: "w"}, tx)
    with pytest.raises(ValueError, match="no index for the parameter 'x'"):
        compat.save_state(tx.init(params), params, {0: "w"})
    with pytest.raises(ValueError, match=r"has the options \['max_iter'\]"):
        compat.load_state({"state": {}, "param_groups": [{"max_iter": 20, "params": [0, 1]}]}, params)
    with pytest.raises(ValueError, match="param_groups must be dicts with 'params'"):
        compat.load_state({**whole, "param_groups": [{"momentum": 0.9}]}, params)
    with pytest.raises(ValueError, match=r"state\[0\] has a complex 'sum' for 'w'"):
        compat.load_state({"state": {0: {"step": 1, "sum": np.ones(3, complex)}}}, params, tx=compat.adagrad())
    with pytest.raises(ValueError, match="or give tx"):
        compat.load_state({"state": buffers}, params)
    with pytest.raises(TypeError, match="optimizer_state_dict must be a dict"):
        compat.load_state([buffers], params, tx=tx)
    with pytest.raises(TypeError, match="names must map indices"):
        compat.load_state(whole, params, "w")
    with pytest.raises(ValueError, match=r"not of an optimizer of compat\.torch: for 'w' it keeps 'adam' with mu, nu"):
        compat.save_state(gx.adam(0.1).init(params), params)


@pytest.mark.parametrize("value", [np.nan, -0.5, 1.5])
def test_a_product_of_momenta_that_is_none_is_refused(value: float) -> None:
    params, tx = {"w": jnp.ones(3)}, compat.nadam()
    whole = compat.save_state(tx.init(params), params)
    kept = {**whole["state"][0], "mu_product": np.float32(value)}
    with pytest.raises(ValueError, match=r"has 'mu_product of 0' with .*: a power of betas is in \[0, 1\]"):
        compat.load_state({**whole, "state": {0: kept}}, params, tx=tx)
