"""What holds for all of torch's optimizers here, beside the live ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gradxform.compat import torch as compat
from tests.compat.torch.live import STEPS, ours, theirs

torch = pytest.importorskip("torch")


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
def test_an_eps_of_zero_makes_torchs_nan_or_rests(name: str, rests: bool, kwargs: dict[str, Any]) -> None:
    """The first element has gradients of 0 only; RAdam divides from its sixth step on."""
    params, grads = {"w": np.ones(2, np.float32)}, [{"w": np.asarray([0.0, 0.5], np.float32)}] * STEPS
    kwargs = {"lr": 0.1, "eps": 0.0, **kwargs}
    then = theirs(getattr(torch.optim, name), params, grads, None, **kwargs)[-1]["w"]
    now = ours(getattr(compat, name.lower())(**kwargs), params, grads)[-1]["w"]
    assert np.isnan(then[0])
    np.testing.assert_array_equal(now[0], 1.0 if rests else np.nan)
    np.testing.assert_allclose(now[1], then[1], rtol=1e-5)
