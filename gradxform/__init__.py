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
from gradxform.transforms.private import (
    differentially_private_aggregate,
    per_example_global_norm_clip,
    per_example_layer_norm_clip,
)
from gradxform.transforms.clip import (
    adaptive_grad_clip,
    clip,
    clip_by_block_rms,
    clip_by_global_norm,
    clip_by_norm,
    clip_by_percentile,
    zero_nans,
)
from gradxform.transforms.normalize import (
    normalize_by_update_norm,
    orthogonalize_gradient,
    scale_by_param_block_norm,
    scale_by_param_block_rms,
)
from gradxform.transforms.centralize import centralize
from gradxform.transforms.noise import add_noise
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
from gradxform.optimizers.adan import adan, scale_by_adan
from gradxform.optimizers.belief import adabelief, scale_by_belief
from gradxform.optimizers.layerwise import lamb, lars
from gradxform.optimizers.lbfgs import lbfgs, scale_by_lbfgs
from gradxform.optimizers.lion import lion, scale_by_lion
from gradxform.optimizers.novograd import novograd, scale_by_novograd
from gradxform.optimizers.optimistic import optimistic_gradient_descent, scale_by_optimistic_gradient
from gradxform.optimizers.polyak import polyak_sgd, scale_by_polyak
from gradxform.optimizers.proximal import proximal_adagrad, proximal_sgd
from gradxform.optimizers.radam import radam, scale_by_radam
from gradxform.optimizers.rmsprop import rmsprop, scale_by_rms, scale_by_stddev
from gradxform.optimizers.rprop import rprop, scale_by_rprop
from gradxform.optimizers.sgd import dpsgd, momentum, noisy_sgd, sgd, sign_sgd, signum
from gradxform.optimizers.yogi import scale_by_yogi, yogi
from gradxform.transforms.cautious import cautious
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
    keep_params_nonnegative,
    proximal_box,
    proximal_elastic_net,
    proximal_group_l1,
    proximal_l1,
    proximal_l2,
    proximal_nonnegative,
)
from gradxform.transforms.average import ema_of_params, polyak_average, pull_to_slow_weights, stochastic_weight_average
from gradxform.transforms.schedule_free import average_schedule_free, schedule_free_eval_params
from gradxform.optimizers.schedule_free import lookahead, schedule_free, schedule_free_adamw, schedule_free_sgd
from gradxform.transforms.line_search import scale_by_backtracking_linesearch
from gradxform.transforms.zoom import scale_by_zoom_linesearch
from gradxform.transforms.objective import value_and_grad_from_state
from gradxform.transforms.depth import layerwise_decay
from gradxform.transforms.round import round_updates

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

from gradxform.strategies.stored import stored_as
from gradxform.strategies.master import master_weights
from gradxform.strategies.lazy import lazy
from gradxform.strategies.offloaded import offloaded
from gradxform.strategies.packed import packed, unpack
from gradxform.strategies.sharded import sharded
from gradxform.strategies.shardings import state_shardings

from gradxform.control.tunable import hyperparams, tunable, with_hyperparams
from gradxform.control.measure import measure, metrics
from gradxform.control.sam import sam
from gradxform.control.accumulate import accumulate, accumulate_gradients
from gradxform.control.loss_scale import dynamic_loss_scale, scale_loss, static_loss_scale
from gradxform.control.guard import apply_if_finite, guard
from gradxform.control.counters import counters
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
    "differentially_private_aggregate",
    "per_example_global_norm_clip",
    "per_example_layer_norm_clip",
    "adaptive_grad_clip",
    "clip",
    "clip_by_block_rms",
    "clip_by_global_norm",
    "clip_by_norm",
    "clip_by_percentile",
    "zero_nans",
    "normalize_by_update_norm",
    "orthogonalize_gradient",
    "scale_by_param_block_norm",
    "scale_by_param_block_rms",
    "centralize",
    "add_noise",
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
    "adan",
    "scale_by_adan",
    "adabelief",
    "scale_by_belief",
    "lamb",
    "lars",
    "lbfgs",
    "scale_by_lbfgs",
    "lion",
    "scale_by_lion",
    "novograd",
    "scale_by_novograd",
    "optimistic_gradient_descent",
    "scale_by_optimistic_gradient",
    "polyak_sgd",
    "scale_by_polyak",
    "proximal_adagrad",
    "proximal_sgd",
    "radam",
    "scale_by_radam",
    "rmsprop",
    "scale_by_rms",
    "scale_by_stddev",
    "rprop",
    "scale_by_rprop",
    "dpsgd",
    "momentum",
    "noisy_sgd",
    "sgd",
    "sign_sgd",
    "signum",
    "scale_by_yogi",
    "yogi",
    "cautious",
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
    "keep_params_nonnegative",
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
    "average_schedule_free",
    "schedule_free_eval_params",
    "lookahead",
    "schedule_free",
    "schedule_free_adamw",
    "schedule_free_sgd",
    "scale_by_backtracking_linesearch",
    "scale_by_zoom_linesearch",
    "value_and_grad_from_state",
    "layerwise_decay",
    "round_updates",
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
    "stored_as",
    "master_weights",
    "lazy",
    "offloaded",
    "packed",
    "unpack",
    "sharded",
    "state_shardings",
    "hyperparams",
    "tunable",
    "with_hyperparams",
    "measure",
    "metrics",
    "sam",
    "accumulate",
    "accumulate_gradients",
    "dynamic_loss_scale",
    "scale_loss",
    "static_loss_scale",
    "apply_if_finite",
    "guard",
    "counters",
    "explain",
]
