"""Hyperparameters as frameworks hold them: float32 numbers, also for float64 parameters."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from gradxform.core.arithmetic import rounded
from gradxform.core.hyper import Hyper, Schedule, Tunable
from gradxform.core.value import Child


class Float32Schedule(Schedule):
    """A schedule whose values are float32 numbers already."""


class InFloat32(Float32Schedule):
    """A schedule whose values are float32 numbers, also where the computation is wider."""

    schedule: Child[Schedule]

    def __repr__(self) -> str:
        return repr(self.schedule)

    def __call__(self, count: Any) -> Any:
        return rounded(jnp.asarray(self.schedule(count), dtype=float), jnp.float32)


def in_float32(x: Hyper) -> Hyper:
    """A hyperparameter as the framework holds it."""
    if isinstance(x, float):
        return float(np.float32(x))
    if isinstance(x, Tunable):
        return Tunable(in_float32(x.initial))
    return InFloat32(x) if isinstance(x, Schedule) and not isinstance(x, Float32Schedule) else x
