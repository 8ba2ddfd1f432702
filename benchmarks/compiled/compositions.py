"""Compositions as people write them, on a small transformer or on 1000 adapters."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp

import gradxform as gx
from benchmarks import shapes
from benchmarks.compiled.rows import Row, Shapes

NORM = "the norm of all gradients comes first"
ADAM = "p g mu nu -> p mu nu"
CLIPPED = "p g mu nu, again g -> p mu nu"
CODES = "p g mu/4 nu/4, again g -> p mu/4 nu/4"
BOUNDS = "the largest in a block comes before its codes"
WINDOW = "the step behind a window is a branch of its own, which reads the mean that the last micro-batch wrote"
MADE_TWICE = "codes are made once to be kept and once for the largest of them, on an H100 where columns have scales"
LOOPS = "two loops over the pairs, each step of which waits for a product over all leaves: 10 passes a pair"
SLOPE = "the slope is a sum of its own, and the direction is written for the loop that asks for the loss"
ON_CHIP = "kernel by kernel as optax's, but one array fewer waits in a v5e's on-chip memory between norm and step"
MASK = "the mask is written, a byte for each element, and mu and nu are read again"
REREAD = "of the largest arrays mu and nu are written by one kernel, and read again by that of the norms"
PACKED = "leaves are brought into a buffer and out of it again, to start fewer kernels"
PRODUCTS = "the floor leaves out what the products of matrices read and write"
PRECISE = (
    f"{PRODUCTS}; a v5e makes a product of float32 of several of bfloat16, and each step copies what it begins with"
)
COMES = "on a v5e what comes from the host is written to the device's memory, and read there"
RARELY = 1_000_000
"""An example's norm is taken with more care, in a branch of a conditional, where squares overflow or vanish."""
MICRO = "3/4: g acc, again g -> acc + 1/4: "
"""Three of four micro-batches add a gradient that is known to be finite to the mean; every fourth does what follows."""


def clipped(o: Any) -> Any:
    return o.chain(o.clip_by_global_norm(1.0), o.adamw(1e-3))


def narrow(o: Any) -> Any:
    return o.adamw(1e-3, mu_dtype=jnp.bfloat16)


def codes(inner: Any = None) -> Any:
    return gx.stored_as("int8", inner or gx.adamw(1e-3))


def finite(o: Any) -> Any:
    return o.apply_if_finite(clipped(o), 3)


def matrices(blocks: int) -> Shapes:
    """Those of so many of GPT-2-small's blocks, four of 7 M parameters in each."""
    kept = {f"h{i:02}" for i in range(blocks)}
    return {key: shape for key, shape in shapes.gpt2_small().items() if key[:3] in kept and len(shape) == 2}


def loss() -> dict[str, Any]:
    return {"value": jnp.float32(0.5)}


def network(tree: Any) -> Any:
    """Stands for a network: what it is given is written to memory first, and what it returns is read from there."""
    return jax.lax.optimization_barrier(tree)


def objective(params: Any, *_: Any) -> Any:
    """A loss whose gradient is its argument."""
    return 0.5 * sum(jnp.sum(x * x) for x in jax.tree.leaves(network(params)))


def search() -> dict[str, Any]:
    return {**loss(), "value_fn": objective}


def ascent() -> dict[str, Any]:
    return {"grad_fn": lambda params, *_: network(params)}


FIGURES = {"grad_norm": True, "update_norm": True, "param_norm": True}
SECOND = "the direction's norm must be known before the step: p, mu and nu again"

OPTIMIZERS = [
    Row("adamw", lambda o: o.adamw(1e-3), ADAM),
    Row("sgd", lambda o: o.sgd(0.1), "p g -> p"),
    Row("momentum", lambda o: o.sgd(0.1, 0.9), "p g trace -> p trace"),
    Row("nesterov", lambda o: o.sgd(0.1, 0.9, nesterov=True), "p g trace -> p trace"),
    Row("lion", lambda o: o.lion(1e-3), "p g mu -> p mu"),
    Row("nadamw", lambda o: o.nadamw(1e-3), ADAM),
    Row("adan", lambda o: o.adan(1e-3), "p g m v n old -> p m v n old"),
    Row("rmsprop", lambda o: o.rmsprop(1e-3), "p g nu -> p nu"),
    Row("lamb", lambda o: o.lamb(1e-3), "p g mu nu, again p mu nu -> p mu nu", SECOND),
    Row("lars", lambda o: o.lars(1e-3), "p g trace, again p g -> p trace", "both norms come first"),
    Row("clip + adamw", clipped, CLIPPED, NORM),
    Row("clip + adamw, bf16 gradients", clipped, "p g/2 mu nu, again g/2 -> p mu nu", NORM, ON_CHIP, grads="bfloat16"),
    Row("clip_by_block_rms + adamw", lambda o: o.chain(o.clip_by_block_rms(1.0), o.adamw(1e-3)), CLIPPED, NORM),
    Row("schedule_free_adamw", lambda o: o.schedule_free_adamw(1e-3), "p g z nu -> p z nu"),
]

STORED = [
    Row("adamw, mu in bf16", narrow, "p g mu/2 nu -> p mu/2 nu"),
    Row("stored bfloat16", lambda o: o.stored_as("bfloat16", o.adamw(1e-3)), "p g mu/2 nu/2 -> p mu/2 nu/2",
        peer=narrow),
    Row("stored int8", lambda o: codes(), CODES, BOUNDS, MADE_TWICE, peer=None),
    Row("stored float8", lambda o: gx.stored_as("float8_e4m3", gx.adamw(1e-3)), CODES, BOUNDS, MADE_TWICE, peer=None),
    Row("stored int4", lambda o: gx.stored_as({"mu": "int4"}, gx.adamw(1e-3)),
        "p g mu/8 nu, again g -> p mu/8 nu", BOUNDS, MADE_TWICE, peer=None),
    Row("clip + stored int8", lambda o: gx.chain(gx.clip_by_global_norm(1.0), codes()),
        "p g mu/4 nu/4, again g g -> p mu/4 nu/4", f"{NORM}; {BOUNDS}", MADE_TWICE, peer=None),
    Row("bf16, split16", lambda o: gx.chain(gx.adamw(1e-3), gx.round_updates("split16")),
        "p/2 g/2 low/2 mu nu -> p/2 low/2 mu nu", params="bfloat16", peer=None),
    Row("bf16, stored int8, split16", lambda o: gx.chain(codes(), gx.round_updates("split16")),
        "p/2 g/2 low/2 mu/4 nu/4, again g/2 -> p/2 low/2 mu/4 nu/4", BOUNDS, MADE_TWICE, params="bfloat16", peer=None),
    Row("bf16, kahan", lambda o: gx.chain(gx.adamw(1e-3), gx.round_updates("kahan")),
        "p/2 g/2 lost/2 mu nu -> p/2 lost/2 mu nu", params="bfloat16", peer=None),
    Row("bf16, stochastic", lambda o: gx.chain(gx.adamw(1e-3), gx.round_updates("stochastic")),
        "p/2 g/2 mu nu -> p/2 mu nu", params="bfloat16", peer=None),
    Row("bf16, master_weights", lambda o: gx.master_weights(gx.adamw(1e-3)),
        "p/2 g/2 master mu nu -> p/2 master mu nu", params="bfloat16", peer=None),
    Row("offloaded(adamw)", lambda o: gx.offloaded(gx.adamw(1e-3)), "p g -> p mu nu, again mu nu",
        "kernels read mu and nu from the host's memory; what they write is copied there from the device's",
        COMES, peer=None),
]  # fmt: skip

CONTROLS = [
    Row("apply_if_finite(clip + adamw)", finite, CLIPPED, NORM),
    Row("guard(clip + adamw)", lambda o: o.guard(clipped(o)), CLIPPED, NORM, peer=finite),
    Row("guard(spike)", lambda o: gx.guard(clipped(gx), spike=6.0), CLIPPED, NORM, peer=None, extra=loss),
    Row("guard(spike, then zero)", lambda o: gx.guard(clipped(gx), spike=6.0, max_consecutive=3, then="zero"), CLIPPED,
        NORM, peer=None, extra=loss),
    Row("dynamic_loss_scale(adamw)", lambda o: gx.dynamic_loss_scale(gx.adamw(1e-3)), CLIPPED,
        "whether all are finite comes first", peer=None),
    Row("accumulate(adamw, 4)", lambda o: o.accumulate(o.adamw(1e-3), 4),
        MICRO + "p g acc mu nu, again g -> p acc mu nu", "whether all are finite comes first", WINDOW, every=4),
    Row("accumulate(clip + adamw, 4)", lambda o: o.accumulate(clipped(o), 4),
        MICRO + "p g acc mu nu, again g acc -> p acc mu nu", "the norm of the mean comes first: g and acc again",
        WINDOW, every=4),
    Row("measure(adamw, 3 norms)", lambda o: gx.measure(gx.adamw(1e-3), **FIGURES), ADAM, left=REREAD, peer=None),
    Row("measure(clip + adamw, 3 norms)", lambda o: gx.measure(clipped(gx), **FIGURES), CLIPPED, NORM, REREAD,
        peer=None),
    Row("cautious(adamw)", lambda o: gx.cautious(gx.adamw(1e-3)), "p g mu nu, again u -> p mu nu u",
        "the mean of the mask comes first: the direction is written, and read again", MASK, peer=None),
    Row("lookahead(adamw)", lambda o: gx.lookahead(gx.adamw(1e-3), 5, 0.5), "p g mu nu slow -> p mu nu slow",
        peer=None),
    Row("adamw + ema_of_params", lambda o: gx.chain(gx.adamw(1e-3), gx.ema_of_params(0.999)),
        "p g mu nu ema -> p mu nu ema", peer=None),
    Row("groups", lambda o: gx.groups([("norm|bias", {"weight_decay": 0.0})], default=gx.adamw(1e-3)), ADAM,
        peer=lambda o: o.adamw(1e-3, mask=lambda tree: {k: not re.search("norm|bias", k) for k in tree})),
    Row("dpsgd, 4 examples", lambda o: o.dpsgd(0.1, 1.0, 0.5, 7, momentum=0.9), "p 4*g trace, again 4*g -> p trace",
        "the norm of an example's gradient comes first", examples=4, every=RARELY,
        peer=lambda o: o.dpsgd(0.1, 1.0, 0.5, 7, momentum=0.9)),
    Row("sam(clip + adamw)", lambda o: gx.sam(clipped(gx), gx.chain(gx.normalize_by_update_norm(), gx.sgd(0.05)),
        opaque_mode=True), "p g -> near, again g + p near mu nu, again near -> p mu nu",
        "both norms come first; near: the parameters nearby, written for the network, and the gradient there",
        extra=ascent,
        peer=lambda o: o.sam(clipped(o), o.chain(o.normalize_by_update_norm(), o.sgd(0.05)), opaque_mode=True)),
    Row("lbfgs, memory 10", lambda o: o.lbfgs(1.0, 10, linesearch=None),
        "p g oldp oldg 10*s 10*y, again g 10*s 10*y -> p oldp oldg s y",
        "all products of s, y and g come first; one pair of s and y is written", LOOPS),
    Row("sgd + backtracking", lambda o: o.chain(o.sgd(1.0), o.scale_by_backtracking_linesearch(5)),
        "p g -> near + near + p g -> p", "the loss is asked for once, at parameters written for it", SLOPE,
        extra=search),
]  # fmt: skip

ADAPTERS = [
    Row("adapters: clip + adamw", clipped, CLIPPED, NORM, shapes=shapes.lora()),
    Row("adapters: packed(clip + adamw)", lambda o: gx.packed(clipped(gx)), CLIPPED, NORM, PACKED, shapes=shapes.lora(),
        peer=clipped),
    Row("adapters: clip + packed(adamw)", lambda o: gx.chain(gx.clip_by_global_norm(1.0), gx.packed(gx.adamw(1e-3))),
        CLIPPED, NORM, PACKED, shapes=shapes.lora(), peer=clipped),
]  # fmt: skip

MATRICES = [
    Row("matrices: muon", lambda o: o.muon(0.02), "p g mu -> p mu", left=PRECISE, shapes=matrices(1)),
    Row("matrices: muon, ns_dtype bfloat16", lambda o: gx.muon(0.02, ns_dtype=jnp.bfloat16), "p g mu -> p mu",
        left=PRECISE, shapes=matrices(1), peer=lambda o: o.muon(0.02)),
]  # fmt: skip

ROWS = [*OPTIMIZERS, *STORED, *CONTROLS, *ADAPTERS, *MATRICES]
"""The first one is what others are compared to in cycles."""
