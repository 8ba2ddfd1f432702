"""torch's averages of weights, `torch.optim.swa_utils`: a step of their own, where a loop wants it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import compute_dtype
from gradxform.core.tree import is_trained
from gradxform.core.types import Array, Params
from gradxform.core.value import Value

AverageFunction: TypeAlias = Callable[[Array, Array, Array], Array]
"""The average, the parameter and how many were averaged -> the new average."""


class AveragedParams(NamedTuple):
    """module: the average, a tree like the parameters. n_averaged: scalar int32."""

    module: Params
    n_averaged: Array


class AveragedModel(Value):
    """Average parameters at the moments that the loop chooses: `averaged = model.update_parameters(averaged, params)`.

    The first call copies, from `averaged = model.init(params)` on. avg_fn: None is the plain mean of all that came
    (stochastic weight averaging), or `get_ema_avg_fn(decay)`. `averaged.module` is what one evaluates with.
    State: module, shaped and typed like the parameters; n_averaged, int32 scalar.
    Raises: TypeError if avg_fn is no function.
    Source: torch 2.13, optim/swa_utils.py; Izmailov et al. 2018, arXiv:1803.05407.
    """

    avg_fn: AverageFunction | None = None

    @classmethod
    def public_name(cls) -> str:
        return cls.__name__

    def __post_init__(self) -> None:
        if self.avg_fn is not None:
            check.function(avg_fn=self.avg_fn)

    def init(self, params: Params) -> AveragedParams:
        copies = jax.tree.map(lambda p: jnp.array(p) if is_trained(p) else p, params)
        return AveragedParams(copies, jnp.zeros((), jnp.int32))

    def update_parameters(self, averaged: AveragedParams, params: Params) -> AveragedParams:
        """The average with these parameters in it; what is not trained is taken as it is."""
        n, average = averaged.n_averaged, self.avg_fn or get_swa_avg_fn()

        def one(mean: Any, p: Any) -> Any:
            if not is_trained(p):
                return p
            wide = compute_dtype(p.dtype)
            new = average(jnp.asarray(mean, wide), jnp.asarray(p, wide), n.astype(wide))
            return jnp.where(n == 0, p, new.astype(p.dtype))

        return AveragedParams(jax.tree.map(one, averaged.module, params), n + 1)


def get_swa_avg_fn() -> AverageFunction:
    """The plain mean: `a + (p - a) / (n + 1)`."""
    return lambda average, p, n: average + (p - average) / (n + 1)


def get_ema_avg_fn(decay: float = 0.999) -> AverageFunction:
    """The exponential mean: `decay·a + (1 - decay)·p`. Raises: ValueError unless decay is in [0, 1]."""
    number = check.number(check.unit, decay=decay)
    return lambda average, p, n: number * average + (1.0 - number) * p
