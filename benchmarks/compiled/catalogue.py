"""Every entry of the tests' catalogue, with its floor."""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable
from typing import Any

import gradxform as gx
from benchmarks.compiled import compositions
from benchmarks.compiled.peer import Peer
from benchmarks.compiled.rows import Row
from tests.catalogue import ENTRIES, AsExamples, Entry, Searched

SHAPES = {"dense": {"kernel": (49152, 1024), "bias": (1024,)}, "scale": (12288, 1024)}
"""The catalogue's tree, with 4/5 of 63 M elements in the kernel, and nearly all others in the scale."""

ONE, TWO, THREE, FOUR = "p g -> p", "p g s -> p s", "p g s z -> p s z", "p g s z r -> p s z r"
"""Nothing remembered, and one to three arrays."""
AGAIN = "p g, again g -> p"

FLOORS: dict[str, str] = {
    "chain clipped adamw": "p g mu nu, again g -> p mu nu",
    # The average and the trace are written, and read again behind a norm of them.
    "chain two clips": "p g ema trace -> p ema trace, again ema trace",
    "chain tunables": THREE,
    "chain table": TWO,
    "named_chain": THREE,
    "lift": THREE,
    "groups": "4/5: p g mu nu, again p mu nu -> p mu nu",  # the scale is frozen
    "groups overriding": THREE,
    "groups clipped": "4/5: p g, again g -> p + 1/5: p g -> p",
    "masked": THREE,
    "partition": "4/5: p g mu nu -> p mu nu + 1/5: p g trace -> p trace",
    "freeze": "",
    "freeze some": TWO,
    "differentially_private_aggregate": "p 4*g, again 4*g -> p",  # an example's norm comes first
    "dpsgd": "p 4*g trace, again 4*g -> p trace",
    "adaptive_grad_clip": "p g, again p g -> p",  # norms of columns
    "clip_by_block_rms": AGAIN,
    "clip_by_global_norm": AGAIN,
    "clip_by_norm": AGAIN,
    "clip_by_percentile": AGAIN,
    "normalize_by_update_norm": AGAIN,
    "orthogonalize_gradient": "p g, again p g -> p",
    "scale_by_param_block_norm": "p g, again p -> p",
    "scale_by_param_block_rms": "p g, again p -> p",
    "ema": TWO,
    "ema stored": "p g ema/2 -> p ema/2",
    "trace": TWO,
    "trace nesterov": "p g trace/2 -> p trace/2",
    "trace dampened": TWO,
    "adadelta": THREE,
    "scale_by_adadelta": THREE,
    "adagrad": TWO,
    "scale_by_rss": TWO,
    "scale_by_rss from zero": TWO,
    "adam": THREE,
    "adam stored": "p g mu/2 nu -> p mu/2 nu",
    "adamw": THREE,
    "amsgrad": FOUR,
    "nadam": THREE,
    "nadamw": THREE,
    "scale_by_adam": THREE,
    "scale_by_amsgrad": FOUR,
    "adamax": THREE,
    "adamaxw": THREE,
    "scale_by_adamax": THREE,
    "adan": "p g m v n old -> p m v n old",
    "scale_by_adan": "p g m v n old -> p m v n old",
    "adabelief": THREE,
    "scale_by_belief": THREE,
    "grokfast": TWO,
    "scale_by_mars": "p g old, again g old -> p old",
    "mars": "p g mu nu old, again g old -> p mu nu old",
    "acprop": THREE,
    "scale_by_acprop": THREE,
    # Means over rows and columns come first, then the size of what is divided by them.
    "adafactor": "p g, again p g g -> p",
    "adafactor averaged": "p g ema/2, again p g g -> p ema/2",
    "scale_by_factored_rms": AGAIN,
    "came": "p g mu, again g g mu -> p mu",
    "scale_by_came": "p g mu, again g g mu -> p mu",
    "adam_mini": "p g mu, again g -> p mu",
    "scale_by_adam_mini": "p g mu/2, again g -> p mu/2",
    "ademamix": FOUR,
    "scale_by_ademamix": FOUR,
    "simplified_ademamix": THREE,
    "scale_by_simplified_ademamix": THREE,
    "adopt": THREE,
    "adopt clipped": THREE,
    "scale_by_adopt": "p g mu/2 nu -> p mu/2 nu",
    "asgd": TWO,
    "cocob": "p g first sum scale subgradients reward -> p sum scale subgradients reward",
    "scale_by_cocob": "p g first sum scale subgradients reward -> p sum scale subgradients reward",
    "fromage": "p g, again p g -> p",
    "ftrl": THREE,
    "laprop": THREE,
    "scale_by_laprop": "p g mu/2 nu -> p mu/2 nu",
    "madgrad": "p g first sum squares -> p sum squares",
    "scale_by_madgrad": "p g first sum squares -> p sum squares",
    "optimistic_adam": FOUR,
    "optimistic_adam_v2": FOUR,
    "sm3": TWO,
    "scale_by_sm3": TWO,
    "stable_adamw": "p g mu nu, again g nu -> p mu nu",
    "proximal_halfspace": "p g, again p g -> p",
    "proximal_hyperplane": "p g, again p g -> p",
    "proximal_l1_ball": "p g, again p g -> p",
    "proximal_l1_sphere": "p g, again p g -> p",
    "proximal_l2_ball": "p g, again p g -> p",
    "proximal_l2_sphere": "p g, again p g -> p",
    "proximal_simplex": "p g, again p g -> p",
    "lamb": "p g mu nu, again p mu nu -> p mu nu",
    "lars": "p g trace, again p g -> p trace",
    # All products of s, y and g come first, and one pair of them is written; then the loss is asked for at parameters
    # written for it, and its gradient's slope is taken.
    "lbfgs": "p g oldp oldg 3*s 3*y, again g 3*s 3*y -> u oldp oldg s y + p u -> near + near again, grad u + p u -> p",
    "scale_by_lbfgs": "p g oldp oldg 3*s 3*y, again g 3*s 3*y -> p oldp oldg s y",
    "lion": "p g mu/2 -> p mu/2",
    "scale_by_lion": TWO,
    "scale_by_lion smooth": TWO,
    "scale_by_lion refined": TWO,
    "novograd": "p g mu, again g -> p mu",
    "scale_by_novograd": "p g mu/2, again g -> p mu/2",
    "optimistic_gradient_descent": TWO,
    "scale_by_optimistic_gradient": TWO,
    "polyak_sgd": AGAIN,
    "scale_by_polyak": AGAIN,
    "proximal_adagrad": TWO,
    "proximal_adagrad adaptive": TWO,
    "proximal_group_l1": "p g, again p g -> p",
    "radam": THREE,
    "scale_by_radam": THREE,
    "rmsprop": TWO,
    "rmsprop centered": FOUR,
    "scale_by_rms": TWO,
    "scale_by_stddev": THREE,
    "rprop": THREE,
    "scale_by_rprop": THREE,
    "momentum": TWO,
    "sgd accumulating": "p g trace/2 -> p trace/2",
    "signum": TWO,
    "yogi": THREE,
    "scale_by_yogi": THREE,
    # The mean of the mask comes first: the direction is written, and read again.
    "cautious": "p g mu nu -> p mu nu u, again u",
    "with_weight_decay": THREE,
    "with_weight_decay corrected": THREE,
    "scale_by_trust_ratio": "p g, again p g -> p",
    "set_to_zero": "",
    "stored_as": "p g mu nu/2 -> p mu nu/2",
    "stored_as codes": "p g mu nu/4 scales/64 -> p mu nu/4",
    "master_weights": THREE,
    "lazy": THREE,
    "lazy catching up": THREE,
    "packed": THREE,
    "own_clock": FOUR,
    "own_clock some": THREE,
    "offloaded": "p g -> p trace, again trace",  # read on the host, and copied there
    "sharded": THREE,
    "ema_of_params": TWO,
    "ema_of_params plain": TWO,
    "polyak_average": THREE,
    "stochastic_weight_average": TWO,
    "pull_to_slow_weights": TWO,
    "average_schedule_free": TWO,
    "lookahead": THREE,
    "lookahead restarted": FOUR,
    "schedule_free": "p g z/2 -> p z/2",
    "schedule_free_adamw": THREE,
    "schedule_free_sgd": TWO,
    # The loss is asked for once, at parameters written for it.
    "scale_by_backtracking_linesearch": "p g -> near + near grad -> old + p g -> p",
    "scale_by_zoom_linesearch": "p g -> near + near grad g + p g -> p",
    "sam": "p g -> near, again p g + p near trace -> p trace",
    "measure": "p g mu nu, again g -> p mu nu",
    "accumulate": "p g mu nu, again g -> p mu nu",
    "static_loss_scale": "p g trace, again g -> p trace",
    "dynamic_loss_scale": "p g mu nu, again g -> p mu nu",
    "guard": "p g mu nu, again g -> p mu nu",
    "apply_if_finite": "p g trace, again g -> p trace",
}
"""Of entries that remember something or look twice; all others read p and g, and write p."""


def make_of(entry: Entry) -> Callable[[Any], Any]:
    """What the entry's line makes with the functions of a library, without what the tests wrap around it to feed it."""

    def make(library: Any) -> Any:
        if entry.make is getattr(gx, entry.name, None):
            return getattr(library, entry.name)()
        words = {"gx": library, "AsExamples": lambda tx: tx, "Searched": lambda tx: tx}
        words |= {name: library.named(name) for name in ("kernel", "bias")}
        return types.FunctionType(entry.make.__code__, {**entry.make.__globals__, **words})()

    return make


def peer_of(entry: Entry) -> Any:
    """True where optax has all of the line's words."""
    try:
        with warnings.catch_warnings(action="ignore"):  # what it will rename
            make_of(entry)(Peer())
    except (AttributeError, TypeError, ValueError):
        return None
    return True


def row(entry: Entry) -> Row:
    searched, examples = isinstance(entry.tx, Searched), 4 * isinstance(entry.tx, AsExamples)
    extra = compositions.loss if entry.reads_loss or entry.extra else dict
    if searched:
        extra = compositions.search if entry.function != "sam" else compositions.ascent
    floor = FLOORS.get(entry.name, ONE)
    return Row(entry.name, make_of(entry), floor, shapes=SHAPES, examples=examples, extra=extra, axis=entry.axis,
               peer=peer_of(entry))  # fmt: skip


ROWS = [row(entry) for entry in ENTRIES]
