"""torch's averages of weights, beside torch itself."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradxform.compat import torch as compat
from gradxform.compat import torch_schedules

torch = pytest.importorskip("torch")
swa_utils = pytest.importorskip("torch.optim.swa_utils")


@pytest.mark.parametrize("decay", [None, 0.8])
def test_averages(decay: float | None) -> None:
    """Every second iterate is averaged, compiled, beside an array that is not trained."""
    rng = np.random.default_rng(1)
    walk = [{"w": rng.normal(size=(3, 2)).astype(np.float32), "n": np.arange(2) + k} for k in range(6)]
    net = torch.nn.Linear(2, 3, bias=False)
    theirs = swa_utils.AveragedModel(net, avg_fn=None if decay is None else swa_utils.get_ema_avg_fn(decay))
    model = compat.AveragedModel(None if decay is None else compat.get_ema_avg_fn(decay))
    averaged, update = model.init(jax.tree.map(jnp.asarray, walk[0])), jax.jit(model.update_parameters)
    for now in walk[::2]:
        with torch.no_grad():
            net.weight.copy_(torch.tensor(now["w"]))
        theirs.update_parameters(net)
        averaged = update(averaged, now)
        np.testing.assert_allclose(averaged.module["w"], theirs.module.weight.detach().numpy(), rtol=1e-6)
    assert int(averaged.n_averaged) == int(theirs.n_averaged) == 3
    np.testing.assert_array_equal(averaged.module["n"], walk[4]["n"])


def test_its_state_dict_comes_in() -> None:
    """torch's keys begin with `module.`, and the number averaged stands beside them."""
    theirs = swa_utils.AveragedModel(torch.nn.Linear(2, 3))
    theirs.update_parameters(torch.nn.Linear(2, 3))
    state_dict = theirs.state_dict()
    names = {"module.weight": ("kernel", "T"), "module.bias": "bias"}
    module = compat.load_params(state_dict, {"kernel": jnp.zeros((2, 3)), "bias": jnp.zeros(3)}, names)
    averaged = compat.AveragedModel().init(module)._replace(n_averaged=jnp.int32(state_dict["n_averaged"].item()))
    np.testing.assert_array_equal(averaged.module["kernel"], theirs.module.weight.detach().numpy().T)
    new = compat.AveragedModel().update_parameters(averaged, jax.tree.map(jnp.zeros_like, module))
    np.testing.assert_allclose(new.module["bias"], theirs.module.bias.detach().numpy() / 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: compat.AveragedModel("mean"), TypeError, "avg_fn must be a function, got 'mean'"),
        (lambda: compat.get_ema_avg_fn(1.5), ValueError, r"decay must be in \[0, 1\], got 1\.5"),
        (lambda: torch_schedules.SWALR(0.1, 0.05, -1), ValueError, "anneal_epochs must be at least 0, got -1"),
        (lambda: torch_schedules.SWALR(0.1, 0.05, 1, "sin"), ValueError, "anneal_strategy must be one of 'cos'"),
    ],
    ids=["avg_fn", "decay", "anneal_epochs", "anneal_strategy"],
)
def test_refused(make: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        make()
