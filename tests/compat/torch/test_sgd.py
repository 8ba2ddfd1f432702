"""torch's SGD beside torch itself, step by step."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradxform.compat import torch as compat
from tests.compat.torch.live import RTOL, SHAPES, STEPS, agree, data, ours, theirs
from tests.trajectories import double, near

torch = pytest.importorskip("torch")


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
