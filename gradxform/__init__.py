"""Functional gradient transformations for JAX: the public names, in the order of a gradient's life.

Each module is imported when one of its names is first asked for; type checkers read the names from `__init__.pyi`.
"""

from importlib import import_module
from typing import Any

_NAMES = {
    "core.facts": "Facts Reach Station",
    "core.rule": "Factor Halves Rule TreeRule",
    "core.hyper": "Beta Hyper Schedule",
    "core.transform": "GradientTransformation apply_updates eval_params make_step",
    "core.chain": "chain lift named_chain",
    "core.state": "State view",
    "core.rows": "Rows map_rows value_and_grad_rows",
    "core.norms": "global_norm",
    "core.arithmetic": "abs_sq debias quotient",
    "params.select": "matching mindspore_decayed named ndim_at_least under weights_only",
    "params.groups": "groups masked partition",
    "transforms.freeze": "freeze",
    "transforms.devices": "mean_across",
    "transforms.private": "differentially_private_aggregate per_example_global_norm_clip per_example_layer_norm_clip",
    "transforms.clip": (
        "adaptive_grad_clip clip clip_by_block_rms clip_by_global_norm clip_by_norm clip_by_percentile zero_nans"
    ),
    "transforms.normalize": (
        "normalize_by_update_norm orthogonalize_gradient scale_by_param_block_norm scale_by_param_block_rms"
    ),
    "transforms.centralize": "centralize",
    "transforms.noise": "add_noise",
    "transforms.momentum": "ema trace",
    "optimizers.adadelta": "adadelta scale_by_adadelta",
    "optimizers.adagrad": "adagrad scale_by_rss",
    "optimizers.adam": "adam adamw amsgrad nadam nadamw scale_by_adam scale_by_amsgrad",
    "optimizers.adamax": "adamax adamaxw scale_by_adamax",
    "optimizers.adan": "adan scale_by_adan",
    "optimizers.belief": "adabelief scale_by_belief",
    "optimizers.layerwise": "lamb lars",
    "optimizers.lbfgs": "lbfgs scale_by_lbfgs",
    "optimizers.lion": "lion scale_by_lion",
    "optimizers.novograd": "novograd scale_by_novograd",
    "optimizers.optimistic": "optimistic_gradient_descent scale_by_optimistic_gradient",
    "optimizers.polyak": "polyak_sgd scale_by_polyak",
    "optimizers.proximal": "proximal_adagrad proximal_sgd",
    "optimizers.radam": "radam scale_by_radam",
    "optimizers.rmsprop": "rmsprop scale_by_rms scale_by_stddev",
    "optimizers.rprop": "rprop scale_by_rprop",
    "optimizers.sgd": "dpsgd momentum noisy_sgd sgd sign_sgd signum",
    "optimizers.yogi": "scale_by_yogi yogi",
    "transforms.cautious": "cautious",
    "transforms.decay": (
        "add_corrected_decay add_decayed_weights add_l1 cautious_decay subtract_decayed_weights with_weight_decay"
    ),
    "transforms.scale": (
        "identity scale scale_by_learning_rate scale_by_schedule scale_by_sign scale_by_trust_ratio set_to_zero unscale"
    ),
    "transforms.proximal": (
        "keep_params_nonnegative proximal_box proximal_elastic_net proximal_group_l1 proximal_l1 proximal_l2 "
        "proximal_nonnegative"
    ),
    "transforms.average": "ema_of_params polyak_average pull_to_slow_weights stochastic_weight_average",
    "transforms.schedule_free": "average_schedule_free schedule_free_eval_params",
    "optimizers.schedule_free": "lookahead schedule_free schedule_free_adamw schedule_free_sgd",
    "transforms.line_search": "scale_by_backtracking_linesearch",
    "transforms.zoom": "scale_by_zoom_linesearch",
    "transforms.objective": "value_and_grad_from_state",
    "transforms.depth": "layerwise_decay",
    "transforms.round": "round_updates",
    "schedules": (
        "constant_schedule cosine_decay_schedule cosine_onecycle_schedule cosine_restarts_schedule "
        "exponential_decay inverse_sqrt_schedule inverse_time_decay join_schedules linear_onecycle_schedule "
        "linear_schedule multi_step_schedule natural_exp_decay noam_schedule over piecewise_constant_schedule "
        "piecewise_interpolate_schedule polynomial_schedule sgdr_schedule step_decay warmup_constant_schedule "
        "warmup_cosine_decay_schedule warmup_exponential_decay_schedule warmup_stable_decay_schedule"
    ),
    "strategies.stored": "stored_as",
    "strategies.master": "master_weights",
    "strategies.lazy": "lazy",
    "strategies.offloaded": "offloaded",
    "strategies.packed": "packed unpack",
    "strategies.sharded": "sharded",
    "strategies.shardings": "state_shardings",
    "control.tunable": "hyperparams tunable with_hyperparams",
    "control.measure": "measure metrics",
    "control.sam": "sam",
    "control.accumulate": "accumulate accumulate_gradients",
    "control.loss_scale": "dynamic_loss_scale scale_loss static_loss_scale",
    "control.guard": "apply_if_finite guard",
    "control.counters": "counters",
    "inspect.explain": "explain",
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}
_PACKAGES = ("compat", "control", "core", "inspect", "optimizers", "params", "schedules", "strategies", "transforms")

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    public = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return public


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PACKAGES})
