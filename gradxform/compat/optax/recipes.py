"""optax's namespaces with our stages in place: what optax builds of its stages, it builds of ours."""

from __future__ import annotations

import dis
import functools
import types
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import optax
import optax.contrib

from gradxform.compat.optax import combining, landing, wrappers
from gradxform.compat.optax.masking import maskable, masked
from gradxform.compat.optax.matrices import NUMBERS, of_matrices
from gradxform.compat.optax.rates import Typed, untyped
from gradxform.compat.optax.rules import RULES
from gradxform.compat.optax.stages import NONE, REFUSALS, in_dtypes_of, over
from gradxform.core.chain import Chain, lift
from gradxform.core.hyper import Schedule
from gradxform.core.rule import Rule

STAGES = (
    "adaptive_grad_clip", "add_decayed_weights", "centralize", "clip", "clip_by_block_rms", "clip_by_global_norm",
    "ema", "identity", "keep_params_nonnegative", "normalize_by_update_norm", "scale", "scale_by_adadelta",
    "scale_by_adam", "scale_by_adamax", "scale_by_amsgrad", "scale_by_belief", "scale_by_factored_rms",
    "scale_by_learning_rate", "scale_by_lion", "scale_by_novograd", "scale_by_optimistic_gradient",
    "scale_by_param_block_norm", "scale_by_param_block_rms", "scale_by_radam", "scale_by_rms", "scale_by_rss",
    "scale_by_schedule", "scale_by_sign", "scale_by_stddev", "scale_by_trust_ratio", "scale_by_yogi", "set_to_zero",
    "trace", "scale_by_acprop", "scale_by_ademamix", "scale_by_adopt", "scale_by_cocob", "scale_by_madgrad",
    "scale_by_simplified_ademamix", "scale_by_dog", "scale_by_dowg", "scale_by_muon",
    "scale_by_shape", "scale_by_polyak", "normalize", "prodigy", "dadapt_adamw", "momo", "momo_adam",
)  # fmt: skip
"""Stages that are ours inside optax's type and state: those of which optax's numbers are ours, to rounding."""

FORMS: dict[str, dict[str, Any]] = {
    name: {"bias_correction": True} for name in ("prodigy", "dadapt_adamw", "scale_by_muon")
} | {"normalize": {"eps": 0.0}}
"""What chooses the form that optax has."""
NAMED = {"normalize": "normalize_by_update_norm", "tree_norm": "global_norm"}
"""What has another name here."""
ALIKE: dict[str, dict[str, Any]] = {
    "momo": {"weight_decay": 0}, "momo_adam": {"weight_decay": 0}, "scale_by_muon": {"preconditioning": "frobenius"},
}  # fmt: skip
"""The only values of arguments that mean the same there."""
BESIDES = {
    "scale_by_muon": (NUMBERS,), "scale_by_shape": (NUMBERS,), "scale_by_distance_over_gradients": ("param_dtype",),
}  # fmt: skip
"""Arguments that optax's `init` follows, or that say how leaves are seen."""

HOMES = ("optax.contrib._dog", "optax.contrib._muon", "optax.tree_utils")
"""Further modules that have stages and functions."""
FUNCTIONS = (
    "apply_updates", "constant_schedule", "cosine_decay_schedule", "cosine_onecycle_schedule", "exponential_decay",
    "global_norm", "join_schedules", "linear_onecycle_schedule", "linear_schedule", "per_example_global_norm_clip",
    "per_example_layer_norm_clip", "periodic_update", "piecewise_constant_schedule", "piecewise_interpolate_schedule",
    "polynomial_schedule", "safe_increment", "safe_int32_increment", "sgdr_schedule", "tree_norm",
    "warmup_constant_schedule", "warmup_cosine_decay_schedule", "warmup_exponential_decay_schedule",
)  # fmt: skip
"""Functions that are ours, where ours take what they are given."""
CLIPS = ("per_example_global_norm_clip", "per_example_layer_norm_clip")
"""Those of them that are the step of a transformation."""


WRAPPERS: dict[str, Callable[..., Any]] = {
    "chain": combining.chain, "named_chain": combining.named_chain, "masked": masked,
    "apply_if_finite": wrappers.apply_if_finite, "MultiSteps": wrappers.MultiSteps,
    "conditionally_transform": wrappers.conditionally(optax.conditionally_transform, lambda updates: updates),
    "conditionally_mask": wrappers.conditionally(optax.conditionally_mask, optax.tree_utils.tree_zeros_like),
    "lookahead": wrappers.lookahead, "sam": wrappers.sam, "schedule_free": landing.schedule_free,
    "schedule_free_eval_params": landing.schedule_free_eval_params, "mechanize": landing.mechanize,
    "apply_every": wrappers.apply_every, "incremental_update": wrappers.incremental_update,
    "value_and_grad_from_state": wrappers.value_and_grad_from_state,
}  # fmt: skip
"""What is written here anew around optax's state classes."""


def lent(namespace: types.ModuleType) -> dict[str, Any]:
    """The public names of a namespace of optax, with ours in place of what is ours."""
    names = (name for name in dir(namespace) if not name.startswith("_"))
    return {name: replaced(getattr(namespace, name)) for name in names}


def verdict(theirs: Any) -> str:
    """What a name of optax is: ours, a recipe of optax's of what is ours, its wrapper of what it is given, its own."""
    if replaced(theirs) is not theirs:
        return "ours" if theirs in {*_wrappers(), *stages(), *_functions()} else "optax's recipe of ours"
    given = getattr(theirs, "__annotations__", {}) if isinstance(theirs, types.FunctionType) else {}
    takes = any("GradientTransformation" in str(x) for name, x in given.items() if name != "return")
    return "optax's wrapper of what it is given" if takes else "optax's own"


def replaced(theirs: Any) -> Any:
    """What stands here for something of optax: itself, where nothing of ours is in it."""
    if isinstance(theirs, functools.partial) and replaced(theirs.func) is not theirs.func:
        return functools.partial(replaced(theirs.func), *theirs.args, **theirs.keywords)
    if isinstance(theirs, type):
        return _wrappers().get(theirs, theirs)
    return _replaced(theirs) if isinstance(theirs, types.FunctionType) else theirs


@functools.cache
def _replaced(theirs: types.FunctionType) -> Any:
    if theirs in _wrappers():
        return functools.wraps(theirs)(_wrappers()[theirs])
    if theirs in stages():
        return staged(theirs, stages()[theirs])
    if theirs in _functions():
        return _ours_or(theirs, _functions()[theirs])
    return _of_ours(theirs) if _gives_transformation(theirs) and _reaches_ours(theirs) else theirs


def staged(theirs: Callable[..., Any], ours: Callable[..., Any]) -> Callable[..., Any]:
    """A stage of optax, by that of ours."""
    name = theirs.__name__
    ours = functools.partial(ours, **FORMS.get(name, {}))
    return of_matrices(maskable(over(theirs, ours, ALIKE.get(name, NONE), BESIDES.get(name, ()))))


@functools.cache
def stages() -> dict[Any, Callable[..., Any]]:
    """What is ours in the place of each stage of optax."""
    lifted = {name: functools.partial(_lifted, rule) for name, rule in RULES.items()}
    return {_home(name): ours for name, ours in (_ours(STAGES) | lifted).items() if _home(name)}


def _lifted(rule: type[Rule], *args: Any, **kwargs: Any) -> Chain:
    return lift(rule(*args, **kwargs))


@functools.cache
def _wrappers() -> dict[Any, Callable[..., Any]]:
    return {_home(name): ours for name, ours in WRAPPERS.items()}


@functools.cache
def _functions() -> dict[Any, Callable[..., Any]]:
    return {_home(name): ours for name, ours in _ours(FUNCTIONS).items() if _home(name)}


def _ours(names: tuple[str, ...]) -> dict[str, Callable[..., Any]]:
    ours = import_module("gradxform")
    return {name: getattr(ours, NAMED.get(name, name)) for name in names}


def _home(name: str) -> Any:
    """What has this name in optax; None in one that does not have it."""
    homes = (optax, optax.contrib, *map(import_module, HOMES))
    return next((getattr(home, name) for home in homes if hasattr(home, name)), None)


def _ours_or(theirs: Callable[..., Any], ours: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(theirs)
    def function(*args: Any, **kwargs: Any) -> Any:
        try:
            result = ours(*map(untyped, args), **{name: untyped(x) for name, x in kwargs.items()})
            if isinstance(result, Schedule):
                return Typed(result, theirs(*args, **kwargs))
            return in_dtypes_of(theirs, result, *args, **kwargs)
        except REFUSALS:
            return theirs(*args, **kwargs)

    return function


def _gives_transformation(function: types.FunctionType) -> bool:
    return "GradientTransformation" in str(function.__annotations__.get("return", "GradientTransformation"))


def _reaches_ours(function: types.FunctionType) -> bool:
    """Whether a stage of ours, or a recipe of one, is named in a function of optax."""
    makers = [x for x in _named(function, function.__code__) if isinstance(x, types.FunctionType)]
    return any(x is not function and x not in _asides() and _replaced(x) is not x for x in makers)


@functools.cache
def _asides() -> set[Any]:
    """Functions that make no step: what calls them is still optax's."""
    return {x for x, ours in _functions().items() if ours.__name__ not in CLIPS}


def _named(function: types.FunctionType, code: types.CodeType) -> Iterator[Any]:
    """What the code of a function names: globals, and what it takes from modules of optax."""
    found = None
    for step in dis.get_instructions(code):
        if step.opname == "LOAD_GLOBAL":
            found = function.__globals__.get(step.argval)
        elif step.opname in ("LOAD_ATTR", "LOAD_METHOD") and _is_optax(found):
            found = getattr(found, step.argval, None)
        yield found
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _named(function, constant)


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _is_optax(x: Any) -> bool:
    return isinstance(x, types.ModuleType) and x.__name__.split(".")[0] == "optax"


def _of_ours(recipe: types.FunctionType) -> Callable[..., Any]:
    """The same code, that finds ours where it names a stage of optax."""
    named = {name: recipe.__globals__[name] for name in _names(recipe.__code__) if name in recipe.__globals__}
    scope = recipe.__globals__ | {name: Lent(x) if _is_optax(x) else replaced(x) for name, x in named.items()}
    new = types.FunctionType(recipe.__code__, scope, recipe.__name__, recipe.__defaults__, recipe.__closure__)
    new.__kwdefaults__ = recipe.__kwdefaults__
    return functools.update_wrapper(new, recipe)


def lent_module(name: str) -> Lent:
    """A module of optax, private ones too, with ours in place."""
    return Lent(import_module(name))


class Lent:
    """A module of optax with ours in place."""

    def __init__(self, module: types.ModuleType) -> None:
        self._module = module

    def __reduce__(self) -> tuple[Any, ...]:
        return lent_module, (self._module.__name__,)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._module, name)
        return Lent(found) if _is_optax(found) else replaced(found)
