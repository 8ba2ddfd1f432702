"""Tensors and numbers as arrays."""

from __future__ import annotations

import numpy as np
import pytest

from gradxform.compat.torch.arrays import as_array


def test_tensors_and_numbers() -> None:
    torch = pytest.importorskip("torch")
    for x in (torch.ones(2, requires_grad=True), torch.ones(2, dtype=torch.bfloat16), np.ones(2, np.float32)):
        found = as_array(x)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, [1.0, 1.0])
    assert as_array(3).shape == ()
