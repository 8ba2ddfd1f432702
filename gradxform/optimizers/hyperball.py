"""MuonH and AdamH: matrices keep their length, and each step turns them by the learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradxform.core import check
from gradxform.core.chain import Chain, chain
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.types import Dtype, Transformation, Where
from gradxform.optimizers.adam import adam, scale_by_adam
from gradxform.optimizers.muon import scale_by_muon
from gradxform.params.groups import groups
from gradxform.params.select import hidden_matrices
from gradxform.transforms.radius import hyperball


def _turned(
    direction: Chain, learning_rate: Hyper, radius: str, default: Transformation | None, where: Where, name: str
) -> Chain:
    learning_rate = check.given(check.nonnegative, learning_rate=learning_rate)
    hidden = chain(direction, hyperball(learning_rate, radius))
    return groups([(where, hidden, name)], default=adam(learning_rate, 0.9, 0.95) if default is None else default)


def muonh(
    learning_rate: Hyper, ns_coeffs: str | Sequence[Any] = "jordan", ns_steps: int = 5, beta: Beta = 0.95,
    eps: Hyper = 1e-7, radius: str = "start", *, mu_dtype: Dtype | None = None, nesterov: bool = True,
    ns_dtype: Dtype | None = None, gram_restarts: Sequence[int] | None = None, default: Transformation | None = None,
    where: Where = hidden_matrices,
) -> Chain:  # fmt: skip
    """MuonH for hidden matrices: `scale_by_muon`, `hyperball(learning_rate, radius)`; Adam for all others.

    The groups are "muonh" and "default". default: of the others, `adam(learning_rate, 0.9, 0.95)` unless given; the
    authors take rates of 0.02 and 6e-4, and AdamH for the head. Matrices that are 0 at first stay 0. where: selector of
    the matrices.
    Source: Wen et al. 2026, arXiv:2606.16899; its code, marin-community/marin.
    """
    direction = scale_by_muon(
        ns_coeffs, ns_steps, beta, eps, mu_dtype, nesterov=nesterov, ns_dtype=ns_dtype, gram_restarts=gram_restarts
    )
    return _turned(direction, learning_rate, radius, default, where, "muonh")


def adamh(
    learning_rate: Hyper, b1: Beta = 0.9, b2: Beta = 0.95, eps: Hyper = 1e-8, radius: str = "start", *,
    mu_dtype: Dtype | None = None, default: Transformation | None = None, where: Where = hidden_matrices,
) -> Chain:  # fmt: skip
    """AdamH for hidden matrices: `scale_by_adam`, `hyperball(learning_rate, radius)`; Adam for all others.

    The groups are "adamh" and "default". default, where: as in `muonh`.
    Source: Wen et al. 2026, arXiv:2606.16899; its code, marin-community/marin.
    """
    return _turned(scale_by_adam(b1, b2, eps, mu_dtype=mu_dtype), learning_rate, radius, default, where, "adamh")
