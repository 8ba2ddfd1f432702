"""Gradient descent: with and without momentum, by signs, with noise, in private."""

from __future__ import annotations

from gradxform.core import check
from gradxform.core.chain import Chain, chain
from gradxform.core.hyper import Beta, Hyper
from gradxform.core.types import AxisName, Dtype, Key
from gradxform.transforms.momentum import ema, trace
from gradxform.transforms.noise import add_noise
from gradxform.transforms.private import differentially_private_aggregate
from gradxform.transforms.scale import descend, scale_by_sign


def sgd(
    learning_rate: Hyper, momentum: Hyper | None = None, nesterov: bool = False, accumulator_dtype: Dtype | None = None
) -> Chain:
    """Gradient descent: `scale_by_learning_rate`, behind `trace(momentum, nesterov)` where momentum is given.

    Source: Robbins, Monro 1951; Sutskever et al. 2013.
    """
    check.boolean(nesterov=nesterov)
    check.floating(accumulator_dtype=accumulator_dtype)
    step = descend(learning_rate)
    if momentum is None:
        return step
    return chain(trace(check.given(check.nonnegative, momentum=momentum), nesterov, accumulator_dtype), step)


def momentum(learning_rate: Hyper, momentum: Hyper = 0.9, nesterov: bool = False) -> Chain:
    """Descent with heavy-ball or Nesterov momentum: `chain(trace(momentum, nesterov), scale_by_learning_rate)`.

    Source: Polyak 1964; Sutskever et al. 2013, section 2.
    """
    return chain(trace(check.given(check.nonnegative, momentum=momentum), nesterov), descend(learning_rate))


def sign_sgd(learning_rate: Hyper) -> Chain:
    """Descent by signs: `chain(scale_by_sign(), scale_by_learning_rate(learning_rate))`.

    Source: Bernstein et al. 2018, arXiv:1802.04434.
    """
    return chain(scale_by_sign(), descend(learning_rate))


def signum(learning_rate: Hyper, beta: Beta = 0.9, accumulator_dtype: Dtype | None = None) -> Chain:
    """Descent by signs of a mean: `chain(ema(beta, debias=False), scale_by_sign(), scale_by_learning_rate)`.

    Source: Bernstein et al. 2018, arXiv:1802.04434, algorithm 3.
    """
    decay = check.given(check.fraction, beta=beta)
    return chain(ema(decay, False, accumulator_dtype), scale_by_sign(), descend(learning_rate))


def noisy_sgd(
    learning_rate: Hyper, eta: Hyper = 0.01, gamma: Hyper = 0.55, key: Key | None = None, *, seed: Key | None = None
) -> Chain:
    """Descent with fading noise: `chain(add_noise(eta, gamma, key), scale_by_learning_rate(learning_rate))`.

    Source: Neelakantan et al. 2015, arXiv:1511.06807.
    """
    return chain(add_noise(eta, gamma, key, seed=seed), descend(learning_rate))


def dpsgd(
    learning_rate: Hyper, l2_norm_clip: Hyper, noise_multiplier: Hyper, seed: Key,
    momentum: Hyper | None = None, nesterov: bool = False, *, axis_name: AxisName | None = None,
) -> Chain:  # fmt: skip
    """DP-SGD: `differentially_private_aggregate`, then `sgd(learning_rate, momentum, nesterov)`.

    Takes gradients with a leading axis of examples; what is guaranteed stands at the aggregate.
    Source: Abadi et al. 2016, arXiv:1607.00133, algorithm 1.
    """
    if seed is None:
        raise TypeError("seed must be an integer or a JAX key, got None")
    private = differentially_private_aggregate(l2_norm_clip, noise_multiplier, seed=seed, axis_name=axis_name)
    return chain(private, sgd(learning_rate, momentum, nesterov))
