"""Weights of torch's modules, copied; `test_names` has them beside a live net."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradxform.compat import torch as compat

WEIGHTS = {"fc.weight": np.arange(6.0).reshape(3, 2), "fc.bias": np.ones(3), "fc.steps": np.zeros(())}
NAMES = {"fc.weight": ("fc/kernel", "T"), "fc.bias": "fc/bias"}
LIKE = {"fc": {"kernel": jnp.zeros((2, 3), jnp.bfloat16), "bias": jax.ShapeDtypeStruct((3,), np.float32), "none": None}}


def test_weights_are_copies_in_the_dtype_of_their_leaf() -> None:
    bias = np.ones(3, np.float32)
    found = compat.load_params({**WEIGHTS, "fc.bias": bias}, LIKE, NAMES)
    bias[...] = 7
    np.testing.assert_array_equal(found["fc"]["kernel"], np.arange(6.0).reshape(3, 2).T)
    np.testing.assert_array_equal(found["fc"]["bias"], np.ones(3))
    assert found["fc"]["kernel"].dtype == jnp.bfloat16
    assert found["fc"]["none"] is None
    plain = compat.load_params({"fc.weight": np.ones((3, 3))}, {"fc": {"weight": np.zeros((3, 3))}})
    np.testing.assert_array_equal(plain["fc"]["weight"], np.ones((3, 3)))


BAD: list[tuple[Any, Any, Any, type, str]] = [
    (
        WEIGHTS,
        LIKE,
        None,
        ValueError,
        r"'fc.weight' of shape \(3, 2\), .* to transpose it, names takes \('fc/kernel', \"T\"",
    ),
    (WEIGHTS, LIKE, {"fc.weight": ("fc/kernel", "T")}, ValueError, "to the parameter 'fc/bias'"),
    (WEIGHTS, LIKE, {**NAMES, "b": "fc/bias"}, ValueError, "every parameter once"),
    (WEIGHTS, LIKE, {**NAMES, "fc.bias": "b"}, ValueError, "'fc.bias' leads to 'b'"),
    ({}, LIKE, NAMES, ValueError, "model_state_dict has no 'fc.weight'"),
    (
        {"fc.weight": np.ones((2, 2))},
        {"fc": {"kernel": np.ones((2, 2))}},
        None,
        ValueError,
        "how the axes of 'fc/kernel'",
    ),
    ([], LIKE, NAMES, TypeError, "model_state_dict must map names"),
    (WEIGHTS, LIKE, ["fc/kernel"], TypeError, "names must map torch's names"),
]


@pytest.mark.parametrize(("weights", "params", "names", "error", "message"), BAD, ids=[message for *_, message in BAD])
def test_what_does_not_fit_is_refused(weights: Any, params: Any, names: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        compat.load_params(weights, params, names)
