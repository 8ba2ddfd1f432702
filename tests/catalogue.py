"""Every public transformation and optimizer with representative arguments, and trees to run them on.

An entry is named `function` or `function variant`; what laws need to know of it is read from the transformation.
"""

from __future__ import annotations

import functools
import inspect
import os
import typing
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradxform as gx
from gradxform.control.accumulate import Accumulate
from gradxform.control.guard import Guard
from gradxform.core.chain import Chain
from gradxform.core.codec import Stored
from gradxform.core.value import Child
from gradxform.optimizers.adam import ScaleByAdam
from gradxform.testing.laws import own as own
from gradxform.testing.laws import with_own as with_own
from gradxform.transforms.noise import Noisy

Tx = gx.GradientTransformation

AXIS = "devices"
EXTRAS: dict[str, Any] = {"value": 0.5}
"""What stages may ask for beside the gradient, under the names in `Rule.needs`."""

cosine = gx.cosine_decay_schedule(0.1, 5)
kernel, bias = gx.named("kernel"), gx.named("bias")


class Seen(NamedTuple):
    seen: Any


class Mean(gx.Rule):
    """A rule as a user may write it: what it returns as its counter is a float, and the counter stays an integer."""

    def init(self, p: Any) -> Seen:
        return Seen(jnp.zeros((), jnp.int32))

    def update(self, g: Any, s: Seen, p: Any, k: Any) -> tuple[Any, Seen]:
        seen = s.seen + 1.0
        return g / seen, Seen(seen)


class AsExamples(Tx):
    """A transformation of gradients of examples, fed with two examples that average to the gradient."""

    inner: Child[Any]
    name = "as_examples"

    def _init(self, params: Any) -> Any:
        return self.inner.init(params)

    def _update(self, updates: Any, state: Any, params: Any, extra: dict[str, Any]) -> Any:
        def pair(g: Any) -> Any:
            g = g.dense() if isinstance(g, gx.Rows) else g
            return g if getattr(g, "dtype", None) == jax.dtypes.float0 else jnp.stack([1.5 * g, 0.5 * g])

        updates = jax.tree.map(pair, updates, is_leaf=lambda x: isinstance(x, gx.Rows))
        return self.inner.update(updates, state, params, **extra)


class Searched(Tx):
    """A transformation with a line search, fed with an objective whose gradient at the parameters is the one given."""

    inner: Child[Any]
    name = "searched"

    def _init(self, params: Any) -> Any:
        return self.inner.init(params)

    def _update(self, updates: Any, state: Any, params: Any, extra: dict[str, Any]) -> Any:
        def objective(at: Any) -> Any:
            def part(g: Any, p: Any, x: Any) -> Any:
                if g is None or getattr(g, "dtype", None) == jax.dtypes.float0:
                    return 0.0
                g = g.dense() if isinstance(g, gx.Rows) else g
                far = x.astype(jnp.promote_types(x.dtype, jnp.float32)) - p
                return jnp.sum((far * g.conj()).real + jnp.abs(far) ** 2)

            parts = jax.tree.map(part, updates, params, at, is_leaf=lambda x: x is None or isinstance(x, gx.Rows))
            return sum(jax.tree.leaves(parts), jnp.zeros(()))

        extra = {**extra, "value": 0.0, "grad": updates, "value_fn": objective, "grad_fn": lambda p, i: updates}
        return self.inner.update(updates, state, params, **extra)


class Curved(Tx):
    """A transformation that reads extra trees, fed with sizes of the gradient and the largest one of each head."""

    inner: Child[Any]
    name = "curved"

    def _init(self, params: Any) -> Any:
        return self.inner.init(params)

    def _update(self, updates: Any, state: Any, params: Any, extra: dict[str, Any]) -> Any:
        def sizes(g: Any) -> Any:
            g = g.dense() if isinstance(g, gx.Rows) else g
            return g if getattr(g, "dtype", None) == jax.dtypes.float0 else jnp.abs(g)

        def most(g: Any) -> Any:
            axes = tuple(i for i in range(g.ndim) if i != g.ndim - 2)
            return sizes(g).max(axes) if g.ndim > 1 and g.size else None

        of_sizes, of_heads = (jax.tree.map(f, updates, is_leaf=lambda x: isinstance(x, gx.Rows)) for f in (sizes, most))
        return self.inner.update(updates, state, params, **extra, hessian=of_sizes, max_logits=of_heads)


def matrices(params: Any) -> Any:
    """A mask as optax's users write it."""
    return jax.tree.map(lambda x: x.ndim > 1, params)


CATALOGUE: dict[str, Callable[[], Tx]] = {
    "chain": gx.chain,
    "chain clipped adamw": lambda: gx.chain(gx.clip_by_global_norm(1.0), gx.adamw(cosine, mask=kernel)),
    "chain two clips": lambda: gx.chain(gx.ema(0.9), gx.clip_by_global_norm(1.0), gx.trace(0.5), gx.clip_by_norm(0.5)),
    "chain tunables": lambda: gx.adamw(gx.tunable(0.01), b1=gx.tunable(0.8), weight_decay=gx.tunable(cosine)),
    "chain table": lambda: gx.momentum([0.3, 0.2, 0.1], momentum=[*np.linspace(0.5, 0.9, 5)]),
    "named_chain": lambda: gx.named_chain(("slow", gx.trace(0.9)), ("fast", gx.trace(0.5)), ("step", gx.sgd(0.1))),
    "lift": lambda: gx.lift(ScaleByAdam(b1=0.8), where=gx.ndim_at_least(1)),
    "lift careless": lambda: gx.lift(Mean()),
    "groups": lambda: gx.groups([(bias, gx.sgd(0.1)), ("scale", gx.freeze())], default=gx.lamb(0.01)),
    "groups overriding": lambda: gx.groups([("kernel", {"learning_rate": 0.2})], default=gx.adam(0.1)),
    "groups clipped": lambda: gx.groups(
        [(gx.under("dense"), gx.chain(gx.clip_by_global_norm(1.0), gx.sgd(0.1)), "body")], default=gx.sign_sgd(0.1)
    ),
    "masked": lambda: gx.masked(gx.adam(0.1), {"dense": {"kernel": True, "bias": False}, "scale": True}),
    "partition": lambda: gx.partition({"a": gx.adam(0.1), "b": gx.sgd(0.1, 0.9)}, {"dense": "a", "scale": "b"}),
    "matrices": lambda: gx.matrices(
        gx.novograd(0.01, weight_decay=0.1), {kernel: gx.Matrix("in (q + k)", rows="in", columns="q k", q=2)}
    ),
    "freeze": gx.freeze,
    "freeze some": lambda: gx.chain(gx.freeze(bias), gx.momentum(0.1)),
    "mean_across": lambda: gx.mean_across(AXIS),
    "differentially_private_aggregate": lambda: AsExamples(gx.differentially_private_aggregate(1.0, 0.5, key=0)),
    "dpsgd": lambda: AsExamples(gx.dpsgd(0.1, 1.0, 0.5, 7, momentum=0.9)),
    "adaptive_grad_clip": lambda: gx.adaptive_grad_clip(0.1),
    "clip": lambda: gx.clip(0.3),
    "clip_by_block_rms": lambda: gx.clip_by_block_rms(0.3),
    "clip_by_global_norm": lambda: gx.clip_by_global_norm(0.7),
    "clip_by_norm": lambda: gx.clip_by_norm(0.7),
    "clip_by_percentile": lambda: gx.clip_by_percentile(40.0, 4),
    "zero_nans": gx.zero_nans,
    "normalize_by_update_norm": lambda: gx.normalize_by_update_norm(0.5),
    "orthogonalize_gradient": gx.orthogonalize_gradient,
    "scale_by_param_block_norm": gx.scale_by_param_block_norm,
    "scale_by_param_block_rms": gx.scale_by_param_block_rms,
    "hyperball": lambda: gx.groups([(gx.ndim_at_least(1), gx.hyperball(0.1, "now"))], gx.sgd(0.1)),
    "pin_radius": lambda: gx.chain(gx.sgd(0.1), gx.pin_radius()),
    "qk_clip": lambda: Curved(gx.chain(gx.sgd(0.1), gx.qk_clip(0.5))),
    "radial_brake": gx.radial_brake,
    "update_floor": lambda: gx.masked(gx.update_floor(3.0), kernel),
    "centralize": gx.centralize,
    "add_noise": lambda: gx.add_noise(0.1, 0.55, key=3),
    "ema": lambda: gx.ema(0.9),
    "ema stored": lambda: gx.ema(0.9, False, jnp.bfloat16),
    "trace": lambda: gx.trace(0.9),
    "trace nesterov": lambda: gx.trace(0.9, True, jnp.bfloat16),
    "trace dampened": lambda: gx.trace(0.9, dampening=0.5, first="gradient"),
    "grokfast": gx.grokfast,
    "grokfast_ma": lambda: gx.grokfast_ma(3, warmup=False),
    "scale_by_mars": gx.scale_by_mars,
    "acprop": lambda: gx.acprop(0.01, eps_root=1e-6, weight_decay=0.1),
    "scale_by_acprop": lambda: gx.scale_by_acprop(eps=1e-8, eps_root=1e-8),
    "adadelta": lambda: gx.adadelta(0.5, weight_decay=0.1),
    "scale_by_adadelta": gx.scale_by_adadelta,
    "adafactor": lambda: gx.adafactor(0.1, 2, weight_decay_rate=0.01),
    "adafactor averaged": lambda: gx.adafactor(momentum=0.9, dtype_momentum=jnp.bfloat16),
    "scale_by_factored_rms": lambda: gx.scale_by_factored_rms(min_dim_size_to_factor=2),
    "adagrad": lambda: gx.adagrad(0.1),
    "scale_by_rss": gx.scale_by_rss,
    "scale_by_rss from zero": lambda: gx.scale_by_rss(0.0, 0.0),
    "adam": lambda: gx.adam(0.01),
    "adam stored": lambda: gx.adam(0.01, mu_dtype=jnp.bfloat16),
    "adamw": lambda: gx.adamw(0.01, weight_decay=0.1, mask=gx.weights_only),
    "amsgrad": lambda: gx.amsgrad(0.01),
    "nadam": lambda: gx.nadam(0.01),
    "nadamw": lambda: gx.nadamw(0.01, mask=gx.ndim_at_least(2)),
    "scale_by_adam": lambda: gx.scale_by_adam(eps_root=1e-12),
    "scale_by_amsgrad": lambda: gx.scale_by_amsgrad(bias_correction_mu=False, bias_correction_nu=False),
    "adam_mini": lambda: gx.adam_mini(0.01, weight_decay=0.1),
    "scale_by_adam_mini": lambda: gx.scale_by_adam_mini(mu_dtype=jnp.bfloat16, block_axes=-1),
    "adamax": lambda: gx.adamax(0.01),
    "adamaxw": lambda: gx.adamaxw(0.01, mask="kernel|scale"),
    "scale_by_adamax": gx.scale_by_adamax,
    "adan": lambda: gx.adan(0.01, weight_decay=0.1),
    "scale_by_adan": gx.scale_by_adan,
    "ademamix": lambda: gx.ademamix(0.01, weight_decay=0.1, b3_warmup=9, alpha_warmup=9),
    "scale_by_ademamix": gx.scale_by_ademamix,
    "simplified_ademamix": lambda: gx.simplified_ademamix(0.001, alpha=2.0, b1_warmup=5),
    "scale_by_simplified_ademamix": gx.scale_by_simplified_ademamix,
    "adopt": lambda: gx.adopt(0.01),
    "adopt clipped": lambda: gx.adopt(0.01, nesterov=True, use_clipping=True),
    "scale_by_adopt": lambda: gx.scale_by_adopt(eps=1e-2, mu_dtype=jnp.bfloat16, use_clipping=False),
    "asgd": lambda: gx.asgd(0.1, 0.1, t0=1),
    "adabelief": lambda: gx.adabelief(0.01),
    "scale_by_belief": lambda: gx.scale_by_belief(eps=1e-8, nesterov=True),
    "came": lambda: gx.came(0.01, weight_decay=0.1),
    "scale_by_came": gx.scale_by_came,
    "cocob": lambda: gx.cocob(weight_decay=0.1),
    "scale_by_cocob": gx.scale_by_cocob,
    "dog": lambda: gx.dog(init_step=("learning_rate", 0.1), weight_decay=0.1),
    "scale_by_dog": gx.scale_by_dog,
    "dowg": lambda: gx.dowg(cosine, 0.1, weight_decay=0.1),
    "scale_by_dowg": lambda: gx.scale_by_dowg(1e-3),
    "fromage": lambda: gx.fromage(0.1),
    "ftrl": lambda: gx.ftrl(0.1, 0.5, 0.1),
    "muonh": lambda: gx.muonh(0.01),
    "adamh": lambda: gx.adamh(0.01, mu_dtype=jnp.bfloat16),
    "galore": lambda: gx.galore(0.01, 2, where=kernel, update_proj_gap=2),
    "scale_by_galore": lambda: gx.masked(gx.scale_by_galore(3, eps=0.0), kernel),
    "apollo": lambda: gx.apollo(0.01, 2, where=kernel, update_proj_gap=2),
    "scale_by_apollo": lambda: gx.masked(gx.scale_by_apollo(1, scale=128.0, scale_type="tensor", eps=0.0), kernel),
    "lamb": lambda: gx.lamb(0.01, weight_decay=0.1),
    "lars": lambda: gx.lars(0.1, 0.01, matrices, nesterov=True),
    "laprop": lambda: gx.laprop(0.01, weight_decay=0.1),
    "scale_by_laprop": lambda: gx.scale_by_laprop(mu_dtype=jnp.bfloat16),
    "lbfgs": lambda: Searched(gx.lbfgs(memory_size=3)),
    "scale_by_lbfgs": lambda: gx.scale_by_lbfgs(3),
    "lion": lambda: gx.lion(0.01, mu_dtype=jnp.bfloat16),
    "scale_by_lion": gx.scale_by_lion,
    "scale_by_lion smooth": lambda: gx.scale_by_lion(mode="smooth"),
    "scale_by_lion refined": lambda: gx.scale_by_lion(mode="refined"),
    "madgrad": lambda: gx.madgrad(0.01, weight_decay=0.1),
    "scale_by_madgrad": lambda: gx.scale_by_madgrad(0.1, 0.5),
    "mars": lambda: gx.mars(0.01, weight_decay=0.1),
    "mechanize": lambda: gx.mechanize(gx.adamw(0.1, weight_decay=0.1), s_init=1e-2),
    "muon": lambda: gx.muon(0.01, weight_decay=0.1),
    "muon as optax has it": lambda: gx.muon(
        0.01, "dion", mu_dtype=jnp.bfloat16, bias_correction=True, adaptive=True, preconditioning="aol"
    ),
    "scale_by_muon": lambda: gx.masked(gx.scale_by_muon("polar_express", nesterov=False), kernel),
    "scale_by_shape": lambda: gx.masked(gx.scale_by_shape(), kernel),
    "momo": lambda: Searched(gx.momo(0.1, lower_bound=-0.5, weight_decay=0.1)),
    "momo adapting": lambda: Searched(gx.momo(0.1, 0.5, -9.0, adapt_lower_bound=True, bias_correction=True)),
    "momo_adam": lambda: Searched(gx.momo_adam(lower_bound=-0.5, weight_decay=0.1)),
    "orthogonalize": lambda: gx.masked(gx.orthogonalize(), kernel),
    "normuon": lambda: gx.normuon(0.01, weight_decay=0.1),
    "scale_by_normuon": lambda: gx.masked(gx.scale_by_normuon(), kernel),
    "dion2": lambda: gx.dion2(0.01),
    "scale_by_dion2": lambda: gx.masked(gx.scale_by_dion2(0.5, 0.8, "jordan"), kernel),
    "scion": lambda: gx.scion(0.01, where=gx.ndim_at_least(9)),
    "novograd": lambda: gx.novograd(0.01, weight_decay=0.1),
    "scale_by_novograd": lambda: gx.scale_by_novograd(mu_dtype=jnp.bfloat16),
    "optimistic_adam": lambda: gx.optimistic_adam(0.01),
    "optimistic_adam_v2": lambda: gx.optimistic_adam_v2(0.01, beta=0.5, nesterov=False),
    "optimistic_gradient_descent": lambda: gx.optimistic_gradient_descent(0.1, 0.7, cosine),
    "scale_by_optimistic_gradient": gx.scale_by_optimistic_gradient,
    "polyak_sgd": lambda: Searched(gx.polyak_sgd(0.1, f_min=-0.5)),
    "scale_by_polyak": lambda: Searched(gx.scale_by_polyak(f_min=-0.5, variant="sps+")),
    "prodigy": lambda: gx.prodigy(weight_decay=0.1, estim_lr0=1e-3),
    "prodigy limited": lambda: gx.prodigy([0.1, 1.0], bias_correction=True, safeguard_warmup=True, growth_rate=2.0),
    "dadapt_adamw": lambda: gx.dadapt_adamw(weight_decay=0.1, estim_lr0=1e-3),
    "proximal_adagrad": lambda: gx.proximal_adagrad(0.1, l1=0.5, l2=0.1),
    "proximal_adagrad adaptive": lambda: gx.proximal_adagrad(0.1, l1=0.5, l2=0.1, adaptive_threshold=True),
    "proximal_sgd": lambda: gx.proximal_sgd(0.1, 0.5, 0.1),
    "radam": lambda: gx.radam(0.01, b2=0.9),
    "scale_by_radam": lambda: gx.scale_by_radam(threshold=4.5, nesterov=True),
    "rmsprop": lambda: gx.rmsprop(0.01, bias_correction=True),
    "rmsprop centered": lambda: gx.rmsprop(0.01, centered=True, momentum=0.9),
    "scale_by_rms": lambda: gx.scale_by_rms(eps_in_sqrt=False),
    "scale_by_stddev": gx.scale_by_stddev,
    "rprop": lambda: gx.rprop(0.01),
    "scale_by_rprop": lambda: gx.scale_by_rprop(0.1, 0.3, 1.5, 0.01, 0.5),
    "momentum": lambda: gx.momentum(0.1, nesterov=True),
    "noisy_sgd": lambda: gx.noisy_sgd(0.1, key=5),
    "sgd": lambda: gx.sgd(0.1),
    "sgd accumulating": lambda: gx.sgd(cosine, 0.9, accumulator_dtype=jnp.float16),
    "sign_sgd": lambda: gx.sign_sgd(0.1),
    "signum": lambda: gx.signum(0.1),
    "shampoo": lambda: gx.shampoo(0.01, b2=0.9, eps=1.0, grafting="adam"),
    "scale_by_shampoo": lambda: gx.masked(gx.scale_by_shampoo(eps=1.0, power=0.5, max_precond_dim=5), kernel),
    "soap": lambda: gx.soap(0.01, precondition_frequency=1),
    "scale_by_soap": lambda: gx.masked(
        gx.scale_by_soap(max_precond_dim=5, precondition_frequency=2, staggered=True), kernel
    ),
    "kl_soap": lambda: gx.kl_soap(0.01, precondition_frequency=1),
    "scale_by_kl_soap": lambda: gx.masked(gx.scale_by_kl_soap(max_precond_dim=5, precondition_frequency=2), kernel),
    "psgd_kron": lambda: gx.psgd_kron(0.01, weight_decay=0.1),
    "scale_by_psgd_kron": lambda: gx.masked(
        gx.scale_by_psgd_kron(memory_save_mode="one_diag", geometry="Q0.5EQ1.5", key=5), kernel
    ),
    "sophia": lambda: Curved(gx.sophia(0.01, update_interval=2)),
    "scale_by_sophia": lambda: Curved(gx.scale_by_sophia(eps=0.0, mu_dtype=jnp.bfloat16, bias_correction=True)),
    "adahessian": lambda: Curved(gx.adahessian(0.01, weight_decay=0.1)),
    "scale_by_adahessian": lambda: Curved(gx.scale_by_adahessian(hessian_power=0.5, spatial_axes=None)),
    "sm3": lambda: gx.sm3(0.1),
    "scale_by_sm3": lambda: gx.scale_by_sm3(b2=0.9),
    "stable_adamw": lambda: gx.stable_adamw(0.01, mask=gx.weights_only, clip_threshold=0.3),
    "yogi": lambda: gx.yogi(0.01),
    "scale_by_yogi": gx.scale_by_yogi,
    "cautious": lambda: gx.cautious(gx.adamw(0.01, weight_decay=0.1)),
    "add_decayed_weights": lambda: gx.add_decayed_weights(0.1),
    "add_corrected_decay": lambda: gx.add_corrected_decay(0.1, cosine, 1.0),
    "cautious_decay": lambda: gx.cautious_decay(gx.add_decayed_weights(0.1)),
    "subtract_decayed_weights": lambda: gx.subtract_decayed_weights(0.1),
    "with_weight_decay": lambda: gx.with_weight_decay(gx.adam(0.1), 0.1, "l2"),
    "with_weight_decay corrected": lambda: gx.with_weight_decay(
        gx.adam(cosine), 0.1, "corrected", mask=kernel, cautious=True, max_learning_rate=0.1
    ),
    "add_l1": lambda: gx.add_l1(0.1),
    "identity": gx.identity,
    "scale": lambda: gx.scale(-0.5),
    "scale_by_learning_rate": lambda: gx.scale_by_learning_rate(0.1, flip_sign=False),
    "scale_by_schedule": lambda: gx.scale_by_schedule(gx.linear_schedule(1.0, 0.1, 4)),
    "scale_by_sign": gx.scale_by_sign,
    "scale_by_trust_ratio": lambda: gx.scale_by_trust_ratio(trust_coefficient=0.1),
    "set_to_zero": gx.set_to_zero,
    "unscale": lambda: gx.unscale(1024.0),
    "keep_params_nonnegative": lambda: gx.chain(gx.sgd(0.1), gx.keep_params_nonnegative()),
    "proximal_box": lambda: gx.proximal_box(-0.5, 0.7),
    "proximal_elastic_net": lambda: gx.proximal_elastic_net(0.5, 0.1, 0.1),
    "proximal_group_l1": lambda: gx.proximal_group_l1(0.5),
    "proximal_l1": lambda: gx.proximal_l1(0.5, cosine),
    "proximal_l2": lambda: gx.proximal_l2(0.5),
    "proximal_nonnegative": gx.proximal_nonnegative,
    "proximal_halfspace": lambda: gx.proximal_halfspace(-1.0, 0.0),
    "proximal_hyperplane": lambda: gx.proximal_hyperplane(2.0, 0.0),
    "proximal_l1_ball": gx.proximal_l1_ball,
    "proximal_l1_sphere": gx.proximal_l1_sphere,
    "proximal_l2_ball": lambda: gx.chain(gx.sgd(0.1), gx.proximal_l2_ball(0.5)),
    "proximal_l2_sphere": gx.proximal_l2_sphere,
    "proximal_linf_ball": lambda: gx.proximal_linf_ball(cosine),
    "proximal_simplex": lambda: gx.chain(gx.sgd(0.1), gx.proximal_simplex(2.0)),
    "reduce_on_plateau": lambda: Searched(gx.chain(gx.sgd(0.1), gx.reduce_on_plateau(0.5, 1, cooldown=1))),
    "stored_as": lambda: gx.stored_as({"nu": "bfloat16"}, gx.adamw(0.01), min_size=0),
    "stored_as codes": lambda: gx.stored_as({"nu": "uint8_sqrt"}, gx.adam(0.01), min_size=0),
    "master_weights": lambda: gx.master_weights(gx.adamw(0.01)),
    "lazy": lambda: gx.lazy(gx.adamw(0.01, weight_decay=0.1)),
    "lazy catching up": lambda: gx.lazy(gx.adam(0.01), mode="catch_up"),
    "packed": lambda: gx.packed(gx.adamw(0.01, mask=kernel)),
    "own_clock": lambda: gx.own_clock(gx.lookahead(gx.adamw(0.01, weight_decay=0.1), 2, 0.5)),
    "own_clock some": lambda: gx.own_clock(gx.adamw(0.01), gx.ndim_at_least(2)),
    "offloaded": lambda: gx.offloaded(gx.momentum(0.1), fields="trace"),
    "sharded": lambda: gx.sharded(gx.adamw(0.01), jax.make_mesh((1,), ("data",), devices=jax.devices()[:1])),
    "spread": lambda: gx.spread(
        gx.masked(gx.orthogonalize(), kernel), jax.make_mesh((1,), ("data",), devices=jax.devices()[:1])
    ),
    "ema_of_params": lambda: gx.chain(gx.sgd(0.1), gx.ema_of_params(0.9)),
    "ema_of_params plain": lambda: gx.chain(gx.sgd(0.1), gx.ema_of_params(0.9, debias=False)),
    "ema_of_params of the tail": lambda: gx.chain(gx.sgd(0.1), gx.ema_of_params(0.9, False, start=1, blend=0.6)),
    "ema_nesterov": lambda: gx.chain(gx.sgd(0.1), gx.ema_nesterov(cosine, 0.9)),
    "polyak_average": lambda: gx.chain(gx.momentum(0.1), gx.polyak_average(1)),
    "stochastic_weight_average": lambda: gx.chain(gx.sgd(0.1), gx.stochastic_weight_average(2, 1)),
    "pull_to_slow_weights": lambda: gx.chain(gx.sgd(0.1), gx.pull_to_slow_weights(3, 0.5)),
    "average_schedule_free": lambda: gx.chain(gx.sgd(0.1), gx.average_schedule_free(0.1)),
    "lookahead": lambda: gx.lookahead(gx.momentum(0.1), 3, 0.5),
    "lookahead restarted": lambda: Searched(gx.lookahead(gx.adam(0.1), 3, 0.5, reset_state=True)),
    "schedule_free": lambda: gx.schedule_free(gx.sgd(cosine), cosine, state_dtype=jnp.bfloat16),
    "schedule_free_adamw": lambda: gx.schedule_free_adamw(0.1, 2, weight_decay=0.1),
    "schedule_free_sgd": lambda: gx.schedule_free_sgd(0.1, weight_decay=0.1),
    "schedule_free_plus": lambda: Searched(gx.schedule_free_plus(0.1, weight_decay=0.1, sf_beta1_anneal_steps=9)),
    "scale_by_backtracking_linesearch": lambda: Searched(
        gx.chain(gx.sgd(1.0), gx.scale_by_backtracking_linesearch(5, store_grad=True))
    ),
    "scale_by_zoom_linesearch": lambda: Searched(gx.chain(gx.sgd(1.0), gx.scale_by_zoom_linesearch(5))),
    "layerwise_decay": lambda: gx.layerwise_decay(0.5, [kernel, "bias"]),
    "round_updates": lambda: gx.chain(gx.sgd(0.1), gx.round_updates("split16")),
    "sam": lambda: Searched(
        gx.sam(gx.momentum(0.1), gx.chain(gx.normalize_by_update_norm(), gx.sgd(0.1)), opaque_mode=True, adaptive=True)
    ),
    "measure": lambda: gx.measure(
        gx.chain(gx.clip_by_global_norm(0.7), gx.adam(0.1)), grad_norm=True, update_norm=True, clip_fraction=True
    ),
    "accumulate": lambda: gx.accumulate(gx.adam(0.1), every=1),
    "static_loss_scale": lambda: gx.static_loss_scale(gx.momentum(0.1), 128.0),
    "dynamic_loss_scale": lambda: gx.dynamic_loss_scale(gx.chain(gx.clip_by_global_norm(0.7), gx.adam(0.1)), window=2),
    "guard": lambda: gx.guard(gx.adamw(0.1), spike=6.0, max_consecutive=3, then="zero"),
    "apply_if_finite": lambda: gx.apply_if_finite(gx.sgd(0.1, 0.9), 3),
}


def public_transformations() -> set[str]:
    """The public functions that return a transformation, by their annotations, each by the name it is made under."""
    found = set()
    for name in dir(gx):
        f = getattr(gx, name)
        if inspect.isfunction(f):
            returned = typing.get_type_hints(f).get("return")
            if isinstance(returned, type) and issubclass(returned, Tx):
                found.add(f.__name__)
    return found


class Entry(NamedTuple):
    """One line of the catalogue, with its facts."""

    name: str
    make: Callable[[], Tx]

    @property
    def function(self) -> str:
        return self.name.split()[0]

    @property
    def tx(self) -> Any:
        return _made(self.name)

    @property
    def rules(self) -> list[tuple[str, gx.Rule]]:
        """Every rule with the name of its stage."""
        return _rules_of(self.name)

    @property
    def reach(self) -> gx.Reach | None:
        """How far it looks; None for a wrapper, which claims nothing."""
        return self.tx.reach if isinstance(self.tx, Chain) else None

    @property
    def needing_params(self) -> list[str]:
        """The stages that need parameters, by name."""
        return _demanding(self.tx) + [name for name, rule in self.rules if rule.facts.needs_params]

    @property
    def correcting(self) -> list[str]:
        """The stages whose memory of the kernel is corrected by the steps of all leaves, by name."""
        return _correcting(self.name)

    @property
    def real_only(self) -> list[str]:
        """The stages that refuse complex parameters, by name."""
        return [name for name, rule in self.rules if rule.facts.real_only]

    @property
    def draws(self) -> bool:
        """Whether it adds noise: the same for every gradient, and turned by no phase."""
        return any(isinstance(rule, Noisy) for _, rule in self.rules)

    @property
    def lands(self) -> bool:
        """Whether it steers where the step lands, and so subtracts the parameter."""
        words = ("proximal", "pull", "qk_clip", "hyperball", "pin_radius", "madgrad", "cocob", "ftrl")
        return any(word in rule.public_name() or word in rule.name for _, rule in self.rules for word in words)

    @property
    def narrow(self) -> bool:
        """Whether a part of the state is kept in a narrower dtype on demand."""
        codecs = [repr(codec) for _, rule in self.rules for _, codec in getattr(rule, "codecs", ())]
        return self.casts or "'bfloat16'" in codecs

    @property
    def casts(self) -> bool:
        """Whether an optimizer was given a dtype for a statistic."""
        return any(isinstance(rule, Stored) and rule.before for _, rule in self.rules)

    @property
    def packs(self) -> bool:
        """Whether the state's form depends on where the leaves lie: what is split over devices shares no buffer."""
        return self.function == "packed"

    @property
    def reads_loss(self) -> bool:
        """Whether it takes the loss into account where one is given."""
        return isinstance(self.tx, Guard | Accumulate)

    @property
    def extra(self) -> dict[str, Any]:
        return {key: EXTRAS[key] for _, rule in self.rules for key in rule.facts.needs if key in EXTRAS}

    @property
    def axis(self) -> str | None:
        """The device axis it must run in, if any."""
        return next((axis for _, rule in self.rules if (axis := getattr(rule, "axis_name", None))), None)

    def update(self, updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        """`tx.update` with the extra arguments that it needs, inside the axis that it needs."""
        if self.axis is None:
            return self.tx.update(updates, state, params, **self.extra)

        def device(_: Any) -> tuple[Any, Any]:
            return self.tx.update(updates, state, params, **self.extra)

        return jax.vmap(device, out_axes=None, axis_name=self.axis)(jnp.zeros(1))

    def run(self, updates: Any, state: Any, params: Any) -> tuple[Any, Any]:
        """The compiled `update`, one program for all laws."""
        return _compiled(self.name)(updates, state, params)

    def op_by_op(self) -> tuple[Any, Any]:
        """What `update` gives with `moved`, un-jitted to the last operation, once for all laws."""
        return _op_by_op(self.name)


@functools.cache
def _made(name: str) -> Any:
    return CATALOGUE[name]()


@functools.cache
def _compiled(name: str) -> Any:
    entry = Entry(name, CATALOGUE[name])
    return jax.jit(entry.update if entry.extra or entry.axis else entry.tx.update)


@functools.cache
def _op_by_op(name: str) -> Any:
    with jax.disable_jit():
        return Entry(name, CATALOGUE[name]).update(*moved(name))


@functools.cache
def _rules_of(name: str) -> list[tuple[str, gx.Rule]]:
    return list(_rules(_made(name)))


@functools.cache
def _correcting(name: str) -> list[str]:
    p = tree(0)
    kernel = memories(jax.eval_shape(_made(name).init, p))[1]
    rules = [(stage, rule.for_leaf("dense/kernel", p["dense"]["kernel"])) for stage, rule in _rules_of(name)]
    return [stage for stage, rule in rules if rule.corrects and stage in kernel]


def _demanding(tx: Any) -> list[str]:
    """The transformations not made of rules that need parameters, by name."""
    found = [tx.name] if tx.needs_params else []
    inner = [s.wrapped for s in tx.stages if s.wrapped is not None] if isinstance(tx, Chain) else [tx.inner]
    return found + [name for t in inner for name in (_demanding(t) if _opens(t) else [t.name] * t.needs_params)]


def _opens(tx: Any) -> bool:
    return isinstance(tx, Chain) or hasattr(tx, "inner")


def _rules(tx: Any) -> Iterator[tuple[str, gx.Rule]]:
    if not isinstance(tx, Chain):
        if _opens(tx):
            yield from _rules(tx.inner)
        return
    for name, stage in tx.named():
        if stage.only_rule is not None:
            yield name, stage.only_rule
        for _, part, _ in stage.parts():
            yield from _rules(part)


ENTRIES = [Entry(name, make) for name, make in CATALOGUE.items()]


@functools.cache
def told_by_others() -> set[str]:
    """Entries of rules that entries before them have, options included, numbers aside: laws leave them out."""
    seen: set[Any] = set()
    found = set()
    for entry in ENTRIES:
        if isinstance(entry.tx, Chain) and all(stage.only_rule is not None for _, stage in entry.tx.named()):
            new = {(type(rule), *map(_option, vars(rule).items())) for _, rule in entry.rules}
            if new <= seen:
                found.add(entry.name)
            seen |= new
    return found


def _option(field: tuple[str, Any]) -> tuple[str, Any]:
    name, x = field
    return name, type(x) if isinstance(x, float) else repr(x)


def entries(fits: Callable[[Entry], Any] = lambda entry: True, always: bool = False) -> Any:
    """Run a test for every entry that fits and has a rule of its own, named after it.

    With `EVERY=n` in the environment for each nth, unless `always`.
    """
    every = 1 if always else int(os.environ.get("EVERY", "1"))
    chosen = [e for e in ENTRIES if e.name not in told_by_others() and fits(e)][::every]
    return pytest.mark.parametrize("entry", [pytest.param(e, id=e.name.replace(" ", "-")) for e in chosen])


SHAPES = {"dense": {"kernel": (6, 5), "bias": (5,)}, "scale": ()}


def tree(seed: int, dtypes: Any = jnp.float32) -> Any:
    """A small tree of normal numbers, the same for the same seed; `dtypes` is one dtype or one for each leaf."""
    draw = np.random.default_rng(seed).standard_normal
    shapes, structure = jax.tree.flatten(SHAPES, is_leaf=lambda x: isinstance(x, tuple))
    each = dtypes if isinstance(dtypes, tuple) else (dtypes,) * len(shapes)
    leaves = []
    for shape, dtype in zip(shapes, each, strict=True):
        x = draw(shape) + (1j * draw(shape) if jnp.issubdtype(dtype, jnp.complexfloating) else 0)
        leaves.append(jnp.asarray(x, dtype))
    return structure.unflatten(leaves)


def memories(state: Any) -> list[Any]:
    """What is kept for each leaf of `SHAPES`, in order."""
    return jax.tree.structure(SHAPES, is_leaf=lambda x: isinstance(x, tuple)).flatten_up_to(own(state).leaves)


@functools.cache
def moved(entry_name: str, steps: int = 2) -> tuple[Any, Any, Any]:
    """Gradient, state and parameters of an entry after some compiled steps, so that no statistic is 0."""
    entry, params = Entry(entry_name, CATALOGUE[entry_name]), tree(0)
    state = entry.tx.init(params)
    for i in range(steps):
        updates, state = entry.run(tree(i + 1), state, params)
        params = gx.apply_updates(params, jax.tree.map(lambda u: 0.1 * u, updates))
    return tree(steps + 1), state, params
