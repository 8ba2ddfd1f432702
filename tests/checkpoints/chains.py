"""Transformations whose checkpoints are kept, and the training that all of them go through.

Gradients are multiples of 1/8 and at most 2: sums of their squares, and so their norms, are exact in any order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import gradxform as gx
from gradxform.compat import mindspore, paddle, torch

SAVED_AFTER, STEPS = 3, 6
"""Updates before a state is saved, and in all."""
SHAPES = {"dense": {"bias": (6,), "kernel": (4, 144)}, "scale": ()}
ROUNDING = 2.0**-23


def draw(seed: int, shape: tuple[int, ...], top: int, unit: float) -> Any:
    """Multiples of a power of two; NumPy promises that the stream of RandomState stays."""
    return np.asarray(np.random.RandomState(seed).randint(-top, top + 1, shape) * unit, np.float32)


def tree(seed: int, top: int, unit: float, dtype: Any = np.float32) -> Any:
    shapes, structure = jax.tree.flatten(SHAPES, is_leaf=lambda x: isinstance(x, tuple))
    return structure.unflatten(
        [jnp.asarray(draw(100 * seed + i, shape, top, unit), dtype) for i, shape in enumerate(shapes)]
    )


def dense(step: int) -> Any:
    return tree(step, 16, 1 / 8)


def spiked(step: int) -> Any:
    """The fifth gradient is far larger than the others."""
    return jax.tree.map(lambda g: g * (64.0 if step == 5 else 1.0), dense(step))


def overflowing(step: int) -> Any:
    """The fifth gradient is not finite."""
    g = dense(step)
    return {**g, "scale": g["scale"] + jnp.inf} if step == 5 else g


def rows(step: int) -> Any:
    """Two rows of the kernel at each step, one of them twice in the second."""
    g = dense(step)
    indices = np.array([[0, 2], [1, 1], [3, 0], [2, 0], [1, 3], [0, 2]][step - 1], np.int32)
    kernel = gx.Rows(jnp.asarray(indices), g["dense"]["kernel"][:2], SHAPES["dense"]["kernel"])
    return {**g, "dense": {**g["dense"], "kernel": kernel}}


class Kept(NamedTuple):
    """A transformation and the training that it goes through.

    ulps: of the largest number in each array, by which continued arrays may be off; 0 asks for the same bits.
    steps: the same for updates and what follows from them, `ADAMS` where Adam makes them: its fraction is no longer
    multiplied by a root above and below, which moves their last bits. What it remembers has the same bits.
    elsewhere: the same as a part of that number, where another CPU or JAX rounds otherwise than the writer's. Each of
    three steps is off by 2 ulp of its largest term then, and a scalar may be small beside its terms.
    """

    make: Callable[[], Any]
    dtype: Any = np.float32
    gradient: Callable[[int], Any] = dense
    value: bool = False
    ulps: int = 0
    steps: int = 0
    elsewhere: float = 16 * ROUNDING


SUMMED = 4
"""Ulps where a norm of numbers that are not short is taken: its sum may be taken in another order."""
CODED = 2.0**-3
"""Elsewhere, for memory in codes: one ulp may decide which of two neighbouring codes is next."""
cosine = gx.cosine_decay_schedule(0.1, 10)
linear = gx.linear_schedule(0.1, 0.01, 5)
first, second = gx.named("kernel"), gx.named("bias")
ADAMS = 8
FUSED = 1
"""Where a product was added, or multiplied by two numbers, in one operation and is not any more."""
both = {"mu": "int8", "nu": "uint8_sqrt"}

CHAINS: dict[str, Kept] = {
    "adam": Kept(lambda: gx.adam(0.01), steps=ADAMS),
    "adamw_masked": Kept(lambda: gx.adamw(cosine, weight_decay=0.1, mask=first), steps=ADAMS),
    "momentum": Kept(lambda: gx.momentum(0.1)),
    "nesterov": Kept(lambda: gx.sgd(linear, 0.9, nesterov=True)),
    "adam_mu_bfloat16": Kept(lambda: gx.adam(0.01, mu_dtype=jnp.bfloat16), elsewhere=2.0**-7, steps=ADAMS),
    "clip_adamw": Kept(
        lambda: gx.chain(gx.clip_by_global_norm(1.0), gx.adamw(cosine, weight_decay=0.1)), ulps=4 * FUSED, steps=ADAMS
    ),
    "tunables": Kept(
        lambda: gx.adamw(gx.tunable(0.01), b1=gx.tunable(0.8), weight_decay=gx.tunable(cosine)), steps=ADAMS
    ),
    "named_chain": Kept(
        lambda: gx.named_chain(("slow", gx.trace(0.9)), ("fast", gx.trace(0.5)), ("step", gx.sgd(0.1)))
    ),
    "twice": Kept(lambda: gx.chain(gx.ema(0.9), gx.trace(0.5), gx.ema(0.5), gx.scale(-0.1))),
    "groups": Kept(
        lambda: gx.groups(
            [(first, gx.adam(0.1), "first"), ("scale", gx.freeze())], default=gx.sgd(gx.tunable(0.1), 0.9)
        ),
        steps=ADAMS,
    ),
    "groups_clipped": Kept(
        lambda: gx.groups(
            [(first, gx.chain(gx.clip_by_global_norm(1.0), gx.adam(0.1)), "first"), (second, {"b1": 0.5})],
            default=gx.adam(0.1),
        ),
        steps=ADAMS,
    ),
    "masked": Kept(
        lambda: gx.masked(gx.adam(0.1), {"dense": {"kernel": True, "bias": False}, "scale": True}), steps=ADAMS
    ),
    "partition": Kept(
        lambda: gx.partition({"a": gx.adam(0.1), "b": gx.sgd(0.1, 0.9)}, {"dense": "a", "scale": "b"}), steps=ADAMS
    ),
    "freeze": Kept(lambda: gx.chain(gx.freeze(second), gx.momentum(0.1))),
    "stored_int8": Kept(
        lambda: gx.stored_as(both, gx.adamw(0.01), min_size=64), elsewhere=CODED, ulps=FUSED, steps=ADAMS
    ),
    "stored_int8_stochastic": Kept(
        lambda: gx.stored_as(both, gx.adam(0.01), min_size=64, stochastic=True, seed=7),
        elsewhere=CODED,
        ulps=FUSED,
        steps=ADAMS,
    ),
    "stored_int4": Kept(lambda: gx.stored_as("int4", gx.momentum(0.1), min_size=64), elsewhere=1.0),
    "stored_bfloat16": Kept(lambda: gx.stored_as("bfloat16", gx.adam(0.01), min_size=0), elsewhere=CODED, steps=ADAMS),
    "stored_float8": Kept(lambda: gx.stored_as("float8_e4m3", gx.adam(0.01), min_size=64), elsewhere=1.0, steps=ADAMS),
    "packed": Kept(lambda: gx.packed(gx.adamw(0.01, weight_decay=0.1, mask=first)), steps=ADAMS),
    "catch_up": Kept(lambda: gx.lazy(gx.adam(0.01), mode="catch_up"), gradient=rows, ulps=FUSED, steps=ADAMS),
    "accumulate": Kept(lambda: gx.accumulate(gx.adam(0.1), every=2), steps=ADAMS),
    "guard": Kept(
        lambda: gx.guard(gx.adamw(0.1), spike=6.0, warmup=2), gradient=spiked, value=True, ulps=FUSED, steps=ADAMS
    ),
    "dynamic_loss_scale": Kept(
        lambda: gx.dynamic_loss_scale(gx.chain(gx.clip_by_global_norm(1.0), gx.adam(0.1)), window=2),
        gradient=overflowing,
        steps=ADAMS,
    ),
    "measure": Kept(
        lambda: gx.measure(
            gx.chain(gx.clip_by_global_norm(0.7), gx.adam(0.1)), grad_norm=True, update_norm=True, clip_fraction=True
        ),
        ulps=SUMMED,
        steps=ADAMS,
    ),
    "schedule_free_adamw": Kept(  # the writer's updates are differences of parameters, off by an ulp of these
        lambda: gx.schedule_free_adamw(0.1, 2, weight_decay=0.1), steps=4 * ADAMS
    ),
    "lookahead": Kept(lambda: gx.lookahead(gx.momentum(0.1), 4, 0.5)),
    "ema_of_params": Kept(lambda: gx.chain(gx.sgd(0.1), gx.ema_of_params(0.9)), ulps=FUSED),
    "split16": Kept(
        lambda: gx.chain(gx.adam(0.01), gx.round_updates("split16")), dtype=jnp.bfloat16, elsewhere=CODED, steps=ADAMS
    ),
    "lamb": Kept(lambda: gx.lamb(0.01, weight_decay=0.1), ulps=SUMMED, steps=ADAMS),
    "lion": Kept(lambda: gx.lion(0.01, mu_dtype=jnp.bfloat16), elsewhere=2.0**-7),
    "noise": Kept(lambda: gx.chain(gx.add_noise(0.1, 0.55, key=3), gx.momentum(0.1)), elsewhere=64 * ROUNDING),
    "novograd": Kept(lambda: gx.novograd(0.01, weight_decay=0.1)),
    "foreign": Kept(lambda: gx.chain(gx.trace(0.5), optax.adam(0.1), gx.ema(0.5))),
    "sam": Kept(lambda: gx.sam(gx.momentum(0.1), gx.chain(gx.normalize_by_update_norm(), gx.sgd(0.125)))),
    "master_weights": Kept(lambda: gx.master_weights(gx.adamw(0.01)), dtype=jnp.bfloat16, elsewhere=CODED, steps=ADAMS),
    "torch_sgd": Kept(lambda: torch.sgd(0.1, 0.9, weight_decay=0.1, nesterov=True)),
    "torch_adam": Kept(lambda: torch.adam(0.01, amsgrad=True, weight_decay=0.1), steps=ADAMS),
    "paddle_momentum": Kept(lambda: paddle.momentum(0.1, 0.9, use_nesterov=True, weight_decay=0.1)),
    "paddle_adam": Kept(lambda: paddle.adam(0.01, weight_decay=0.1)),
    "mindspore_adam": Kept(lambda: mindspore.adam(0.01, weight_decay=0.1, loss_scale=4.0)),
}

RELAID = ("stored_int8", "stored_int8_stochastic", "stored_int4", "stored_float8")
"""Of which codes lie otherwise now: read by `migrate`."""
WITHOUT_POWERS = ("mindspore_adam",)
"""Written before the powers of the betas were kept: read by `migrate`, which leaves them to the counter."""
THROUGH_ORBAX = ("adamw_masked", "groups", "guard", "stored_int8", "foreign")


def parameters(name: str) -> Any:
    return tree(0, 64, 1 / 64, CHAINS[name].dtype)


KERNELS = {"xla_cpu_use_fusion_emitters": True, "xla_cpu_parallel_codegen_split_count": 32}
"""Kernels as users' programs have them, whatever flags the tests run with: others fuse other multiply-adds."""
COMPILED = {"compiler_options": KERNELS} if jax.__version__.startswith("0.10.") else {}


def train(name: str, tx: Any, params: Any, state: Any, steps: range) -> list[dict[str, Any]]:
    """Updates, state and parameters after each compiled step, numbered from 1."""
    kept, found = CHAINS[name], []
    for i in steps:
        extra = {"value": jnp.float32(2.0 - i / 8)} if kept.value else {}
        updates, state = jax.jit(tx.update, **COMPILED)(kept.gradient(i), state, params, **extra)
        params = gx.apply_updates(params, updates)
        found.append({"updates": updates, "state": state, "params": params})
    return found
