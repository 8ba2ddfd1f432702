"""torch's tensors as NumPy's arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def as_array(x: Any) -> NDArray[Any]:
    """A tensor, an array or a number as a NumPy array, which has no bfloat16 and lives on the host."""
    if hasattr(x, "detach"):
        x = x.detach().cpu()
        x = x.float() if str(x.dtype) == "torch.bfloat16" else x
    return np.asarray(x)
