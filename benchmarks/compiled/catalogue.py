"""Every entry of the tests' catalogue, with its floor."""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable
from typing import Any

import jax

import gradxform as gx
from benchmarks.compiled import compositions
from benchmarks.compiled.peer import Peer
from benchmarks.compiled.rows import Row
from tests.catalogue import ENTRIES, AsExamples, Curved, Entry, Searched

SHAPES = {"dense": {"kernel": (49152, 1024), "bias": (1024,)}, "scale": (12288, 1024)}
"""The catalogue's tree, with 4/5 of 63 M elements in the kernel, and nearly all others in the scale."""

AGAIN = {
    "chain clipped adamw": "g",
    "centralize": "g",
    "chain two clips": "ema trace",  # both are written, and read again behind a norm of them
    "differentially_private_aggregate": "4*g",
    "dpsgd": "4*g",  # an example's norm comes first
    "adaptive_grad_clip": "p g",
    "clip_by_block_rms": "g",
    "clip_by_global_norm": "g",
    "clip_by_norm": "g",
    "clip_by_percentile": "g",
    "normalize_by_update_norm": "g",
    "orthogonalize_gradient": "p g",
    "hyperball": "p g",
    "pin_radius": "p g",
    "radial_brake": "p g",
    "update_floor": "p g",
    "scale_by_param_block_norm": "p",
    "scale_by_param_block_rms": "p",
    "scale_by_mars": "g old",
    "mars": "g old",
    # Means over rows and columns come first, then the size of what is divided by them, and of p.
    "adafactor": "p g g",
    "adafactor averaged": "p g g",
    "scale_by_factored_rms": "g",
    "came": "g g mu",
    "scale_by_came": "g g mu",
    "adam_mini": "g",
    "scale_by_adam_mini": "g",
    "fromage": "p g",
    "adamh": "p mu nu",
    "lamb": "p mu nu",
    "lars": "p g",
    "matrices": "g",
    "novograd": "g",
    "scale_by_novograd": "g",
    "polyak_sgd": "g",
    "scale_by_polyak": "g",
    "stable_adamw": "g nu",
    "stored_as codes": "g",
    "scale_by_trust_ratio": "p g",
    "proximal_group_l1": "p g",
    "proximal_halfspace": "p g",
    "proximal_hyperplane": "p g",
    "proximal_l1_ball": "p g",
    "proximal_l1_sphere": "p g",
    "proximal_l2_ball": "p g",
    "proximal_l2_sphere": "p g",
    "proximal_simplex": "p g",
    "measure": "g",
    "static_loss_scale": "g",
    "dynamic_loss_scale": "g",
    "guard": "g",
    "apply_if_finite": "g",
}
"""What is read again behind a sum over whole arrays, where parameters, gradients and all of the state move once."""

FLOORS = {
    "groups": "4/5: p g mu nu, again p mu nu -> p mu nu",  # the scale is frozen
    "groups clipped": "4/5: p g, again g -> p + 1/5: p g -> p",
    "freeze": "",
    "set_to_zero": "",
    # Five products of a matrix with the square of what came before; the last one is added to the parameter.
    "orthogonalize": "4/5: p g, again g 8*x -> 4*x p + 1/5: p g -> p",
    # Where the descent began is not written again.
    "cocob": "p g first sum scale subgradients reward -> p sum scale subgradients reward",
    "scale_by_cocob": "p g first sum scale subgradients reward -> p sum scale subgradients reward",
    "madgrad": "p g first sum squares -> p sum squares",
    "scale_by_madgrad": "p g first sum squares -> p sum squares",
    # What is summed over comes first, and its sizes are written there; where it began is not needed again.
    **dict.fromkeys(("prodigy", "prodigy limited"), "p g first sum -> sum + p g mu nu -> p mu nu"),
    **dict.fromkeys(("dog", "scale_by_dog", "dowg", "scale_by_dowg"), "p g first, again p g -> p"),
    **dict.fromkeys(("momo", "momo adapting"), "p g mu -> mu + p mu -> p"),
    "momo_adam": "p g mu nu -> mu nu + p mu nu -> p",
    "schedule_free_plus": "p g z, again p g z mu nu -> p z mu nu",
    **dict.fromkeys(("sophia", "adahessian", "scale_by_adahessian"), "p g hessian mu nu -> p mu nu"),
    "scale_by_sophia": "p g hessian mu/2 nu -> p mu/2 nu",
    "mechanize": "p g first mu nu, again p g first -> p mu nu",
    # All products of s, y and g come first, and one pair of them is written; then the loss is asked for at parameters
    # written for it, and its gradient's slope is taken.
    "lbfgs": "p g oldp oldg 3*s 3*y, again g 3*s 3*y -> u oldp oldg s y + p u -> near + near again, grad u + p u -> p",
    "scale_by_lbfgs": "p g oldp oldg 3*s 3*y, again g 3*s 3*y -> p oldp oldg s y",
    # The loss is asked for once, at parameters written for it.
    "scale_by_backtracking_linesearch": "p g -> near + near grad -> old + p g -> p",
    "scale_by_zoom_linesearch": "p g -> near + near grad g + p g -> p",
    # Of the window one gradient is written over.
    "grokfast_ma": "p g 2*old -> p new",
    # Few dimensions and the norms of the rows come first.
    "apollo": "p g 0.81*state, again 0.8*g -> p 0.81*state",
    "scale_by_apollo": "p g, again 0.8*g -> p",
    "sam": "p g -> near, again p g + p near trace -> p trace",
    # The mean of the mask comes first: the direction is written, and read again.
    "cautious": "p g mu nu -> p mu nu u, again u",
    "offloaded": "p g -> p trace, again trace",  # read on the host, and copied there
    "accumulate": "p g mu nu, again g -> p mu nu",  # every micro-batch closes its window
}
"""Of entries that do not move all of their state or all parameters, or write something else on the way."""

FACTORED = "means over rows and means over columns read the squares one after the other"
SEARCHED = "the search carries the gradient of the point that it will take: a copy, and a choice at each evaluation"
CORRECTED = "what rounding left of the distance is summed once more, over what the first step gave"
LEFT = {
    **dict.fromkeys(("adafactor", "adafactor averaged", "scale_by_factored_rms"), FACTORED),
    **dict.fromkeys(("came", "scale_by_came"), f"{FACTORED}, those of the update too"),
    **dict.fromkeys(("sm3", "scale_by_sm3"), "the largest of rows and of columns read the squares one after the other"),
    **dict.fromkeys(("proximal_halfspace", "proximal_hyperplane"), CORRECTED),
    **dict.fromkeys(
        ("muon", "muon as optax has it", "scale_by_muon", "muonh", "normuon", "scale_by_normuon"), compositions.PRECISE
    ),
    **dict.fromkeys(
        ("orthogonalize", "dion2", "scale_by_dion2", "psgd_kron", "scale_by_psgd_kron", "spread"), compositions.PRODUCTS
    ),
    **dict.fromkeys(
        ("proximal_l1_ball", "proximal_l1_sphere", "proximal_simplex"),
        "each round of the search for the threshold reads where the step would land",
    ),
    "accumulate": "a plain update chooses between two; a conditional would write them; make_step has a loop",
    "measure": compositions.REREAD,
    **dict.fromkeys(
        ("momo", "momo adapting", "momo_adam"),
        "of the largest arrays the means are written by one kernel, and read again by that of the sums",
    ),
    "dadapt_adamw": "of the largest arrays two products that the sums read are written by kernels of their own",
    "matrices": "parts of unequal widths are computed by kernels of their own, and put together again",
    "grokfast_ma": "a kernel of its own writes the gradient into the window, where the sum reads it with the others",
    "adamh": "three sums read Adam's direction, which is written for them where an array is large",
    "apollo": "on an H100 the bounded gradient is written for a product with few columns, which reads memory alone",
    # Half a pass more than with the direction written, and no temporary as large as the parameters.
    "cautious": compositions.MASK,
    "lbfgs": f"{compositions.LOOPS}; {SEARCHED}",
    "scale_by_lbfgs": compositions.LOOPS,
    "scale_by_backtracking_linesearch": compositions.SLOPE,
    "scale_by_zoom_linesearch": f"{compositions.SLOPE}; {SEARCHED}",
    "shampoo": compositions.PRODUCTS,
    "offloaded": compositions.COMES,
    "scale_by_laprop": "on a v5e p has a kernel of its own beside a bfloat16 mu: it reads the old one, which is copied",
    "stored_as codes": compositions.MADE_TWICE,
    # A mean beyond the largest number counts as 0, which XLA for GPUs does not join to the kernel of the mean.
    "centralize": "on an H100 mean and difference are two kernels, where optax's, without a bound, are one",
}
"""What keeps an entry above its floor."""


def whole_state(make: Callable[[Any], Any]) -> float:
    """The state's size, in float32 parameters."""
    params = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s, "float32"), SHAPES, is_leaf=lambda x: isinstance(x, tuple))
    sizes = [sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))
             for tree in (jax.eval_shape(make(gx).init, params), params)]  # fmt: skip
    return sizes[0] / sizes[1]


def floor_of(name: str, make: Callable[[Any], Any], examples: int) -> str:
    """Parameters, gradients and all of the state once, and what is read again."""
    if name in FLOORS:
        return FLOORS[name]
    size = whole_state(make)
    kept = f" {size:.3g}*state" if size > 1e-3 else ""
    grads = f"{examples}*g" if examples else "g"
    return f"p {grads}{kept}" + (f", again {AGAIN[name]}" if name in AGAIN else "") + f" -> p{kept}"


def make_of(entry: Entry) -> Callable[[Any], Any]:
    """What the entry's line makes with the functions of a library, without what the tests wrap around it to feed it."""

    def make(library: Any) -> Any:
        if entry.make is getattr(gx, entry.name, None):
            return getattr(library, entry.name)()
        words = {"gx": library, "AsExamples": lambda tx: tx, "Searched": lambda tx: tx, "Curved": lambda tx: tx}
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


def curvature() -> dict[str, Any]:
    """A Hessian's diagonal, which is an argument too, and logits of 48 heads of the kernel."""
    return {
        "hessian": jax.tree.map(
            lambda s: jax.ShapeDtypeStruct(s, "float32"), SHAPES, is_leaf=lambda x: isinstance(x, tuple)
        ),
        "max_logits": {"dense": {"kernel": jax.ShapeDtypeStruct((48,), "float32")}},
    }


def row(entry: Entry) -> Row:
    searched, examples = isinstance(entry.tx, Searched), 4 * isinstance(entry.tx, AsExamples)
    extra = compositions.loss if entry.reads_loss or entry.extra else dict
    if searched:
        extra = compositions.search if entry.function != "sam" else compositions.ascent
    if curved := isinstance(entry.tx, Curved):
        extra = curvature
    make, peer = make_of(entry), None if curved else peer_of(entry)
    floor = floor_of(entry.name, make, examples)
    every = compositions.RARELY if examples else 1
    return Row(entry.name, make, floor, left=LEFT.get(entry.name, ""), peer=peer, shapes=SHAPES,
               examples=examples, extra=extra, axis=entry.axis, every=every)  # fmt: skip


def rows() -> list[Row]:
    return [row(entry) for entry in ENTRIES]
