"""MindSpore's Adagrad, and the proximal one."""

from __future__ import annotations

from typing import Any

from jax import lax

from gradxform.compat.common.constructors import constructor
from gradxform.compat.common.float32 import in_float32
from gradxform.compat.common.groups import Groups
from gradxform.compat.mindspore.assembly import assembled, kernel
from gradxform.compat.mindspore.checks import LearningRate, WeightDecay, nonnegative_floats
from gradxform.core import check
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.hyper import Hyper
from gradxform.core.types import Array, Param, Scalars
from gradxform.optimizers.adagrad import SumOfSquares, SumsSquares
from gradxform.optimizers.proximal import proximal_adagrad as adaptive_proximal_adagrad
from gradxform.strategies.lazy import lazy
from gradxform.transforms.scale import scale_by_learning_rate


class ScaleByNearestRss(SumsSquares):
    """Adagrad over a sum that is rounded as the framework rounds it. sum_of_squares: shaped like p, real."""

    name = "rss"

    def emit(self, g: Array, s: SumOfSquares, p: Param, k: Scalars) -> Any:
        return g * lax.rsqrt(s.sum_of_squares + self.eps)


class ScaleByFixedRss(SumsSquares):
    """Adagrad over a sum that stays as it begins. sum_of_squares: shaped like p, real."""

    def remember(self, g: Array, s: SumOfSquares, p: Param, k: Scalars) -> SumOfSquares:
        return s

    def emit(self, g: Array, s: SumOfSquares, p: Param, k: Scalars) -> Any:
        return g * lax.rsqrt(s.sum_of_squares + self.eps)


@constructor("params")
def adagrad(
    accum: float = 0.1,
    learning_rate: LearningRate = 0.001,
    update_slots: bool = True,
    loss_scale: float = 1.0,
    weight_decay: WeightDecay = 0.0,
    groups: Groups | None = None,
) -> Chain:
    """`mindspore.nn.Adagrad`: `a <- a + g²`, `w <- w - learning_rate·g / √(a + 1e-8)`.

    update_slots=False leaves a as it is, as documented; the framework's CPU kernel ignores it.
    Reach: element, row with grad_centralization. State: sum_of_squares, shaped like p.
    Raises: TypeError and ValueError as the framework does.
    Source: mindspore 2.10, nn/optim/ada_grad.py.
    """
    nonnegative_floats(accum=accum)
    check.boolean(update_slots=update_slots)
    rule = (ScaleByNearestRss if update_slots else ScaleByFixedRss)(in_float32(accum), in_float32(1e-8))

    def body(rate: Hyper) -> Chain:
        return chain(kernel(lift(rule), "adagrad", float64=True), scale_by_learning_rate(rate))

    return assembled(body, learning_rate, weight_decay, loss_scale, groups)


@constructor("params")
def proximal_adagrad(
    accum: float = 0.1,
    learning_rate: LearningRate = 0.001,
    l1: float = 0.0,
    l2: float = 0.0,
    use_locking: bool = False,
    loss_scale: float = 1.0,
    weight_decay: WeightDecay = 0.0,
    groups: Groups | None = None,
) -> Chain:
    """`mindspore.nn.ProximalAdagrad`: `a <- a + g²`, `η = learning_rate/√a`, `w <- shrink(w - η·g, η·l1) / (1 + η·l2)`.

    Threshold and divisor take η (`gx.proximal_adagrad` takes the plain learning rate, as published). Rows that a sparse
    gradient does not name rest. use_locking: see `adam`. accum: what a starts from.
    Reach: element, row with grad_centralization. State: sum_of_squares, shaped like p.
    Raises: TypeError, ValueError, KeyError and RuntimeError as the framework does.
    Source: mindspore 2.10, nn/optim/proximal_ada_grad.py.
    """
    nonnegative_floats(accum=accum, l1=l1, l2=l2)
    check.boolean(use_locking=use_locking)
    start, shrinkage, shortening = map(in_float32, (accum, l1, l2))

    def body(rate: Hyper) -> Chain:
        step = adaptive_proximal_adagrad(rate, start, shrinkage, shortening, adaptive_threshold=True)
        return kernel(lazy(step), "proximal_adagrad")

    return assembled(body, learning_rate, weight_decay, loss_scale, groups)
