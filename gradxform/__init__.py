"""Functional gradient transformations for JAX: the public names, in the order of a gradient's life."""

from gradxform.core.rule import Reach, Rule, TreeRule
from gradxform.core.hyper import Beta, Hyper, Schedule
from gradxform.core.transform import GradientTransformation, apply_updates, eval_params, make_step
from gradxform.core.chain import chain, lift, named_chain
from gradxform.core.state import State, view
from gradxform.core.rows import Rows, map_rows, value_and_grad_rows
from gradxform.core.numbers import global_norm

from gradxform.params.select import matching, mindspore_decayed, named, ndim_at_least, under, weights_only
from gradxform.params.groups import groups, masked, partition
from gradxform.transforms.freeze import freeze

from gradxform.transforms.devices import mean_across
from gradxform.transforms.clip import clip, clip_by_block_rms, clip_by_global_norm, clip_by_norm
from gradxform.transforms.centralize import centralize
from gradxform.transforms.momentum import ema, trace
from gradxform.optimizers.adadelta import adadelta, scale_by_adadelta
from gradxform.optimizers.adagrad import adagrad, scale_by_rss
from gradxform.optimizers.adam import (
    adam,
    adamw,
    amsgrad,
    nadam,
    nadamw,
    scale_by_adam,
    scale_by_amsgrad,
)
from gradxform.optimizers.adamax import adamax, adamaxw, scale_by_adamax
from gradxform.optimizers.layerwise import lamb, lars
from gradxform.optimizers.lion import lion, scale_by_lion
from gradxform.optimizers.proximal import proximal_adagrad, proximal_sgd
from gradxform.optimizers.radam import radam, scale_by_radam
from gradxform.optimizers.rmsprop import rmsprop, scale_by_rms, scale_by_stddev
from gradxform.optimizers.rprop import rprop, scale_by_rprop
from gradxform.optimizers.sgd import momentum, sgd, sign_sgd, signum
from gradxform.transforms.decay import (
    add_corrected_decay,
    add_decayed_weights,
    add_l1,
    cautious_decay,
    subtract_decayed_weights,
    with_weight_decay,
)
from gradxform.transforms.scale import (
    identity,
    scale,
    scale_by_learning_rate,
    scale_by_schedule,
    scale_by_sign,
    scale_by_trust_ratio,
    set_to_zero,
    unscale,
)
from gradxform.transforms.proximal import (
    proximal_box,
    proximal_elastic_net,
    proximal_group_l1,
    proximal_l1,
    proximal_l2,
    proximal_nonnegative,
)
from gradxform.transforms.average import ema_of_params, polyak_average, pull_to_slow_weights, stochastic_weight_average
from gradxform.transforms.depth import layerwise_decay

from gradxform.schedules import (
    constant_schedule,
    cosine_decay_schedule,
    cosine_onecycle_schedule,
    cosine_restarts_schedule,
    exponential_decay,
    inverse_sqrt_schedule,
    inverse_time_decay,
    join_schedules,
    linear_onecycle_schedule,
    linear_schedule,
    multi_step_schedule,
    natural_exp_decay,
    noam_schedule,
    over,
    piecewise_constant_schedule,
    piecewise_interpolate_schedule,
    polynomial_schedule,
    sgdr_schedule,
    step_decay,
    warmup_constant_schedule,
    warmup_cosine_decay_schedule,
    warmup_exponential_decay_schedule,
    warmup_stable_decay_schedule,
)

from gradxform.strategies.lazy import lazy
from gradxform.strategies.offloaded import offloaded

from gradxform.control.tunable import hyperparams, tunable, with_hyperparams
from gradxform.control.measure import measure, metrics
from gradxform.inspect.explain import explain

from gradxform import compat as compat

__all__ = [
    "Reach",
    "Rule",
    "TreeRule",
    "Beta",
    "Hyper",
    "Schedule",
    "GradientTransformation",
    "apply_updates",
    "eval_params",
    "make_step",
    "chain",
    "lift",
    "named_chain",
    "State",
    "view",
    "Rows",
    "map_rows",
    "value_and_grad_rows",
    "global_norm",
    "matching",
    "mindspore_decayed",
    "named",
    "ndim_at_least",
    "under",
    "weights_only",
    "groups",
    "masked",
    "partition",
    "freeze",
    "mean_across",
    "clip",
    "clip_by_block_rms",
    "clip_by_global_norm",
    "clip_by_norm",
    "centralize",
    "ema",
    "trace",
    "adadelta",
    "scale_by_adadelta",
    "adagrad",
    "scale_by_rss",
    "adam",
    "adamw",
    "amsgrad",
    "nadam",
    "nadamw",
    "scale_by_adam",
    "scale_by_amsgrad",
    "adamax",
    "adamaxw",
    "scale_by_adamax",
    "lamb",
    "lars",
    "lion",
    "scale_by_lion",
    "proximal_adagrad",
    "proximal_sgd",
    "radam",
    "scale_by_radam",
    "rmsprop",
    "scale_by_rms",
    "scale_by_stddev",
    "rprop",
    "scale_by_rprop",
    "momentum",
    "sgd",
    "sign_sgd",
    "signum",
    "add_corrected_decay",
    "add_decayed_weights",
    "add_l1",
    "cautious_decay",
    "subtract_decayed_weights",
    "with_weight_decay",
    "identity",
    "scale",
    "scale_by_learning_rate",
    "scale_by_schedule",
    "scale_by_sign",
    "scale_by_trust_ratio",
    "set_to_zero",
    "unscale",
    "proximal_box",
    "proximal_elastic_net",
    "proximal_group_l1",
    "proximal_l1",
    "proximal_l2",
    "proximal_nonnegative",
    "ema_of_params",
    "polyak_average",
    "pull_to_slow_weights",
    "stochastic_weight_average",
    "layerwise_decay",
    "constant_schedule",
    "cosine_decay_schedule",
    "cosine_onecycle_schedule",
    "cosine_restarts_schedule",
    "exponential_decay",
    "inverse_sqrt_schedule",
    "inverse_time_decay",
    "join_schedules",
    "linear_onecycle_schedule",
    "linear_schedule",
    "multi_step_schedule",
    "natural_exp_decay",
    "noam_schedule",
    "over",
    "piecewise_constant_schedule",
    "piecewise_interpolate_schedule",
    "polynomial_schedule",
    "sgdr_schedule",
    "step_decay",
    "warmup_constant_schedule",
    "warmup_cosine_decay_schedule",
    "warmup_exponential_decay_schedule",
    "warmup_stable_decay_schedule",
    "lazy",
    "offloaded",
    "hyperparams",
    "tunable",
    "with_hyperparams",
    "measure",
    "metrics",
    "explain",
]
