"""What the arguments of public functions take and refuse.

One name means one thing in the whole library, so the table is by argument, and `OVERRIDES` holds the exceptions.
"""

from __future__ import annotations

import inspect
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import gradxform as gx
from gradxform.optimizers.adam import ScaleByAdam

NAN, INF = math.nan, math.inf
MESH = jax.make_mesh((1,), ("data",), devices=jax.devices()[:1])
MATRIX = gx.Matrix("in out", rows="in", columns="out")
CYCLE = {"init_value": 0.0, "peak_value": 0.1, "warmup_steps": 1, "decay_steps": 5}


class Kind(NamedTuple):
    """A valid value, values of a wrong kind (TypeError), and values out of range (ValueError)."""

    valid: Any
    wrong: tuple[Any, ...]
    out: tuple[Any, ...] = ()
    hyper: bool = False
    """Whether it is a hyperparameter, which may be a table, a schedule or tunable as well."""


WORDS = ("fast", True, {})
rate = Kind(0.1, WORDS, (-0.1, NAN, INF), hyper=True)
fraction = Kind(0.9, WORDS, (1.0, 1.5, -0.1, NAN), hyper=True)
unit = Kind(0.5, WORDS, (1.5, -0.1, NAN), hyper=True)
positive = Kind(1.0, WORDS, (0.0, -1.0, NAN, INF), hyper=True)
bound = positive._replace(out=(0.0, -1.0, NAN))
finite = Kind(0.5, WORDS, (NAN, INF), hyper=True)
number = Kind(0.5, (*WORDS, [0.1, 0.2]), (NAN, INF))
decay_factor = Kind(0.5, (*WORDS, [0.1, 0.2]), (-1.0, NAN, INF))
positive_number = Kind(0.5, (*WORDS, [0.1, 0.2]), (0.0, -1.0, NAN, INF))
flag = Kind(True, (1, "yes", 0.0))
steps = Kind(5, ("5", True, None, [5]), (-5, -0.5, NAN, INF))
some_steps = steps._replace(out=(0, *steps.out))
count = Kind(1, (1.5, "1", True, None), (0, -1))
setting = Kind(0.5, (*WORDS, [0.1, 0.2]), (-0.1, NAN, INF))
index = count._replace(out=(-1,))
mask = Kind(None, (3, {"kernel": 1.0}), ("(kernel",))
dtype = Kind(None, (jnp.int32, "nonsense", 3))
axis = Kind("devices", ([], 1.5, ("a", 1.5)))
boundaries = Kind((2,), (2, "2", None, ("a",)), ((-2,), (3, 2), (NAN,)))
scales = Kind({2: 0.5}, (2, [0.5], {2: "half"}, {"two": 0.5}), ({2: -0.5}, {-2: 0.5}, {2: NAN}))
schedules = Kind([0.1, 0.2], (0.1, "two", {0: 0.1}, [0.1, "two"]))
transformation = Kind(gx.sgd(0.1), (3, "sgd", gx.sgd, None))
lower, upper = Kind(-1.0, WORDS, (2.0, NAN), hyper=True), Kind(1.0, WORDS, (-2.0, NAN), hyper=True)
share = Kind(0.3, WORDS, (1.5, -0.1, NAN))
path = Kind("kernel", (3, None))
norm_clip = Kind(1.0, ("fast", {}, [1.0, 2.0]), (-1.0, NAN))
key = Kind(3, (1.5, "3", True, jnp.ones(2), jnp.ones((3, 2), int)), (-1,))


def choice(valid: str) -> Kind:
    return Kind(valid, (), ("other", 3))


ARGUMENTS = {
    "accum": rate,
    "accumulation_size": count,
    "accumulator_dtype": dtype,
    "adam_b1": fraction,
    "adam_b2": fraction,
    "adam_eps": rate,
    "adam_eps_root": rate,
    "adam_learning_rate": rate,
    "adam_nesterov": flag,
    "adam_weight_decay": rate,
    "adaptive": flag,
    "adaptive_threshold": flag,
    "alpha": number,
    "alpha_warmup": index,
    "approx_dec_rtol": setting,
    "atol": setting,
    "axis": Kind(None, (1.5, "rows", (0, "rows"), (0, None))),
    "axis_name": axis,
    "b1": fraction,
    "b2": fraction,
    "b3": fraction,
    "b1_warmup": index,
    "b3_warmup": index,
    "batch_axis_name": axis,
    "beta": fraction,
    "beta3": fraction,
    "c_warmup": index,
    "betas": Kind((0.9, 0.99), (0.9, "fast", None, ("a", 0.9)), ((0.9,), (0.9, 0.9, 0.9), (1.0, 0.9), (0.9, NAN))),
    "blend": unit,
    "block_axes": Kind(None, (1.5, "rows", (0, "rows"))),
    "bias_correction": flag,
    "bias_correction_mu": flag,
    "bias_correction_nu": flag,
    "boundaries": boundaries,
    "boundaries_and_scales": scales,
    "cautious": flag,
    "centered": flag,
    "clip_fraction": flag,
    "clip_threshold": bound,
    "clip_value_fn": Kind(None, (3, "root")),
    "clipping": bound,
    "clipping_threshold": bound,
    "consistent_rms": rate,
    "cooldown": index,
    "curv_rtol": setting._replace(out=(-0.1, NAN)),
    "dampening": finite,
    "debias": flag,
    "decay": fraction,
    "decay_offset": index,
    "decay_rate": positive_number,
    "decay_rate_fn": Kind(None, (3, "power")),
    "decay_steps": some_steps,
    "decay_type": choice("linear"),
    "decrease_factor": share,
    "div_factor": positive_number,
    "donate": flag,
    "dtype_momentum": dtype._replace(valid=jnp.float32),
    "ef_decay": fraction,
    "end_value": number,
    "eps": rate,
    "eps_in_sqrt": flag,
    "eps_residual": rate,
    "eps_root": rate,
    "epsilon": rate,
    "estim_lr0": positive_number,
    "estim_lr_coef": positive,
    "eta": rate,
    "eta_minus": Kind(0.5, WORDS, (1.5, 0.0, -0.5, NAN), hyper=True),
    "eta_plus": Kind(1.2, WORDS, (0.5, 0.0, NAN)),
    "every": count,
    "exponent": decay_factor,
    "f_min": finite,
    "factored": flag,
    "final_div_factor": positive_number,
    "filter_type": choice("sum"),
    "first": choice("zero"),
    "first_decay_steps": some_steps,
    "flip_sign": flag,
    "gamma": rate,
    "graft_b2": fraction,
    "graft_eps": rate,
    "grafting": choice("sgd"),
    "geometry": choice("Q0.5EQ1.5"),
    "grad_norm": flag,
    "gram_restarts": Kind((2,), (2, "2", (1.5,)), ((0,),)),
    "growth_rate": positive_number._replace(out=(0.0, -1.0, NAN)),
    "has_aux": flag,
    "hessian_power": Kind(0.5, WORDS, (0.0, 1.5, -0.5, NAN), hyper=True),
    "init_estim_sq_dist": Kind(None, ("fast", True, [1.0]), (0.0, -1.0, NAN)),
    "init_factor": positive,
    "init_step": Kind(
        ("distance", 0.1), (3, None, ("distance", "far")), (("distance",), ("near", 0.1), ("distance", 0.0))
    ),
    "init_value": number,
    "initial_accumulator_value": rate,
    "initial_guess_strategy": choice("one"),
    "initial_scale": rate,
    "interpolate_type": choice("linear"),
    "inward": rate,
    "key": key,
    "kind": choice("decoupled"),
    "l1": rate,
    "l2": rate,
    "l2_norm_clip": positive,
    "lamb": rate,
    "lambd": rate,
    "learning_rate": rate,
    "lookahead": rate,
    "loss_scale": positive._replace(out=(*positive.out, 1e-50)),
    "adapt_lower_bound": flag,
    "lower": lower,
    "lower_bound": finite,
    "m_mul": positive_number,
    "mask": mask,
    "mask_compatible_extra_args": flag,
    "max_backtracking_steps": count,
    "max_clamp_value": count,
    "max_delta": rate._replace(out=(-0.1, NAN)),
    "max_learning_rate": positive,
    "max_linesearch_steps": count,
    "max_norm": bound,
    "max_precond_dim": index,
    "max_size_triangular": index,
    "max_step_size": Kind(50.0, WORDS, (1e-7, NAN), hyper=True),
    "memory_save_mode": choice("one_diag"),
    "memory_size": count,
    "min_b1": fraction,
    "min_dim_size_to_factor": index,
    "min_norm": rate,
    "min_step_size": Kind(1e-6, WORDS, (-1.0, 60.0, NAN, INF), hyper=True),
    "min_scale": rate,
    "mode": choice("hard"),
    "momentum_into_precond_update": flag,
    "multiply_by_parameter_scale": flag,
    "momentum": rate,
    "mu_dtype": dtype,
    "nesterov": flag,
    "noise_multiplier": rate,
    "num_betas": count,
    "opaque_mode": flag,
    "ns_coeffs": Kind("dion", (3, None, [1.0], [[1.0, 2.0]]), ("other", (1.0, NAN, 1.0))),
    "ns_dtype": dtype,
    "ns_steps": count,
    "optimism": finite,
    "outward": rate,
    "param_norm": flag,
    "patience": index,
    "pct_final": share,
    "polyak_beta": fraction,
    "pct_start": share,
    "peak_value": number,
    "per": choice("array"),
    "percentile": Kind(10.0, WORDS, (-1.0, 101.0, NAN), hyper=True),
    "period": count,
    "power": decay_factor,
    "precond_init_scale": positive,
    "precond_lr": rate,
    "precondition_frequency": count,
    "preconditioner_update_probability": unit,
    "preconditioning": choice("aol"),
    "pull": unit,
    "r": rate,
    "radius": rate,
    "ratio": rate,
    "rank": count,
    "reset_state": flag,
    "rho": fraction,
    "rtol": setting,
    "safeguard_warmup": flag,
    "s_init": positive,
    "scale": positive,
    "scale_factor": finite,
    "scale_type": choice("tensor"),
    "scale_init_precond": flag,
    "scaling": rate,
    "schedules": schedules,
    "seed": key,
    "sf_beta1": fraction,
    "sf_beta1_anneal_steps": index,
    "sf_beta1_max": fraction,
    "shape_factor": choice("spectral"),
    "shampoo_beta": fraction,
    "sign_radius": rate,
    "spatial_axes": Kind(None, (1.5, "rows", (0, "rows"))),
    "slope_rtol": setting,
    "slow_step_size": unit,
    "smooth_beta": positive,
    "stable_steps": steps,
    "staggered": flag,
    "staircase": flag,
    "start": index,
    "start_preconditioning_step": Kind(1, (1.5, "1", True), (0, -1)),
    "state_dtype": dtype,
    "step_offset": index,
    "step_size": finite,
    "step_size_fn": finite,
    "stepsize_precision": setting,
    "store_grad": flag,
    "sync_period": count,
    "t_mul": count,
    "t0": index,
    "threshold": bound,
    "tol": setting,
    "total_steps": count,
    "transition_begin": steps,
    "transition_steps": steps,
    "trust_coefficient": rate,
    "trust_ratio_mask": mask,
    "update_interval": count,
    "update_norm": flag,
    "update_proj_gap": count,
    "update_ratio": choice("global"),
    "upper": upper,
    "value_fn": Kind(jnp.sum, (3, "loss", None)),
    "variant": choice("sps+"),
    "verbose": flag,
    "warmup_steps": steps,
    "unconstrained": flag,
    "uniform": flag,
    "use_clipping": flag,
    "weight_decay": rate,
    "weight_decay_mask": mask,
    "weight_decay_rate": rate,
    "weight_lr_power": rate,
    "warmup": flag,
    "window": count,
    "window_size": count,
}

BOWL = gx.Problem(lambda key: jnp.ones(1), lambda p: p[0] * p[0])

OVERRIDES: dict[str, dict[str, Kind | None]] = {
    "adadelta": {"eps": positive},
    **{name: {"eps": positive} for name in ("dowg", "scale_by_dowg")},
    "adafactor": {"decay_rate": positive, "momentum": fraction},
    "scale_by_factored_rms": {"decay_rate": positive},
    **{name: {"alpha": rate} for name in ("ademamix", "scale_by_ademamix", "cocob", "scale_by_cocob")},
    **{name: {"alpha": rate} for name in ("simplified_ademamix", "scale_by_simplified_ademamix")},
    "optimistic_adam_v2": {"alpha": finite, "beta": finite},
    "grokfast": {"alpha": fraction},
    "asgd": dict.fromkeys(("learning_rate", "lambd", "alpha"), setting),
    "ftrl": {"learning_rate": positive._replace(valid=0.1), "beta": rate},
    **{name: {"power": unit} for name in ("scale_by_shampoo", "shampoo")},
    **{name: {"momentum": fraction} for name in ("madgrad", "scale_by_madgrad", "sm3")},
    "scale_by_sm3": {"b2": unit},
    **{name: {"radius": choice("now")} for name in ("hyperball", "muonh", "adamh")},
    "qk_clip": {"power": rate, "tau": positive},
    "reduce_on_plateau": {
        "factor": Kind(0.5, WORDS, (0.0, 1.0, -0.5, NAN), hyper=True),
        "rtol": setting._replace(out=(*setting.out, 1.5)),
    },
    **{
        name: {"a": Kind(1.0, ("fast", True, None), (NAN,), hyper=True), "b": finite}
        for name in ("proximal_halfspace", "proximal_hyperplane")
    },
    "adaptive_grad_clip": {"eps": positive},
    "adamax": {"eps": positive},
    "adamaxw": {"eps": positive},
    "scale_by_adadelta": {"eps": positive},
    "scale_by_adamax": {"eps": positive},
    "radam": {"threshold": Kind(5.0, WORDS, (3.9, NAN, INF))},
    "scale_by_radam": {"threshold": Kind(5.0, WORDS, (3.9, NAN, INF))},
    "trace": {"decay": rate},
    "lift": {"rule": Kind(ScaleByAdam(), (3, "adam", gx.sgd(0.1), None)), "where": Kind(None, (), ())},
    "masked": {"inner": transformation},
    "partition": {
        "transforms": Kind({"a": gx.sgd(0.1)}, (3, None, {"a": 3}, {"a": None})),
        "param_labels": Kind("a", (), ("b", {"kernel": "b"})),
    },
    "groups": {
        "entries": Kind(
            [("kernel", gx.sgd(0.1))],
            ([3], [("kernel",)], ["kernel"]),
            ([("kernel", gx.sgd(0.1))] * 2,),
        ),
        "default": Kind(None, (3, "sgd")),
    },
    "matrices": {"tx": transformation, "specs": Kind(None, (3, [3], {"kernel": 3}, {3: MATRIX})), "together": index},
    "lbfgs": {"learning_rate": rate._replace(wrong=("fast", {})), "linesearch": Kind(None, (3, gx.sgd))},
    **{
        name: {"warmup_steps": Kind(1, (1.5, "1", True), (0, -1))}
        for name in ("schedule_free_adamw", "schedule_free_sgd")
    },
    "lookahead": {"fast_optimizer": transformation},
    "sam": {"optimizer": transformation, "adv_optimizer": transformation, "adaptive": flag},
    "mechanize": {"base_optimizer": transformation, "eps": positive},
    "schedule_free": {"base_optimizer": transformation},
    **{
        name: {
            argument: positive_number._replace(out=(0.0, -1.0, NAN))
            for argument in ("max_learning_rate", "increase_factor")
        }
        for name in ("scale_by_backtracking_linesearch", "scale_by_zoom_linesearch")
    },
    "layerwise_decay": {
        "decay": Kind(0.5, ("fast", True, None), (0.0, 1.5, NAN)),
        "layers": Kind(["a"], (3, "a", None), ([],)),
    },
    "stored_as": {
        "codec": Kind("int8", (), ("int3", {}, {"mu": "int3"})),
        "tx": transformation,
        "where": Kind(None, ()),
        "min_size": index,
        "stochastic": flag._replace(valid=False),
        "seed": index,
    },
    "master_weights": {"tx": transformation},
    "round_updates": {"mode": choice("kahan"), "seed": index},
    "packed": {"tx": transformation, "max_size": count},
    "lazy": {"tx": transformation, "mode": choice("rest")},
    "own_clock": {"tx": transformation, "where": Kind(None, ())},
    "offloaded": {
        "tx": transformation,
        "where": Kind(None, ()),
        "fields": Kind(None, (3, [3])),
        "memory_kind": choice("pinned_host"),
        "compute_on": choice("host"),
    },
    "sharded": {
        "tx": transformation,
        "mesh": Kind(MESH, (3, "data", None)),
        "axis": Kind("data", (1.5, ("data", 1)), ("model", ())),
        "param_shardings": Kind(None, (3, {"kernel": 3})),
    },
    "spread": {
        "tx": transformation._replace(valid=gx.orthogonalize()),
        "mesh": Kind(MESH, (3, "data", None)),
        "axis": Kind("data", (1.5, ("data", 1)), ("model", ())),
        "param_shardings": Kind(None, (3, {"kernel": 3})),
        "together": count,
    },
    "state_shardings": {
        "tx": transformation,
        "params": Kind({}, ()),
        "param_shardings": Kind(jax.NamedSharding(MESH, jax.P()), (3, {"kernel": 3})),
        "mesh": Kind(None, (3, "data")),
        "axis": Kind(None, (1.5, ("data", 1)), ("model", ())),
    },
    "value_and_grad_rows": {"loss": Kind(jnp.sum, (3, "loss", None)), "has_aux": flag},
    "optimistic_gradient_descent": {"alpha": finite, "beta": finite},
    "scale_by_optimistic_gradient": {"alpha": finite, "beta": finite},
    "cautious": {"tx": transformation._replace(valid=gx.adam(0.1))},
    "cautious_decay": {"decay": transformation._replace(valid=gx.add_decayed_weights(0.1))},
    "with_weight_decay": {"tx": transformation},
    "measure": {
        "tx": Kind(gx.sgd(0.1), ()),
        "axis_name": axis._replace(valid=None),
        "clip_fraction": flag._replace(valid=False),
    },
    "accumulate": {
        "tx": transformation,
        "every": count._replace(wrong=(1.5, "1", True, None, gx.tunable(2)), out=(0, -1, [1, 0])),
        "axis_name": axis._replace(valid=None),
        "extras": Kind({"tokens": "sum"}, (3, "sum", ["sum"], {"x": 3}), ({"x": "all"}, {"x": "median"})),
    },
    "accumulate_gradients": {
        "loss_fn": Kind(lambda params, batch: jnp.mean(batch["x"]), (3, "loss", None)),
        "params": Kind({}, ()),
        "batch": Kind({"x": jnp.ones(1)}, ()),
        "microbatches": count,
        "has_aux": flag._replace(valid=False),
        "weight": Kind(None, (3, "tokens")),
    },
    "static_loss_scale": {"tx": transformation, "scale": positive_number, "axis_name": axis._replace(valid=None)},
    "dynamic_loss_scale": {
        "tx": transformation,
        "init": positive_number._replace(valid=4.0),
        "factor": positive_number._replace(valid=2.0, out=(1.0, 0.5, NAN, INF)),
        "min": positive_number._replace(out=(0.0, -1.0, 2.0**16, NAN, INF)),
        "axis_name": axis._replace(valid=None),
    },
    "guard": {
        "tx": transformation,
        "nonfinite": choice("zero"),
        "spike": positive_number._replace(valid=6.0),
        "max_norm": positive_number._replace(valid=6.0),
        "max_consecutive": Kind(2, (1.5, "1", True), (-1,)),
        "then": choice("skip"),
        "decay": Kind(0.9, (*WORDS, [0.1, 0.2]), (1.0, 1.5, -0.1, NAN)),
        "warmup": count,
        "axis_name": axis._replace(valid=None),
    },
    "apply_if_finite": {"inner": transformation, "max_consecutive_errors": count._replace(out=(-1,))},
    "per_example_global_norm_clip": {"grads": Kind({}, ()), "l2_norm_clip": norm_clip},
    "per_example_layer_norm_clip": {"grads": Kind({}, ()), "global_l2_norm_clip": norm_clip},
    "global_norm": {"updates": Kind({"a": jnp.ones(1)}, ()), "axis_name": axis._replace(valid=None)},
    "make_step": {"tx": transformation},
    "compare": {
        "transformations": Kind({"sgd": gx.sgd(0.1)}, (3, "sgd", None, [gx.sgd(0.1)], {"x": 3}), ({},)),
        "problems": Kind({"bowl": BOWL}, (3, None, {"x": 3}), ("hills", {})),
        "rates": Kind(None, (3, "fast", ["fast"]), ([], [0.0], [-1.0], [NAN])),
        "seeds": count,
        "steps": count,
        "target": Kind(None, ("low", True), (NAN,)),
        "progress": flag._replace(valid=False),
    },
    "make_train_step": {
        "loss_fn": Kind(lambda params, batch: 0.0, (3, "loss", None, gx.sgd(0.1))),
        "tx": transformation,
        "has_aux": flag._replace(valid=False),
        "accumulate": count,
        "metrics": Kind(("loss",), (3, [3], None), ("accuracy", ["loss", "accuracy"])),
        "axis_name": axis._replace(valid=None),
        "mesh": Kind(None, (3, "data")),
    },
    "tree_get": {
        "tree": Kind({"count": 3}, ()),
        "key": path._replace(valid="count"),
        "default": Kind(None, ()),
        "filtering": Kind(None, (3, "mu")),
    },
    **{
        name: {argument: Kind(fn, (3, "loss", None)), "params": Kind({"a": jnp.ones(1)}, ()), "count": Kind(0, ())}
        for name, argument, fn in (
            ("hutchinson", "loss_fn", lambda p: jnp.zeros(())),
            ("gauss_newton_bartlett", "logits_fn", lambda p: jnp.zeros((2, 3))),
        )
    },
    "matching": {"pattern": path._replace(out=("(",))},
    "under": {"prefix": path},
    "ndim_at_least": {"ndim": index},
    "tunable": {"value": Kind(0.1, ("fast", True, {}, None))},
    "constant_schedule": {"value": number},
    "cosine_onecycle_schedule": {"transition_steps": some_steps},
    "linear_onecycle_schedule": {"transition_steps": some_steps},
    "inverse_sqrt_schedule": {"warmup_steps": some_steps},
    "inverse_time_decay": {"decay_rate": decay_factor},
    "natural_exp_decay": {"decay_rate": number},
    "multi_step_schedule": {"decay_rate": decay_factor},
    "step_decay": {"transition_steps": some_steps},
    "noam_schedule": {"d_model": positive_number, "warmup_steps": some_steps, "factor": number},
    "over": {"schedule": Kind(gx.constant_schedule(0.1), (0.1, "constant", None))},
    "sgdr_schedule": {"cosine_kwargs": Kind([CYCLE], (), ([CYCLE | {"decay_steps": 0}],))},
    "warmup_cosine_decay_schedule": {
        "warmup_steps": steps._replace(valid=1),
        "decay_steps": some_steps._replace(out=(1, *some_steps.out)),
    },
}
"""Where an argument means something else, or stands alone."""
OVERRIDES |= {"multi_transform": OVERRIDES["partition"], "incremental_update": {"step_size": None}}

BESIDE: dict[tuple[str, str], dict[str, Any]] = {
    ("with_weight_decay", "max_learning_rate"): {"kind": "corrected"},
    **{("add_noise", argument): {"key": 3} for argument in ("eta", "gamma")},
    **{("noisy_sgd", argument): {"key": 3} for argument in ("learning_rate", "eta", "gamma")},
    **{
        ("differentially_private_aggregate", argument): {"key": 3}
        for argument in ("l2_norm_clip", "noise_multiplier", "axis_name")
    },
    ("add_corrected_decay", "learning_rate"): {"max_learning_rate": 1.0},
    ("adadelta", "weight_decay_mask"): {"weight_decay": 0.1},
    ("adafactor", "weight_decay_mask"): {"weight_decay_rate": 0.1},
    ("sam", "batch_axis_name"): {"opaque_mode": True},
    ("guard", "max_consecutive"): {"then": "skip"},
    ("adopt", "clip_value_fn"): {"use_clipping": True},
    ("scale_by_adopt", "clip_value_fn"): {"use_clipping": True},
    ("guard", "then"): {"max_consecutive": 1},
    **{
        ("compare", argument): {"problems": {"bowl": BOWL}, "seeds": 1, "steps": 1, "progress": False}
        for argument in OVERRIDES["compare"]
    },
}
"""What an argument needs to stand beside it."""


def public_functions() -> dict[str, Any]:
    """Without the arithmetic that rules do, which takes numbers and arrays as they are there."""
    names = [name for name in gx.__all__ if gx._HOMES[name] != "gradxform.core.arithmetic"]
    return {name: f for name in names if inspect.isfunction(f := getattr(gx, name))}


def parameters(function: Any) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())


def kind_of(name: str, argument: str) -> Kind | None:
    """None for an argument that is not in the tables."""
    return OVERRIDES.get(name, {}).get(argument, ARGUMENTS.get(argument))


def call(function: Any, argument: str, value: Any) -> Any:
    """The function with one argument as given, and valid ones where it needs them."""
    name = function.__name__
    kinds = {p.name: kind_of(name, p.name) for p in parameters(function) if p.default is p.empty}
    needed = {key: kind.valid for key, kind in kinds.items() if kind is not None}
    return function(**{**needed, **BESIDE.get((name, argument), {}), argument: value})
