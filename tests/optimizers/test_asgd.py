from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from tests.trajectories import double, gradients, near, parameters

torch = pytest.importorskip("torch")


@pytest.mark.reference("torch", "asgd")
def test_asgd_equals_torch_iterates_and_average():
    params, grads = parameters(), gradients()
    tx, arguments = gx.asgd(0.1, 0.05, 0.6, 7), {"lambd": 0.05, "alpha": 0.6, "t0": 7}
    with double():
        p = jax.tree.map(jnp.asarray, params)
        state, leaves = tx.init(p), {k: torch.nn.Parameter(torch.tensor(x)) for k, x in params.items()}
        theirs = torch.optim.ASGD(leaves.values(), 0.1, **arguments)
        found, expected = [], []
        for i in range(50):
            u, state = tx.update({k: jnp.asarray(g[i]) for k, g in grads.items()}, state, p)
            p = gx.apply_updates(p, u)
            for k, x in leaves.items():
                x.grad = torch.tensor(grads[k][i])
            theirs.step()
            found.append((p, gx.eval_params(tx, state, p)))
            now = {k: x.detach().numpy().copy() for k, x in leaves.items()}
            expected.append((now, {k: theirs.state[x]["ax"].numpy().copy() for k, x in leaves.items()}))
        stacks = (jax.tree.map(lambda *x: np.stack(x), *steps) for steps in (found, expected))
        for ours, theirs in zip(*stacks, strict=True):
            near(ours, theirs, 1e-6)  # torch keeps eta in float32
