"""Length and direction of the gradient: one length for all, the length of the parameter, the part across it."""

from __future__ import annotations

import jax.numpy as jnp

from gradxform.core import check
from gradxform.core.arithmetic import abs_sq, quotient, root
from gradxform.core.chain import Chain, lift
from gradxform.core.facts import Facts, Reach, Station
from gradxform.core.hyper import Hyper
from gradxform.core.norms import norm_of
from gradxform.core.rule import Rule, TreeRule
from gradxform.core.sizes import addable, rootable, tame
from gradxform.core.types import Array, AxisName, Memory, Param, Scalars


class NormalizeByUpdateNorm(TreeRule):
    scale_factor: Hyper = 1.0
    eps: Hyper = 1e-6
    axis_name: AxisName | None = None
    facts = Facts(reach=Reach.TREE, station=Station.CLEANSE, keeps_zero=True)

    def check(self) -> None:
        check.finite(scale_factor=self.scale_factor)
        check.nonnegative(eps=self.eps)
        check.axis_or_none(axis_name=self.axis_name)

    def measure(self, gs: list[Array], s: Memory, t: Array) -> tuple[Scalars, Memory]:
        return quotient(self.scale_factor, norm_of(gs, self.axis_name) + self.eps, self.eps), s

    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Array, Memory]:
        return g * k, s


class ParamBlock(Rule, abstract=True):
    min_scale: Hyper = 1e-3
    facts = Facts(reach=Reach.ARRAY, station=Station.DIRECT, needs_params=True)

    def check(self) -> None:
        check.nonnegative(min_scale=self.min_scale)


class ScaleByParamBlockNorm(ParamBlock):
    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Array, Memory]:
        return addable(g) * jnp.maximum(root(rootable(jnp.sum(abs_sq(p)))), self.min_scale), s


class ScaleByParamBlockRms(ParamBlock):
    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Array, Memory]:
        return addable(g) * jnp.maximum(root(rootable(jnp.mean(abs_sq(p)))), self.min_scale), s


class OrthogonalizeGradient(Rule):
    facts = Facts(reach=Reach.ARRAY, station=Station.CLEANSE, needs_params=True)

    def update(self, g: Array, s: Memory, p: Param, k: Scalars) -> tuple[Array, Memory]:
        if p.size == 1:
            return g, s
        square = jnp.sum(abs_sq(p))
        along = jnp.sum((p.conj() * g).real) / jnp.where(square > 0, square, 1)
        return g - tame(along) * p, s


def normalize_by_update_norm(
    scale_factor: Hyper = 1.0, eps: Hyper = 1e-6, *, axis_name: AxisName | None = None
) -> Chain:
    """Give the whole gradient one length: `u = scale_factor · g / (√Σ‖gᵢ‖² + eps)`.

    axis_name: as in `clip_by_global_norm`.
    Reach: tree. State: none.
    Raises: ValueError if scale_factor is not finite, eps < 0, or a leaf varies over a mesh axis that is not named.
    """
    return lift(NormalizeByUpdateNorm(scale_factor, eps, axis_name))


def scale_by_param_block_norm(min_scale: Hyper = 1e-3) -> Chain:
    """Scale each array by its parameter's norm: `u = g · max(‖p‖₂, min_scale)`.

    Reach: array. State: none.
    Raises: ValueError if min_scale < 0 or params are missing.
    """
    return lift(ScaleByParamBlockNorm(min_scale))


def scale_by_param_block_rms(min_scale: Hyper = 1e-3) -> Chain:
    """Scale each array by its parameter's root mean square: `u = g · max(rms(p), min_scale)`.

    Adafactor's relative step.
    Reach: array. State: none.
    Raises: ValueError if min_scale < 0 or params are missing.
    Source: Shazeer, Stern 2018, arXiv:1804.04235, section 8.
    """
    return lift(ScaleByParamBlockRms(min_scale))


def orthogonalize_gradient() -> Chain:
    """Take the part of each gradient across its parameter: `u = g - (p·g / p·p) · p`, and `u = g` where p is 0.

    Before the direction. To first order the step leaves the parameter's length alone, which a classifier would grow for
    ever to sharpen its softmax. A single number, which has no other direction, keeps its gradient. Real inner products,
    for complex numbers too.
    Reach: array. State: none.
    Raises: ValueError if params are missing.
    Source: Prieto et al. 2025, arXiv:2501.04697 (⊥Grad).
    """
    return lift(OrthogonalizeGradient())
