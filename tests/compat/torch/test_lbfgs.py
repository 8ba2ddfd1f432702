"""torch's L-BFGS beside torch itself, closure by closure."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradxform import apply_updates
from gradxform.compat import torch as compat
from tests.trajectories import double

torch = pytest.importorskip("torch")

START = [-1.2, 1.0, -0.5, 0.8]


def rosenbrock(x: Any) -> Any:
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def theirs(steps: int, **kwargs: Any) -> tuple[list[Any], list[int]]:
    x = torch.tensor(START, dtype=torch.float64, requires_grad=True)
    opt = torch.optim.LBFGS([x], **kwargs)

    def closure() -> Any:
        opt.zero_grad()
        loss = rosenbrock(x)
        loss.backward()
        return loss

    after, evals = [], []
    for _ in range(steps):
        opt.step(closure)
        after.append(x.detach().numpy().copy())
        evals.append(opt.state[x]["func_evals"])
    return after, evals


@pytest.mark.parametrize(
    "kwargs",
    [
        {"line_search_fn": "strong_wolfe", "max_iter": 4},
        {"line_search_fn": "strong_wolfe", "max_iter": 20, "history_size": 3, "lr": 0.5},
        {"line_search_fn": "strong_wolfe", "max_iter": 5, "max_eval": 3, "history_size": 2},
        {"max_iter": 3, "lr": 0.1, "history_size": 3},
        {"max_iter": 6, "lr": 0.05, "max_eval": 4, "history_size": 10},
    ],
    ids=str,
)
def test_each_step_is_torchs(kwargs: Any):
    expected, evals = theirs(6, **kwargs)
    with double():
        tx = compat.lbfgs(**kwargs)
        x = {"head": jnp.asarray(START[:1]), "tail": jnp.asarray(START[1:])}
        state = tx.init(x)

        @jax.jit
        def step(x: Any, state: Any) -> Any:
            updates, state = tx.update(
                x, state, x, value_fn=lambda x: rosenbrock(jnp.concatenate([x["head"], x["tail"]]))
            )
            return apply_updates(x, updates), state

        for after, count in zip(expected, evals, strict=True):
            x, state = step(x, state)
            # Sums in another order are amplified by the quotients of the line search.
            np.testing.assert_allclose(np.concatenate([x["head"], x["tail"]]), after, rtol=1e-6)
            assert int(state.func_evals) == count


def test_a_minimum_is_left_alone():
    x = jnp.ones(4)
    tx = compat.lbfgs()
    updates, state = tx.update(x, tx.init(x), x, value_fn=rosenbrock)
    np.testing.assert_array_equal(updates, np.zeros(4))
    assert int(state.func_evals) == 1


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: compat.lbfgs(lr=-1.0), ValueError, "lr must be at least 0, got -1.0"),
        (lambda: compat.lbfgs(history_size=0), ValueError, "history_size must be at least 1, got 0"),
        (lambda: compat.lbfgs(groups=[{"params": ()}, {"params": ()}]), ValueError, "no parameter groups, got 2"),
        (lambda: compat.lbfgs(line_search_fn="armijo"), RuntimeError, "'armijo'"),
        (lambda: compat.lbfgs().update(jnp.ones(2), None, jnp.ones(2)), TypeError, "closure"),
    ],
)
def test_what_torch_refuses_is_refused(make: Any, error: Any, message: str):
    with pytest.raises(error, match=message):
        make()
