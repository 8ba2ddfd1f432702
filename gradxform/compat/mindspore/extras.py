"""More of MindSpore's optimizers as they execute on the CPU."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax

from gradxform.compat.common.float32 import in_float32
from gradxform.compat.common.moments import EpsilonHatAdam
from gradxform.compat.mindspore.assembly import assembled, is_decayed, kernel
from gradxform.compat.mindspore.checks import (
    floats,
    inside_unit,
    is_dynamic,
    nonnegative_floats,
    read_learning_rate,
    read_weight_decay,
)
from gradxform.compat.mindspore.groups import Group, grouped, listed, said
from gradxform.core import check
from gradxform.core.arithmetic import debias
from gradxform.core.chain import Chain, chain, lift
from gradxform.core.hyper import Beta, Hyper, Schedule
from gradxform.core.rule import Rule
from gradxform.optimizers.adadelta import scale_by_adadelta
from gradxform.optimizers.adagrad import ScaleByRss, SumOfSquares
from gradxform.optimizers.adamax import InfinityMoments
from gradxform.optimizers.rmsprop import scale_by_rms, scale_by_stddev
from gradxform.params.select import mindspore_decayed
from gradxform.strategies.lazy import lazy
from gradxform.transforms.decay import add_decayed_weights
from gradxform.transforms.momentum import trace
from gradxform.transforms.scale import scale_by_learning_rate


class UncorrectedAdam(EpsilonHatAdam):
    name = "adam"

    def scalars(self, t: Any) -> Any:
        return 1.0


class EpsilonBesideAdamax(Rule):
    b1: Beta
    b2: Beta
    eps: Hyper

    def init(self, p: Any) -> InfinityMoments:
        return InfinityMoments(mu=jnp.zeros_like(p), nu=jnp.zeros_like(p))

    def scalars(self, t: Any) -> Any:
        return debias(self.b1, t)

    def update(self, g: Any, s: InfinityMoments, p: Any, k: Any) -> tuple[Any, InfinityMoments]:
        mu = self.b1 * s.mu + (1 - self.b1) * g
        nu = jnp.maximum(self.b2 * s.nu, jnp.abs(g))
        return mu / k / (nu + self.eps), InfinityMoments(mu, nu)


class ScaleByFixedRss(ScaleByRss):
    def update(self, g: Any, s: SumOfSquares, p: Any, k: Any) -> tuple[Any, SumOfSquares]:
        return g * lax.rsqrt(s.sum_of_squares + self.eps), s


class FollowedLeader(NamedTuple):
    sum_of_squares: Any
    linear: Any


class Ftrl(Rule):
    learning_rate: Hyper
    initial_accum: Hyper
    lr_power: Hyper
    l1: Hyper
    l2: Hyper
    needs_params = True
    real_only = True

    def init(self, p: Any) -> FollowedLeader:
        return FollowedLeader(jnp.full_like(p, self.initial_accum), jnp.zeros_like(p))

    def update(self, g: Any, s: FollowedLeader, p: Any, k: Any) -> tuple[Any, FollowedLeader]:
        total = s.sum_of_squares + g * g
        before, now = (n**-self.lr_power / self.learning_rate for n in (s.sum_of_squares, total))
        linear = s.linear + g - (now - before) * p
        landed = (jnp.sign(linear) * self.l1 - linear) / (now + 2 * self.l2)
        return jnp.where(jnp.abs(linear) > self.l1, landed, 0.0) - p, FollowedLeader(total, linear)


def sgd(
    learning_rate: Any = 0.1,
    momentum: Any = 0.0,
    dampening: Any = 0.0,
    weight_decay: Any = 0.0,
    nesterov: bool = False,
    loss_scale: float = 1.0,
    groups: Any = None,
) -> Chain:
    """`mindspore.nn.SGD`: `v <- momentum·v + (1 - dampening)·g`, v = g at first, `w <- w - learning_rate·v`.

    nesterov: `g + momentum·v` for v. Without momentum there is no v, and dampening has no effect.
    Reach: element, row with grad_centralization. State: trace, shaped like p; seen, scalar bool.
    Raises: as `momentum`; TypeError for a schedule as weight_decay; ValueError for nesterov without momentum, or with
    dampening.
    Source: mindspore 2.10, nn/optim/sgd.py.
    """
    mu, tau = (float(x) if isinstance(x, int) else x for x in (momentum, dampening))
    nonnegative_floats(momentum=mu, dampening=tau)
    check.boolean(nesterov=nesterov)
    groups = listed(groups)
    for decay in (weight_decay, *said(groups, "weight_decay")):
        if isinstance(decay, Schedule):
            raise TypeError(f"weight_decay of sgd must be a number, got {decay!r} of type {type(decay).__name__}")
    if nesterov and (mu == 0.0 or tau != 0.0):
        raise ValueError(f"nesterov needs momentum > 0 and no dampening, got {momentum=} and {dampening=}")

    def body(rate: Any) -> Chain:
        if mu == 0.0:
            return kernel(scale_by_learning_rate(rate), "sgd", sparse=TypeError)
        direction = trace(in_float32(mu), nesterov, dampening=in_float32(tau), first="gradient")
        return chain(kernel(direction, "sgd", sparse=TypeError), scale_by_learning_rate(rate))

    return assembled(body, learning_rate, weight_decay, loss_scale, groups)


def adam_weight_decay(
    learning_rate: Any = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-6,
    weight_decay: Any = 0.0,
    groups: Any = None,
) -> Chain:
    """`mindspore.nn.AdamWeightDecay`: `w <- w - learning_rate·(m / (√v + eps) + weight_decay·w)`, without corrections.

    No loss scale, and nothing is centralised.
    Reach: element. State: mu, nu, shaped like p.
    Raises: as `adam`.
    Source: mindspore 2.10, nn/optim/adam.py.
    """
    inside_unit(beta1=beta1, beta2=beta2)
    floats(eps=eps)
    check.positive(eps=eps)
    rule = UncorrectedAdam(*map(in_float32, (beta1, beta2, eps)))

    def make(group: Group) -> Chain:
        stages = [kernel(lift(rule), "adam_weight_decay", float64=True)]
        if is_decayed(group.weight_decay):
            where = mindspore_decayed if groups is None else None
            stages.append(add_decayed_weights(in_float32(group.weight_decay), where))
        return chain(*stages, scale_by_learning_rate(group.learning_rate))

    return grouped(groups, read_learning_rate(learning_rate), read_weight_decay(weight_decay), make)


def adamax(
    learning_rate: Any = 0.001,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: Any = 0.0,
    loss_scale: float = 1.0,
    groups: Any = None,
) -> Chain:
    """`mindspore.nn.AdaMax`: `u <- max(beta2·u, |g|)`, `w <- w - learning_rate / (1 - beta1ᵗ) · m / (u + eps)`.

    Reach: element, row with grad_centralization. State: mu, nu, shaped like p.
    Raises: as `adam`.
    Source: mindspore 2.10, nn/optim/ada_max.py.
    """
    inside_unit(beta1=beta1, beta2=beta2)
    floats(eps=eps)
    check.positive(eps=eps)
    rule = EpsilonBesideAdamax(*map(in_float32, (beta1, beta2, eps)))

    def body(rate: Any) -> Chain:
        return chain(kernel(lift(rule), "adamax"), scale_by_learning_rate(rate))

    return assembled(body, learning_rate, weight_decay, loss_scale, groups)


def adadelta(
    learning_rate: Any = 1.0,
    rho: float = 0.9,
    epsilon: float = 1e-6,
    loss_scale: float = 1.0,
    weight_decay: Any = 0.0,
    groups: Any = None,
) -> Chain:
    """`mindspore.nn.Adadelta`: `gx.adadelta` with MindSpore's arguments.

    Reach: element, row with grad_centralization. State: e_g, e_x, shaped like p.
    Raises: TypeError and ValueError as the framework does.
    Source: mindspore 2.10, nn/optim/adadelta.py.
    """
    nonnegative_floats(rho=rho, epsilon=epsilon)
    check.fraction(rho=rho)
    check.positive(epsilon=epsilon)

    def body(rate: Any) -> Chain:
        direction = scale_by_adadelta(in_float32(rho), in_float32(epsilon))
        return chain(kernel(direction, "adadelta"), scale_by_learning_rate(rate))

    return assembled(body, learning_rate, weight_decay, loss_scale, groups)


def adagrad(
    accum: float = 0.1,
    learning_rate: Any = 0.001,
    update_slots: bool = True,
    loss_scale: float = 1.0,
    weight_decay: Any = 0.0,
    groups: Any = None,
) -> Chain:
    """`mindspore.nn.Adagrad`: `a <- a + g²`, `w <- w - learning_rate·g / √(a + 1e-8)`.

    update_slots=False leaves a as it is, as documented; the framework's CPU kernel ignores it.
    Reach: element, row with grad_centralization. State: sum_of_squares, shaped like p.
    Raises: TypeError and ValueError as the framework does.
    Source: mindspore 2.10, nn/optim/ada_grad.py.
    """
    nonnegative_floats(accum=accum)
    check.boolean(update_slots=update_slots)
    rule = (ScaleByRss if update_slots else ScaleByFixedRss)(in_float32(accum), in_float32(1e-8))

    def body(rate: Any) -> Chain:
        return chain(kernel(lift(rule), "adagrad", float64=True), scale_by_learning_rate(rate))

    return assembled(body, learning_rate, weight_decay, loss_scale, groups)


def rmsprop(
    learning_rate: Any = 0.1,
    decay: float = 0.9,
    momentum: float = 0.0,
    epsilon: float = 1e-10,
    use_locking: bool = False,
    centered: bool = False,
    loss_scale: float = 1.0,
    weight_decay: Any = 0.0,
    groups: Any = None,
) -> Chain:
    """`mindspore.nn.RMSProp`: `b <- momentum·b + learning_rate·g / √(s + epsilon)`, `w <- w - b`.

    `s <- decay·s + (1-decay)·g²` starts at 1; centered: less the square of the mean of g.
    Reach: element, row with grad_centralization. State: nu (mu), trace (-b), shaped like p.
    Raises: TypeError and ValueError as the framework does.
    Source: mindspore 2.10, nn/optim/rmsprop.py.
    """
    nonnegative_floats(decay=decay, momentum=momentum, epsilon=epsilon)
    check.fraction(decay=decay)
    check.positive(epsilon=epsilon)
    check.boolean(use_locking=use_locking, centered=centered)
    divide = scale_by_stddev if centered else scale_by_rms

    def body(rate: Any) -> Chain:
        direction = divide(in_float32(decay), in_float32(epsilon), 1.0)
        moment = kernel(trace(in_float32(momentum)), "rmsprop_moment")
        return chain(kernel(direction, "rmsprop"), scale_by_learning_rate(rate), moment)

    return assembled(body, learning_rate, weight_decay, loss_scale, groups)


def ftrl(
    initial_accum: float = 0.1,
    learning_rate: float = 0.001,
    lr_power: float = -0.5,
    l1: float = 0.0,
    l2: float = 0.0,
    use_locking: bool = False,
    loss_scale: float = 1.0,
    weight_decay: Any = 0.0,
    groups: Any = None,
) -> Chain:
    """`mindspore.nn.FTRL`: `z <- z + g - (n'^-p - n^-p)/η·w`, `w <- (sign(z)·l1 - z) / (n'^-p/η + 2·l2)`, or 0.

    0 where |z| <= l1; n' = n + g², p = lr_power, η = learning_rate. The CPU kernel takes +l1 where z < 0.
    Decay acts on every parameter, beta and gamma too. Rows that a sparse gradient does not name rest.
    Reach: element, row with grad_centralization. State: sum_of_squares (n), linear (z), shaped like p.
    Raises: TypeError and ValueError as the framework does: the learning rate is one positive number, for all groups.
    Source: mindspore 2.10, nn/optim/ftrl.py; McMahan et al. 2013, algorithm 1.
    """
    nonnegative_floats(initial_accum=initial_accum, l1=l1, l2=l2)
    floats(lr_power=lr_power)
    if not lr_power <= 0.0:
        raise ValueError(f"lr_power must be at most 0, got {lr_power}")
    check.boolean(use_locking=use_locking)
    groups = listed(groups)
    if is_dynamic(read_learning_rate(learning_rate)) or said(groups, "lr"):
        raise ValueError(f"learning_rate of ftrl must be one number for all groups, got {learning_rate!r}")
    check.positive(learning_rate=float(learning_rate))

    def body(rate: Any) -> Chain:
        start, power, shrinkage, shortening = map(in_float32, (initial_accum, lr_power, l1, l2))
        return kernel(lazy(lift(Ftrl(rate, start, power, shrinkage, shortening))), "ftrl")

    return assembled(body, learning_rate, weight_decay, loss_scale, groups, decayed=None)
